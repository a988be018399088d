//! The load generator: real sockets, one thread, one poll.

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Poll, Token};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::client::{Client, Shared, Tally};
use crate::http::Publishers;
use crate::ledger::{Account, Ledger};
use crate::protocol::Protocol;
use crate::stamp::Stamp;

/// Connections or joins under way at once: below any listener's backlog.
const WAVE: usize = 128;
/// Tokens from here on are HTTP publishers.
const HTTP_TOKENS: usize = 1 << 24;
/// Nothing a server has to do for us takes this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the last delivery owed, the time in which doubled ones may still come.
const GRACE: Duration = Duration::from_millis(200);
/// A publication that has not reached everybody by then no longer holds up a flat-out run.
const GIVE_UP_NS: u64 = 5_000_000_000;
/// The poll's timeout has whole milliseconds: closer than this, the loop spins.
const SPIN: Duration = Duration::from_millis(2);
/// How often a run's observer is called.
const OBSERVE: Duration = Duration::from_millis(200);

/// How fast to publish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many events a second, evenly.
    Rate(f64),
    /// As fast as can be, with so many events published and not yet heard by everybody.
    InFlight(usize),
}

/// How to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    WebSocket,
    Http,
}

/// A stretch of publishing, round robin over the rooms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    pub rooms: u32,
    pub pace: Pace,
    pub via: Via,
    pub time: Duration,
}

/// What came of a stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Driven {
    pub published: u64,
    pub seconds: f64,
}

/// Clients and publishers of one server.
pub struct Generator {
    poll: Poll,
    events: Events,
    addresses: Vec<SocketAddr>,
    protocol: Protocol,
    clients: Vec<Client>,
    /// The client that publishes over its WebSocket.
    publisher: Option<usize>,
    http: Publishers,
    shared: Shared,
    next_room: u32,
    next_reference: u64,
}

/// The name of the `room`-th room.
pub fn room_name(room: u32) -> String {
    format!("bench-{room}")
}

impl Generator {
    /// A generator without clients. Clients are spread over the addresses in turn.
    pub fn new(addresses: Vec<SocketAddr>, protocol: Protocol) -> Result<Self> {
        ensure!(!addresses.is_empty(), "no address to connect to");
        Ok(Self {
            poll: Poll::new().context("cannot poll")?,
            events: Events::with_capacity(1_024),
            addresses,
            protocol,
            clients: Vec::new(),
            publisher: None,
            http: Publishers::default(),
            shared: Shared::new(),
            next_room: 0,
            next_reference: 0,
        })
    }

    /// Connects `count` clients more, a wave at a time.
    pub fn connect(&mut self, count: usize) -> Result<Range<usize>> {
        self.connect_with(count, WAVE, None)
    }

    /// Connects one client with a small receive buffer.
    pub fn connect_narrow(&mut self, receive_buffer: usize) -> Result<usize> {
        Ok(self.connect_with(1, 1, Some(receive_buffer))?.start)
    }

    fn connect_with(&mut self, count: usize, wave: usize, buffer: Option<usize>) -> Result<Range<usize>> {
        let first = self.clients.len();
        let ready_before = self.shared.tally.ready;
        for index in first..first + count {
            let address = self.addresses[index % self.addresses.len()];
            self.clients
                .push(Client::new(address, self.protocol, Token(index)));
            let now_ns = self.shared.now_ns();
            self.clients[index].connect(self.poll.registry(), now_ns, buffer)?;
            let begun = index + 1 - first;
            self.until("connecting", |tally, _| tally.ready + wave > ready_before + begun)?;
        }
        self.until("connecting", |tally, _| tally.ready >= ready_before + count)?;
        Ok(first..first + count)
    }

