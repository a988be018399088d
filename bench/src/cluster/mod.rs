//! What is done to several nodes that share a Redis.

mod avalanche;
mod feeder;
mod recovery;

use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cases::{Cluster, Effort};
use crate::figures::{Figures, accounted, add, add_known};
use crate::generator::{Generator, Load, Pace, Via};
use crate::ledger::Latency;
use crate::peer::{ALONE, BENCHMARK, NODE, Peer, SINGLE, Start, cluster};
use crate::process::{Cores, Server, machine_busy_ns, own_cpu_ns};
use crate::protocol::Protocol;
use crate::redis::Redis;

/// What stragglers are given, and Redis to be found again.
const SETTLE: Duration = Duration::from_secs(60);
/// Publishes unanswered: below `limits.commands_in_flight`.
const UNANSWERED: u64 = 200;
/// Commands of Redis's own benchmark, a second of it: about what it does on a slow core.
const COMMANDS_A_SECOND: u64 = 15_000;
/// Rooms and clients whose subscriptions are counted.
const ROOMS: u32 = 100;
const CLIENTS: usize = 400;
/// How long Redis is away.
const AWAY: Duration = Duration::from_secs(3);
const RATE: f64 = 200.0;
/// A publisher that is not to be slowed down.
const UNLIMITED: [&str; 2] = [
    "limits.messages_per_second=0",
    "limits.inbound_bytes_per_second=0",
];

/// Who takes part, made of the node that there is.
pub fn contenders(what: Cluster, peers: &[Peer]) -> Vec<Peer> {
    let is_node = |peer: &&Peer| peer.name == NODE && matches!(peer.start, Start::Node { .. });
    let Some(node) = peers.iter().find(is_node) else {
        return Vec::new();
    };
    let of = |name: &str, nodes| node.clustered(name, nodes);
    let contenders = match what {
        Cluster::Fanout(_) => [Some(node.named(ALONE)), of(NODE, 2)],
        Cluster::Scale(_) => [of(SINGLE, 1), of(NODE, 3)],
        Cluster::Publish { .. } => [Some(node.named(BENCHMARK)), of(NODE, 1)],
        Cluster::Restart { .. } | Cluster::Avalanche { .. } => [None, of(NODE, 2)],
        Cluster::Recovery { .. } => [None, of(NODE, 3)],
    };
    contenders.into_iter().flatten().collect()
}

/// One round of what is no load on servers that take turns.
pub fn run(
    what: Cluster,
    peers: &[Peer],
    (effort, round): (Effort, u64),
    cores: Cores,
) -> Vec<Result<Figures>> {
    let Some(node) = peers.last() else {
        return Vec::new();
    };
    match what {
        Cluster::Publish { seconds } => match publish(node, effort.slices(seconds), cores) {
            Ok((benchmark, node)) => vec![Ok(benchmark), Ok(node)],
            Err(error) => vec![Err(anyhow!("{error:#}")), Err(error)],
        },
        Cluster::Restart { clients, rooms } => vec![restart(node, clients, rooms, cores)],
        Cluster::Avalanche { clients, rooms } => {
            vec![avalanche::run(node, clients, rooms, cores)]
        }
        Cluster::Recovery {
            clients,
            rooms,
            seconds,
        } => {
            let time = Duration::from_secs(effort.slices(seconds));
            vec![recovery::run(node, clients, rooms, (time, round), cores)]
        }
        Cluster::Fanout(_) | Cluster::Scale(_) => vec![Err(anyhow!("takes turns"))],
    }
}

fn redis(server: &mut Server) -> Result<&mut Redis> {
    server.redis.as_mut().context("there is no Redis")
}

/// Publishing by one node, between two halves of Redis's own benchmark.
fn publish(peer: &Peer, seconds: u64, cores: Cores) -> Result<(Figures, Figures)> {
    let Start::Cluster { binary, settings, .. } = &peer.start else {
        bail!("no node to start");
    };
    let beside = cores.beside_the_generator();
    let unlimited = UNLIMITED.map(str::to_owned).into_iter();
    let settings: Vec<String> = unlimited.chain(settings.clone()).collect();
    let mut server = cluster(binary, &settings, 1, (cores, beside))?;
    let mut generator = Generator::new(server.addresses.clone(), Protocol::GreenroomV1)?;
    generator.connect_publishers(Via::WebSocket, 0)?;
    let time = Duration::from_secs(seconds);
    generator.flood(1, UNANSWERED, time / 4)?;
    let command = Command::overheard(&mut server, &mut generator)?;
    let count = COMMANDS_A_SECOND * seconds / 2;
    let before = command.benchmark(redis(&mut server)?, count, beside)?;
    let mut figures = flooded(&mut server, &mut generator, time)?;
    let after = command.benchmark(redis(&mut server)?, count, beside)?;
    add(&mut figures, "subscribes_per_room", subscriptions(&mut server)?);
    let benchmark = Figures::from([("publishes_per_second".to_owned(), (before + after) / 2.0)]);
    Ok((benchmark, figures))
}

/// How a node has Redis publish.
struct Command {
    words: Vec<String>,
    /// Where Redis keeps what each node has sent.
    origins: String,
    node: String,
}

