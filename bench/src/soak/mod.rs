//! The soak: many clients that come, go, stall, vanish and come back for as long as one likes, and in the end every event
//! is accounted for and the node holds what it held before.

mod books;
mod crowd;
mod habits;
mod line;
mod publisher;
mod visitor;
mod vitals;

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

use crate::figures::Figures;
use crate::process::Server;
use crate::run::say;
use crowd::Crowd;
use vitals::Vitals;

/// What a node under a soak is told: small limits, so that all of them are met, and soon.
pub const SETTINGS: [&str; 12] = [
    "workers=2",
    // All that is published comes over one connection.
    "limits.messages_per_second=0",
    "rooms.history_events=500",
    "rooms.outbox_bytes=262144",
    "limits.event_bytes=65536",
    "throttle.wait_bytes=65536",
    "websocket.ping_interval_ms=8000",
    "websocket.ping_timeout_ms=8000",
    "socketio.ping_interval_ms=8000",
    "socketio.ping_timeout_ms=8000",
    "socketio.recovery_seconds=30",
    "log.level=error",
];
/// `rooms.history_events` and `socketio.recovery_seconds` from above.
const HISTORY: u32 = 500;
const RECOVERY: Duration = Duration::from_secs(30);
/// The node looks after who is gone now and then, not at once; so much earlier a client may be forgotten.
const SLACK: Duration = Duration::from_secs(2);
/// In which everybody comes for the first time.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Long enough for everything that lasts to have been there: outboxes, histories, positions, the forgotten.
const WARM_UP: Duration = Duration::from_secs(60);
/// In which all histories are filled while it warms up.
const FILL: Duration = Duration::from_secs(30);
/// How long the node may take to let go of everybody.
const SETTLE: Duration = Duration::from_secs(60);
const MIB: f64 = 1_048_576.0;

/// How a soak is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soak {
    /// Beyond a minute in which the node warms up.
    pub time: Duration,
    /// Everything that happens is chosen from it.
    pub seed: u64,
}

/// One soak of a node that has just started.
pub fn run(server: &Server, clients: usize, soak: Soak) -> Result<Figures> {
    let mut crowd = Crowd::new(server.addresses[0], clients, soak.seed, HISTORY, RECOVERY - SLACK)?;
    crowd.begin()?;
    live(&mut crowd, server, WARM_UP, HISTORY)?;
    let before = after_everybody_left(&mut crowd, server)?;
    live(&mut crowd, server, soak.time, 0)?;
    let after = after_everybody_left(&mut crowd, server)?;
    crowd.books.close();
    tell_examples(&mut crowd);
    Ok(figures(&crowd, before, after))
}

/// Everybody comes and goes for that time, in which so many events more go through each room; then all come together and
/// hear what they are owed.
fn live(crowd: &mut Crowd, server: &Server, time: Duration, more: u32) -> Result<()> {
    crowd.let_loose(ARRIVAL);
    let begin = Instant::now();
    crowd.pass(ARRIVAL)?;
    crowd.fill(more, FILL)?;
    while begin.elapsed() < time {
        crowd.pass(Duration::from_secs(30).min(time.saturating_sub(begin.elapsed())))?;
        let vitals = Vitals::of(server)?;
        say(&format!(
            "    {:4} s: {} connections, {:.1} MiB, {} files; {} events heard, {} wrong, {} refused",
            begin.elapsed().as_secs(),
            vitals.connections,
            vitals.rss_bytes as f64 / MIB,
            vitals.files,
            crowd.books.account.heard,
            crowd.books.account.wrong(),
            crowd.tally.refused,
        ));
        tell_examples(crowd);
    }
    crowd.muster()
}

/// What the node holds when only the publisher is there, and nobody who might come back is remembered.
fn after_everybody_left(crowd: &mut Crowd, server: &Server) -> Result<Vitals> {
    crowd.send_away();
    let begin = Instant::now();
    while Vitals::of(server).map(|vitals| (vitals.connections, vitals.rooms))? != (1, 0) {
        if begin.elapsed() > SETTLE {
            bail!("the node does not let go: {:?}", Vitals::of(server)?);
        }
        crowd.pass(Duration::from_millis(200))?;
    }
    crowd.pass(RECOVERY + SLACK)?;
    let vitals = Vitals::of(server)?;
    say(&format!("    everybody has left: {vitals:?}"));
    Ok(vitals)
}

/// What was wrong, some of it: the figures only say how often.
fn tell_examples(crowd: &mut Crowd) {
    let examples = crowd.books.examples.drain(..).chain(crowd.tally.complaint.take());
    examples.for_each(|example| say(&format!("      {example}")));
}

fn figures(crowd: &Crowd, before: Vitals, after: Vitals) -> Figures {
    let (account, tally) = (&crowd.books.account, &crowd.tally);
    let growth = |before: u64, after: u64| after as f64 - before as f64;
    let count = |number: u64| number as f64;
    let figures = [
        ("wrong", count(account.wrong() + tally.refused)),
        ("heard", count(account.heard)),
        ("lost", count(account.lost)),
        ("duplicated", count(account.doubled)),
        ("strays", count(account.strays)),
        ("told_wrongly", count(account.told_wrongly)),
        ("refused", count(tally.refused)),
        ("visits", count(tally.visits)),
        ("recovered", count(account.recovered)),
        ("unrecovered", count(account.unrecovered)),
        ("partings", count(tally.partings)),
        ("vanished", count(tally.vanished)),
        ("stalls", count(tally.stalls)),
        ("cut_off", count(tally.cut_off)),
        ("rss_mib", count(after.rss_bytes) / MIB),
        ("rss_growth_mib", growth(before.rss_bytes, after.rss_bytes) / MIB),
        ("files_growth", growth(before.files, after.files)),
        ("threads_growth", growth(before.threads, after.threads)),
        ("held_growth", growth(before.held, after.held)),
    ];
    figures
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