    /// Joins a room each: `room_of` names it. Clients are owed what is published after their join was answered.
    pub fn join(&mut self, clients: Range<usize>, room_of: impl Fn(usize) -> u32) -> Result<()> {
        let joined_before = self.shared.tally.joined;
        for (done, index) in clients.clone().enumerate() {
            self.say_join(index, room_of(index), None);
            self.until("joining", |tally, _| tally.joined + WAVE > joined_before + done)?;
        }
        self.until("joining", |tally, _| {
            tally.joined >= joined_before + clients.len()
        })?;
        for index in clients {
            let room = room_of(index);
            let place = self.shared.ledger.join(room);
            self.clients[index].owe(room, place);
            // The one who publishes is at the first address.
            if !index.is_multiple_of(self.addresses.len()) {
                self.shared.ledger.is_far(place);
            }
        }
        Ok(())
    }

    /// Joins a room without being owed its events, and stops reading.
    pub fn join_and_stall(&mut self, client: usize, room: u32) -> Result<()> {
        let joined_before = self.shared.tally.joined;
        self.clients[client].be_guest();
        self.say_join(client, room, None);
        self.until("joining", |tally, _| tally.joined > joined_before)?;
        self.clients[client].stall(true);
        Ok(())
    }

    /// Connects what publishes: one client, or this many HTTP connections.
    pub fn connect_publishers(&mut self, via: Via, http_connections: usize) -> Result<()> {
        match via {
            Via::WebSocket => {
                let publisher = self.connect(1)?.start;
                let first = self.addresses[0];
                if !publisher.is_multiple_of(self.addresses.len()) {
                    self.clients[publisher].cut();
                    self.clients[publisher].move_to(first);
                    let (ready, now_ns) = (self.shared.tally.ready, self.shared.now_ns());
                    self.clients[publisher].connect(self.poll.registry(), now_ns, None)?;
                    self.until("connecting", |tally, _| tally.ready > ready)?;
                }
                self.publisher = Some(publisher);
            }
            Via::Http => {
                for index in self.http.len()..http_connections {
                    let address = self.addresses[index % self.addresses.len()];
                    self.http
                        .connect(self.poll.registry(), address, Token(HTTP_TOKENS + index))?;
                }
            }
        }
        Ok(())
    }

    /// Publishes for a while. `observe` is called several times a second.
    pub fn drive(&mut self, load: &Load, observe: &mut dyn FnMut()) -> Result<Driven> {
        let begin = Instant::now();
        let mut observed = begin;
        let mut published = 0_u64;
        loop {
            let elapsed = begin.elapsed();
            if elapsed >= load.time {
                break;
            }
            let wait = match load.pace {
                Pace::Rate(rate) => {
                    while published as f64 <= elapsed.as_secs_f64() * rate {
                        self.publish_next(load);
                        published += 1;
                    }
                    Duration::from_secs_f64(published as f64 / rate).saturating_sub(begin.elapsed())
                }
                Pace::InFlight(window) => {
                    published += self.fill_window(load, window);
                    OBSERVE
                }
            };
            self.flush_publisher();
            let wait = if wait > SPIN { wait - SPIN } else { Duration::ZERO };
            self.turn(Some(wait.min(OBSERVE)))?;
            if observed.elapsed() >= OBSERVE {
                observe();
                observed = Instant::now();
            }
        }
        Ok(Driven {
            published,
            seconds: begin.elapsed().as_secs_f64(),
        })
    }

    /// Publishes to rooms without members as fast as answers come, with so many unanswered; answers how many were accepted,
    /// and in which time.
    pub fn flood(&mut self, rooms: u32, window: u64, time: Duration) -> Result<Driven> {
        let (begin, before) = (Instant::now(), self.shared.tally.published);
        let load = Load {
            rooms,
            pace: Pace::InFlight(0),
            via: Via::WebSocket,
            time,
        };
        let mut sent = 0;
        while begin.elapsed() < time {
            let unanswered = sent - (self.shared.tally.published - before);
            for _ in unanswered..window {
                self.publish_next(&load);
                sent += 1;
            }
            self.flush_publisher();
            self.turn(Some(OBSERVE))?;
        }
        let (published, seconds) = (
            self.shared.tally.published - before,
            begin.elapsed().as_secs_f64(),
        );
        self.until("publishing", |tally, _| tally.published >= before + sent)?;
        Ok(Driven { published, seconds })
    }

