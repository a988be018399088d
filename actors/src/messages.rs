//! Every message, grouped by the actor that hears it.

use crate::{
    js_bridge::{Foreign, Order},
    logic::{
        event::{Draft, Event, Receipt},
        fault::Fault,
        position::Position,
        presence::SessionId,
        protocol::{Notice, Rooms},
        room_name::RoomName,
    },
    ports::{BusError, Inlet, ShardId},
    room_registry::{Claim, Newcomer},
};
use actix::{Message, Recipient};
use serde_json::value::RawValue;
use std::sync::Arc;

// ---- RoomRegistry hears ----

/// Which connection of a shard: its place in the shard's table, and in the upper half how many there were before it. So
/// a message about a connection that is gone never meets the one that has taken its place.
pub type PeerKey = u64;

/// A connection wants to be in rooms. The answer goes into its outbox, before the first event of those rooms.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Join {
    /// Who.
    pub peer: PeerKey,
    /// The rooms, checked, each once.
    pub rooms: Vec<RoomName>,
    /// The form in which to answer.
    pub asked: Rooms,
    /// What the client has already; only in a connection's first join.
    pub since: Option<Position>,
    /// To be handed back.
    pub reference: Option<Box<RawValue>>,
}

/// A connection leaves rooms. The answer goes into its outbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Who.
    pub peer: PeerKey,
    /// The rooms.
    pub rooms: Vec<RoomName>,
    /// The form in which to answer.
    pub asked: Rooms,
    /// To be handed back.
    pub reference: Option<Box<RawValue>>,
}

/// A client of Socket.IO wants to be let in. One that has come back is where it was, and is given what it missed behind
/// the greeting; where that is not whole, or it is nobody yet, it is greeted as a new one, in no room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// Who.
    pub peer: PeerKey,
    /// Where it was.
    pub claim: Option<Claim>,
    /// What it has of the events, as it says; `None` where nobody knows.
    pub since: Option<Position>,
    /// Who it is if it is new.
    pub otherwise: Newcomer,
}

/// A client of Socket.IO has left, for good, over a connection that goes on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Depart(pub PeerKey);

/// Publish an event. Anybody may send this: sessions, HTTP, agents in the process.
#[derive(Debug, Message)]
#[rtype(result = "Result<Receipt, BusError>")]
pub struct Publish {
    /// What, checked.
    pub draft: Draft,
    /// A connection whose joins are to be carried out first: it hears what it publishes behind them.
    pub behind: Option<PeerKey>,
}

/// Behind nothing.
impl From<Draft> for Publish {
    fn from(draft: Draft) -> Self {
        Self { draft, behind: None }
    }
}

/// What the bus hands to a shard.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum FromBus {
    /// An event of a room the shard wants.
    Event(Arc<Event>),
    /// From `at` on, everything of these rooms is handed over; everything up to it has been.
    Subscribed {
        /// The shard's attachment to which it belongs: of an earlier one it means nothing.
        attachment: u64,
        /// The rooms.
        rooms: Vec<RoomName>,
        /// The sequence.
        at: u64,
    },
    /// The broker is away: the node goes on by itself.
    BrokerAway {
        /// Everything up to here has been handed over; `None` where the shard has yet to catch up.
        upto: Option<u64>,
    },
    /// The broker is there again: attach anew, so that what was missed is caught up.
    AttachAgain,
    /// A client has come back; a connection of an earlier generation of it is to be closed.
    TakenOver {
        /// Its id.
        id: SessionId,
        /// The generation it is now.
        generation: u32,
    },
}

/// The bridge has lost what it knew: say again what you want.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SayInterest;

/// Say something to every connection of the shard.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Announce(pub Notice);

/// The node shuts down: say so to every connection, each with a delay of its own below `spread_ms`, then close it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// Clients are told to come back after a random part of this, milliseconds.
    pub spread_ms: u64,
}

/// An actor of this process wants to hear rooms. Answers with the key to give to [`Unwatch`].
#[derive(Message)]
#[rtype(result = "Result<PeerKey, Fault>")]
pub struct Watch {
    /// The rooms, checked, each once.
    pub rooms: Vec<RoomName>,
    /// What it has already.
    pub since: Option<Position>,
    /// Where to send what is heard. While its mailbox is full it is caught up from the history later.
    pub to: Recipient<Heard>,
}

/// An actor of this process no longer wants to hear.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Unwatch(pub PeerKey);

/// The gate's mind has changed: end the connections whose grants it has taken back. Answers how many.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "usize")]
pub struct Recheck;

/// End the connection of this id, for good. Answers whether there is one here.
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub struct EndSession(pub String);

/// What the shard holds now.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<SessionRow>")]
pub struct ListSessions;

/// One connection, as operators see it.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// Who it is, where that is known.
    pub subject: Option<String>,
    /// `websocket`, `polling`, `sse` or `process`.
    pub transport: &'static str,
    /// Its client's address, of IPv6 the first 64 bits; none of an actor of the process.
    pub address: Option<String>,
    /// Its rooms.
    pub rooms: Vec<RoomName>,
    /// Since when, RFC 3339.
    pub connected_at: String,
    /// Bytes that wait to be written.
    pub bytes_waiting: usize,
}

// ---- an agent's actor hears ----

/// What an actor that watches rooms hears.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum Heard {
    /// The watch has begun; `recovered` is false when events since the given position are missing.
    Joined {
        /// What the watcher has from here on.
        position: Position,
        /// Whether nothing is missing.
        recovered: bool,
    },
    /// An event, in order, each once.
    Event(Arc<Event>),
    /// The watcher was so slow that the history no longer has what it missed; it goes on live from here.
    Missed {
        /// What the watcher has from here on.
        position: Position,
    },
    /// The node says something about itself, such as that it shuts down and the watch ends with it.
    Notice(Notice),
}

// ---- RedisBridge hears ----

/// A shard is there (again): it wants exactly these rooms. Answers the sequence after which all is handed over.
#[derive(Message)]
#[rtype(result = "Result<u64, BusError>")]
pub struct Attach {
    /// Where to hand events over.
    pub inlet: Inlet,
    /// Whom to ask after a restart of the bridge.
    pub ask: Recipient<SayInterest>,
    /// The rooms it wants.
    pub rooms: Vec<RoomName>,
}

/// A shard is gone.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Detach(pub ShardId);

/// A shard's wishes have changed.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Interest {
    /// Which shard.
    pub shard: ShardId,
    /// Rooms it wants from now on.
    pub wanted: Vec<RoomName>,
    /// Rooms it no longer wants.
    pub unwanted: Vec<RoomName>,
}

// ---- a JavaScript cluster: RoomRegistry hears ----

/// Something is said on a channel of a cluster of JavaScript servers, for connections here.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Overheard(pub Arc<Foreign>);

/// A server of such a cluster asks this of all sockets, or wants it done with them. Answers the sockets here that are
/// meant, as they were before; of an event that sockets are to answer those that were asked.
#[derive(Clone, Message)]
#[rtype(result = "Vec<SocketRow>")]
pub struct CarryOut(pub Arc<Order>);

/// One client of Socket.IO in the main namespace, as servers of such a cluster see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRow {
    /// Its id.
    pub id: String,
    /// Its rooms.
    pub rooms: Vec<Arc<str>>,
    /// Who it is, where that is known.
    pub subject: Option<Arc<str>>,
    /// Its client's address, of IPv6 the first 64 bits.
    pub address: Option<String>,
    /// Since when, milliseconds since 1970.
    pub connected_ms: i64,
}

// ---- JsBridge hears ----

/// This node has accepted an event, and it has its number.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Accepted(pub Arc<Draft>);
