//! Who is measured: a name, how to start it, and the protocol its clients speak.

use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Cores, Readiness, Server, free_port};
use crate::protocol::Protocol;
use crate::redis::Redis;
use crate::socket;

/// The name of the floor, which ratios refer to.
pub const FLOOR: &str = "floor";
/// The name of the floor that coalesces.
pub const COALESCING: &str = "coalescing floor";
/// The name of a node without Redis beside several with.
pub const ALONE: &str = "one node";
/// The name of a single node on Redis beside several.
pub const SINGLE: &str = "one node on Redis";
/// The name of bare commands to Redis, beside what the cache makes of them.
pub const BARE: &str = "bare Redis";
/// The name of Redis's own benchmark.
pub const BENCHMARK: &str = "redis-benchmark";
/// The name of the node; peers whose name begins with it are held against the targets.
pub const NODE: &str = "node";

/// Settings with which every node is measured; later ones win.
const NODE_SETTINGS: [&str; 3] = ["throttle.events_per_second=0", "workers=1", "log.level=warn"];

/// A server to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub name: String,
    pub protocol: Protocol,
    pub start: Start,
}

/// How a peer comes to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// This program's own floor.
    Floor { coalesce: bool },
    /// A node's binary, with settings of the form `key=value`.
    Node { binary: PathBuf, settings: Vec<String> },
    /// Several of them that share a Redis of their own.
    Cluster {
        binary: PathBuf,
        settings: Vec<String>,
        nodes: usize,
    },
    /// Any command; `{port}` in it stands for the port to listen on, `{fd}` for a socket that is bound to it.
    Command(Vec<String>),
    /// It runs already.
    Running {
        addresses: Vec<SocketAddr>,
        pid: Option<i32>,
    },
}

impl Peer {
    /// The floor.
    pub fn floor() -> Self {
        let start = Start::Floor { coalesce: false };
        Self {
            name: FLOOR.to_owned(),
            protocol: Protocol::GreenroomV1,
            start,
        }
    }

    /// The node's actors, in this process.
    pub fn inside() -> Self {
        let start = Start::Running {
            addresses: Vec::new(),
            pid: None,
        };
        Self {
            name: NODE.to_owned(),
            protocol: Protocol::GreenroomV1,
            start,
        }
    }

    /// The floor that coalesces.
    pub fn coalescing() -> Self {
        let start = Start::Floor { coalesce: true };
        Self {
            name: COALESCING.to_owned(),
            protocol: Protocol::GreenroomV1,
            start,
        }
    }

    /// A peer from the command line: `name=protocol=command with {port}`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, '=');
        let (name, protocol, command) = (parts.next(), parts.next(), parts.next());
        let ((Some(name), Some(protocol)), Some(command)) = (name.zip(protocol).unzip(), command) else {
            anyhow::bail!("a peer is name=protocol=command, not {text:?}");
        };
        let protocol = clap::ValueEnum::from_str(protocol, true)
            .map_err(|unknown: String| anyhow::anyhow!("no such protocol: {unknown}"))?;
        let command = command.split_whitespace().map(str::to_owned).collect();
        Ok(Self {
            name: name.to_owned(),
            protocol,
            start: Start::Command(command),
        })
    }

    /// The same node with these settings, which are weaker than those it has; another server as it is.
    pub fn with(&self, weaker: &[&str]) -> Self {
        let mut peer = self.clone();
        if let Start::Node { settings, .. } = &mut peer.start {
            settings.splice(0..0, weaker.iter().map(|setting| (*setting).to_owned()));
        }
        peer
    }

    /// So many of the same node on one Redis, under another name.
    pub fn clustered(&self, name: &str, nodes: usize) -> Option<Self> {
        let Start::Node { binary, settings } = &self.start else {
            return None;
        };
        Some(Self {
            name: name.to_owned(),
            protocol: self.protocol,
            start: Start::Cluster {
                binary: binary.clone(),
                settings: settings.clone(),
                nodes,
            },
        })
    }

    /// The same under another name.
    pub fn named(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    /// Whether it is held against the targets.
    pub fn is_judged(&self) -> bool {
        self.name.starts_with(NODE)
    }

    /// Starts it, or finds it running.
    pub fn start(&self, cores: Cores) -> Result<Server> {
        if let Start::Cluster {
            binary,
            settings,
            nodes,
        } = &self.start
        {
            return cluster(binary, settings, *nodes, (cores, cores));
        }
        let port = free_port()?;
        let (command, readiness) = match &self.start {
            Start::Running { addresses, pid } => return Ok(Server::running(addresses.clone(), *pid)),
            Start::Floor { coalesce } => {
                let mut command = deaf(std::env::current_exe().context("cannot find this program")?);
                command.args(["floor", "--port", &port.to_string()]);
                command.args(coalesce.then_some("--coalesce"));
                (command, Readiness::Livez)
            }
            Start::Node { binary, settings } => (node(binary, settings, port), Readiness::Livez),
            Start::Cluster { .. } => unreachable!("started above"),
            Start::Command(words) => (other(words, port)?, Readiness::Accepts),
        };
        Server::start(command, port, cores, readiness).with_context(|| format!("{} did not start", self.name))
    }
}

