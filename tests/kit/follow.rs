//! Whether a client of a failing network hears a numbered stream whole: who publishes it, who follows, and the verdict.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Event, Fault, Http, LIMIT, Proxy, Stock, StockClient, Transport, Version, within};

/// What a follower saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A connection after the first, and whether it took up where the last one ended.
    Back { recovered: bool },
    /// The number of an event.
    Heard(u64),
}

/// All that a follower saw, in order.
#[derive(Clone, Debug, Default)]
pub struct Log(pub Vec<Entry>);

/// How often a follower came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// With `recovered`.
    pub recovered: usize,
    /// As somebody new.
    pub fresh: usize,
}

impl Log {
    /// Whether it holds every number up to `last` once and in order; only a connection that said that it is new excuses
    /// a gap, and nothing excuses a repeat.
    pub fn check(&self, last: u64) -> Result<Returns, String> {
        let (mut returns, mut heard, mut excused) = (Returns::default(), 0, false);
        for (at, entry) in self.0.iter().enumerate() {
            match *entry {
                Entry::Back { recovered: true } => returns.recovered += 1,
                Entry::Back { recovered: false } => {
                    returns.fresh += 1;
                    excused = true;
                }
                Entry::Heard(number) if number == heard + 1 || (number > heard && excused) => {
                    heard = number;
                    excused = false;
                }
                Entry::Heard(number) => return Err(self.complaint(at, heard, number)),
            }
        }
        if heard == last {
            Ok(returns)
        } else {
            Err(format!("ended at {heard} of {last}"))
        }
    }

    fn complaint(&self, at: usize, heard: u64, number: u64) -> String {
        let what = if number > heard { "a gap" } else { "a repeat" };
        let from = at.saturating_sub(6);
        let around = &self.0[from..self.0.len().min(at + 6)];
        format!("{what}: {number} after {heard}, around entry {at}: {around:?}")
    }

    fn last_heard(&self) -> u64 {
        let mut numbers = self.0.iter().rev();
        let last = numbers.find_map(|entry| match entry {
            Entry::Heard(number) => Some(*number),
            Entry::Back { .. } => None,
        });
        last.unwrap_or(0)
    }
}

/// Publishes numbered events over HTTP, one after the other, until it is told to stop.
pub struct Publisher {
    sent: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    publishing: JoinSet<()>,
}

impl Publisher {
    /// Begins with 1; `data` makes an event's data of its number.
    pub fn start(http: Http, room: &str, event: &str, data: fn(u64) -> Value) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let (stop, mut stopped) = oneshot::channel();
        let (counter, room, event) = (sent.clone(), room.to_owned(), event.to_owned());
        let mut publishing = JoinSet::new();
        publishing.spawn(async move {
            // Faster than that, clients that share a core with the node only ever fall behind.
            let mut pace = interval(Duration::from_millis(3));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 1.. {
                tokio::select! {
                    _ = &mut stopped => return,
                    _ = pace.tick() => {}
                }
                http.publish(&room, &event, data(number)).await;
                counter.store(number, Ordering::SeqCst);
            }
        });
        Self {
            sent,
            stop: Some(stop),
            publishing,
        }
    }

    /// How many events have been accepted.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Stops, and says how many events there are.
    pub async fn stop(mut self) -> u64 {
        drop(self.stop.take());
        let ended = within("a publisher to stop", self.publishing.join_next()).await;
        ended.unwrap().unwrap();
        self.sent()
    }
}

/// A stock client behind a proxy of its own, in one room, that writes down what it hears.
pub struct Follower {
    /// Its network.
    pub proxy: Proxy,
    /// What it saw.
    pub log: Log,
    kind: (Version, Transport),
    client: StockClient,
    room: String,
    joined: bool,
    /// The numbers that an event carries.
    read: fn(&Event) -> Vec<u64>,
}

impl Follower {
    /// Connects and joins.
    pub async fn join(
        stock: &Stock,
        node: SocketAddr,
        kind: (Version, Transport),
        room: &str,
        read: fn(&Event) -> Vec<u64>,
    ) -> Self {
        let proxy = Proxy::to(node).await;
        let mut client = stock.client(proxy.address, kind);
        client.connect().await;
        client.join(room).await;
        Self {
            proxy,
            log: Log::default(),
            kind,
            client,
            room: room.to_owned(),
            joined: true,
            read,
        }
    }

    /// Follows while its network fails again and again, at moments that the seed chooses.
    pub async fn endure(&mut self, seed: u64, faults: &[Fault], cuts: usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..cuts {
            let fault = faults[random.usize(..faults.len())];
            // Within the handshake that has just begun, among the first events, or later.
            let most = [600, 6_000, 60_000][random.usize(..3)];
            let bytes = random.usize(1..most);
            let mut struck = pin!(self.proxy.arm(fault, bytes));
            let since = Instant::now();
            loop {
                tokio::select! {
                    () = &mut struck => break,
                    report = self.client.next() => self.note(&report),
                    () = sleep_until(since + LIMIT) => self.give_up(&format!("{bytes} bytes")).await,
                }
            }
        }
    }

    /// Follows until it has heard this number, or a later one.
    pub async fn reach(&mut self, number: u64) {
        let since = Instant::now();
        while self.log.last_heard() < number {
            tokio::select! {
                report = self.client.next() => self.note(&report),
                () = sleep_until(since + LIMIT) => self.give_up(&format!("event {number}")).await,
            }
        }
    }

    async fn give_up(&mut self, waited_for: &str) {
        let status = self.client.status().await;
        let tail = &self.log.0[self.log.0.len().saturating_sub(8)..];
        panic!(
            "{:?} waited {LIMIT:?} for {waited_for}: {status}, after {tail:?}",
            self.kind
        );
    }

    fn note(&mut self, report: &Value) {
        match report["on"].as_str().unwrap() {
            "event" => {
                let numbers = (self.read)(&Event::from(report));
                self.log.0.extend(numbers.into_iter().map(Entry::Heard));
            }
            "connect" => {
                let recovered = report["recovered"].as_bool().unwrap();
                self.log.0.push(Entry::Back { recovered });
                self.joined &= recovered;
                // A cut may take a join or its answer along: asked again until it is answered.
                if !self.joined {
                    self.client.ask_later("join", json!([self.room]));
                }
            }
            "ack" => self.joined |= report["args"][0]["ok"] == true,
            _ => {}
        }
    }
}

/// Lets all followers endure at once while somebody publishes, and returns how many events each then has to have.
pub async fn endure_all(
    followers: &mut [Follower],
    publisher: Publisher,
    faults: &[Fault],
    cuts: usize,
    seed: u64,
) -> u64 {
    let all = followers.iter_mut().zip(seed..);
    join_all(all.map(|(follower, seed)| follower.endure(seed, faults, cuts))).await;
    // Who came back as somebody new has missed what went out before it joined: one event more has to reach it.
    let mark = publisher.sent() + 1;
    join_all(followers.iter_mut().map(|follower| follower.reach(mark))).await;
    let last = publisher.stop().await;
    join_all(followers.iter_mut().map(|follower| follower.reach(last))).await;
    last
}