    /// A client connects again, to this address, and resumes its room from its position on.
    pub fn come_back_at(&mut self, client: usize, address: SocketAddr, room: u32) -> Result<()> {
        let now_ns = self.shared.now_ns();
        let since = self.clients[client].position();
        self.clients[client].cut();
        self.clients[client].move_to(address);
        self.clients[client].connect(self.poll.registry(), now_ns, None)?;
        self.say_join(client, room, since.as_deref());
        Ok(())
    }

    /// Clients that miss something, and how they stand.
    pub fn behind(&self) -> Vec<String> {
        let clients = self.clients.iter().enumerate();
        let describe = |(number, client): (usize, &Client)| {
            Some(format!(
                "client {number}: {}",
                client.describe(&self.shared.ledger)?
            ))
        };
        clients.filter_map(describe).collect()
    }

    /// What clients miss: who, which room, which numbers.
    pub fn missing(&self) -> Vec<(usize, u32, (u32, u32))> {
        let clients = self.clients.iter().enumerate();
        let missing = |(number, client): (usize, &Client)| {
            let missing = client.missing(&self.shared.ledger).into_iter();
            missing
                .map(move |(room, gap)| (number, room, gap))
                .collect::<Vec<_>>()
        };
        clients.flat_map(missing).collect()
    }

    /// An event that somebody else publishes.
    pub fn stamp(&mut self, room: u32) -> Stamp {
        let now_ns = self.shared.now_ns();
        self.shared.ledger.publish(room, now_ns)
    }

    /// Publishes one event to each of the rooms.
    #[cfg(test)]
    pub fn publish_round(&mut self, rooms: u32, via: Via) {
        (0..rooms).for_each(|room| self.publish(room, via));
        self.flush_publisher();
    }

    /// Publishes so many events to one room at once, over WebSocket.
    pub fn burst(&mut self, room: u32, count: u32) {
        (0..count).for_each(|_| self.publish(room, Via::WebSocket));
        self.flush_publisher();
    }

    /// Waits for what is still owed and unanswered, at most `limit`. What has not come by then is lost.
    pub fn settle(&mut self, limit: Duration) -> Result<Account> {
        let deadline = Instant::now() + limit;
        while self.shared.ledger.outstanding() > 0 || self.http.unanswered() > 0 {
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            self.flush_publisher();
            self.turn(Some(Duration::from_millis(10)))?;
        }
        Ok(self.shared.ledger.account())
    }

    /// Waits until so many publishes have been accepted since the beginning.
    pub fn await_published(&mut self, count: u64) -> Result<()> {
        self.until("publishing", |tally, _| tally.published >= count)
    }

    /// Listens a little longer, for what should not come.
    pub fn grace(&mut self) -> Result<Account> {
        self.idle(GRACE)?;
        Ok(self.shared.ledger.account())
    }

