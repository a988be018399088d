//! A broker in memory, for many nodes in one thread on virtual time: it can be away, be deaf, be full, be cut off from all,
//! and come back with all it had, with less, or with nothing.

use crate::{
    broker::{
        Arrival, Broker, BrokerError, Errand, Hello, Link, NodeCard, NodeRow, Opened, Outcome, Placed,
        Relayed,
    },
    logic::{
        bus_log::{BusLog, Limits, Page, Published, Query},
        cluster::told::Told,
        event::{Draft, NodeTag, Origin},
        position::Life,
        presence::{Presence, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{self, Claimed, Kept, Sessions},
    },
    peer::Ticket,
    ports::{PortFuture, WallClock},
};
use futures_util::{future::pending, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

/// How a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It does what it is asked.
    Well,
    /// Nobody reaches it.
    Away,
    /// It takes what it is told, and does and says nothing.
    Deaf,
    /// It refuses everything that would be kept.
    Full,
}

/// A node that was not heard of for so long is in no room, milliseconds.
const DEAD_MS: i64 = 30_000;

/// Numbers leap by so much when a broker has been replaced.
const LEAP: u64 = 1 << 32;

/// See the module's description.
pub struct MemoryBroker {
    server: Mutex<Server>,
    mood: watch::Sender<Mood>,
    takes: Duration,
    clock: WallClock,
}

/// What a broker has written down.
#[derive(Clone)]
struct Data {
    log: BusLog,
    sessions: Sessions,
    /// In which era each client was written down last.
    kept_in: BTreeMap<Secret, u64>,
    /// What each node has relayed.
    sent: BTreeMap<NodeTag, Relayed>,
    /// What is known of the era before this one: its last number here, the highest that anybody knew, and where this one
    /// begins. Of those before that, nothing is whole below `dead`.
    last: u64,
    lost: u64,
    base: u64,
    dead: u64,
}

struct Server {
    limits: Limits,
    kept: sessions::Limits,
    data: Option<Data>,
    saved: Option<Data>,
    /// It is another one than the data was written by.
    replaced: bool,
    presence: BTreeMap<NodeTag, Presence>,
    nodes: BTreeMap<NodeTag, (NodeCard, i64)>,
    lines: Vec<Line>,
    links: u64,
    /// Eras that have begun, of any broker: no two begin with the same number, as if each looked at a clock.
    eras: u64,
    dead: BTreeSet<NodeTag>,
    shut_out: BTreeSet<NodeTag>,
    accepted: Vec<(u64, Draft)>,
}

/// A link's other end.
struct Line {
    number: u64,
    tag: NodeTag,
    rooms: BTreeSet<RoomName>,
    out: mpsc::UnboundedSender<(Instant, Arrival)>,
    /// It has taken something without doing it: nothing that comes later is done either.
    is_stalled: bool,
    /// It has refused something: nothing that is to be kept is taken any more.
    has_refused: bool,
}

/// What a broker has when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// All it had.
    All,
    /// What it had when it was saved.
    Saved,
    /// Nothing.
    Nothing,
}

