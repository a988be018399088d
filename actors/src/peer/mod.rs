//! One connection as its shard sees it: the outbox, what it has been given, and the line to the client.
//!
//! A peer belongs to one thread. It outlives a panic of the RoomRegistry: what the client has been given and what still
//! waits for it lives here, so a restarted shard can go on exactly there.

mod given;
mod outbox;
mod pending;

pub use given::CatchUp;
pub use outbox::{Flushed, Full};
pub use pending::{Pending, PendingJoin, PendingLeave, PendingPublish, Written};

use crate::{
    callers::Session,
    gate::Standing,
    logic::{
        few::Few,
        memory::{PLACE_BYTES, Tally},
        position::Seen,
        presence::{Card, Secret},
        protocol::Protocol,
        room_name::RoomName,
        throttle::{Who, cost},
    },
    messages::{Heard, PeerKey},
    ports::Wire,
    stats::Held,
    subjects::{Subject, User},
};
use actix::Recipient;
use bytes::Bytes;
use std::{
    cell::{Cell, OnceCell, RefCell},
    net::IpAddr,
    sync::Arc,
    task::Waker,
};

/// How a client is reached.
pub enum Line<W> {
    /// A socket of its own, written by the shard's flusher.
    Socket(W),
    /// A session of Engine.IO: requests that take what is queued, and from some time on a socket for good.
    Engine(OnceCell<W>),
    /// A streaming response that takes what is queued.
    Stream,
    /// An actor of this process.
    Watcher(Recipient<Heard>),
}

impl<W> Line<W> {
    /// The socket, where there is one.
    pub fn socket(&self) -> Option<&W> {
        match self {
            Self::Socket(wire) => Some(wire),
            Self::Engine(wire) => wire.get(),
            Self::Stream | Self::Watcher(_) => None,
        }
    }
}

/// One connection. What each delivery touches comes first, next to each other: of a thousand connections the kernel has
/// pushed every line out of the cache by the time an event reaches them.
#[repr(C)]
pub struct Peer<W> {
    flags: Cell<u16>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The last event it was given (or that waits for it), or the point where it joined.
    pub upto: Cell<u64>,
    bytes: Cell<usize>,
    limit: usize,
    queue: RefCell<Few<Bytes>>,
    /// Bytes of the first frame that are already written.
    written: Cell<usize>,
    /// The line to the client.
    pub line: Line<W>,
    /// Its place in the shard's table.
    pub key: Cell<PeerKey>,
    /// What others may know of it; another's whose place it takes.
    card: RefCell<Arc<Card>>,
    /// What it may do. `None`: it has not shown yet who it is.
    standing: RefCell<Option<Standing>>,
    /// When its grant is looked at, milliseconds since 1970: a while before it expires, to say so, and when it does.
    pub grant_due_ms: Cell<i64>,
    /// What lets its client come back to where it was.
    pub ticket: Cell<Option<Ticket>>,
    /// Whose it is, where it is somebody outside the process.
    pub caller: Option<Session>,
    /// Who reads for it or takes its frames, to be woken.
    pub task: RefCell<Option<Waker>>,
    /// Its rooms, each with the sequence at which it joined.
    pub rooms: RefCell<Vec<(RoomName, u64)>>,
    /// What it asked and is not carried out yet, in that order: the first waits for the bus.
    pub pending: RefCell<Few<Box<Pending>>>,
    /// Counts it among those of its subject, while it is there.
    pub subject: RefCell<Option<Subject>>,
    /// Whose throttle is asked; looked up when the first event is throttled.
    pub user: RefCell<Option<Arc<User>>>,
    /// What it was given while the broker was away, beyond its number. Mostly nothing.
    pub seen: RefCell<Box<[Seen]>>,
    /// Where it is in the history while it is not live.
    pub catch_up: RefCell<Option<Box<CatchUp>>>,
    /// When it was last heard of, shard milliseconds.
    pub heard_ms: Cell<u64>,
    /// When it was last pinged (WebSocket) or written to (SSE), shard milliseconds.
    pub pinged_ms: Cell<u64>,
    /// When it is cut off, once it is closing.
    pub cut_off_ms: Cell<u64>,
    /// Since when its client has been behind without a break, as the sweep has found it, shard milliseconds.
    pub(crate) behind_ms: Cell<u64>,
    /// When its session wants to be woken, shard milliseconds.
    pub due_ms: Cell<u64>,
    /// Counts it, also when it is over and somebody holds it still.
    pub(crate) held: Cell<Option<Held>>,
}

/// What a client shows to come back to where it was, and who of those that showed it was last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The client's secret.
    pub secret: Secret,
    /// How often the client has come back.
    pub generation: u32,
}

