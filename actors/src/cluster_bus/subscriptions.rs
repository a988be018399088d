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

struct Want {
    shards: Vec<ShardId>,
    /// The mark with which it becomes live: none yet where the link has not answered. `Some(0)`: it is live.
    mark: Option<u64>,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct Subscriptions {
    seats: BTreeMap<ShardId, Seat>,
    wanted: HashMap<RoomName, Want>,
    asks: Vec<Ask>,
    orders: VecDeque<(bool, RoomName)>,
    /// Marks that were set.
    marks: u64,
    /// Whether there is a link.
    is_up: bool,
}

/// Of a room that is live.
const LIVE: Option<u64> = Some(0);

impl Subscriptions {
    fn want(&mut self, shard: ShardId, rooms: &[RoomName]) {
        for room in rooms {
            let is_up = self.is_up;
            let orders = &mut self.orders;
            let want = self.wanted.entry(room.clone()).or_insert_with(|| {
                if is_up {
                    orders.push_back((true, room.clone()));
                }
                Want {
                    shards: Vec::new(),
                    mark: None,
                }
            });
            if !want.shards.contains(&shard) {
                want.shards.push(shard);
            }
        }
    }

    fn unwant(&mut self, shard: ShardId, rooms: &[RoomName]) {
        for room in rooms {
            if let Some(want) = self.wanted.get_mut(room) {
                want.shards.retain(|other| *other != shard);
                if want.shards.is_empty() {
                    self.give_up(room);
                }
            }
        }
    }

    fn give_up(&mut self, room: &RoomName) {
        self.wanted.remove(room);
        if self.is_up {
            self.orders.push_back((false, room.clone()));
        }
    }

    fn unwant_all(&mut self, shard: ShardId, but: &[RoomName]) {
        let mut gone = Vec::new();
        for (room, want) in &mut self.wanted {
            if !but.contains(room) {
                want.shards.retain(|other| *other != shard);
                if want.shards.is_empty() {
                    gone.push(room.clone());
                }
            }
        }
        gone.iter().for_each(|room| self.give_up(room));
    }

    fn are_live(&self, rooms: &[RoomName]) -> bool {
        // A room that is no longer wanted keeps nobody waiting.
        let is_live = |room| self.wanted.get(room).is_none_or(|want| want.mark == LIVE);
        !self.is_up || rooms.iter().all(is_live)
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
        self.unwant_sorted(shard, &rooms);
        self.asks.push(Ask::Seat(inlet, rooms, answer));
        self.settle(applied);
        answered
    }

    /// The same as `unwant_all`, for many rooms.
    fn unwant_sorted(&mut self, shard: ShardId, but: &[RoomName]) {
        let is_other = |room: &RoomName| but.binary_search(room).is_err();
        let others = self
            .wanted
            .iter()
            .filter(|(room, want)| want.shards.contains(&shard) && is_other(room));
        let others: Vec<RoomName> = others.map(|(room, _)| room.clone()).collect();
        self.unwant(shard, &others);
    }

    pub fn detach(&mut self, shard: ShardId) {
        self.seats.remove(&shard);
        self.unwant_all(shard, &[]);
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

    /// The next thing to tell the link, at most so many rooms at once.
    pub fn next_order(&mut self, rooms_max: usize) -> Option<Order> {
        let (subscribes, first) = self.orders.pop_front()?;
        let mut rooms = vec![first];
        while rooms.len() < rooms_max && self.orders.front().is_some_and(|(next, _)| *next == subscribes) {
            rooms.extend(self.orders.pop_front().map(|(_, room)| room));
        }
        Some(if subscribes {
            Order::Subscribe(rooms)
        } else {
            Order::Unsubscribe(rooms)
        })
    }

    /// The link hands out these rooms. Returns the mark to be set.
    pub fn subscribed(&mut self, rooms: &[RoomName]) -> u64 {
        self.marks += 1;
        for room in rooms {
            if let Some(want) = self.wanted.get_mut(room)
                && want.mark.is_none()
            {
                want.mark = Some(self.marks);
            }
        }
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
        for want in self.wanted.values_mut() {
            if want.mark.is_some_and(|mark| mark != 0 && mark <= number) {
                want.mark = LIVE;
                news = true;
            }
        }
        if news {
            self.settle(applied);
        }
    }

    /// Every room that is wanted, to be told to a new link.
    pub fn all_rooms(&self) -> Vec<RoomName> {
        self.wanted.keys().cloned().collect()
    }

    /// There is a link, and it hands out these rooms: every shard is to attach.
    pub fn go_up(&mut self, rooms: &[RoomName]) {
        self.is_up = true;
        self.orders.clear();
        let live: std::collections::HashSet<&RoomName> = rooms.iter().collect();
        for (room, want) in &mut self.wanted {
            if live.contains(room) {
                want.mark = LIVE;
            } else {
                want.mark = None;
                self.orders.push_back((true, room.clone()));
            }
        }
        // Nobody wants these any more.
        let gone = rooms.iter().filter(|room| !self.wanted.contains_key(*room));
        self.orders.extend(gone.map(|room| (false, room.clone())));
        for seat in self.seats.values_mut() {
            seat.is_live = false;
            seat.inlet.hand_over(FromBus::AttachAgain);
        }
    }

    /// There is no link any more: who waits for it goes on without.
    pub fn go_down(&mut self, applied: u64) {
        self.is_up = false;
        self.orders.clear();
        self.wanted.values_mut().for_each(|want| want.mark = None);
        for seat in self.seats.values_mut() {
            seat.is_live = false;
            seat.inlet.hand_over(FromBus::BrokerAway);
        }
        self.settle(applied);
    }

    /// Hands an event to every shard that wants one of its rooms, once each.
    pub fn hand_over(&self, event: &Arc<Event>) {
        let is_local = event.local_from.is_some();
        let mut given: Vec<ShardId> = Vec::new();
        for place in &event.places {
            let Some(want) = self.wanted.get(&place.room) else {
                continue;
            };
            for shard in &want.shards {
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
