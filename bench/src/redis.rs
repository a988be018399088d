//! A redis-server of the run's own: on a free port, in a folder of its own, ended with it; and what it says of itself.

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Cores, cpu_ns_of, free_port};

const START_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Of its benchmark: connections, and commands under way on each.
const CONNECTIONS: &str = "50";
const PIPELINE: &str = "16";

/// A running redis-server, found in PATH. Dropping it kills it.
pub struct Redis {
    port: u16,
    folder: PathBuf,
    cores: Cores,
    /// Whether it writes down what it is told.
    writes: bool,
    child: Option<Child>,
}

impl Redis {
    /// One that writes down what it is told.
    pub fn start(cores: Cores) -> Result<Self> {
        Self::that_writes(true, cores)
    }

    /// One that has what it is told in memory only.
    pub fn in_memory(cores: Cores) -> Result<Self> {
        Self::that_writes(false, cores)
    }

    fn that_writes(writes: bool, cores: Cores) -> Result<Self> {
        let port = free_port()?;
        let folder =
            std::env::temp_dir().join(format!("greenroom-bench-redis-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut redis = Self {
            port,
            folder,
            cores,
            writes,
            child: None,
        };
        redis.begin()?;
        Ok(redis)
    }

    /// Starts it, after [`Self::kill`], with what it has written down. Answers when it answers.
    pub fn begin(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", if self.writes { "yes" } else { "no" }, "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.child = Some(
            self.cores
                .spawn(&mut command)
                .context("redis-server has to be in PATH")?,
        );
        let begin = Instant::now();
        while self.ask(&["PING"]).is_err() {
            ensure!(begin.elapsed() < START_LIMIT, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills it as it stands.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its address as the configuration has it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// User and system time used so far by this life of it, in nanoseconds.
    pub fn cpu_ns(&self) -> Option<u64> {
        cpu_ns_of(Pid::from_raw(i32::try_from(self.child.as_ref()?.id()).ok()?))
    }

    /// What its data takes, bytes: all that it uses but for the buffers of its clients.
    pub fn held_bytes(&self) -> Result<f64> {
        let info = self.ask(&["INFO", "memory"])?;
        let used = number(&info, "used_memory").context("no used_memory")?;
        Ok(used - number(&info, "mem_clients_normal").context("no mem_clients_normal")?)
    }

    /// How often each command was carried out, those of scripts among them.
    pub fn calls(&self) -> Result<BTreeMap<String, u64>> {
        let stats = self.ask(&["INFO", "commandstats"])?;
        let row = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse().ok()?;
            Some((name.to_owned(), calls))
        };
        Ok(stats.lines().filter_map(row).collect())
    }

    /// The next command with this word in it that a client sends while `happens` does: its words.
    pub fn overhear(&self, word: &str, happens: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
        let mut stream = self.connect()?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut heard = BufReader::new(stream);
        let mut line = String::new();
        heard.read_line(&mut line)?;
        happens()?;
        let begin = Instant::now();
        while begin.elapsed() < ANSWER_LIMIT {
            line.clear();
            heard.read_line(&mut line).context("nothing to overhear")?;
            // `+1700000000.000000 [0 127.0.0.1:1] "EVALSHA" ...`; a script's own commands are of `lua`.
            if line.contains(word) && !line.contains(" lua]") {
                let start = line.find("] ").context("no command")? + 2;
                return Ok(unquoted(&line[start..]));
            }
        }
        bail!("nobody has sent a command with {word:?}")
    }

    /// How many of these commands it takes a second, by its own benchmark, pipelined.
    pub fn benchmark(&self, count: u64, words: &[String], cores: Cores) -> Result<f64> {
        let mut command = Command::new("redis-benchmark");
        command
            .args(["-p", &self.port.to_string(), "-n", &count.to_string(), "-q"])
            .args(["-c", CONNECTIONS, "-P", PIPELINE, "-r", "1000000000"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = cores
            .spawn(&mut command)
            .context("redis-benchmark has to be in PATH")?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (before, _) = text
            .rsplit_once(" requests per second")
            .with_context(|| format!("redis-benchmark says {text:?}"))?;
        let figure = before.rsplit([' ', '\r', '\n']).next().unwrap_or_default();
        figure
            .parse()
            .with_context(|| format!("redis-benchmark says {text:?}"))
    }

    /// Asks it something whose answer is text.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let mut stream = self.connect()?;
        let mut command = format!("*{}\r\n", words.len());
        words
            .iter()
            .for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        stream.write_all(command.as_bytes())?;
        let mut answer = BufReader::new(stream);
        let mut first = String::new();
        answer.read_line(&mut first)?;
        let first = first.trim_end();
        match first.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("$", length)) => {
                let mut text = vec![0; length.parse::<usize>().context("no text")?];
                std::io::Read::read_exact(&mut answer, &mut text)?;
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            _ => bail!("redis-server says {first:?}"),
        }
    }

    fn connect(&self) -> Result<TcpStream> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(stream)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        // A folder that stays is in nobody's way.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A figure of what INFO says.
fn number(info: &str, name: &str) -> Option<f64> {
    let row = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok();
    info.lines().find_map(row)
}

/// The words of a command as MONITOR shows it.
fn unquoted(shown: &str) -> Vec<String> {
    let (mut words, mut characters) = (Vec::new(), shown.chars());
    while characters.any(|c| c == '"') {
        let mut word = String::new();
        while let Some(c) = characters.next().filter(|c| *c != '"') {
            match c {
                '\\' => match characters.next() {
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some('x') => {
                        let digits: String = characters.by_ref().take(2).collect();
                        word.push(char::from(u8::from_str_radix(&digits, 16).unwrap_or(b'?')));
                    }
                    other => word.extend(other),
                },
                c => word.push(c),
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{number, unquoted};

    #[test]
    fn a_figure_is_read_from_what_info_says() {
        let info = "# Memory\r\nused_memory:1234\r\nused_memory_human:1.2K\r\n";
        assert_eq!(number(info, "used_memory"), Some(1_234.0));
        assert_eq!(
            (number(info, "used"), number(info, "used_memory_human")),
            (None, None)
        );
    }

    #[test]
    fn a_command_is_read_as_monitor_shows_it() {
        let shown = r#""EVALSHA" "ab" "2" "{\"p\":1}\n\x01\\" """#;
        assert_eq!(unquoted(shown), ["EVALSHA", "ab", "2", "{\"p\":1}\n\u{1}\\", ""]);
    }
}
