//! The ports: what the actors need of the world, each with an embedded twin that ships.

use crate::{
    broker::NodeRow,
    logic::{
        access::{Action, Grant},
        bus_log::{Page, Query},
        event::{Draft, Event, Receipt},
        fault::Fault,
        position::{Life, Seen},
        presence::{Card, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{Claimed, Kept, SessionRecord},
    },
    messages::{Accepted, FromBus},
    peer::Ticket,
};
use actix::Recipient;
use std::{
    future::{Future, pending, ready},
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// A future that a port gives back.
pub type PortFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why the bus did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The id was used before, by the same publisher, with other content. Permanent.
    #[error("the event id was used before with other content")]
    IdReused,
    /// The node holds as much as it may (`limits.memory_bytes`). Transient.
    #[error("the node is full (limits.memory_bytes)")]
    Full,
    /// The bus cannot be reached now. Transient.
    #[error("the bus is away: {0}")]
    Away(String),
}

impl BusError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Full)
    }
}

/// How the bus stands with what several nodes share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusState {
    /// Whether there is anything that is shared.
    pub shared: bool,
    /// Whether it is there.
    pub up: bool,
    /// Why it is not.
    pub reason: String,
    /// Since when it is or is not there, milliseconds since 1970.
    pub since_ms: i64,
    /// Events that this node has accepted and that are not shared yet.
    pub waiting: usize,
    /// What they take, bytes.
    pub waiting_bytes: usize,
    /// How often it went away.
    pub outages: u64,
    /// Whether what is published meanwhile is refused.
    pub refuses: bool,
    /// The last number that there was when this node reached it for the first time.
    pub began_at: u64,
}

/// Which shard of a process, over all its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// Where the bus hands events to a shard.
#[derive(Clone)]
pub struct Inlet {
    /// The shard.
    pub shard: ShardId,
    /// The shard counts its attachments, and each confirmation says to which it belongs.
    pub attachment: u64,
    /// Its mailbox.
    pub mailbox: Recipient<FromBus>,
    /// Set by the bus when the mailbox was full: from then on nothing is handed over until the shard rejoins.
    pub behind: Arc<AtomicBool>,
}

impl Inlet {
    /// Confirms a subscription: from `at` on everything of these rooms is handed over.
    pub fn confirm(&self, rooms: &[RoomName], at: u64) {
        self.hand_over(FromBus::Subscribed {
            attachment: self.attachment,
            rooms: rooms.to_vec(),
            at,
        });
    }

    /// Hands something over, or marks the shard as behind. Never blocks.
    pub fn hand_over(&self, message: FromBus) {
        if !self.behind.load(Ordering::Relaxed) && self.mailbox.try_send(message).is_err() {
            self.behind.store(true, Ordering::Relaxed);
        }
    }
}

