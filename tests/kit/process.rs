//! The real program as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Http, eventually};

/// A running `greenroom serve`. Dropping it kills it.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its requests.
    pub http: Http,
}

impl Process {
    /// Starts it with settings of the form `key=value`, in an empty environment.
    pub fn start(settings: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.env_clear().current_dir(std::env::temp_dir()).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "log.level=error",
        ]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        Self::from(command)
    }

    /// Starts it from a shell that allows it few open files, unless it asks for more.
    pub fn start_with_few_files(files: u32) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -S -n {files} && exec \"$0\" serve --listen 127.0.0.1:0");
        command.env_clear().current_dir(std::env::temp_dir()).args([
            "-c",
            &script,
            env!("CARGO_BIN_EXE_greenroom"),
        ]);
        Self::from(command)
    }

    /// Starts a program that says in its first line where it listens.
    pub fn from(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            if out.read_line(&mut line).unwrap() == 0 {
                let status = child.wait().unwrap();
                panic!("the node ended before it listened: {status}");
            }
            if let Some((_, url)) = line.split_once("listens on ")
                && let Some((_, url)) = url.split_once("://")
            {
                break url.split(' ').next().unwrap().trim().parse().unwrap();
            }
        };
        Self {
            child,
            address,
            http: Http::new(address),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory, bytes.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1_024
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success(), "cannot signal {pid}");
    }

    /// Awaits its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        eventually("the node to end", || {
            status = child.try_wait().unwrap();
            std::future::ready(status.is_some())
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