    /// Does nothing but listen.
    pub fn idle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            self.turn(Some(left.max(Duration::from_millis(1))))?;
        }
        Ok(())
    }

    /// Drops the connections of these clients.
    pub fn cut(&mut self, clients: Range<usize>) {
        self.clients[clients].iter_mut().for_each(Client::cut);
    }

    /// All of these clients connect again, all at once, and resume their room from their position on. Answers when all
    /// have caught up or `limit` is over.
    pub fn come_back(&mut self, clients: Range<usize>, room: u32, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        for index in clients.clone() {
            let now_ns = self.shared.now_ns();
            let client = &mut self.clients[index];
            client.connect(self.poll.registry(), now_ns, None)?;
            if self.protocol.resumes_by_join() {
                let since = client
                    .position()
                    .context("a client has no position to come back from")?;
                self.say_join(index, room, Some(&since));
            }
        }
        while Instant::now() < deadline {
            if clients
                .clone()
                .all(|index| self.clients[index].catch_up_ns().is_some())
            {
                break;
            }
            self.turn(Some(Duration::from_millis(10)))?;
        }
        Ok(())
    }

    /// One client, to do things to that no protocol describes.
    pub fn client(&mut self, index: usize) -> &mut Client {
        &mut self.clients[index]
    }

    /// Sends what a client has queued, and listens for a moment.
    pub fn exchange(&mut self, index: usize) -> Result<()> {
        self.clients[index].flush(&mut self.shared);
        self.turn(Some(Duration::from_millis(1)))
    }

    /// Lets a stalled client read again.
    pub fn unstall(&mut self, index: usize) {
        self.clients[index].stall(false);
        self.clients[index].listen(&mut self.shared);
    }

    /// The books.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.shared.ledger
    }

    /// What the clients were told besides events.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Nanoseconds since the generator began.
    pub fn now_ns(&self) -> u64 {
        self.shared.now_ns()
    }

    fn say_join(&mut self, client: usize, room: u32, since: Option<&str>) {
        self.next_reference += 1;
        let text = self.protocol.join(&room_name(room), since, self.next_reference);
        self.clients[client].queue(&text);
        self.clients[client].flush(&mut self.shared);
    }

    fn fill_window(&mut self, load: &Load, window: usize) -> u64 {
        let now_ns = self.shared.now_ns();
        self.shared
            .ledger
            .give_up_before(now_ns.saturating_sub(GIVE_UP_NS));
        let free = window.saturating_sub(self.shared.ledger.in_flight());
        (0..free).for_each(|_| self.publish_next(load));
        free as u64
    }

    fn publish_next(&mut self, load: &Load) {
        let room = self.next_room % load.rooms;
        self.next_room = room + 1;
        self.publish(room, load.via);
    }

    fn publish(&mut self, room: u32, via: Via) {
        self.next_reference += 1;
        let stamp = self.shared.ledger.publish(room, self.shared.now_ns());
        match (via, self.publisher) {
            (Via::WebSocket, Some(publisher)) => {
                let text = self
                    .protocol
                    .publish(&room_name(room), &stamp.data(), self.next_reference);
                self.clients[publisher].queue(&text);
            }
            (Via::Http, _) => {
                self.http
                    .publish(room, &room_name(room), &stamp.data(), &mut self.shared.tally)
            }
            (Via::WebSocket, None) => self.shared.tally.refuse("no publisher is connected"),
        }
    }

    fn flush_publisher(&mut self) {
        if let Some(publisher) = self.publisher {
            self.clients[publisher].flush(&mut self.shared);
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Tally, &Ledger) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !done(&self.shared.tally, &self.shared.ledger) {
            if begin.elapsed() > PATIENCE {
                let tally = self.tally();
                bail!("{what} takes longer than {PATIENCE:?}: {tally:?}");
            }
            if self.tally().refused > 0 || self.tally().ended > 0 {
                bail!(
                    "{what} failed: {}",
                    self.tally().complaint.as_deref().unwrap_or("unknown")
                );
            }
            self.turn(Some(Duration::from_millis(10)))?;
        }
        Ok(())
    }

    fn turn(&mut self, timeout: Option<Duration>) -> Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.context("cannot poll")?,
        }
        let Self {
            events,
            clients,
            shared,
            http,
            ..
        } = self;
        for event in events.iter() {
            let Token(token) = event.token();
            if let Some(client) = clients.get_mut(token) {
                client.attend(event.is_writable(), shared);
            } else if token >= HTTP_TOKENS {
                let index = token - HTTP_TOKENS;
                http.attend(index, event.is_writable(), &mut shared.scratch, &mut shared.tally);
            }
        }
        Ok(())
    }
}