/// Numbers events, keeps each room's history, and hands events to the shards that want them.
///
/// Guarantees: an event's sequence is assigned once, atomically; each inlet is handed events in sequence order, each
/// once; everything after a subscription is confirmed in the inlet ([`FromBus::Subscribed`]) is handed over.
/// Calls take effect in the order in which they are made, also if the futures they return are awaited in another.
pub trait Bus: Send + Sync + 'static {
    /// The life of the history now.
    fn life(&self) -> Life;

    /// Numbers and keeps an event, and hands it to every shard subscribed to one of its rooms. The same id of the same
    /// publisher is accepted once. Errors: [`BusError::IdReused`], [`BusError::Away`].
    fn publish(&self, draft: Draft) -> PortFuture<Result<Receipt, BusError>>;

    /// Reads a part of the history.
    fn read(&self, query: Query) -> PortFuture<Result<Page, BusError>>;

    /// A shard is there, again or for the first time: it wants exactly `rooms` from now on, and is no longer behind.
    /// Answers the sequence after which everything is handed over.
    fn attach(&self, inlet: Inlet, rooms: Vec<RoomName>) -> PortFuture<Result<u64, BusError>>;

    /// A shard is gone.
    fn detach(&self, shard: ShardId);

    /// A shard wants these rooms too; confirmed in its inlet.
    fn subscribe(&self, shard: ShardId, rooms: &[RoomName]);

    /// A shard no longer wants these rooms.
    fn unsubscribe(&self, shard: ShardId, rooms: &[RoomName]);

    /// A connection is in these rooms. Takes effect at once or soon; never blocks.
    fn enter(&self, rooms: &[RoomName], card: &Arc<Card>);

    /// A connection is no longer in these rooms, unless another has taken its place. Takes effect at once or soon; never
    /// blocks.
    fn exit(&self, rooms: &[RoomName], card: &Arc<Card>);

    /// A client that is connected is here now. Takes effect before anything that is asked of the bus later. Answers
    /// who finds it there now; nothing is written if another connection has taken its place.
    fn keep_session(&self, secret: Secret, record: SessionRecord) -> PortFuture<Result<Kept, BusError>>;

    /// A client shows its secret to come back: where it was, as its next generation, which every shard is told
    /// ([`FromBus::TakenOver`]). `None` where nobody was, too long ago, or somebody else.
    fn claim_session(
        &self,
        secret: Secret,
        subject: Option<Arc<str>>,
    ) -> PortFuture<Result<Option<Claimed>, BusError>>;

    /// A client's connection is over; unless for good, it may come back for a while. Takes effect at once or soon; never
    /// blocks.
    fn part_session(&self, ticket: Ticket, for_good: bool);

    /// The members of a room, over all nodes.
    fn members(&self, room: &RoomName) -> PortFuture<Result<Vec<Member>, BusError>>;

    /// At most `limit` rooms with members, by name, that begin with `prefix`, after `after`.
    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BusError>>;

    /// Housekeeping, called every few seconds: drops what is too old.
    fn tend(&self);

    /// The wall clock it stamps with, milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// What it holds, for the metrics.
    fn gauges(&self) -> BusGauges;

    /// How it stands with what several nodes share. An embedded bus shares nothing.
    fn state(&self) -> BusState {
        BusState {
            up: true,
            ..BusState::default()
        }
    }

    /// The nodes that share it; none where it is not shared.
    fn nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BusError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    /// This node as the others see it; none where nothing is shared.
    fn this_node(&self) -> Option<NodeRow> {
        None
    }

    /// The most of a number that somebody says he has and that can be true.
    fn bound(&self, seq: u64) -> u64 {
        seq.min(self.gauges().head)
    }

    /// What this node has given to its own connections while the broker is away, after that count; none while it is there.
    fn local_events(&self, _after: u64) -> Vec<Arc<Event>> {
        Vec::new()
    }

    /// From which number on all of this is part of the history, once that is known: who has everything up to there need not
    /// remember that he has seen it.
    fn settled(&self, _seen: &Seen) -> Option<u64> {
        None
    }

    /// From now on this is told of each event that was published by way of this node and that the nodes share, in their
    /// order, once it has its number: for who hands them on to others. A bus that shares nothing tells nobody.
    fn tell_accepted(&self, _to: Recipient<Accepted>) {}

    /// Resolves when it is known whether what it shares is there.
    fn tried(&self) -> PortFuture<()> {
        Box::pin(ready(()))
    }

    /// Resolves when what it has accepted is shared: not before what it shares is there again.
    fn relayed(&self) -> PortFuture<()> {
        Box::pin(ready(()))
    }

    /// The node goes: resolves when the others know, as far as that can be.
    fn leave(&self) -> PortFuture<()> {
        Box::pin(ready(()))
    }

    /// Its own work, to be driven by the bridge, and anew when it has ended: then it answers why.
    fn drive(self: Arc<Self>) -> PortFuture<String> {
        Box::pin(pending())
    }
}

/// What a bus holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusGauges {
    /// The last sequence number.
    pub head: u64,
    /// Events kept.
    pub events: usize,
    /// What they cost, bytes.
    pub bytes: usize,
    /// Rooms remembered.
    pub rooms: usize,
    /// What they cost beside their events, and ids, and clients that may come back, bytes, about.
    pub remembered_bytes: usize,
}

/// Tells who somebody is by what he shows. Calls are quick and never block: they are made on the threads of connections.
pub trait Gate: Send + Sync + 'static {
    /// What whoever shows this token may do, at `now_ms` (milliseconds since 1970). Errors: `unauthenticated`.
    fn admit(&self, token: Option<&str>, now_ms: i64) -> Result<Arc<Grant>, Fault>;

    /// Whether what was granted has not been taken back since. That it expires is the owner's business.
    fn holds(&self, grant: &Grant) -> bool;

    /// Somebody was refused: for the audit log.
    fn refused(&self, refusal: &Refusal<'_>);
}

/// Somebody who was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub fault: &'a Fault,
    /// `http`, `websocket`, `sse` or `socketio`.
    pub surface: &'static str,
    /// Where he is.
    pub address: Option<IpAddr>,
    /// Who he is, where that is known.
    pub subject: Option<&'a str>,
    /// What he wanted; to come in at all, if it is none.
    pub action: Option<Action<'a>>,
}

/// The raw connection to one client. All calls are non-blocking and take `&self`: one thread owns it.
pub trait Wire: Unpin + 'static {
    /// Ready when `try_read` may give something.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Reads; `Ok(0)` is the end, `WouldBlock` nothing yet.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Ready when `try_write_vectored` may take something.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Writes as much as fits; `WouldBlock` if nothing does.
    fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Hands on what the wire itself still holds of what it took (a bounded part); `WouldBlock` if not all of it fits.
    fn try_flush(&self) -> io::Result<()> {
        Ok(())
    }
    /// Ends the sending side (`false`), or both sides at once.
    fn shutdown(&self, both: bool);
}

/// The wall clock, milliseconds since 1970: handed in, so that tests own the time.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the tests and the embedded bus share: an event to hand over.
pub(crate) fn hand_over_event(inlet: &Inlet, event: &Arc<Event>) {
    inlet.hand_over(FromBus::Event(event.clone()));
}
