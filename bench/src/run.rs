//! Carries cases out, peer by peer in turn, and keeps what came of them.

use anyhow::{Context, Result, anyhow, ensure};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache;
use crate::cases::{Case, Cluster, Effort, Kind, Scale};
use crate::cluster;
use crate::figures::Figures;
use crate::generator::Via;
use crate::inside;
use crate::machine::{Machine, Occasion};
use crate::peer::{COALESCING, FLOOR, Peer};
use crate::process::{Cores, Server, raise_file_limit};
use crate::protocol::Protocol;
use crate::results::{CaseResult, PeerResult, Results};
use crate::scenario;
use crate::soak;

/// Connections of the largest case, on either side, and room to spare.
const FILES: u64 = 5_200;
/// Between two servers, for the kernel to clean up behind the first.
const PAUSE: Duration = Duration::from_millis(300);

/// What is to be done.
pub struct Plan {
    pub cases: Vec<&'static Case>,
    /// Apart from the floors, which a case asks for itself.
    pub peers: Vec<Peer>,
    pub runs: usize,
    pub effort: Effort,
    /// The folder of the git repository whose history the cache is given.
    pub repository: PathBuf,
}

/// Carries a plan out, saving after every case. Fails at the end if anything failed on the way.
pub fn run(plan: &Plan, path: &Path) -> Result<()> {
    raise_file_limit(FILES)?;
    let cores = Cores::choose();
    let mut results = Results::load(path)?;
    results.machine = Machine::here(cores);
    let occasion = Occasion::now(plan.runs, plan.effort.quick);
    say(&format!(
        "{}; congestion control {}",
        cores.describe(),
        results.machine.congestion_control
    ));
    let mut failures = 0;
    for case in &plan.cases {
        say(&format!("{}: {}", case.name, case.about));
        let peers = take_turns(case, plan, cores);
        failures += peers.iter().map(|peer| peer.failures.len()).sum::<usize>();
        results.cases.insert(
            case.name.to_owned(),
            CaseResult {
                occasion: occasion.clone(),
                peers,
            },
        );
        results.save(path)?;
    }
    ensure!(failures == 0, "{failures} rounds failed");
    Ok(())
}

fn take_turns(case: &Case, plan: &Plan, cores: Cores) -> Vec<PeerResult> {
    let peers = contenders(case, &plan.peers);
    let mut results: Vec<PeerResult> = peers
        .iter()
        .map(|peer| PeerResult {
            name: peer.name.clone(),
            judged: peer.is_judged(),
            ..PeerResult::default()
        })
        .collect();
    // A round of a soak is long, and says all.
    let runs = if case.is_long() { 1 } else { plan.runs };
    for round in 1..=runs {
        let outcomes: Vec<Result<Figures>> = match case.kind {
            Kind::Load(scale) => side_by_side(scale, &peers, plan.effort, cores),
            Kind::Inside(what) => vec![inside::run(what, plan.effort, cores)],
            Kind::Cache(what) => cache::run(what, plan.effort, &plan.repository, cores),
            Kind::Cluster(Cluster::Fanout(scale) | Cluster::Scale(scale)) => {
                side_by_side(scale, &peers, plan.effort, cores)
            }
            Kind::Cluster(what) => cluster::run(what, &peers, (plan.effort, round as u64), cores),
            kind => peers
                .iter()
                .map(|peer| one_by_one(kind, peer, plan.effort, cores))
                .collect(),
        };
        for (outcome, result) in outcomes.into_iter().zip(&mut results) {
            match &outcome {
                Ok(figures) => say(&format!("  {round} {}: {}", result.name, summary(case, figures))),
                Err(error) => say(&format!("  {round} {}: FAILED: {error:#}", result.name)),
            }
            result
                .failures
                .extend(outcome.as_ref().err().map(|error| format!("{error:#}")));
            result.rounds.push(outcome.ok());
        }
    }
    results
}

/// All servers at once, each under load a second in turn.
fn side_by_side(scale: Scale, peers: &[Peer], effort: Effort, cores: Cores) -> Vec<Result<Figures>> {
    std::thread::sleep(PAUSE);
    let servers: Vec<Result<Server>> = peers.iter().map(|peer| peer.start(cores)).collect();
    let sides = peers.iter().zip(&servers).map(|(peer, server)| {
        // HTTP has no floor of its own: the price of a fan-out is that of a publish by WebSocket.
        let via = if peer.name == FLOOR {
            Via::WebSocket
        } else {
            scale.via
        };
        let server = server.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        Ok((Scale { via, ..scale }, server, peer.protocol))
    });
    let outcomes = scenario::side_by_side(sides.collect(), effort);
    let explained = outcomes
        .into_iter()
        .zip(&servers)
        .map(|(outcome, server)| match server {
            Ok(server) => {
                outcome.with_context(|| format!("the server's last words: {:?}", server.log_tail()))
            }
            Err(_) => outcome,
        });
    explained.collect()
}

/// One server after the other.
fn one_by_one(kind: Kind, peer: &Peer, effort: Effort, cores: Cores) -> Result<Figures> {
    std::thread::sleep(PAUSE);
    let server = match kind {
        Kind::Soak { .. } => peer.with(&soak::SETTINGS).start(cores)?,
        _ => peer.start(cores)?,
    };
    scenario::run(kind, &server, peer.protocol, effort)
        .with_context(|| format!("the server's last words: {:?}", server.log_tail()))
}

fn contenders(case: &Case, peers: &[Peer]) -> Vec<Peer> {
    if matches!(case.kind, Kind::Inside(_)) {
        return vec![Peer::inside()];
    }
    if let Kind::Cache(what) = case.kind {
        return cache::contenders(what);
    }
    if let Kind::Cluster(what) = case.kind {
        return cluster::contenders(what, peers);
    }
    let floors = case.floors.iter().filter_map(|name| match *name {
        FLOOR => Some(Peer::floor()),
        COALESCING => Some(Peer::coalescing()),
        _ => None,
    });
    // Of the others, those of Socket.IO have a way to come back; the soak has clients of both protocols.
    let resumes = |peer: &&Peer| match case.kind {
        Kind::Resume { .. } => peer.protocol == Protocol::SocketIo || peer.is_judged(),
        Kind::Soak { .. } => peer.protocol == Protocol::GreenroomV1 && peer.is_judged(),
        _ => true,
    };
    floors.chain(peers.iter().filter(resumes).cloned()).collect()
}

fn summary(case: &Case, figures: &Figures) -> String {
    let shown = case.measures.iter().filter_map(|measure| {
        let value = figures.get(measure.key)?;
        Some(format!("{} {value:.2}", measure.key))
    });
    let busy = figures
        .get("generator_busy")
        .map(|busy| format!("generator busy {:.0} %", busy * 100.0));
    let others = figures
        .get("others_busy")
        .map(|cores| format!("others {cores:.2} cores"));
    shown.chain(busy).chain(others).collect::<Vec<_>>().join(", ")
}

/// A line for the person who waits.
pub fn say(line: &impl Display) {
    // Nobody to read it is no reason to stop measuring.
    let _ = writeln!(io::stdout(), "{line}");
}
