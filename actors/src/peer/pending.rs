//! What a connection asked and is not carried out yet.

use crate::{
    logic::{
        event::{Draft, Receipt},
        position::Position,
        protocol::Rooms,
        room_name::RoomName,
    },
    ports::BusError,
    room_registry::Restoring,
};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

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
