//! The command line.

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crate::cases::{self, Effort};
use crate::peer::{NODE, Peer, Start};
use crate::protocol::Protocol;
use crate::results::Results;
use crate::run::{self, Plan, say};
use crate::soak::Soak;
use crate::{floor, report};

const RESULTS: &str = "docs/bench/latest.json";
const QUICK_RESULTS: &str = "target/bench/quick.json";
const REPORT: &str = "docs/BENCHMARKS.md";

#[derive(Parser)]
#[command(
    name = "greenroom-bench",
    about = "Measures a node against the floor, and others"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and keep the raw results
    Run(Box<Run>),
    /// Write the report from the raw results
    Report {
        /// Raw results
        #[arg(long, default_value = RESULTS)]
        results: PathBuf,
        /// Where the report goes; its hand-written part is kept
        #[arg(long, default_value = REPORT)]
        out: PathBuf,
    },
    /// List the cases
    Cases,
    /// Serve as the floor, on loopback
    Floor {
        /// Port to listen on
        #[arg(long)]
        port: u16,
        /// Write each member once a turn instead of once an event
        #[arg(long)]
        coalesce: bool,
    },
}

#[derive(Args)]
struct Run {
    /// A case to run (repeatable); all but the soak without
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Rounds a case; medians are reported
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Short stretches: to see that everything works, not to rely on
    #[arg(long)]
    quick: bool,
    /// Seconds for which the stalled client's room floods [default: 60, or 10 if quick]
    #[arg(long, value_name = "SECONDS")]
    stall_seconds: Option<u64>,
    /// Minutes of the soak, beyond its warm-up [default: 30, or 2 if quick]
    #[arg(long, value_name = "MINUTES")]
    soak_minutes: Option<u64>,
    /// What the soak does at random is chosen from this
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    soak_seed: u64,
    /// The git repository whose history is replayed to the cache, with all its commits
    #[arg(long, value_name = "PATH", default_value = ".")]
    repository: PathBuf,
    /// The node's binary; without it and --url only the floor is measured
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    node: Option<PathBuf>,
    /// A setting for the node, key=value (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Measure the node over Socket.IO as well
    #[arg(long)]
    socket_io: bool,
    /// A node that runs already: http://host:port, several with commas
    #[arg(long, value_delimiter = ',')]
    url: Vec<String>,
    /// Process id of the node behind --url, so that its CPU and memory can be read
    #[arg(long, requires = "url")]
    pid: Option<i32>,
    /// Another server, name=protocol=command with {port} (repeatable); protocols: greenroom-v1, socket-io
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<String>,
    /// Raw results, of which the cases run are replaced [default: docs/bench/latest.json, or one below target if quick]
    #[arg(long)]
    results: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
///
/// When a measurement fails, or nothing can be measured at all.
pub fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Run(run) => {
            let path = run.results.clone().unwrap_or_else(|| default_results(run.quick));
            run::run(&run.plan()?, &path)
        }
        Command::Report { results, out } => {
            let loaded = Results::load(&results)?;
            ensure!(
                !loaded.cases.is_empty(),
                "there are no results in {}",
                results.display()
            );
            report::make(&loaded, &out)
        }
        Command::Cases => {
            cases::all().for_each(|case| say(&format!("{:16} {}", case.name, case.about)));
            Ok(())
        }
        Command::Floor { port, coalesce } => floor::run(port, coalesce),
    }
}

fn default_results(quick: bool) -> PathBuf {
    PathBuf::from(if quick { QUICK_RESULTS } else { RESULTS })
}

impl Run {
    fn plan(&self) -> Result<Plan> {
        ensure!(self.runs > 0, "at least one run");
        let named = self.cases.iter().map(|name| {
            cases::find(name).with_context(|| format!("no case is named {name:?}: see greenroom-bench cases"))
        });
        let mut cases = named.collect::<Result<Vec<_>>>()?;
        if cases.is_empty() {
            cases = cases::all().filter(|case| !case.is_long()).collect();
        }
        let flood = self.stall_seconds.unwrap_or(if self.quick { 10 } else { 60 });
        let soak = self.soak_minutes.unwrap_or(if self.quick { 2 } else { 30 });
        ensure!(soak > 0, "a soak lasts at least a minute");
        let effort = Effort {
            quick: self.quick,
            flood: Duration::from_secs(flood),
            soak: Soak {
                time: Duration::from_secs(60 * soak),
                seed: self.soak_seed,
            },
        };
        Ok(Plan {
            cases,
            peers: self.peers()?,
            runs: self.runs,
            effort,
            repository: self.repository.clone(),
        })
    }

    fn peers(&self) -> Result<Vec<Peer>> {
        let start = match &self.node {
            Some(binary) => Some(Start::Node {
                binary: binary.clone(),
                settings: self.settings.clone(),
            }),
            None if self.url.is_empty() => None,
            None => {
                let addresses = self.url.iter().map(|url| address(url)).collect::<Result<_>>()?;
                Some(Start::Running {
                    addresses,
                    pid: self.pid,
                })
            }
        };
        let node = |name: &str, protocol| {
            start.clone().map(|start| Peer {
                name: name.to_owned(),
                protocol,
                start,
            })
        };
        let mut peers: Vec<Peer> = node(NODE, Protocol::GreenroomV1).into_iter().collect();
        if self.socket_io {
            peers.extend(node("node, Socket.IO", Protocol::SocketIo));
        }
        for text in &self.peers {
            peers.push(Peer::parse(text)?);
        }
        Ok(peers)
    }
}

/// The address in `http://host:port`, with or without the scheme.
fn address(url: &str) -> Result<SocketAddr> {
    let host = url
        .trim_start_matches("http://")
        .trim_start_matches("ws://")
        .trim_end_matches('/');
    if host.contains('/') {
        bail!("{url:?} is not http://host:port");
    }
    let mut found = host
        .to_socket_addrs()
        .with_context(|| format!("{url:?} is not http://host:port"))?;
    found.next().with_context(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Plan> {
        let cli = Cli::try_parse_from([&["greenroom-bench", "run"], words].concat())?;
        match cli.command {
            Command::Run(run) => run.plan(),
            _ => bail!("not a run"),
        }
    }

    #[test]
    fn a_run_is_read_from_the_command_line() {
        let plan = parsed(&[
            "--case",
            "idle",
            "--case",
            "fanout",
            "--quick",
            "--url",
            "127.0.0.1:1,http://127.0.0.1:2",
        ])
        .expect("valid");
        let names: Vec<&str> = plan.cases.iter().map(|case| case.name).collect();
        assert_eq!(
            (names.as_slice(), plan.runs, plan.effort.quick),
            (["idle", "fanout"].as_slice(), 3, true)
        );
        let addresses = vec![
            SocketAddr::from(([127, 0, 0, 1], 1)),
            SocketAddr::from(([127, 0, 0, 1], 2)),
        ];
        assert_eq!(plan.peers[0].start, Start::Running { addresses, pid: None });
    }

    #[test]
    fn without_names_all_cases_run_and_without_a_node_the_floor_alone() {
        let plan = parsed(&[]).expect("valid");
        let all = cases::all().filter(|case| case.name != "soak").count();
        assert_eq!((plan.cases.len(), plan.peers.len()), (all, 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["--soak-minutes", "0"][..],
            &["--case", "nonsense"],
            &["--runs", "0"],
            &["--url", "http://host/path"],
            &["--pid", "1"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
