//! Servers under test: started on a core of their own, asked of the kernel what they use, ended.

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::redis::Redis;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(5);
const LOG_LINES: usize = 12;
const KIB: u64 = 1_024;
/// The unit of `/proc/stat`, fixed by the kernel's interface.
const TICK_NS: u64 = 10_000_000;

/// A server that clients can connect to.
pub struct Server {
    /// Its addresses; more than one for a cluster.
    pub addresses: Vec<SocketAddr>,
    members: Vec<Member>,
    /// What it needs and is not counted as its own.
    pub redis: Option<Redis>,
    cores: Cores,
}

/// One process of a server.
struct Member {
    pid: Option<Pid>,
    child: Option<Child>,
    command: Option<Command>,
    log: Option<PathBuf>,
}

/// How to tell that a server has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// `GET /livez` answers 200.
    Livez,
    /// The port accepts.
    Accepts,
}

/// Which core the server runs on and which the generator, where there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    pair: Option<(usize, usize)>,
}

impl Cores {
    /// The first core this process may use for the server, the last for the generator.
    pub fn choose() -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        Self {
            pair: cores.next().zip(cores.next_back()),
        }
    }

    /// In words, for the report.
    pub fn describe(self) -> String {
        self.pair
            .map_or("not pinned: one core only".to_owned(), |(server, generator)| {
                format!("server pinned to core {server}, generator to core {generator}")
            })
    }

    /// Lets this thread, and those that it starts, run on either: two that talk to each other need two.
    pub fn use_both(self) -> Result<()> {
        let mut set = CpuSet::new();
        if let Some((server, generator)) = self.pair {
            set.set(server)?;
            set.set(generator)?;
            sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose cores")?;
        }
        Ok(())
    }

    /// The same two, the other way round: what is started shares the generator's core, which leaves the other to what was
    /// started before.
    pub fn beside_the_generator(self) -> Self {
        Self {
            pair: self.pair.map(|(_, generator)| (generator, generator)),
        }
    }

    fn move_to(core: usize) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose a core")
    }

    /// Starts a command on the server's core: a child inherits where its parent is allowed to run.
    pub fn spawn(self, command: &mut Command) -> Result<Child> {
        if let Some((server, _)) = self.pair {
            Self::move_to(server)?;
        }
        let child = command.spawn();
        if let Some((_, generator)) = self.pair {
            Self::move_to(generator)?;
        }
        child.with_context(|| format!("cannot start {:?}", command.get_program()))
    }
}

impl Server {
    /// Starts a command that listens on `port` of loopback, and waits until it is ready. Its standard input is the
    /// caller's choice.
    pub fn start(mut command: Command, port: u16, cores: Cores, readiness: Readiness) -> Result<Self> {
        let log = std::env::temp_dir().join(format!("greenroom-bench-{}-{port}.log", std::process::id()));
        let output = File::create(&log).context("cannot write a server's log")?;
        command.stdout(output.try_clone()?).stderr(output);
        let mut member = Member {
            pid: None,
            child: None,
            command: Some(command),
            log: Some(log),
        };
        member.start(cores)?;
        let mut server = Self {
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            members: vec![member],
            redis: None,
            cores,
        };
        server.wait_until_ready(0, readiness)?;
        Ok(server)
    }

    /// Several that share a Redis, as one.
    pub fn cluster(nodes: Vec<Self>, redis: Redis, cores: Cores) -> Self {
        let mut whole = Self::running(Vec::new(), None);
        whole.members.clear();
        for mut node in nodes {
            whole.addresses.append(&mut node.addresses);
            whole.members.append(&mut node.members);
        }
        whole.redis = Some(redis);
        whole.cores = cores;
        whole
    }

    /// Kills one of its processes as it stands.
    pub fn kill(&mut self, which: usize) {
        let member = &mut self.members[which];
        if let Some(mut child) = member.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        member.pid = None;
    }

    /// Starts one again that was killed, without waiting for it.
    pub fn revive(&mut self, which: usize) -> Result<()> {
        self.members[which].start(self.cores)
    }

    /// A server that somebody else has started; with its process id, what it uses can be read.
    pub fn running(addresses: Vec<SocketAddr>, pid: Option<i32>) -> Self {
        Self {
            addresses,
            members: vec![Member {
                pid: pid.map(Pid::from_raw),
                child: None,
                command: None,
                log: None,
            }],
            redis: None,
            cores: Cores { pair: None },
        }
    }

    /// User and system time used so far, in nanoseconds, by all of its threads, also those that have ended.
    pub fn cpu_ns(&self) -> Option<u64> {
        self.members.iter().map(|member| cpu_ns_of(member.pid?)).sum()
    }