fn node(binary: &Path, settings: &[String], port: u16) -> Command {
    let mut command = deaf(binary);
    // Not what happens to lie in the folder from which it is started.
    command.args([
        "serve",
        "--config",
        "/dev/null",
        "--listen",
        &format!("127.0.0.1:{port}"),
    ]);
    let settings = NODE_SETTINGS
        .into_iter()
        .chain(socket::without_pacing())
        .chain(settings.iter().map(String::as_str));
    settings.for_each(|setting| {
        command.args(["--set", setting]);
    });
    command
}

/// So many nodes on a Redis of their own: it and they have their cores.
pub fn cluster(binary: &Path, settings: &[String], nodes: usize, cores: (Cores, Cores)) -> Result<Server> {
    let redis = Redis::start(cores.0)?;
    let mut started = Vec::new();
    for number in 1..=nodes {
        let port = free_port()?;
        let mut own = vec![
            format!("redis.url={}", redis.url()),
            format!("node_id=bench-{number}"),
            format!("cluster.advertise=http://127.0.0.1:{port}"),
        ];
        own.extend_from_slice(settings);
        let node = Server::start(node(binary, &own, port), port, cores.1, Readiness::Livez);
        started.push(node.with_context(|| format!("node {number} did not start"))?);
    }
    Ok(Server::cluster(started, redis, cores.1))
}

/// A command without a standard input.
fn deaf(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// The command of another server. A socket is handed over as standard input: the one number that is sure to be free.
fn other(words: &[String], port: u16) -> Result<Command> {
    let wants_socket = words.iter().any(|word| word.contains("{fd}"));
    let port_text = port.to_string();
    let mut words = words
        .iter()
        .map(|word| word.replace("{port}", &port_text).replace("{fd}", "0"));
    let mut command = deaf(words.next().context("an empty command")?);
    command.args(words);
    if wants_socket {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let bound = socket::bound(address).with_context(|| format!("cannot bind {address}"))?;
        command.stdin(OwnedFd::from(bound));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_from_the_command_line() {
        let peer = Peer::parse("socket.io=socket-io=node server.js --port={port}").expect("valid");
        assert_eq!(
            (peer.name.as_str(), peer.protocol),
            ("socket.io", Protocol::SocketIo)
        );
        let words = ["node", "server.js", "--port={port}"].map(str::to_owned).to_vec();
        assert_eq!(peer.start, Start::Command(words));
        assert!(!peer.is_judged());
    }

    #[test]
    fn a_socket_is_handed_over_if_the_command_names_it() {
        for (words, met) in [
            (["test", "-S", "/dev/fd/{fd}"], true),
            (["test", "-S", "/dev/stdin"], false),
        ] {
            let words = words.map(str::to_owned);
            let mut command = other(&words, free_port().expect("a port")).expect("a command");
            assert_eq!(command.status().expect("ends").success(), met, "{words:?}");
        }
    }

    #[test]
    fn a_peer_that_makes_no_sense_is_refused() {
        for text in ["", "name", "name=socket-io", "name=smoke-signals=x"] {
            assert!(Peer::parse(text).is_err(), "{text}");
        }
    }
}
