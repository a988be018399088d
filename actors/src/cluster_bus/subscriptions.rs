//! Which shard wants which rooms, and what the link has been told of that.
//!
//! A room is *live* once the link hands out its events and a mark that was set afterwards has come: from that mark's
//! number on, nothing of the room is missing. Whoever asks for rooms is answered when all of them are live.

use crate::{
    logic::{event::Event, room_name::RoomName},
    messages::FromBus,
    ports::{Inlet, ShardId},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::oneshot;

/// What the link is to be told next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Subscribe(Vec<RoomName>),
    Unsubscribe(Vec<RoomName>),
}

/// A shard.
struct Seat {
    inlet: Inlet,
    /// It has attached since the link is up: it is handed what the broker hands out.
    is_live: bool,
}

/// Who is told when all of some rooms are live.
enum Ask {
    /// A shard that is to be confirmed these rooms.
    Confirm(ShardId, u64, Vec<RoomName>),
    /// A shard that is to be seated.
    Seat(Inlet, Vec<RoomName>, oneshot::Sender<u64>),
}

/// How a room stands with the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnLink {
    /// The link does not hand it out.
    Off,
    /// The link was told to.
    Asked,
    /// It does, and with this mark the room becomes live.
    Marked(u64),
    Live,
}

struct Room {
    shards: Vec<ShardId>,
    link: OnLink,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct Subscriptions {
    seats: BTreeMap<ShardId, Seat>,
    /// Rooms that somebody wants, or that the link hands out.
    rooms: HashMap<RoomName, Room>,
    asks: Vec<Ask>,
    /// Rooms of which the link may have to be told something. It is looked at how they stand when it is their turn, so
    /// whoever comes and goes costs nothing.
    changed: VecDeque<RoomName>,
    /// Marks that are on their way, and the rooms that become live with them.
    marking: VecDeque<(u64, Vec<RoomName>)>,
    /// Marks that were set.
    marks: u64,
    /// Whether there is a link.
    is_up: bool,
}

impl Subscriptions {
    fn want(&mut self, shard: ShardId, rooms: &[RoomName]) {
        for name in rooms {
            let room = self.rooms.entry(name.clone()).or_insert_with(|| Room {
                shards: Vec::new(),
                link: OnLink::Off,
            });
            if !room.shards.contains(&shard) {
                room.shards.push(shard);
            }
            if self.is_up && room.link == OnLink::Off {
                self.changed.push_back(name.clone());
            }
        }
    }

    fn unwant(&mut self, shard: ShardId, rooms: &[RoomName]) {
        for name in rooms {
            let Some(room) = self.rooms.get_mut(name) else {
                continue;
            };
            room.shards.retain(|other| *other != shard);
            if room.shards.is_empty() {
                if room.link == OnLink::Off {
                    self.rooms.remove(name);
                } else {
                    self.changed.push_back(name.clone());
                }
            }
        }
    }

    /// A shard wants no other rooms than these, which are sorted.
    fn unwant_others(&mut self, shard: ShardId, but: &[RoomName]) {
        let is_other = |name: &RoomName| but.binary_search(name).is_err();
        let others = self
            .rooms
            .iter()
            .filter(|(name, room)| room.shards.contains(&shard) && is_other(name));
        let mut others: Vec<RoomName> = others.map(|(name, _)| name.clone()).collect();
        others.sort_unstable();
        self.unwant(shard, &others);
    }

    fn are_live(&self, rooms: &[RoomName]) -> bool {
        // A room that is no longer wanted keeps nobody waiting.
        let is_live = |room: &Room| room.shards.is_empty() || room.link == OnLink::Live;
        let mut rooms = rooms.iter();
        !self.is_up || rooms.all(|name| self.rooms.get(name).is_none_or(is_live))
    }

    /// A shard is there, and wants exactly these rooms. It is told the number from which on all is handed over.
    pub fn attach(&mut self, inlet: Inlet, mut rooms: Vec<RoomName>, applied: u64) -> oneshot::Receiver<u64> {
        let (answer, answered) = oneshot::channel();
        let shard = inlet.shard;
        self.asks.retain(|ask| match ask {
            Ask::Confirm(other, ..) => *other != shard,
            Ask::Seat(other, ..) => other.shard != shard,
        });
        rooms.sort_unstable();
        self.want(shard, &rooms);
        self.unwant_others(shard, &rooms);
        self.asks.push(Ask::Seat(inlet, rooms, answer));
        self.settle(applied);
        answered
    }

    pub fn detach(&mut self, shard: ShardId) {
        self.seats.remove(&shard);
        self.unwant_others(shard, &[]);
    }

    pub fn subscribe(&mut self, shard: ShardId, rooms: &[RoomName], applied: u64) {
        self.want(shard, rooms);
        let Some(seat) = self.seats.get(&shard) else {
            return;
        };
        let attachment = seat.inlet.attachment;
        // Each room as soon as it is live: the others need not wait for it.
        let (live, rest): (Vec<RoomName>, Vec<RoomName>) = rooms
            .iter()
            .cloned()
            .partition(|room| self.are_live(std::slice::from_ref(room)));
        if !live.is_empty() {
            seat.inlet.confirm(&live, applied);
        }
        if !rest.is_empty() {
            self.asks.push(Ask::Confirm(shard, attachment, rest));
        }
    }

    pub fn unsubscribe(&mut self, shard: ShardId, rooms: &[RoomName]) {
        self.unwant(shard, rooms);
    }

