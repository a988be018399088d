//! One connection as its shard sees it: the outbox, what it has been given, and the line to the client.
//!
//! A peer belongs to one thread. It outlives a panic of the RoomRegistry: what the client has been given and what still
//! waits for it lives here, so a restarted shard can go on exactly there.

use crate::{
    callers::Session,
    gate::Standing,
    logic::{
        bus_log::Gap,
        engine_io::{
            Control,
            payload::{self, Part},
        },
        event::{Draft, Event, Receipt},
        fault::CloseCode,
        few::Few,
        memory::{PLACE_BYTES, Tally},
        position::{Position, SEEN_MAX, Seen},
        presence::{Card, Secret},
        protocol::{Protocol, Rooms},
        room_name::RoomName,
        throttle::{Who, cost},
        ws,
    },
    messages::{Heard, PeerKey},
    ports::{BusError, Wire},
    room_registry::Restoring,
    stats::Held,
    subjects::{Subject, User},
};
use actix::Recipient;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::{
    cell::{Cell, OnceCell, RefCell},
    io::{self, IoSlice},
    net::IpAddr,
    sync::Arc,
    task::Waker,
};
use tokio::sync::oneshot;

/// Frames written in one call. The kernel takes up to 1,024; 64 keeps the array on the stack small.
const FRAMES_PER_WRITE: usize = 64;

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

/// What a connection asked and is not carried out yet.
#[derive(Debug)]
pub enum Pending {
    /// It waits for the bus to confirm a subscription.
    Join(PendingJoin),
    /// It waits for the joins before it: answers come in the order of the questions.
    Leave(PendingLeave),
    /// It waits for the joins before it: its publisher is to hear it.
    Publish(PendingPublish),
}

/// A publish that waits.
#[derive(Debug)]
pub struct PendingPublish {
    /// What.
    pub draft: Draft,
    /// Who is to be answered.
    pub answer: oneshot::Sender<Result<Receipt, BusError>>,
}

/// A leave that waits.
#[derive(Debug)]
pub struct PendingLeave {
    /// The rooms.
    pub rooms: Vec<RoomName>,
    /// The form in which to answer.
    pub asked: Rooms,
    /// To be handed back.
    pub reference: Option<Box<RawValue>>,
}

/// A join that waits.
#[derive(Debug)]
pub struct PendingJoin {
    /// The rooms.
    pub rooms: Vec<RoomName>,
    /// The form in which to answer.
    pub asked: Rooms,
    /// What the client has already.
    pub since: Option<Position>,
    /// To be handed back.
    pub reference: Option<Box<RawValue>>,
    /// It is that of a client that comes back to where it was.
    pub restoring: Option<Box<Restoring>>,
    /// Whether it is written down that the client will be there, if it may come back.
    pub written: Written,
}

/// Whether it is written down where a client will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// Not yet.
    #[default]
    No,
    /// It is being written, as the so-manieth.
    Begun(u64),
    /// Yes, or it need not be.
    Done,
}

/// A peer that is being given the history.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// Read up to here.
    pub after: u64,
    /// The peer has everything up to here, except what is found below from `firsts` on.
    pub base: u64,
    /// The first event under each throttle key that the peer does not have, though it is at or below `base`.
    pub firsts: Vec<u64>,
    /// What it has been told is missing.
    pub gaps: Vec<Gap>,
    /// Events at or below `base` that it does not have, found so far.
    pub resend: Vec<Arc<Event>>,
    /// The join that is answered with the first page. Until then the client has what it said it has.
    pub told: Option<PendingJoin>,
    /// A watcher that was told how its join went must still be told that it missed something.
    pub missed: bool,
    /// The read that is under way: the answers to others came too late.
    pub reading: Option<u64>,
}

impl CatchUp {
    /// It is told that this is missing.
    pub fn note_gaps(&mut self, gaps: &[Gap]) {
        self.gaps
            .retain(|(room, _)| !gaps.iter().any(|(gap, _)| gap == room));
        self.gaps.extend_from_slice(gaps);
    }
}

