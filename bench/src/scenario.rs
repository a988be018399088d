//! What is done in a case, to one server, once.

use anyhow::Result;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cases::{Effort, Kind, Scale};
use crate::client::Fate;
use crate::frame;
use crate::generator::{Generator, Load, Pace, Via};
use crate::ledger::{Account, Latency, histogram};
use crate::process::{Server, own_cpu_ns};
use crate::protocol::Protocol;

/// The figures of one run, by key.
pub type Figures = BTreeMap<String, f64>;

/// What stragglers are given.
const SETTLE: Duration = Duration::from_secs(10);
const HTTP_CONNECTIONS: usize = 8;
const MIB: f64 = 1_048_576.0;
/// So that a stalled client is one soon.
const NARROW_BYTES: usize = 32 * 1024;
const GIANT_BYTES: u64 = 8 << 30;
static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];

/// One run of a case against a server that has just started.
pub fn run(kind: Kind, server: &Server, protocol: Protocol, effort: Effort) -> Result<Figures> {
    let mut stage = Stage {
        server,
        effort,
        generator: Generator::new(server.addresses.clone(), protocol)?,
    };
    match kind {
        Kind::Load(scale) => stage.load(scale),
        Kind::Idle { clients, rooms } => stage.idle(clients, rooms, protocol),
        Kind::Stalled { clients, rate } => stage.stalled(clients, rate),
        Kind::GiantFrame => stage.giant_frame(),
        Kind::Resume { clients, missed } => stage.resume(clients, missed),
    }
}

struct Stage<'a> {
    server: &'a Server,
    effort: Effort,
    generator: Generator,
}

/// What a measured stretch came to.
struct Stretch {
    latency: Latency,
    deliveries: u64,
    seconds: f64,
    cpu_ns: Option<u64>,
    generator_busy: f64,
    rss_peak: Option<u64>,
}

impl Stage<'_> {
    fn load(&mut self, scale: Scale) -> Result<Figures> {
        let Scale {
            clients,
            rooms,
            pace,
            via,
            seconds,
        } = scale;
        let joined = self.generator.connect(clients)?;
        self.generator.join(joined, |client| client as u32 % rooms)?;
        self.generator.connect_publishers(via, HTTP_CONNECTIONS)?;
        let mut load = Load {
            rooms,
            pace,
            via,
            time: self.effort.warm_up(),
        };
        self.measure(&load)?;
        load.time = self.effort.stretch(seconds);
        let stretch = self.measure(&load)?;
        let account = self.generator.grace()?;
        let members = clients as f64 / f64::from(rooms);
        let mut figures = self.closing_figures(account);
        add_latency(&mut figures, stretch.latency);
        add(&mut figures, "deliveries", stretch.deliveries as f64);
        add(
            &mut figures,
            "deliveries_per_second",
            stretch.deliveries as f64 / stretch.seconds,
        );
        add(
            &mut figures,
            "events_per_second",
            stretch.deliveries as f64 / members / stretch.seconds,
        );
        add(&mut figures, "generator_busy", stretch.generator_busy);
        add(
            &mut figures,
            "clients",
            clients.saturating_sub(self.generator.tally().ended) as f64,
        );
        add_known(
            &mut figures,
            "cpu_us_per_delivery",
            us_each(stretch.cpu_ns, stretch.deliveries),
        );
        add_known(
            &mut figures,
            "rss_peak_mb",
            stretch.rss_peak.map(|bytes| bytes as f64 / 1e6),
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

    fn stalled(&mut self, clients: usize, rate: f64) -> Result<Figures> {
        let joined = self.generator.connect(clients)?;
        self.generator.join(joined, |_| 0)?;
        self.generator.connect_publishers(Via::WebSocket, 0)?;
        let (pace, via) = (Pace::Rate(rate), Via::WebSocket);
        self.measure(&Load {
            rooms: 1,
            pace,
            via,
            time: self.effort.warm_up(),
        })?;
        let without = self.measure(&Load {
            rooms: 1,
            pace,
            via,
            time: self.effort.flood / 3,
        })?;
        let stalled = self.generator.connect_narrow(NARROW_BYTES)?;
        self.generator.join_and_stall(stalled, 0)?;
        let rss_before = self.server.rss_bytes();
        let with = self.measure(&Load {
            rooms: 1,
            pace,
            via,
            time: self.effort.flood,
        })?;
        let growth = growth(rss_before, with.rss_peak);
        self.generator.unstall(stalled);
        let account = self.generator.grace()?;
        let mut figures = self.closing_figures(account);
        add_latency(&mut figures, with.latency);
        add(&mut figures, "p99_without_ms", without.latency.p99_ms);
        add(
            &mut figures,
            "p99_ratio",
            with.latency.p99_ms / without.latency.p99_ms,
        );
        add(
            &mut figures,
            "close_code",
            fate_code(self.generator.client(stalled).fate()),
        );
        add_known(&mut figures, "rss_growth_mib", growth.map(|bytes| bytes / MIB));
        Ok(figures)
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
        add_latency(&mut figures, Latency::of(&times));
        let not_recovered = (clients - caught_up).max(self.generator.tally().unrecovered);
        add(&mut figures, "not_recovered", not_recovered as f64);
        add_known(
            &mut figures,
            "cpu_us_per_client",
            us_each(elapsed(begin_ns, end_ns), clients as u64),
        );
        Ok(figures)
    }

    /// Drives a load to its end and reads what it took.
    fn measure(&mut self, load: &Load) -> Result<Stretch> {
        self.generator.ledger().mark();
        let (server, mut rss_peak) = (self.server, self.server.rss_bytes());
        let (cpu_begin, own_begin) = (server.cpu_ns(), own_cpu_ns());
        let begin_ns = self.generator.now_ns();
        self.generator
            .drive(load, &mut || rss_peak = rss_peak.max(server.rss_bytes()))?;
        self.generator.settle(SETTLE)?;
        let cpu_ns = elapsed(cpu_begin, server.cpu_ns());
        let all_ns = self.generator.now_ns() - begin_ns;
        let (deliveries, last_ns) = self.generator.ledger().heard();
        Ok(Stretch {
            latency: self.generator.ledger().latency(),
            deliveries,
            seconds: last_ns.saturating_sub(begin_ns).max(1) as f64 / 1e9,
            cpu_ns,
            generator_busy: (own_cpu_ns() - own_begin) as f64 / all_ns as f64,
            rss_peak: rss_peak.max(server.rss_bytes()),
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
        let refused = self.generator.tally().refused;
        let mut figures = Figures::new();
        add(&mut figures, "wrong", (account.wrong() + refused) as f64);
        add(&mut figures, "expected", account.expected as f64);
        add(&mut figures, "lost", account.lost as f64);
        add(&mut figures, "duplicated", account.duplicated as f64);
        add(&mut figures, "out_of_order", account.out_of_order as f64);
        add(&mut figures, "strays", account.strays as f64);
        add(&mut figures, "refused", refused as f64);
        figures
    }
}

fn add(figures: &mut Figures, key: &str, value: f64) {
    figures.insert(key.to_owned(), value);
}

fn add_known(figures: &mut Figures, key: &str, value: Option<f64>) {
    if let Some(value) = value {
        add(figures, key, value);
    }
}

fn add_latency(figures: &mut Figures, latency: Latency) {
    add(figures, "p50_ms", latency.p50_ms);
    add(figures, "p95_ms", latency.p95_ms);
    add(figures, "p99_ms", latency.p99_ms);
    add(figures, "max_ms", latency.max_ms);
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
