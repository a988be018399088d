//! What is done in a case, to one server, once.

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

use crate::cases::{Effort, Kind, Scale};
use crate::client::Fate;
use crate::figures::{self, Figures, add, add_known, add_latency};
use crate::frame;
use crate::generator::{Generator, Load, Pace, Via};
use crate::ledger::{Account, Latency, histogram};
use crate::process::{Server, machine_busy_ns, own_cpu_ns};
use crate::protocol::Protocol;
use crate::results::median;
use crate::soak;

/// What stragglers are given.
const SETTLE: Duration = Duration::from_secs(10);
const HTTP_CONNECTIONS: usize = 8;
/// Servers take turns this often.
const SLICE: Duration = Duration::from_secs(1);
/// How long to look for the end of a client that was stalled, twice.
const END_LIMIT: Duration = Duration::from_secs(2);
const MIB: f64 = 1_048_576.0;
/// So that a stalled client is one soon.
const NARROW_BYTES: usize = 32 * 1024;
const GIANT_BYTES: u64 = 8 << 30;
static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];

/// One run of a case against a server that has just started.
pub fn run(kind: Kind, server: &Server, protocol: Protocol, effort: Effort) -> Result<Figures> {
    let mut stage = Stage::new(server, protocol, effort)?;
    match kind {
        Kind::Load(scale) => {
            let outcomes = side_by_side(vec![Ok((scale, server, protocol))], effort);
            outcomes.into_iter().next().context("one side, one outcome")?
        }
        Kind::Idle { clients, rooms } => stage.idle(clients, rooms, protocol),
        Kind::Stalled { clients, rate } => stage.stalled(clients, rate),
        Kind::GiantFrame => stage.giant_frame(),
        Kind::Inside(_) | Kind::Cache(_) | Kind::Cluster(_) => bail!("has servers of its own"),
        Kind::Resume { clients, missed } => stage.resume(clients, missed),
        Kind::Soak { clients } => soak::run(server, clients, effort.soak),
    }
}

/// A server under a load of this scale, or why there is none.
pub type Side<'a> = Result<(Scale, &'a Server, Protocol)>;

/// One run of a load against several servers that have just started, a second each in turn: what slows the machine
/// down for a while slows all of them down.
pub fn side_by_side(sides: Vec<Side<'_>>, effort: Effort) -> Vec<Result<Figures>> {
    let mut stages: Vec<_> = sides.into_iter().map(|side| under_load(side, effort)).collect();
    let seconds = stages
        .iter()
        .flatten()
        .map(|(scale, _)| scale.seconds)
        .max()
        .unwrap_or(0);
    for turn in 0..effort.slices(seconds) {
        // There and back again: nobody always comes after the same one.
        let mut in_turn: Vec<_> = stages.iter_mut().collect();
        if turn % 2 == 1 {
            in_turn.reverse();
        }
        for side in in_turn {
            let outcome = side.as_mut().map_or(Ok(()), |(scale, stage)| stage.slice(*scale));
            if let Err(error) = outcome {
                *side = Err(error);
            }
        }
    }
    stages
        .into_iter()
        .map(|side| side.and_then(|(scale, mut stage)| stage.load_figures(scale)))
        .collect()
}

fn under_load(side: Side<'_>, effort: Effort) -> Result<(Scale, Stage<'_>)> {
    let (scale, server, protocol) = side?;
    let mut stage = Stage::new(server, protocol, effort)?;
    stage.set_up(scale)?;
    Ok((scale, stage))
}

struct Stage<'a> {
    server: &'a Server,
    effort: Effort,
    generator: Generator,
    measured: Stretch,
}

/// What measured stretches came to.
struct Stretch {
    latency: Histogram<u64>,
    far: Histogram<u64>,
    deliveries: u64,
    heard_ns: u64,
    cpu_ns: Option<u64>,
    own_cpu_ns: u64,
    /// What all cores did, for anybody.
    machine_ns: Option<u64>,
    /// What the server needed that is not counted as its own.
    aside_ns: u64,
    all_ns: u64,
    rss_peak: Option<u64>,
}

impl Stretch {
    fn none() -> Self {
        let (deliveries, heard_ns, own_cpu_ns, all_ns) = (0, 0, 0, 0);
        let (latency, cpu_ns, machine_ns, rss_peak) = (histogram(), Some(0), Some(0), None);
        Self {
            latency,
            far: histogram(),
            deliveries,
            heard_ns,
            cpu_ns,
            own_cpu_ns,
            machine_ns,
            aside_ns: 0,
            all_ns,
            rss_peak,
        }
    }

    fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        let _ = self.far.add(&other.far);
        self.aside_ns += other.aside_ns;
        self.deliveries += other.deliveries;
        self.heard_ns += other.heard_ns;
        self.cpu_ns = self.cpu_ns.zip(other.cpu_ns).map(|(mine, more)| mine + more);
        self.own_cpu_ns += other.own_cpu_ns;
        self.machine_ns = self
            .machine_ns
            .zip(other.machine_ns)
            .map(|(mine, more)| mine + more);
        self.all_ns += other.all_ns;
        self.rss_peak = self.rss_peak.max(other.rss_peak);
    }

    /// Cores busy with something that is neither the server nor this program.
    fn others_busy(&self) -> Option<f64> {
        let others_ns = self
            .machine_ns?
            .saturating_sub(self.cpu_ns? + self.own_cpu_ns + self.aside_ns);
        (self.all_ns > 0).then(|| others_ns as f64 / self.all_ns as f64)
    }

    fn p99_ms(&self) -> f64 {
        Latency::of(&self.latency).p99_ms
    }
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server, protocol: Protocol, effort: Effort) -> Result<Self> {
        let generator = Generator::new(server.addresses.clone(), protocol)?;
        Ok(Self {
            server,
            effort,
            generator,
            measured: Stretch::none(),
        })
    }

    /// Connects, joins, and publishes a little, unmeasured.
    fn set_up(&mut self, scale: Scale) -> Result<()> {
        let Scale {
            clients,
            rooms,
            pace,
            via,
            ..
        } = scale;
        let joined = self.generator.connect(clients)?;
        self.generator.join(joined, |client| client as u32 % rooms)?;
        self.generator.connect_publishers(via, HTTP_CONNECTIONS)?;
        self.measure(&Load {
            rooms,
            pace,
            via,
            time: self.effort.warm_up(),
        })?;
        Ok(())
    }

    fn slice(&mut self, scale: Scale) -> Result<()> {
        let Scale { rooms, pace, via, .. } = scale;
        let stretch = self.measure(&Load {
            rooms,
            pace,
            via,
            time: SLICE,
        })?;
        self.measured.add(&stretch);
        Ok(())
    }

    fn load_figures(&mut self, scale: Scale) -> Result<Figures> {
        let account = self.generator.grace()?;
        let Stretch {
            deliveries,
            heard_ns,
            cpu_ns,
            own_cpu_ns,
            all_ns,
            rss_peak,
            ..
        } = self.measured;
        let seconds = heard_ns.max(1) as f64 / 1e9;
        let members = scale.clients as f64 / f64::from(scale.rooms);
        let mut figures = self.closing_figures(account);
        add_latency(&mut figures, &self.measured.latency);
        if self.server.addresses.len() > 1 {
            figures::add_far(&mut figures, &self.measured.latency, &self.measured.far);
        }
        if self.server.redis.is_some() {
            let aside = us_each(Some(self.measured.aside_ns), deliveries);
            add_known(&mut figures, "redis_us_per_delivery", aside);
        }
        add_known(&mut figures, "others_busy", self.measured.others_busy());
        add(&mut figures, "deliveries", deliveries as f64);
        add(&mut figures, "deliveries_per_second", deliveries as f64 / seconds);
        add(
            &mut figures,
            "events_per_second",
            deliveries as f64 / members / seconds,
        );
        add(
            &mut figures,
            "generator_busy",
            own_cpu_ns as f64 / all_ns.max(1) as f64,
        );
        add(
            &mut figures,
            "clients",
            scale.clients.saturating_sub(self.generator.tally().ended) as f64,
        );
        add_known(&mut figures, "cpu_us_per_delivery", us_each(cpu_ns, deliveries));
        add_known(
            &mut figures,
            "rss_peak_mb",
            rss_peak.map(|bytes| bytes as f64 / 1e6),
        );
        Ok(figures)
    }

    fn idle(&mut self, clients: usize, rooms: u32, protocol: Protocol) -> Result<Figures> {
        self.warm_up_by_strangers(protocol)?;
        let rss_before = self.server.rss_bytes();
        let begin_ns = self.server.cpu_ns();
        let connected = self.generator.connect(clients)?;
        let connected_ns = self.server.cpu_ns();
        self.generator.join(connected, |client| client as u32 % rooms)?;
        let joined_ns = self.server.cpu_ns();
        self.generator.idle(Duration::from_secs(1))?;
        let growth = growth(rss_before, self.server.rss_bytes());
        self.generator.connect_publishers(Via::WebSocket, 0)?;
        (0..rooms).for_each(|room| self.generator.burst(room, 1));
        self.generator.settle(SETTLE)?;
        let account = self.generator.grace()?;
        let mut figures = self.closing_figures(account);
        add_known(
            &mut figures,
            "rss_bytes_per_connection",
            growth.map(|bytes| bytes / clients as f64),
        );
        add_known(
            &mut figures,
            "connect_cpu_us",
            us_each(elapsed(begin_ns, connected_ns), clients as u64),
        );
        add_known(
            &mut figures,
            "join_cpu_us",
            us_each(elapsed(connected_ns, joined_ns), clients as u64),
        );
        Ok(figures)
    }

    /// The room floods for a while without the stalled client, then with it, then without again; percentiles are
    /// taken second by second, and their medians compared.
    fn stalled(&mut self, clients: usize, rate: f64) -> Result<Figures> {
        let joined = self.generator.connect(clients)?;
        self.generator.join(joined, |_| 0)?;
        self.generator.connect_publishers(Via::WebSocket, 0)?;
        let flood = Load {
            rooms: 1,
            pace: Pace::Rate(rate),
            via: Via::WebSocket,
            time: SLICE,
        };
        let seconds = self.effort.flood.as_secs().max(1);
        let mut without = self.seconds_of(&flood, seconds.div_ceil(6))?;
        let stalled = self.generator.connect_narrow(NARROW_BYTES)?;
        self.generator.join_and_stall(stalled, 0)?;
        let rss_before = self.server.rss_bytes();
        let with = self.seconds_of(&flood, seconds)?;
        let growth = growth(rss_before, with.iter().filter_map(|second| second.rss_peak).max());
        self.generator.unstall(stalled);
        self.await_end(stalled)?;
        let close_code = fate_code(self.generator.client(stalled).fate());
        self.generator.client(stalled).cut();
        without.extend(self.seconds_of(&flood, seconds.div_ceil(6))?);
        let account = self.generator.grace()?;
        let p99 = |seconds: &[Stretch]| median(seconds.iter().map(Stretch::p99_ms).collect());
        let mut figures = self.closing_figures(account);
        add_known(&mut figures, "p99_ms", p99(&with));
        add_known(&mut figures, "p99_without_ms", p99(&without));
        add_known(
            &mut figures,
            "p99_ratio",
            p99(&with)
                .zip(p99(&without))
                .map(|(with, without)| with / without),
        );
        let all = with
            .iter()
            .chain(&without)
            .fold(Stretch::none(), |mut all, second| {
                all.add(second);
                all
            });
        add_known(&mut figures, "others_busy", all.others_busy());
        add(&mut figures, "close_code", close_code);
        add_known(&mut figures, "rss_growth_mib", growth.map(|bytes| bytes / MIB));
        Ok(figures)
    }

    fn seconds_of(&mut self, load: &Load, count: u64) -> Result<Vec<Stretch>> {
        (0..count).map(|_| self.measure(load)).collect()
    }

    fn giant_frame(&mut self) -> Result<Figures> {
        let limit = if self.effort.quick { 16 << 20 } else { 64 << 20 };
        let villain = self.generator.connect(10)?.start;
        self.generator.join(0..10, |_| 0)?;
        let rss_before = self.server.rss_bytes();
        let mut rss_peak = rss_before;
        let (mut queued, begin) = (0, Instant::now());
        let mut header = Vec::new();
        frame::announce_from_client(&mut header, frame::TEXT, GIANT_BYTES);
        self.generator.client(villain).queue_raw(&header);
        while queued < limit && begin.elapsed() < SETTLE && self.generator.client(villain).fate().is_none() {
            if self.generator.client(villain).queued() < CHUNK.len() {
                self.generator.client(villain).queue_raw(&CHUNK);
                queued += CHUNK.len();
            }
            self.generator.exchange(villain)?;
            rss_peak = rss_peak.max(self.server.rss_bytes());
        }
        self.generator.idle(Duration::from_millis(500))?;
        rss_peak = rss_peak.max(self.server.rss_bytes());
        let mut figures = Figures::new();
        add(
            &mut figures,
            "close_code",
            fate_code(self.generator.client(villain).fate()),
        );
        add(
            &mut figures,
            "sent_mib",
            queued.saturating_sub(CHUNK.len()) as f64 / MIB,
        );
        add_known(
            &mut figures,
            "rss_growth_mib",
            growth(rss_before, rss_peak).map(|bytes| bytes / MIB),
        );
        Ok(figures)
    }

    fn resume(&mut self, clients: usize, missed: u32) -> Result<Figures> {
        self.generator.connect_publishers(Via::WebSocket, 0)?;
        let members = self.generator.connect(clients)?;
        members
            .clone()
            .for_each(|client| self.generator.client(client).keep_position());
        self.generator.join(members.clone(), |_| 0)?;
        self.generator.burst(0, 10);
        self.generator.settle(SETTLE)?;
        self.generator.cut(members.clone());
        self.generator.burst(0, missed);
        self.generator.await_published(u64::from(missed) + 10)?;
        let begin_ns = self.server.cpu_ns();
        self.generator.come_back(members.clone(), 0, SETTLE * 3)?;
        let end_ns = self.server.cpu_ns();
        let account = self.generator.grace()?;
        let mut times = histogram();
        let back = members.filter_map(|client| self.generator.client(client).catch_up_ns());
        let caught_up = back.map(|ns| times.saturating_record(ns)).count();
        let mut figures = self.closing_figures(account);
        // The percentiles of those that made it say nothing while some did not.
        if caught_up == clients {
            add_latency(&mut figures, &times);
        }
        let not_recovered = (clients - caught_up).max(self.generator.tally().unrecovered);
        add(&mut figures, "not_recovered", not_recovered as f64);
        add_known(
            &mut figures,
            "cpu_us_per_client",
            us_each(elapsed(begin_ns, end_ns), clients as u64),
        );
        Ok(figures)
    }

    /// A client that was closed has to read what was sent before to learn of it. The kernel may not have told the
    /// server that there is room again: a ping tells.
    fn await_end(&mut self, client: usize) -> Result<()> {
        for _ in 0..2 {
            let begin = Instant::now();
            while self.generator.client(client).fate().is_none() && begin.elapsed() < END_LIMIT {
                self.generator.idle(Duration::from_millis(20))?;
            }
            let mut ping = Vec::new();
            frame::encode_from_client(&mut ping, frame::PING, b"still there?");
            self.generator.client(client).queue_raw(&ping);
            self.generator.exchange(client)?;
        }
        Ok(())
    }

    /// Drives a load to its end and reads what it took.
    fn measure(&mut self, load: &Load) -> Result<Stretch> {
        self.generator.ledger().mark();
        let (server, mut rss_peak) = (self.server, self.server.rss_bytes());
        let (cpu_begin, own_begin, machine_begin) = (server.cpu_ns(), own_cpu_ns(), machine_busy_ns());
        let aside_begin = server.aside_ns();
        let begin_ns = self.generator.now_ns();
        self.generator
            .drive(load, &mut || rss_peak = rss_peak.max(server.rss_bytes()))?;
        self.generator.settle(SETTLE)?;
        let (cpu_ns, own_cpu_ns) = (elapsed(cpu_begin, server.cpu_ns()), own_cpu_ns() - own_begin);
        let machine_ns = elapsed(machine_begin, machine_busy_ns());
        let all_ns = self.generator.now_ns() - begin_ns;
        let (deliveries, last_ns) = self.generator.ledger().heard();
        let heard_ns = last_ns.saturating_sub(begin_ns);
        let rss_peak = rss_peak.max(server.rss_bytes());
        let latency = self.generator.ledger().latency().clone();
        Ok(Stretch {
            latency,
            far: self.generator.ledger().far_latency().clone(),
            aside_ns: server.aside_ns().saturating_sub(aside_begin),
            deliveries,
            heard_ns,
            cpu_ns,
            own_cpu_ns,
            machine_ns,
            all_ns,
            rss_peak,
        })
    }

    /// Touches what a server touches once, so that it is not taken for the price of a connection.
    fn warm_up_by_strangers(&mut self, protocol: Protocol) -> Result<()> {
        let mut strangers = Generator::new(self.server.addresses.clone(), protocol)?;
        let clients = strangers.connect(100)?;
        strangers.join(clients, |client| client as u32 % 10)?;
        strangers.connect_publishers(Via::WebSocket, 0)?;
        (0..10).for_each(|room| strangers.burst(room, 3));
        strangers.settle(SETTLE)?;
        drop(strangers);
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    fn closing_figures(&self, account: Account) -> Figures {
        figures::accounted(account, self.generator.tally().refused)
    }
}

fn elapsed(begin: Option<u64>, end: Option<u64>) -> Option<u64> {
    Some(end?.saturating_sub(begin?))
}

fn us_each(total_ns: Option<u64>, count: u64) -> Option<f64> {
    (count > 0).then_some(total_ns? as f64 / 1e3 / count as f64)
}

fn growth(before: Option<u64>, after: Option<u64>) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64)
}

fn fate_code(fate: Option<Fate>) -> f64 {
    match fate {
        None => 0.0,
        Some(Fate::Cut) => 1.0,
        Some(Fate::Code(code)) => f64::from(code),
    }
}