/// The frame did not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left to write.
    Empty,
    /// The socket takes no more now.
    Blocked,
    /// The connection is broken.
    Broken,
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

    /// Whether it was given an event while the broker was away; `key` is the hash of the event's throttle key.
    pub fn has_seen(&self, event: &Event, key: impl Fn() -> Option<u32>) -> bool {
        let seen = self.seen.borrow();
        !seen.is_empty()
            && event
                .origin
                .is_some_and(|origin| seen.iter().any(|seen| seen.includes(origin, &key)))
    }

    /// It has been given this while the broker is away, and all before it of the same outage: so its position is its own.
    pub fn note_seen(&self, new: Seen) {
        self.set(PERSONAL);
        let mut seen = self.seen.borrow_mut();
        let is_it = |seen: &&mut Seen| seen.node == new.node && seen.from == new.from;
        if let Some(known) = seen.iter_mut().find(is_it) {
            known.upto = known.upto.max(new.upto);
            return;
        }
        let mut all = std::mem::take(&mut *seen).into_vec();
        if all.len() == SEEN_MAX {
            all.remove(0);
        }
        all.push(new);
        *seen = all.into();
    }

    /// It has been given an event of an outage; `key` is the hash of the event's throttle key. What it said that it lacks
    /// of that key begins behind it.
    pub fn note_given(&self, event: &Event, key: impl Fn() -> Option<u32>) {
        let (Some(new), Some(origin)) = (event.seen(), event.origin) else {
            return;
        };
        self.note_seen(new);
        for seen in self
            .seen
            .borrow_mut()
            .iter_mut()
            .filter(|seen| seen.covers(origin))
        {
            if seen.waiting.is_empty() {
                continue;
            }
            let (upto, key) = (seen.upto, key());
            for unsent in seen.waiting.iter_mut().filter(|unsent| Some(unsent.key) == key) {
                unsent.from = unsent.from.max(origin.count + 1);
            }
            seen.waiting.retain(|unsent| unsent.from <= upto);
        }
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

    /// Bytes that wait to be written.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
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

    /// Whether its client is behind: it takes no more now, or has not come for what waits.
    pub(crate) fn is_behind(&self) -> bool {
        self.bytes() > 0 && (self.is(BLOCKED) || self.line.socket().is_none())
    }

    /// Something was taken by a client that was behind. It is not any more, if it has all of it.
    pub(crate) fn caught_up(&self) {
        if self.bytes() == 0 {
            self.behind_ms.set(u64::MAX);
        }
    }

    /// Below this it wants the next page of the history.
    pub fn low_water(&self) -> usize {
        self.limit / 4
    }

    /// Up to this the history is put into the outbox: there is still room for one event more, whatever its size.
    pub fn high_water(&self) -> usize {
        self.limit / 2
    }

    /// Queues a frame. Full means: nothing was queued, and the client must be closed as too slow.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Full> {
        if self.is(CLOSING | CLOSED) {
            return Ok(());
        }
        let bytes = self.bytes.get() + frame.len();
        if bytes > self.limit {
            return Err(Full);
        }
        self.bytes.set(bytes);
        self.queue.borrow_mut().push_back(frame);
        Ok(())
    }

    /// Drops what is queued, but for the frame that is half written: the client is too slow to read it.
    pub(crate) fn shed(&self) {
        let mut queue = self.queue.borrow_mut();
        queue.truncate(usize::from(self.written.get() > 0));
        let left: usize = queue.iter().map(Bytes::len).sum();
        self.bytes.set(left - self.written.get());
    }

    /// Queues a close frame, after all that is queued.
    pub(crate) fn queue_close(&self, code: CloseCode, reason: &str) {
        let mut queue = self.queue.borrow_mut();
        let frame = match self.protocol {
            Protocol::GreenroomV1 | Protocol::Own => Some(ws::close_frame(code.wire().0, reason)),
            // Its clients know the codes of the WebSocket itself only.
            Protocol::SocketIo => Some(match code {
                CloseCode::ProtocolError | CloseCode::InvalidUtf8 | CloseCode::TooBig => {
                    ws::close_frame(code.wire().0, "")
                }
                _ => ws::close_reply(None),
            }),
            Protocol::Sse => None,
        };
        if let Some(frame) = frame.filter(|_| self.line.socket().is_some()) {
            self.bytes.set(self.bytes.get() + frame.len());
            queue.push_back(frame);
        }
        self.set(CLOSING);
    }

    /// Cuts the line: a socket's reader sees its end and cleans up.
    pub(crate) fn kill(&self) {
        self.set(CLOSED);
        self.clear(BLOCKED);
        self.queue.take();
        self.bytes.set(0);
        self.written.set(0);
        if let Some(wire) = self.line.socket() {
            wire.shutdown(true);
        }
        self.wake();
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

    /// Writes all that is queued, as far as the socket takes it.
    pub(crate) fn flush(&self) -> Flushed {
        let Some(wire) = self.line.socket() else {
            return Flushed::Empty;
        };
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            match write_once(wire, &queue, self.written.get()) {
                Ok(0) => return Flushed::Broken,
                Ok(bytes) => self.advance(&mut queue, bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Broken,
            }
        }
        match wire.try_flush() {
            Ok(()) => Flushed::Empty,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Flushed::Blocked,
            Err(_) => Flushed::Broken,
        }
    }

    fn advance(&self, queue: &mut Few<Bytes>, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        let mut done = self.written.get() + bytes;
        while let Some(first) = queue.front() {
            if done < first.len() {
                break;
            }
            done -= first.len();
            queue.pop_front();
        }
        self.written.set(done);
    }

    /// Takes queued messages for the answer to a poll: as many as fit into `bytes_max`, and one in any case.
    pub(crate) fn take_payload(&self, first: Option<Control>, bytes_max: usize) -> Vec<u8> {
        let mut queue = self.queue.borrow_mut();
        let control = first.map(|control| Part::Text(control.text().as_bytes()));
        let mut body = payload::encode(control, bytes_max).body;
        while let Some(frames) = queue.front() {
            let parts = ws::own_messages(frames).map(|(opcode, message)| match opcode {
                ws::Opcode::Binary => Part::Binary(message),
                _ => Part::Text(message),
            });
            // An event and its attachments stay together.
            let next = payload::encode(parts, usize::MAX).body;
            if !body.is_empty() && body.len() + 1 + next.len() > bytes_max {
                break;
            }
            if !body.is_empty() {
                body.push(payload::SEPARATOR as u8);
            }
            body.extend_from_slice(&next);
            self.bytes.set(self.bytes.get() - frames.len());
            queue.pop_front();
        }
        self.caught_up();
        body
    }

    /// Takes queued frames for a stream, about `bytes_max` of them, as one chunk.
    pub(crate) fn take_chunk(&self, bytes_max: usize) -> Option<Bytes> {
        let mut queue = self.queue.borrow_mut();
        let first = queue.pop_front()?;
        let mut bytes = first.len();
        let mut chunk = vec![first];
        while queue.front().is_some_and(|next| bytes + next.len() <= bytes_max) {
            let Some(next) = queue.pop_front() else { break };
            bytes += next.len();
            chunk.push(next);
        }
        self.bytes.set(self.bytes.get() - bytes);
        self.caught_up();
        Some(if chunk.len() == 1 {
            chunk.swap_remove(0)
        } else {
            chunk.concat().into()
        })
    }
}

fn write_once<W: Wire>(wire: &W, queue: &Few<Bytes>, written: usize) -> io::Result<usize> {
    if let Few::One(frame) = queue {
        return wire.try_write_vectored(&[IoSlice::new(&frame[written..])]);
    }
    let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
    let mut count = 0;
    for (slice, frame) in slices.iter_mut().zip(queue.iter()) {
        *slice = IoSlice::new(if count == 0 { &frame[written..] } else { frame });
        count += 1;
    }
    wire.try_write_vectored(&slices[..count])
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