    /// The same of what it needs and is not counted as its own.
    pub fn aside_ns(&self) -> u64 {
        self.redis.as_ref().and_then(Redis::cpu_ns).unwrap_or(0)
    }

    /// Resident memory in bytes. The roll-up is exact; the status file lags by some pages a thread.
    pub fn rss_bytes(&self) -> Option<u64> {
        let rss = |pid: Pid| {
            kib_field(&format!("/proc/{pid}/smaps_rollup"), "Rss:")
                .or_else(|| kib_field(&format!("/proc/{pid}/status"), "VmRSS:"))
        };
        self.members.iter().map(|member| rss(member.pid?)).sum()
    }

    /// How many entries a folder of its own in `/proc` has: `fd` for open files, `task` for threads.
    pub fn entries(&self, folder: &str) -> Option<u64> {
        let entries = fs::read_dir(format!("/proc/{}/{folder}", self.members.first()?.pid?)).ok()?;
        Some(entries.count() as u64)
    }

    fn wait_until_ready(&mut self, which: usize, readiness: Readiness) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < START_LIMIT {
            if let Some(status) = self.members[which]
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten())
            {
                bail!("the server ended at once ({status}):\n{}", self.log_tail());
            }
            if is_ready(self.addresses[which], readiness).is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "the server is not ready after {START_LIMIT:?}:\n{}",
            self.log_tail()
        )
    }

    /// The last lines that the server has written.
    pub fn log_tail(&self) -> String {
        let logs = self.members.iter().filter_map(|member| member.log.as_ref());
        let text: String = logs.filter_map(|log| fs::read_to_string(log).ok()).collect();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Member {
    fn start(&mut self, cores: Cores) -> Result<()> {
        let command = self.command.as_mut().context("somebody else has started it")?;
        let child = cores.spawn(command)?;
        self.pid = Some(Pid::from_raw(
            i32::try_from(child.id()).context("a strange process id")?,
        ));
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let (Some(child), Some(pid)) = (&mut self.child, self.pid) {
            let begin = Instant::now();
            // An error means that it has ended already.
            let _ = kill(pid, Signal::SIGTERM);
            while matches!(child.try_wait(), Ok(None)) && begin.elapsed() < STOP_LIMIT {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(log) = &self.log {
            let _ = fs::remove_file(log);
        }
    }
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// User and system time that a process has used so far, in nanoseconds.
pub fn cpu_ns_of(pid: Pid) -> Option<u64> {
    let used = clock_getcpuclockid(pid).and_then(ClockId::now).ok()?;
    Some(used.tv_sec() as u64 * 1_000_000_000 + used.tv_nsec() as u64)
}

/// CPU time of this process so far, in nanoseconds.
pub fn own_cpu_ns() -> u64 {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map_or(0, |used| {
        used.tv_sec() as u64 * 1_000_000_000 + used.tv_nsec() as u64
    })
}

/// Time that all cores together were not idle, stolen time included, in nanoseconds.
pub fn machine_busy_ns() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map_while(|n| n.parse().ok())
        .collect();
    // user nice system [idle iowait] irq softirq steal; guests are in user already.
    let busy: u64 = ticks.get(..3)?.iter().chain(ticks.get(5..8)?).sum();
    Some(busy * TICK_NS)
}

/// Raises the limit of open files as far as allowed, for this process and its children.
pub fn raise_file_limit(wanted: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    if hard < wanted {
        bail!("{wanted} open files are needed and {hard} allowed: raise the hard limit (`ulimit -Hn`)");
    }
    Ok(())
}

fn is_ready(address: SocketAddr, readiness: Readiness) -> Option<()> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    if readiness == Readiness::Accepts {
        return Some(());
    }
    stream.set_read_timeout(Some(limit)).ok()?;
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).ok()?;
    status.ends_with(b" 200").then_some(())
}

fn kib_field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.split_whitespace().next()?.parse::<u64>().ok()? * KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_uses_can_be_read() {
        let server = Server::running(Vec::new(), i32::try_from(std::process::id()).ok());
        assert!(server.cpu_ns() > Some(0));
        assert!(server.rss_bytes() > Some(100_000));
        assert!(own_cpu_ns() > 0 && machine_busy_ns() > Some(0));
    }

    #[test]
    fn of_an_unknown_process_nothing_is_read() {
        let server = Server::running(Vec::new(), None);
        assert_eq!((server.cpu_ns(), server.rss_bytes()), (None, None));
    }

    #[test]
    fn a_command_that_ends_at_once_is_reported_with_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such setting; exit 3"]);
        let port = free_port().expect("a port");
        let error = Server::start(command, port, Cores { pair: None }, Readiness::Livez)
            .err()
            .expect("it ended");
        assert!(error.to_string().contains("no such setting"), "{error}");
    }
}