/// In the list of peers to be flushed.
pub const DIRTY: u16 = 1;
/// The socket took no more; its session waits for it.
pub const BLOCKED: u16 = 2;
/// A close is queued; nothing is queued after it.
pub const CLOSING: u16 = 4;
/// Over: nothing is written any more.
pub const CLOSED: u16 = 8;
/// Not live: given the history.
pub const LAGGING: u16 = 16;
/// Its position is more than a sequence number.
pub const PERSONAL: u16 = 32;
/// In the list of peers that want the next page of the history; of watchers: to be asked again soon.
pub const HUNGRY: u16 = 64;
/// Its client has been told that it is connected; before, it has nothing to ask.
pub const GREETED: u16 = 128;
/// Other nodes may not know its rooms: they could not be told.
pub const UNTOLD: u16 = 256;

impl<W: Wire> Peer<W> {
    /// A new connection whose outbox holds at most `limit` bytes.
    pub fn new(card: Arc<Card>, protocol: Protocol, line: Line<W>, limit: usize) -> Self {
        Self {
            key: Cell::new(PeerKey::MAX),
            card: RefCell::new(card),
            standing: RefCell::new(None),
            grant_due_ms: Cell::new(i64::MAX),
            ticket: Cell::new(None),
            protocol,
            line,
            caller: None,
            task: RefCell::new(None),
            queue: RefCell::default(),
            written: Cell::new(0),
            bytes: Cell::new(0),
            limit,
            flags: Cell::new(0),
            upto: Cell::new(0),
            rooms: RefCell::default(),
            pending: RefCell::default(),
            subject: RefCell::new(None),
            user: RefCell::new(None),
            seen: RefCell::default(),
            catch_up: RefCell::new(None),
            heard_ms: Cell::new(0),
            pinged_ms: Cell::new(0),
            cut_off_ms: Cell::new(u64::MAX),
            behind_ms: Cell::new(u64::MAX),
            due_ms: Cell::new(u64::MAX),
            held: Cell::new(None),
        }
    }

    /// What others may know of it.
    pub fn card(&self) -> Arc<Card> {
        self.card.borrow().clone()
    }

    /// How it stands from now on. One that may do something until some time is looked at again `warning_ms` before.
    pub fn stand(&self, standing: Standing, warning_ms: i64) {
        let expires_ms = standing.as_ref().ok().and_then(|grant| grant.expires_ms);
        let due_ms = expires_ms.map_or(i64::MAX, |expires_ms| expires_ms.saturating_sub(warning_ms));
        self.grant_due_ms.set(due_ms);
        *self.standing.borrow_mut() = Some(standing);
    }

    /// Looks at how it stands.
    pub fn with_standing<T>(&self, look: impl FnOnce(Option<&Standing>) -> T) -> T {
        look(self.standing.borrow().as_ref())
    }

    /// Where its client is; of an IPv6 address the first 64 bits.
    pub fn address(&self) -> Option<IpAddr> {
        Some(self.caller.as_ref()?.caller().network().address())
    }

    /// How its client is reached now: `websocket`, `polling`, `sse` or `process`.
    pub fn transport(&self) -> &'static str {
        match &self.line {
            Line::Engine(wire) if wire.get().is_none() => "polling",
            Line::Socket(_) | Line::Engine(_) => "websocket",
            Line::Stream => "sse",
            Line::Watcher(_) => "process",
        }
    }

    /// It is another one from now on.
    pub fn set_card(&self, card: Arc<Card>) {
        *self.card.borrow_mut() = card;
    }

    /// Whether any of these flags is set.
    pub fn is(&self, flags: u16) -> bool {
        self.flags.get() & flags != 0
    }

    /// Sets flags.
    pub fn set(&self, flags: u16) {
        self.flags.set(self.flags.get() | flags);
    }

    /// Clears flags.
    pub fn clear(&self, flags: u16) {
        self.flags.set(self.flags.get() & !flags);
    }

    /// What is held for it, bytes: what waits in its outbox, for its throttle and in its catch-up. Others may hold the
    /// same.
    pub(crate) fn holds(&self, who: Who) -> usize {
        let throttled: usize = match &*self.user.borrow() {
            Some(user) => user.throttle().events(who).map(|event| cost(event)).sum(),
            None => 0,
        };
        let resent: usize = match &*self.catch_up.borrow() {
            Some(catch_up) => catch_up
                .resend
                .iter()
                .map(|event| event.payload.json().len())
                .sum(),
            None => 0,
        };
        self.bytes.get() + self.queue.borrow().len() * PLACE_BYTES + throttled + resent
    }

    /// The same, in a sum in which what others hold too counts once.
    pub(crate) fn weigh(&self, who: Who, tally: &mut Tally) {
        self.queue.borrow().iter().for_each(|frame| tally.frame(frame));
        if let Some(user) = &*self.user.borrow() {
            let throttle = user.throttle();
            throttle.events(who).for_each(|event| tally.event(event));
        }
        if let Some(catch_up) = &*self.catch_up.borrow() {
            catch_up.resend.iter().for_each(|event| tally.event(event));
        }
    }

    /// Who reads for it or takes its frames.
    pub(crate) fn waked_by(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    /// Wakes whoever reads for it or takes its frames.
    pub(crate) fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}
