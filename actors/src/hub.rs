//! What the actors of one thread share: the table of connections and the lists of those that want attention.
//!
//! A fan-out pushes frames to outboxes and marks them here; at the end of the turn the RoomRegistry writes each marked
//! socket once. No timer, no wake-up, no message a delivery. All of it survives a panic of the RoomRegistry.

use crate::{
    logic::{
        fault::CloseCode,
        presence::SessionId,
        rate::TooFast,
        ws::{self, Violation},
    },
    messages::PeerKey,
    peer::{BLOCKED, CLOSED, CLOSING, DIRTY, Flushed, HUNGRY, LAGGING, Peer},
    ports::Wire,
    socket_io::Socket,
    stats::{Held, ShardStats},
    subjects::Subjects,
};
use bytes::Bytes;
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

/// Bytes read at once; one buffer a thread, so idle connections have none.
const READ_BYTES: usize = 64 << 10;

/// The part of a key that is a place in the table.
const PLACE_BITS: u32 = 32;

fn place(key: PeerKey) -> usize {
    (key & ((1 << PLACE_BITS) - 1)) as usize
}

/// Who is in the main namespace of Socket.IO.
struct Sockets<W: Wire> {
    by_key: HashMap<PeerKey, Weak<Socket<W>>>,
    /// By what the ids show.
    by_id: HashMap<u128, PeerKey>,
}

impl<W: Wire> Default for Sockets<W> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            by_id: HashMap::new(),
        }
    }
}

/// See the module's description.
pub struct Hub<W: Wire> {
    peers: RefCell<Slab<Rc<Peer<W>>>>,
    /// Connections there have been.
    made: Cell<u64>,
    /// The connections of clients that may come back, by the clients' ids.
    seats: RefCell<HashMap<SessionId, PeerKey>>,
    /// What is in the main namespace of Socket.IO on each connection, where somebody outside asks for it.
    sockets: RefCell<Option<Sockets<W>>>,
    dirty: RefCell<Vec<Rc<Peer<W>>>>,
    hungry: RefCell<Vec<Rc<Peer<W>>>>,
    gone: RefCell<Vec<Rc<Peer<W>>>>,
    turn: RefCell<Option<Waker>>,
    /// The thread's read buffer.
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    /// When the node began.
    began: Instant,
    /// Milliseconds since the node began, as of the last turn.
    pub(crate) now_ms: Cell<u64>,
    /// The node's subjects.
    pub subjects: Arc<Subjects>,
    /// Counters, read by other threads.
    pub stats: Arc<ShardStats>,
    /// How long a closing client has to take its close frame and to answer it, milliseconds.
    pub close_ms: u64,
    /// Whether new connections are refused because the node shuts down.
    pub draining: Cell<bool>,
}

impl<W: Wire> Hub<W> {
    /// An empty hub whose closing clients have `close_ms` milliseconds to take their close frame and to answer it.
    pub fn new(stats: Arc<ShardStats>, close_ms: u64, subjects: Arc<Subjects>) -> Rc<Self> {
        Rc::new(Self {
            peers: RefCell::default(),
            made: Cell::new(0),
            seats: RefCell::default(),
            sockets: RefCell::default(),
            dirty: RefCell::default(),
            hungry: RefCell::default(),
            gone: RefCell::default(),
            turn: RefCell::default(),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            // One moment for all shards: the throttle of a user is asked by several.
            began: subjects.began(),
            now_ms: Cell::new(0),
            subjects,
            stats,
            close_ms,
            draining: Cell::new(false),
        })
    }

    /// Adds a connection.
    pub fn add(&self, peer: Peer<W>) -> Rc<Peer<W>> {
        let peer = Rc::new(peer);
        peer.held.set(Some(Held::by(&self.stats)));
        peer.heard_ms.set(self.now_ms.get());
        peer.pinged_ms.set(self.now_ms.get());
        self.made.set(self.made.get() + 1);
        let place = self.peers.borrow_mut().insert(peer.clone());
        peer.key.set(self.made.get() << PLACE_BITS | place as PeerKey);
        self.stats.connections.add(1);
        peer
    }

    /// The connection with that key.
    pub fn peer(&self, key: PeerKey) -> Option<Rc<Peer<W>>> {
        let peers = self.peers.borrow();
        peers
            .get(place(key))
            .filter(|peer| peer.key.get() == key)
            .cloned()
    }

    /// A client that may come back is on this connection from now on.
    pub(crate) fn seat(&self, id: SessionId, key: PeerKey) {
        self.seats.borrow_mut().insert(id, key);
    }

