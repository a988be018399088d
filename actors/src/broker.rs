//! The port `Broker`: the server that several nodes share. It numbers events, keeps their histories, hands them out, and
//! remembers clients and who is where; [`ClusterBus`](crate::cluster_bus::ClusterBus) makes a [`Bus`](crate::ports::Bus)
//! of it.

use crate::{
    logic::{
        bus_log::{Page, Query},
        cluster::told::Told,
        event::{Draft, Event, NodeTag, Origin, Receipt},
        position::Life,
        presence::{Card, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{Claimed, Kept, SessionRecord},
    },
    peer::Ticket,
    ports::{BusError, PortFuture},
};
use futures_util::stream::Stream;
use serde::{Deserialize, Serialize};
use std::{fmt, pin::Pin, sync::Arc};

/// Why a broker did not do what it was asked. Each is weather: it may do it later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be reached, or does not answer in time.
    #[error("{0}")]
    Away(String),
    /// It is there, and refuses: it is full, read-only, starting, or does not know this node's password.
    #[error("it refuses: {0}")]
    Refuses(String),
    /// It is not the one that was opened: another life or another server.
    #[error("it was restarted or replaced")]
    Replaced,
}

impl From<BrokerError> for BusError {
    fn from(error: BrokerError) -> Self {
        Self::Away(error.to_string())
    }
}

/// A server that can be reached, or not.
pub trait Broker: Send + Sync + 'static {
    /// Reaches it. Nothing of an earlier link is left then.
    fn open(&self, hello: Hello) -> PortFuture<Result<Opened, BrokerError>>;
}

/// What a node says when it reaches the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which node.
    pub tag: NodeTag,
    /// The life of the history that it knows, [`Life::NONE`] if it knows none yet.
    pub life: Life,
    /// The highest number it knows in that life: a broker with less has lost something.
    pub known: u64,
    /// The life that begins if the broker has none, and the node neither.
    pub fresh: Life,
}

/// A broker that was reached.
pub struct Opened {
    /// To ask it.
    pub link: Arc<dyn Link>,
    /// What it hands out, in the order in which it happened. Its end is the link's.
    pub arrivals: Pin<Box<dyn Stream<Item = Arrival> + Send>>,
    /// The life of its history.
    pub life: Life,
    /// The last number given out.
    pub head: u64,
}

/// What a broker hands out.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// An event of a room that was subscribed to. One for several of them comes several times.
    Event(Arc<Event>),
    /// Everything up to `seq` has been handed out, of rooms that were subscribed to before the mark was set.
    Mark {
        /// Which mark.
        number: u64,
        /// The last number given out when it was set.
        seq: u64,
    },
    /// What a node says to all.
    Told(Told),
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is new: its number, and its offset in each room.
    New {
        /// Its number.
        seq: u64,
        /// Its offsets, in the order of its rooms.
        offsets: Vec<u64>,
    },
    /// The publisher had sent it before.
    Repeated(Receipt),
    /// The id was used before with other content.
    IdReused,
    /// This node had sent it before, over an earlier link.
    Already,
}

/// What a broker has of what a node has accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// By the node's count, the last event that it has dealt with, whatever it placed it as; 0: none.
    pub count: u64,
    /// A number up to which all of them are part of the history: that of the last new one, or any later one that was given
    /// out before this was asked.
    pub seq: u64,
}

/// What is asked of a broker beside publishing and reading.
#[derive(Clone, Debug)]
pub enum Errand {
    /// [`Bus::keep_session`](crate::ports::Bus::keep_session).
    Keep(Secret, SessionRecord),
    /// [`Bus::claim_session`](crate::ports::Bus::claim_session): told to all nodes.
    Claim(Secret, Option<Arc<str>>),
    /// [`Bus::part_session`](crate::ports::Bus::part_session).
    Part(Ticket, bool),
    /// A connection of this node is in these rooms.
    Enter(Vec<RoomName>, Arc<Card>, i64),
    /// It no longer is.
    Exit(Vec<RoomName>, Arc<Card>),
    /// Nobody of this node is anywhere.
    Empty,
    /// This node is there.
    Beat(NodeCard),
    /// This node goes.
    Bye,
    /// Housekeeping: what is too old, and nodes that are dead.
    Tend,
}

/// What an errand came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Of [`Errand::Keep`].
    Kept(Kept),
    /// Of [`Errand::Claim`].
    Claimed(Option<Claimed>),
}

/// A node as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCard {
    /// Its name.
    pub name: String,
    /// Where other nodes reach it, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Its version.
    pub version: String,
    /// When it started, milliseconds since 1970.
    pub started_ms: i64,
    /// Its connections.
    pub connections: usize,
    /// What the others seal with what they hand on to it.
    #[serde(default)]
    pub key: NodeKey,
}

/// A secret of one life of a node, which whoever may read the broker shares with it. It prints as `***`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeKey(pub String);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A node and when it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Which.
    pub tag: NodeTag,
    /// As it describes itself.
    pub card: NodeCard,
    /// How long ago it was heard of, milliseconds.
    pub silent_ms: u64,
}

/// A link to a broker. A failure of [`BrokerError::Away`] or [`BrokerError::Replaced`] means that the link is over.
pub trait Link: Send + Sync + 'static {
    /// Numbers events and hands them out, in this order, behind all that were sent before. Each that the node has sent
    /// already, by its count, is passed over. Answers one [`Placed`] an event, up to the first that failed: of what was
    /// sent behind that one over this link, nothing is done, or it could not be sent again.
    fn publish(
        &self,
        events: Vec<(Origin, Arc<Draft>)>,
    ) -> PortFuture<(Vec<Placed>, Result<(), BrokerError>)>;

    /// Does these, one after the other, behind all that were asked before. Answers one [`Outcome`] each.
    fn run(&self, errands: Vec<Errand>) -> PortFuture<Result<Vec<Outcome>, BrokerError>>;

    /// Hands out events of these rooms too: answers when it does.
    fn subscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>>;

    /// No longer hands them out.
    fn unsubscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>>;

    /// Hands out an [`Arrival::Mark`] to this node.
    fn mark(&self, number: u64) -> PortFuture<Result<(), BrokerError>>;

    /// Reads a part of the history.
    fn read(&self, query: Query) -> PortFuture<Result<Page, BrokerError>>;

    /// What these nodes have relayed, in their order. Who has seen what a node gave out while it could not reach the broker
    /// ([`Seen`](crate::logic::position::Seen)) may forget that once the node has relayed it, and he has got as far.
    fn relayed(&self, nodes: Vec<NodeTag>) -> PortFuture<Result<Vec<Relayed>, BrokerError>>;

    /// The members of a room, on all nodes that are alive.
    fn members(&self, room: RoomName) -> PortFuture<Result<Vec<Member>, BrokerError>>;

    /// At most `limit` rooms with members, by name, that begin with `prefix`, after `after`.
    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BrokerError>>;

    /// The nodes, dead ones for a while too.
    fn nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BrokerError>>;
}
