//! Whether a client of a failing network hears a numbered stream whole: who publishes it, who follows, and the verdict.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
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

/// Faster than that, clients that share a core with the node only ever fall behind.
pub const FAST: Duration = Duration::from_millis(3);

/// How far a publisher gets ahead of its slowest follower, events: less than any node keeps by default, so whoever comes
/// back comes back in time, however long a busy machine kept it away.
pub const AHEAD: u64 = 500;

/// Cuts between two returns, at most: one who polls has to be given all that it has missed with its greeting.
const IN_A_ROW: usize = 4;

/// After how many bytes the next cut comes, at most: in the handshake or the upgrade, among the first events, or later.
const MOMENTS: [usize; 3] = [600, 3_000, 9_000];

/// Publishes numbered events over HTTP, one after the other, until it is told to stop.
pub struct Publisher {
    sent: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    publishing: JoinSet<()>,
}

impl Publisher {
    /// Begins with 1, one event `every` so long at most, and waits for these followers; `data` makes an event's data of
    /// its number.
    pub fn start(
        http: Http,
        room: &str,
        event: &str,
        data: fn(u64) -> Value,
        every: Duration,
        followers: &[Follower],
    ) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let (stop, mut stopped) = oneshot::channel();
        let (counter, room, event) = (sent.clone(), room.to_owned(), event.to_owned());
        let mut heard: Vec<_> = followers
            .iter()
            .map(|follower| follower.heard.subscribe())
            .collect();
        let mut publishing = JoinSet::new();
        publishing.spawn(async move {
            let mut pace = interval(every);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 1.. {
                let go_on = async {
                    pace.tick().await;
                    for heard in &mut heard {
                        // Who is not there any more is not waited for.
                        let _ = heard
                            .wait_for(|heard| number <= heard.saturating_add(AHEAD))
                            .await;
                    }
                };
                tokio::select! {
                    _ = &mut stopped => return,
                    () = go_on => {}
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

/// What a client has to bear.
#[derive(Clone, Copy, Debug)]
pub struct Failures {
    /// It is cut off until it has come back so many times.
    pub returns: usize,
    /// Whether the node does not notice every other cut.
    pub half_open: bool,
    /// Chooses the moments.
    pub seed: u64,
}

/// How a client was cut off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cuts {
    /// From a connection, and then it came back.
    pub survived: usize,
    /// Of those the ones that the node did not notice.
    pub half_open: usize,
    /// On its way back, beside those: in a handshake, most often.
    pub on_the_way: usize,
    /// What has ended the connection from which it is not back yet.
    ended_by: Option<Fault>,
    /// How often in a row that was, counted from this one.
    in_a_row: usize,
}

impl Cuts {
    fn struck(&mut self, fault: Fault) {
        self.on_the_way += usize::from(self.ended_by.is_some());
        self.ended_by.get_or_insert(fault);
        self.in_a_row += 1;
    }

    fn returned(&mut self) {
        if let Some(fault) = self.ended_by.take() {
            self.survived += 1;
            self.half_open += usize::from(fault == Fault::HalfOpen);
        }
        self.in_a_row = 0;
    }

    /// Half of them are half-open, at any time.
    fn next(&self, half_open: bool, random: &mut fastrand::Rng) -> Fault {
        let all = self.survived + usize::from(self.ended_by.is_some());
        let unnoticed = self.half_open + usize::from(self.ended_by == Some(Fault::HalfOpen));
        match half_open && unnoticed * 2 <= all {
            true => Fault::HalfOpen,
            false => [Fault::Close, Fault::Reset][random.usize(..2)],
        }
    }
}

/// A stock client behind a proxy of its own, in one room, that writes down what it hears.
pub struct Follower {
    /// Its network.
    pub proxy: Proxy,
    /// What it saw.
    pub log: Log,
    /// How it was cut off.
    pub cuts: Cuts,
    /// The last number that it has heard; the highest there is while it misses what comes before it is in its room.
    heard: watch::Sender<u64>,
    returns: usize,
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
            cuts: Cuts::default(),
            heard: watch::Sender::new(0),
            returns: 0,
            kind,
            client,
            room: room.to_owned(),
            joined: true,
            read,
        }
    }

    /// Follows while its network fails, until it has come back so many times.
    pub async fn endure(&mut self, failures: Failures, publisher: &Publisher) {
        let mut random = fastrand::Rng::with_seed(failures.seed);
        while self.cuts.survived < failures.returns {
            let fault = self.cuts.next(failures.half_open, &mut random);
            if self.cuts.in_a_row < IN_A_ROW {
                let most = MOMENTS[random.usize(..3)];
                self.cut_off(fault, random.usize(1..most)).await;
            } else {
                self.let_through(publisher).await;
            }
        }
    }

    /// Follows until it is back, or has not noticed that it was cut off: it hears what has been published since. That is
    /// so where a cut hits nothing but the probe of an upgrade.
    async fn let_through(&mut self, publisher: &Publisher) {
        let (before, under_way) = (self.returns, publisher.sent() + 1);
        self.follow("its return", |follower| {
            follower.returns > before || follower.log.last_heard() > under_way
        })
        .await;
        self.cuts.in_a_row = 0;
    }

    /// Follows until it is cut off, so many bytes from now.
    async fn cut_off(&mut self, fault: Fault, bytes: usize) {
        let mut struck = pin!(self.proxy.arm(fault, bytes));
        let since = Instant::now();
        loop {
            tokio::select! {
                () = &mut struck => return self.cuts.struck(fault),
                report = self.client.next() => self.note(&report),
                () = sleep_until(since + LIMIT) => self.give_up(&format!("{bytes} bytes")).await,
            }
        }
    }

    /// Follows until it has heard this number, or a later one.
    pub async fn reach(&mut self, number: u64) {
        let what = format!("event {number}");
        self.follow(&what, |follower| follower.log.last_heard() >= number)
            .await;
    }

    /// Follows until it is so.
    async fn follow(&mut self, waited_for: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            tokio::select! {
                report = self.client.next() => self.note(&report),
                () = sleep_until(since + LIMIT) => self.give_up(waited_for).await,
            }
        }
    }

    /// Follows for as long as something else takes: who does not listen any more would make the publisher wait.
    async fn follow_on(&mut self, until: impl Future) {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                _ = &mut until => return,
                report = self.client.next() => self.note(&report),
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
                if let Some(last) = numbers.last() {
                    self.heard.send_replace(*last);
                }
                self.log.0.extend(numbers.into_iter().map(Entry::Heard));
            }
            "connect" => {
                let recovered = report["recovered"].as_bool().unwrap();
                self.log.0.push(Entry::Back { recovered });
                self.returns += 1;
                self.cuts.returned();
                if !recovered {
                    self.heard.send_replace(u64::MAX);
                }
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
pub async fn endure_all(followers: &mut [Follower], publisher: Publisher, failures: Failures) -> u64 {
    let (all, done, publishing) = (followers.len(), &watch::Sender::new(0), &publisher);
    let each = followers
        .iter_mut()
        .zip(failures.seed..)
        .map(|(follower, seed)| async move {
            follower.endure(Failures { seed, ..failures }, publishing).await;
            done.send_modify(|done| *done += 1);
            let mut others = done.subscribe();
            follower.follow_on(others.wait_for(|done| *done == all)).await;
        });
    join_all(each).await;
    // Who came back as somebody new has missed what went out before it joined: one event more has to reach it.
    let mark = publisher.sent() + 1;
    join_all(followers.iter_mut().map(|follower| follower.reach(mark))).await;
    let last = publisher.stop().await;
    join_all(followers.iter_mut().map(|follower| follower.reach(last))).await;
    last
}