impl MemoryBroker {
    /// An empty broker, of which each answer takes so long.
    pub fn new(limits: Limits, kept: sessions::Limits, takes: Duration, clock: WallClock) -> Arc<Self> {
        let server = Server {
            limits,
            kept,
            data: None,
            saved: None,
            replaced: false,
            presence: BTreeMap::new(),
            nodes: BTreeMap::new(),
            lines: Vec::new(),
            links: 0,
            eras: 0,
            dead: BTreeSet::new(),
            shut_out: BTreeSet::new(),
            accepted: Vec::new(),
        };
        Arc::new(Self {
            server: Mutex::new(server),
            mood: watch::Sender::new(Mood::Well),
            takes,
            clock,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is like this.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
        if mood == Mood::Away {
            self.cut();
        }
    }

    /// All links end.
    pub fn cut(&self) {
        self.lock().lines.clear();
    }

    /// The links of one node end.
    pub fn cut_off(&self, tag: NodeTag) {
        self.lock().lines.retain(|line| line.tag != tag);
    }

    /// A node is dead: it is not heard again.
    pub fn bury(&self, tag: NodeTag) {
        self.cut_off(tag);
        self.lock().dead.insert(tag);
    }

    /// A node does not get in, or it does again.
    pub fn shut_out(&self, tag: NodeTag, is_out: bool) {
        self.cut_off(tag);
        let mut server = self.lock();
        if is_out {
            server.shut_out.insert(tag);
        } else {
            server.shut_out.remove(&tag);
        }
    }

    /// Writes down what it has, for [`Has::Saved`].
    pub fn save(&self) {
        let mut server = self.lock();
        server.saved = server.data.clone();
    }

    /// It is another one from now on.
    pub fn restart(&self, has: Has) {
        let mut server = self.lock();
        server.lines.clear();
        server.replaced = true;
        match has {
            Has::All => {}
            Has::Saved => server.data = server.saved.clone(),
            Has::Nothing => server.data = None,
        }
        if has != Has::All {
            server.presence.clear();
            server.nodes.clear();
        }
    }

    /// What was accepted, with its number, since this was asked last.
    pub fn accepted(&self) -> Vec<(u64, Draft)> {
        std::mem::take(&mut self.lock().accepted)
    }
}

impl Server {
    fn data(&mut self) -> Result<&mut Data, BrokerError> {
        self.data.as_mut().ok_or(BrokerError::Replaced)
    }

    /// What a node finds: a broker that was replaced goes on in a new era, one that has nothing in the life that the node
    /// knows.
    fn open(&mut self, hello: Hello) -> (Life, u64) {
        let (limits, kept, replaced) = (self.limits.clone(), self.kept, self.replaced);
        self.replaced = false;
        let existed = self.data.is_some();
        self.eras += 1;
        let floor = self.eras * LEAP;
        let data = self.data.get_or_insert_with(|| {
            let life = match hello.life {
                Life::NONE => hello.fresh,
                life => life,
            };
            // Who knows a life may not be the one who knows most of it.
            let base = match hello.life {
                Life::NONE => 0,
                _ => era_after(hello.known).max(floor),
            };
            let mut log = BusLog::new(life, limits);
            log.leap(base);
            Data {
                log,
                sessions: Sessions::new(kept),
                kept_in: BTreeMap::new(),
                sent: BTreeMap::new(),
                last: 0,
                lost: hello.known,
                base,
                dead: 0,
            }
        });
        let known = if hello.life == data.log.life() {
            hello.known
        } else {
            0
        };
        // Numbers that somebody knows and that it does not are never given out again.
        let is_older = known > data.log.head();
        if (replaced && existed) || is_older {
            if data.lost > data.last {
                data.dead = data.base;
            }
            data.last = data.log.head();
            data.lost = 0;
            data.base = era_after(data.last.max(known)).max(floor);
            data.log.leap(data.base);
            if !replaced || !existed {
                // Its numbers since then are those of another era as well.
                data.dead = data.base;
            }
        }
        if known < data.base && known > data.last {
            data.lost = data.lost.max(known);
        }
        (data.log.life(), data.log.head())
    }

    fn hand_out(&mut self, arrival: &Arrival, at: Instant, to: impl Fn(&Line) -> bool) {
        // Whoever is gone hears nothing.
        self.lines
            .retain(|line| !to(line) || line.out.send((at, arrival.clone())).is_ok());
    }
}

fn era_after(seq: u64) -> u64 {
    (seq / LEAP + 1) * LEAP
}

/// The broker as nodes see it.
#[derive(Clone)]
pub struct Door(pub Arc<MemoryBroker>);

impl Broker for Door {
    fn open(&self, hello: Hello) -> PortFuture<Result<Opened, BrokerError>> {
        let broker = self.0.clone();
        Box::pin(async move {
            sleep(broker.takes).await;
            if broker.lock().dead.contains(&hello.tag) {
                return pending().await;
            }
            let mut mood = *broker.mood.borrow();
            if broker.lock().shut_out.contains(&hello.tag) {
                mood = Mood::Away;
            }
            match mood {
                Mood::Well => {}
                Mood::Away => return Err(BrokerError::Away("nobody there".into())),
                Mood::Deaf => return pending().await,
                Mood::Full => return Err(BrokerError::Refuses("full".into())),
            }
            let (out, arrivals) = mpsc::unbounded_channel();
            let (number, (life, head)) = {
                let mut server = broker.lock();
                server.links += 1;
                let number = server.links;
                server.lines.push(Line {
                    number,
                    tag: hello.tag,
                    rooms: BTreeSet::new(),
                    out,
                    is_stalled: false,
                    has_refused: false,
                });
                (number, server.open(hello))
            };
            let mood = broker.mood.subscribe();
            let server = broker.clone();
            let arrivals = stream::unfold(
                (arrivals, mood, server),
                move |(mut arrivals, mut mood, server)| async move {
                    let (at, arrival) = arrivals.recv().await?;
                    sleep_until(at).await;
                    let _ = mood.wait_for(|mood| *mood != Mood::Deaf).await;
                    // What was on its way over a link that was cut is lost.
                    MemoryLink::own(&mut server.lock(), number)?;
                    Some((arrival, (arrivals, mood, server)))
                },
            );
            let tag = hello.tag;
            Ok(Opened {
                link: Arc::new(MemoryLink { broker, number, tag }),
                arrivals: Box::pin(arrivals),
                life,
                head,
            })
        })
    }
}

struct MemoryLink {
    broker: Arc<MemoryBroker>,
    number: u64,
    tag: NodeTag,
}

impl MemoryLink {
    /// Does something at once, and answers later: if the link is still there then.
    fn ask<T: Send + 'static>(
        &self,
        keeps: bool,
        what: impl FnOnce(&mut Server, Instant) -> Result<T, BrokerError>,
    ) -> PortFuture<Result<T, BrokerError>> {
        let (broker, number) = (self.broker.clone(), self.number);
        let mood = *broker.mood.borrow();
        let cut = || Err(BrokerError::Away("the link is cut".into()));
        let at = Instant::now() + broker.takes;
        let done = {
            let mut server = broker.lock();
            match Self::own(&mut server, number) {
                None => cut(),
                Some(line) => {
                    line.is_stalled |= mood == Mood::Deaf;
                    line.has_refused |= mood == Mood::Full && keeps;
                    match (line.is_stalled, line.has_refused && keeps) {
                        (true, _) => return Box::pin(pending()),
                        (false, true) => Err(BrokerError::Refuses("full".into())),
                        (false, false) => what(&mut server, at),
                    }
                }
            }
        };
        Box::pin(async move {
            sleep(broker.takes).await;
            if *broker.mood.borrow() == Mood::Deaf {
                return pending().await;
            }
            let is_there = broker.lock().lines.iter().any(|line| line.number == number);
            if is_there { done } else { cut() }
        })
    }

    fn place(
        &self,
        server: &mut Server,
        (origin, draft): (Origin, Arc<Draft>),
        at: Instant,
    ) -> Result<Placed, BrokerError> {
        let data = server.data()?;
        let sent = data.sent.entry(origin.node).or_default();
        if origin.count <= sent.count {
            return Ok(Placed::Already);
        }
        let published = data.log.publish_from((*draft).clone(), Some(origin), |_| true);
        *sent = Relayed {
            count: origin.count,
            seq: data.log.head(),
        };
        Ok(match published {
            Published::New(event, receipt) => {
                server.accepted.push((event.seq, (*draft).clone()));
                for place in &event.places {
                    let wants = |line: &Line| line.rooms.contains(&place.room);
                    server.hand_out(&Arrival::Event(event.clone()), at, wants);
                }
                Placed::New {
                    seq: event.seq,
                    offsets: receipt.offsets.iter().map(|(_, offset)| *offset).collect(),
                }
            }
            Published::Repeated(receipt) => Placed::Repeated(receipt),
            Published::IdReused => Placed::IdReused,
        })
    }

    fn carry_out(
        &self,
        server: &mut Server,
        errand: Errand,
        at: Instant,
        now_ms: i64,
    ) -> Result<Outcome, BrokerError> {
        let tag = self.tag;
        let mine = |server: &mut Server| std::mem::take(server.presence.entry(tag).or_default());
        match errand {
            Errand::Keep(secret, record) => {
                let data = server.data()?;
                let is_last = data.sessions.keep(secret, record);
                if is_last {
                    data.kept_in.insert(secret, data.base);
                }
                Ok(Outcome::Kept(if is_last {
                    Kept::ByAll
                } else {
                    Kept::Superseded
                }))
            }
            Errand::Claim(secret, subject) => {
                let data = server.data()?;
                let claimed = data.sessions.claim(secret, subject.as_deref(), now_ms);
                let is_latest = data.kept_in.get(&secret) == Some(&data.base);
                if let Some(record) = &claimed {
                    let told = Arrival::Told(Told::taken_over(record.id, record.generation));
                    server.hand_out(&told, at, |_| true);
                }
                Ok(Outcome::Claimed(
                    claimed.map(|record| Claimed { record, is_latest }),
                ))
            }
            Errand::Part(Ticket { secret, generation }, for_good) => {
                server.data()?.sessions.part(secret, generation, for_good, now_ms);
                Ok(Outcome::Done)
            }
            Errand::Enter(rooms, card, since_ms) => {
                let mut presence = mine(server);
                rooms
                    .iter()
                    .for_each(|room| presence.enter(room, &card, since_ms));
                server.presence.insert(tag, presence);
                Ok(Outcome::Done)
            }
            Errand::Exit(rooms, card) => {
                let mut presence = mine(server);
                rooms.iter().for_each(|room| presence.exit(room, &card));
                server.presence.insert(tag, presence);
                Ok(Outcome::Done)
            }
            Errand::Empty => {
                drop(mine(server));
                Ok(Outcome::Done)
            }
            Errand::Beat(card) => {
                server.nodes.insert(tag, (card, now_ms));
                Ok(Outcome::Done)
            }
            Errand::Bye => {
                drop(mine(server));
                server.nodes.remove(&tag);
                Ok(Outcome::Done)
            }
            Errand::Tend => {
                let nodes = &server.nodes;
                let is_alive = |tag: &NodeTag| nodes.get(tag).is_none_or(|(_, at)| now_ms - at < DEAD_MS);
                server.presence.retain(|tag, _| is_alive(tag));
                let data = server.data()?;
                data.log.tend(now_ms);
                data.sessions.tend(now_ms);
                Ok(Outcome::Done)
            }
        }
    }

    fn own(server: &mut Server, number: u64) -> Option<&mut Line> {
        server.lines.iter_mut().find(|line| line.number == number)
    }
}

impl Link for MemoryLink {
    fn publish(
        &self,
        events: Vec<(Origin, Arc<Draft>)>,
    ) -> PortFuture<(Vec<Placed>, Result<(), BrokerError>)> {
        let placed = self.ask(true, |server, at| {
            let placed: Result<Vec<Placed>, BrokerError> = events
                .into_iter()
                .map(|event| self.place(server, event, at))
                .collect();
            placed
        });
        Box::pin(async move {
            match placed.await {
                Ok(placed) => (placed, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            }
        })
    }

    fn run(&self, errands: Vec<Errand>) -> PortFuture<Result<Vec<Outcome>, BrokerError>> {
        let now_ms = (self.broker.clock)();
        self.ask(true, |server, at| {
            let done = errands
                .into_iter()
                .map(|errand| self.carry_out(server, errand, at, now_ms));
            done.collect()
        })
    }

    fn subscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>> {
        let number = self.number;
        self.ask(false, |server, _| {
            if let Some(line) = Self::own(server, number) {
                line.rooms.extend(rooms);
            }
            Ok(())
        })
    }

    fn unsubscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>> {
        let number = self.number;
        self.ask(false, |server, _| {
            if let Some(line) = Self::own(server, number) {
                line.rooms.retain(|room| !rooms.contains(room));
            }
            Ok(())
        })
    }

    fn mark(&self, number: u64) -> PortFuture<Result<(), BrokerError>> {
        let own = self.number;
        self.ask(false, |server, at| {
            let seq = server.data()?.log.head();
            server.hand_out(&Arrival::Mark { number, seq }, at, |line| line.number == own);
            Ok(())
        })
    }

    fn read(&self, query: Query) -> PortFuture<Result<Page, BrokerError>> {
        let now_ms = (self.broker.clock)();
        self.ask(false, |server, _| {
            let data = server.data()?;
            let mut page = data.log.read(&query, now_ms);
            for (room, from) in query.whole_from() {
                let is_lost = from < data.base && data.lost > from.max(data.last);
                let lost = if is_lost { data.base } else { 0 };
                if lost.max(data.dead) > from {
                    page.whole = false;
                    page.gaps.push((room.clone(), lost.max(data.dead)));
                }
            }
            Ok(page)
        })
    }

    fn relayed(&self, nodes: Vec<NodeTag>) -> PortFuture<Result<Vec<Relayed>, BrokerError>> {
        self.ask(false, |server, _| {
            let sent = &server.data()?.sent;
            let of = |node: &NodeTag| sent.get(node).copied().unwrap_or_default();
            Ok(nodes.iter().map(of).collect())
        })
    }

    fn members(&self, room: RoomName) -> PortFuture<Result<Vec<Member>, BrokerError>> {
        self.ask(false, |server, _| {
            let all = server.presence.values();
            Ok(all.flat_map(|presence| presence.members(&room)).collect())
        })
    }

    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BrokerError>> {
        self.ask(false, |server, _| {
            let mut rooms: BTreeMap<RoomName, usize> = BTreeMap::new();
            for presence in server.presence.values() {
                for (room, members) in presence.rooms(&prefix, after.as_deref(), limit) {
                    *rooms.entry(room).or_default() += members;
                }
            }
            Ok(rooms.into_iter().take(limit).collect())
        })
    }

    fn nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BrokerError>> {
        let now_ms = (self.broker.clock)();
        self.ask(false, |server, _| {
            let row = |(tag, (card, seen_ms)): (&NodeTag, &(NodeCard, i64))| NodeRow {
                tag: *tag,
                card: card.clone(),
                silent_ms: u64::try_from(now_ms - seen_ms).unwrap_or(0),
            };
            Ok(server.nodes.iter().map(row).collect())
        })
    }
}