    /// The connection on which a client is that may come back.
    pub(crate) fn seated(&self, id: SessionId) -> Option<Rc<Peer<W>>> {
        let key = self.seats.borrow().get(&id).copied();
        key.and_then(|key| self.peer(key))
    }

    /// The client is no longer on this connection.
    pub(crate) fn unseat(&self, id: SessionId, key: PeerKey) {
        let mut seats = self.seats.borrow_mut();
        if seats.get(&id) == Some(&key) {
            seats.remove(&id);
        }
    }

    /// From now on it is known which sockets of Socket.IO there are: for servers of JavaScript.
    pub fn know_sockets(&self) {
        self.sockets.borrow_mut().get_or_insert_default();
    }

    /// Somebody is in the main namespace, or wants to be.
    pub(crate) fn note_socket(&self, socket: &Rc<Socket<W>>) {
        if let Some(sockets) = &mut *self.sockets.borrow_mut() {
            sockets
                .by_key
                .insert(socket.peer.key.get(), Rc::downgrade(socket));
        }
    }

    /// Somebody is in the main namespace by this id.
    pub(crate) fn note_id(&self, id: SessionId, key: PeerKey) {
        if let Some(sockets) = &mut *self.sockets.borrow_mut() {
            sockets.by_id.insert(id.shown(), key);
        }
    }

    /// No longer.
    pub(crate) fn forget_id(&self, id: SessionId, key: PeerKey) {
        if let Some(sockets) = &mut *self.sockets.borrow_mut()
            && sockets.by_id.get(&id.shown()) == Some(&key)
        {
            sockets.by_id.remove(&id.shown());
        }
    }

    /// Who is in the main namespace on this connection.
    pub(crate) fn socket(&self, key: PeerKey) -> Option<Rc<Socket<W>>> {
        self.sockets.borrow().as_ref()?.by_key.get(&key)?.upgrade()
    }

    /// On which connection somebody is in the main namespace by this id.
    pub(crate) fn socket_by_id(&self, id: &str) -> Option<PeerKey> {
        let shown = SessionId::shown_by(id)?;
        self.sockets.borrow().as_ref()?.by_id.get(&shown).copied()
    }

    /// Milliseconds since the node began, as of the last turn.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Milliseconds since the node began, now.
    pub(crate) fn look_at_the_clock(&self) -> u64 {
        let now_ms = self.began.elapsed().as_millis() as u64;
        self.now_ms.set(now_ms);
        now_ms
    }

