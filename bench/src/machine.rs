//! Where and of what a result was taken.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::Cores;
use crate::socket;

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub memory_gib: u64,
    pub congestion_control: String,
    pub pinning: String,
}

impl Machine {
    /// This one.
    pub fn here(cores: Cores) -> Self {
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib = memory
            .split_whitespace()
            .next()
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            memory_gib: (kib + (1 << 19)) >> 20,
            congestion_control: socket::congestion_control(),
            pinning: cores.describe(),
        }
    }
}

/// What was measured, when and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occasion {
    pub date: String,
    pub commit: String,
    pub command: String,
    pub runs: usize,
    pub quick: bool,
    /// The processor: cases may have been measured on different machines.
    #[serde(default)]
    pub cpu: String,
}

impl Occasion {
    /// This one.
    pub fn now(runs: usize, quick: bool) -> Self {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
        let command = command_line(std::env::args());
        Self {
            date,
            commit: commit(),
            command,
            runs,
            quick,
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        }
    }
}

/// The command without the places where this machine keeps things.
fn command_line(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words
        .map(|word| match Path::new(&word).file_name() {
            Some(name) if word.starts_with('/') => name.to_string_lossy().into_owned(),
            _ => word,
        })
        .map(|word| {
            if word.contains(' ') {
                format!("'{word}'")
            } else {
                word
            }
        })
        .collect();
    if let Some(first) = words.first_mut() {
        *first = "greenroom-bench".to_owned();
    }
    words.join(" ")
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|lines| !lines.is_empty());
    commit + if changed { " with changes" } else { "" }
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text
        .lines()
        .find(|line| line.starts_with(name))?
        .split_once(':')?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_command_names_no_place_of_this_machine() {
        let words = [
            "/home/me/target/bench",
            "run",
            "--node",
            "/home/me/greenroom",
            "--peer",
            "a=b=c d",
        ];
        let recorded = command_line(words.map(str::to_owned).into_iter());
        assert_eq!(recorded, "greenroom-bench run --node greenroom --peer 'a=b=c d'");
    }
}