    /// Answers those whose rooms are live.
    fn settle(&mut self, applied: u64) {
        let mut left = Vec::new();
        for ask in std::mem::take(&mut self.asks) {
            match ask {
                Ask::Confirm(shard, attachment, rooms) if self.are_live(&rooms) => {
                    let seat = self.seats.get(&shard);
                    if let Some(seat) = seat.filter(|seat| seat.inlet.attachment == attachment) {
                        seat.inlet.confirm(&rooms, applied);
                    }
                }
                Ask::Seat(inlet, rooms, answer) if self.are_live(&rooms) => {
                    if answer.send(applied).is_ok() {
                        inlet.behind.store(false, Ordering::Relaxed);
                        let is_live = self.is_up;
                        self.seats.insert(inlet.shard, Seat { inlet, is_live });
                    }
                }
                ask => left.push(ask),
            }
        }
        self.asks = left;
    }

    /// Whether the link is to be told to hand out a room, or not to; `None` where it stands as it should.
    fn order_for(&self, name: &RoomName) -> Option<bool> {
        let room = self.rooms.get(name)?;
        match (room.shards.is_empty(), room.link) {
            (false, OnLink::Off) => Some(true),
            (true, OnLink::Asked | OnLink::Marked(_) | OnLink::Live) => Some(false),
            _ => None,
        }
    }

    /// The next thing to tell the link, at most so many rooms at once. To be asked once it has done the one before.
    pub fn next_order(&mut self, rooms_max: usize) -> Option<Order> {
        let (mut subscribes, mut rooms) = (None, Vec::new());
        while rooms.len() < rooms_max
            && let Some(name) = self.changed.front()
        {
            let order = self.order_for(name);
            if order.is_some() && subscribes.is_some() && order != subscribes {
                break;
            }
            let Some(name) = self.changed.pop_front() else {
                break;
            };
            match order {
                Some(true) => {
                    if let Some(room) = self.rooms.get_mut(&name) {
                        room.link = OnLink::Asked;
                    }
                }
                // Nobody wants it, and once this is done the link has nothing of it.
                Some(false) => drop(self.rooms.remove(&name)),
                None => continue,
            }
            subscribes = order;
            rooms.push(name);
        }
        Some(if subscribes? {
            Order::Subscribe(rooms)
        } else {
            Order::Unsubscribe(rooms)
        })
    }

    /// The link hands out these rooms. Returns the mark to be set.
    pub fn subscribed(&mut self, rooms: Vec<RoomName>) -> u64 {
        self.marks += 1;
        for name in &rooms {
            if let Some(room) = self.rooms.get_mut(name)
                && room.link == OnLink::Asked
            {
                room.link = OnLink::Marked(self.marks);
            }
        }
        self.marking.push_back((self.marks, rooms));
        self.marks
    }

    /// A mark that only asks for a sign of life.
    pub fn next_mark(&mut self) -> u64 {
        self.marks += 1;
        self.marks
    }

    /// A mark has come.
    pub fn marked(&mut self, number: u64, applied: u64) {
        let mut news = false;
        while let Some((mark, rooms)) = self.marking.pop_front_if(|(mark, _)| *mark <= number) {
            for name in &rooms {
                if let Some(room) = self.rooms.get_mut(name)
                    && room.link == OnLink::Marked(mark)
                {
                    room.link = OnLink::Live;
                    news = true;
                }
            }
        }
        if news {
            self.settle(applied);
        }
    }

    /// Every room that is wanted, to be told to a new link.
    pub fn all_rooms(&self) -> Vec<RoomName> {
        let mut all: Vec<RoomName> = self.rooms.keys().cloned().collect();
        all.sort_unstable();
        all
    }

    /// There is a link, and it hands out these rooms: every shard is to attach.
    pub fn go_up(&mut self, rooms: &[RoomName]) {
        self.is_up = true;
        for name in rooms {
            let shards = Vec::new();
            let link = OnLink::Live;
            let room = self.rooms.entry(name.clone());
            room.or_insert(Room { shards, link }).link = link;
        }
        // Some are wanted only since the link was told, and others no longer.
        self.changed = self.all_rooms().into();
        self.changed.retain(|name| {
            let room = self.rooms.get(name);
            room.is_some_and(|room| room.shards.is_empty() || room.link == OnLink::Off)
        });
        for seat in self.seats.values_mut() {
            seat.is_live = false;
            seat.inlet.hand_over(FromBus::AttachAgain);
        }
    }

    /// There is no link any more: who waits for it goes on without.
    pub fn go_down(&mut self, applied: u64) {
        self.is_up = false;
        self.changed.clear();
        self.marking.clear();
        self.rooms.retain(|_, room| {
            room.link = OnLink::Off;
            !room.shards.is_empty()
        });
        for seat in self.seats.values_mut() {
            let upto = seat.is_live.then_some(applied);
            seat.is_live = false;
            seat.inlet.hand_over(FromBus::BrokerAway { upto });
        }
        self.settle(applied);
    }

    /// Hands an event to every shard that wants one of its rooms, once each.
    pub fn hand_over(&self, event: &Arc<Event>) {
        let is_local = event.local_from.is_some();
        let mut given: Vec<ShardId> = Vec::new();
        for place in &event.places {
            let Some(room) = self.rooms.get(&place.room) else {
                continue;
            };
            for shard in &room.shards {
                if event.places.len() > 1 {
                    if given.contains(shard) {
                        continue;
                    }
                    given.push(*shard);
                }
                if let Some(seat) = self.seats.get(shard)
                    && (seat.is_live || is_local)
                {
                    seat.inlet.hand_over(FromBus::Event(event.clone()));
                }
            }
        }
    }

    /// Tells every shard something.
    pub fn tell(&self, message: &FromBus) {
        self.seats
            .values()
            .for_each(|seat| seat.inlet.hand_over(message.clone()));
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