    /// All connections now.
    pub fn all(&self) -> Vec<Rc<Peer<W>>> {
        self.peers.borrow().iter().map(|(_, peer)| peer.clone()).collect()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.peers.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A connection is over. Idempotent.
    pub fn remove(&self, peer: &Rc<Peer<W>>) {
        let mut peers = self.peers.borrow_mut();
        let place = place(peer.key.get());
        if peers.get(place).is_some_and(|known| Rc::ptr_eq(known, peer)) {
            peers.remove(place);
            if let Some(sockets) = &mut *self.sockets.borrow_mut() {
                sockets.by_key.remove(&peer.key.get());
            }
            peer.set(CLOSED);
            peer.subject.take();
            tracing::debug!(session = %peer.card().id, transport = peer.transport(), "disconnected");
            self.stats.connections.sub(1);
            self.gone.borrow_mut().push(peer.clone());
            self.wake();
        }
    }

    /// Queues a frame and sees to it that it is written at the end of the turn. A client that is too slow is closed.
    pub fn send(&self, peer: &Rc<Peer<W>>, frame: Bytes) {
        match peer.push(frame) {
            Ok(()) => self.mark(peer),
            Err(_) => self.too_slow(peer, ""),
        }
    }

    /// Closes a connection whose client is too slow; what waits for it is dropped.
    pub(crate) fn too_slow(&self, peer: &Rc<Peer<W>>, reason: &str) {
        self.stats.slow_clients.add(1);
        peer.shed();
        self.close(peer, CloseCode::SlowClient, reason);
    }

    /// Closes a connection with a code and `reason` (for the log and the client).
    pub fn close(&self, peer: &Rc<Peer<W>>, code: CloseCode, reason: &str) {
        if peer.is(CLOSING | CLOSED) {
            return;
        }
        let (number, name) = code.wire();
        let text = if reason.is_empty() {
            name.to_owned()
        } else {
            format!("{name}: {reason}")
        };
        tracing::debug!(session = %peer.card().id, code = number, reason = %text, "closing a connection");
        peer.queue_close(code, &text);
        peer.cut_off_ms.set(self.now_ms.get() + self.close_ms);
        self.mark(peer);
    }

    /// Closes the connection of a client that broke RFC 6455 or its limits.
    pub(crate) fn refuse(&self, peer: &Rc<Peer<W>>, Violation { code, why }: Violation) {
        let code = match code {
            1009 => CloseCode::TooBig,
            1007 => CloseCode::InvalidUtf8,
            _ => CloseCode::ProtocolError,
        };
        self.close(peer, code, why);
    }

    /// Closes a connection whose client sends too much.
    pub(crate) fn too_fast(&self, peer: &Rc<Peer<W>>, too_fast: TooFast) {
        self.stats.rate_limited.add(1);
        self.close(peer, CloseCode::RateLimited, &too_fast.to_string());
    }

    /// Answers a client's close frame with its own code, as RFC 6455 section 5.5.1 asks.
    pub(crate) fn close_back(&self, peer: &Rc<Peer<W>>, code: Option<u16>) {
        self.send(peer, ws::close_reply(code));
        peer.set(CLOSING);
        peer.cut_off_ms.set(self.now_ms.get() + self.close_ms);
    }

    fn mark(&self, peer: &Rc<Peer<W>>) {
        if !peer.is(DIRTY | BLOCKED | CLOSED) {
            peer.set(DIRTY);
            self.dirty.borrow_mut().push(peer.clone());
            self.wake();
        }
    }

    /// Writes every marked outbox once.
    pub(crate) fn flush_dirty(&self) {
        let mut work = self.dirty.take();
        for peer in work.drain(..) {
            peer.clear(DIRTY);
            self.flush(&peer);
        }
        // The list's memory is used again, unless a new one was begun meanwhile.
        let mut list = self.dirty.borrow_mut();
        if list.is_empty() {
            *list = work;
        }
    }

    /// Writes on where the socket took no more, if it does now.
    pub(crate) fn write_blocked(&self, peer: &Rc<Peer<W>>, task: &mut Context<'_>) {
        let Some(wire) = peer.line.socket() else { return };
        while peer.is(BLOCKED) {
            match wire.poll_write_ready(task) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    peer.clear(BLOCKED);
                    self.flush(peer);
                    peer.caught_up();
                }
                Poll::Ready(Err(_)) => return peer.kill(),
            }
        }
    }

    /// Writes one outbox.
    pub(crate) fn flush(&self, peer: &Rc<Peer<W>>) {
        let Some(wire) = peer.line.socket() else {
            // Whoever takes its frames is told that there are some; nobody takes those of a watcher.
            return peer.wake();
        };
        match peer.flush() {
            Flushed::Empty if peer.is(CLOSING) && !peer.is(CLOSED) => wire.shutdown(false),
            Flushed::Empty => {}
            Flushed::Blocked => {
                peer.set(BLOCKED);
                peer.wake();
            }
            Flushed::Broken => return peer.kill(),
        }
        self.drained(peer);
    }

    /// An outbox has got emptier: its client may want more of the history.
    pub(crate) fn drained(&self, peer: &Rc<Peer<W>>) {
        if peer.is(LAGGING) && !peer.is(HUNGRY | CLOSING | CLOSED) && peer.bytes() <= peer.low_water() {
            peer.set(HUNGRY);
            self.hungry.borrow_mut().push(peer.clone());
            self.wake();
        }
    }

    /// A connection is over, but what its client has asked is carried out still: the shard looks at it, since nothing waits
    /// any more for the client to take what comes before.
    pub(crate) fn finish(&self, peer: &Rc<Peer<W>>) {
        if peer.pending.borrow().is_empty() {
            return;
        }
        if !peer.is(CLOSED) {
            peer.kill();
        }
        if !peer.is(HUNGRY) {
            peer.set(HUNGRY);
            self.hungry.borrow_mut().push(peer.clone());
            self.wake();
        }
    }

    pub(crate) fn take_hungry(&self) -> Vec<Rc<Peer<W>>> {
        let hungry = self.hungry.take();
        hungry.iter().for_each(|peer| peer.clear(HUNGRY));
        hungry
    }

    pub(crate) fn take_gone(&self) -> Vec<Rc<Peer<W>>> {
        self.gone.take()
    }

    /// Who works at the end of the turn.
    pub(crate) fn set_turn(&self, waker: &Waker) {
        let mut turn = self.turn.borrow_mut();
        if !turn.as_ref().is_some_and(|turn| turn.will_wake(waker)) {
            *turn = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(turn) = &*self.turn.borrow() {
            turn.wake_by_ref();
        }
    }

    /// Whether something came up while the turn's work was done.
    pub(crate) fn has_work(&self) -> bool {
        !self.dirty.borrow().is_empty() || !self.hungry.borrow().is_empty() || !self.gone.borrow().is_empty()
    }
}