impl Command {
    fn overheard(server: &mut Server, generator: &mut Generator) -> Result<Self> {
        let one = Duration::from_millis(20);
        let publishes = || generator.flood(1, 1, one).map(drop);
        let mut words = redis(server)?.overhear("history:", publishes)?;
        let keys: usize = words.get(2).context("a short command")?.parse()?;
        let (origins, at) = (words.get(5).cloned(), 3 + keys + 1);
        let (Some(origins), Some(node)) = (origins, words.get_mut(at)) else {
            bail!("a short command: {words:?}");
        };
        // A node counts what it sends, and what Redis has had from it is passed over: so each is another node's.
        let node = std::mem::replace(node, "__rand_int__".to_owned());
        // And such a one has sent nothing before.
        let before = words.get_mut(at + 2).context("a short command")?;
        "0".clone_into(before);
        Ok(Self { words, origins, node })
    }

    /// How many a second Redis takes of its own benchmark, which leaves nothing behind.
    fn benchmark(&self, redis: &Redis, count: u64, cores: Cores) -> Result<f64> {
        let rate = redis.benchmark(count, &self.words, cores)?;
        let forget = "for _, f in ipairs(redis.call('HKEYS', KEYS[1])) do \
                      if f ~= ARGV[1] then redis.call('HDEL', KEYS[1], f) end end return 1";
        redis.ask(&["EVAL", forget, "1", &self.origins, &self.node])?;
        Ok(rate)
    }
}

fn flooded(server: &mut Server, generator: &mut Generator, time: Duration) -> Result<Figures> {
    let (calls, published) = (redis(server)?.calls()?, generator.tally().published);
    let (machine, own, begin) = (machine_busy_ns(), own_cpu_ns(), Instant::now());
    let (cpu, aside) = (server.cpu_ns(), server.aside_ns());
    let driven = generator.flood(1, UNANSWERED, time)?;
    let wall_ns = begin.elapsed().as_nanos() as f64;
    let count = (generator.tally().published - published) as f64;
    let cpu = server.cpu_ns().zip(cpu).map(|(end, begin)| end - begin);
    let (aside, own) = (server.aside_ns() - aside, own_cpu_ns() - own);
    let machine = machine_busy_ns().zip(machine).map(|(end, begin)| end - begin);
    let others = machine
        .zip(cpu)
        .map(|(machine, cpu)| machine.saturating_sub(cpu + aside + own) as f64 / wall_ns);
    let scripts = more(&calls, &redis(server)?.calls()?, "evalsha");
    let mut figures = Figures::new();
    let us = |ns: u64| ns as f64 / 1e3 / count;
    add(
        &mut figures,
        "publishes_per_second",
        driven.published as f64 / driven.seconds,
    );
    add(&mut figures, "scripts_per_publish", scripts / count);
    add(&mut figures, "redis_us_per_publish", us(aside));
    add(&mut figures, "generator_us_per_publish", us(own));
    add_known(&mut figures, "node_us_per_publish", cpu.map(us));
    add_known(&mut figures, "others_busy", others);
    Ok(figures)
}

/// How many more calls of a command there have been.
fn more(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>, command: &str) -> f64 {
    let of = |calls: &BTreeMap<String, u64>| calls.get(command).copied().unwrap_or(0);
    (of(after) - of(before)) as f64
}

/// SUBSCRIBE commands a room, when clients join rooms.
fn subscriptions(server: &mut Server) -> Result<f64> {
    let before = redis(server)?.calls()?;
    let mut generator = Generator::new(server.addresses.clone(), Protocol::GreenroomV1)?;
    let clients = generator.connect(CLIENTS)?;
    generator.join(clients, |client| 1 + client as u32 % ROOMS)?;
    Ok(more(&before, &redis(server)?.calls()?, "subscribe") / f64::from(ROOMS))
}

/// Redis goes away under clients, and comes back.
fn restart(peer: &Peer, clients: usize, rooms: u32, cores: Cores) -> Result<Figures> {
    let mut server = peer.start(cores)?;
    let nodes = server.addresses.len();
    let mut generator = Generator::new(server.addresses.clone(), peer.protocol)?;
    let members = generator.connect(clients)?;
    // Each room has members on every node.
    generator.join(members, |client| (client / nodes) as u32 % rooms)?;
    generator.connect_publishers(Via::WebSocket, 0)?;
    let load = |time| Load {
        rooms,
        pace: Pace::Rate(RATE),
        via: Via::WebSocket,
        time,
    };
    let ended = generator.tally().ended;
    generator.drive(&load(Duration::from_secs(2)), &mut || ())?;
    generator.settle(SETTLE)?;
    redis(&mut server)?.kill();
    generator.ledger().mark();
    generator.drive(&load(AWAY), &mut || ())?;
    let mut near = generator.ledger().latency().clone();
    let far = generator.ledger().far_latency().clone();
    near.subtract(&far).map_err(|error| anyhow!("{error:?}"))?;
    redis(&mut server)?.begin()?;
    let back = Instant::now();
    generator.settle(SETTLE)?;
    let caught_up = back.elapsed();
    generator.drive(&load(Duration::from_secs(2)), &mut || ())?;
    generator.settle(SETTLE)?;
    let account = generator.grace()?;
    let tally = generator.tally();
    let mut figures = accounted(account, tally.refused);
    add(&mut figures, "disconnected", (tally.ended - ended) as f64);
    add(&mut figures, "caught_up_ms", caught_up.as_secs_f64() * 1e3);
    add(&mut figures, "outage_p99_ms", Latency::of(&near).p99_ms);
    Ok(figures)
}
