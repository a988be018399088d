//! What is asked of the history, and the answer.

use super::super::{event::Event, room_name::RoomName};
use std::sync::Arc;

/// What somebody wants from the history: everything after a point, of several rooms, in sequence order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// The rooms, each with the sequence up to which its events are not wanted (where the reader joined it).
    pub rooms: Vec<(RoomName, u64)>,
    /// Only events after this sequence.
    pub after: u64,
    /// The point from which on nothing may be missing for the page to be whole.
    pub whole_from: u64,
    /// Rooms of which the reader knows that something is missing, up to these: of them nothing may be missing after that.
    pub gaps: Vec<Gap>,
    /// Single events at or before `whole_from` that must be there for the page to be whole.
    pub must: Vec<u64>,
    /// Most events in a page.
    pub events_max: usize,
    /// Most bytes (payloads) in a page; one event always fits.
    pub bytes_max: usize,
}

/// Of a room something is missing up to a sequence.
pub type Gap = (RoomName, u64);

impl Query {
    /// The same question as whoever wants the same would ask it: where a reader joined a room makes no difference where he
    /// has had what came before, and needs nothing of it.
    pub fn plain(mut self) -> Self {
        if self.must.is_empty() {
            let had = self.after.min(self.whole_from);
            for (_, joined_at) in &mut self.rooms {
                *joined_at = had.max(*joined_at);
            }
        }
        self
    }

    /// Each room with the point from which on nothing of it may be missing.
    pub fn whole_from(&self) -> impl Iterator<Item = (&RoomName, u64)> {
        let known = |room: &RoomName| self.gaps.iter().find(|(gap, _)| gap == room);
        self.rooms.iter().map(move |(room, joined_at)| {
            let from = self.whole_from.max(*joined_at);
            (room, known(room).map_or(from, |(_, upto)| from.max(*upto)))
        })
    }
}

/// A part of the history.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, by sequence, each once.
    pub events: Vec<Arc<Event>>,
    /// Everything of these rooms up to here has been given: the head of the bus if `more` is false.
    pub upto: u64,
    /// The last sequence of the bus when this was read.
    pub head: u64,
    /// Whether there is more after `upto`.
    pub more: bool,
    /// Whether nothing that was asked for has been lost.
    pub whole: bool,
    /// Rooms of which something has been lost that was asked for.
    pub gaps: Vec<Gap>,
}

/// What reading a page costs beside its payloads, as if it were bytes: to begin with, and to look at each room.
const PAGE_COSTS: usize = 4 << 10;
const ROOM_COSTS: usize = 1 << 10;

impl Page {
    /// What it has cost to read it from so many rooms, bytes: so that who reads nothing again and again pays too.
    pub fn cost(&self, rooms: usize) -> usize {
        let payloads = self.events.iter().map(|event| event.payload.json().len());
        PAGE_COSTS + rooms * ROOM_COSTS + payloads.sum::<usize>()
    }
}
