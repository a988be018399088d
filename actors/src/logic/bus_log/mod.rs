//! The embedded bus's memory: the one sequence, each room's bounded history, and who published which id.

mod pages;
mod reading;

use super::{
    event::{Draft, Event, EventId, Origin, Place, Receipt},
    position::Life,
    room_name::RoomName,
};
pub use pages::{Gap, Page, Query};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// How much is kept, and for how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events kept a room.
    pub history_events: usize,
    /// How long an event is kept, milliseconds.
    pub history_ms: i64,
    /// What all histories together may cost, bytes; beyond it the rooms used longest ago lose theirs.
    pub history_bytes: usize,
    /// Rooms whose last sequence is remembered though their history is gone.
    pub remembered_rooms: usize,
    /// How long a publisher's own id is remembered, milliseconds.
    pub ids_ms: i64,
    /// How many such ids are remembered.
    pub ids_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_events: 1_000,
            history_ms: 600_000,
            history_bytes: 256 << 20,
            remembered_rooms: 100_000,
            ids_ms: 600_000,
            ids_max: 100_000,
        }
    }
}

/// What publishing did.
#[derive(Debug)]
pub enum Published {
    /// A new event.
    New(Arc<Event>, Receipt),
    /// The same as an earlier one: nothing was published.
    Repeated(Receipt),
    /// The id was used before with other content.
    IdReused,
}

#[derive(Clone, Default)]
struct RoomLog {
    kept: VecDeque<Kept>,
    last_seq: u64,
    last_offset: u64,
    used: u64,
}

#[derive(Clone)]
struct Kept {
    prev: u64,
    event: Arc<Event>,
}

#[derive(Clone)]
struct KnownId {
    digest: u64,
    receipt: Receipt,
}

type IdKey = (Option<Arc<str>>, EventId);

/// See the module's description.
#[derive(Clone)]
pub struct BusLog {
    limits: Limits,
    life: Life,
    seq: u64,
    bytes: usize,
    clock: u64,
    rooms: HashMap<RoomName, RoomLog>,
    /// All rooms, the one used longest ago first.
    by_use: BTreeMap<u64, RoomName>,
    /// Those of them that keep at least one event.
    holding: BTreeMap<u64, RoomName>,
    /// Every kept event in order of age; entries that count or memory evicted earlier are skipped.
    ages: VecDeque<(i64, u64, RoomName)>,
    kept: usize,
    /// Nothing is known of forgotten rooms up to here.
    forgotten: u64,
    ids: HashMap<IdKey, KnownId>,
    id_ages: VecDeque<(i64, IdKey)>,
    ids_bytes: usize,
}

/// What a remembered room costs beside its history, bytes, about: its name and its places in four tables.
const ROOM_BYTES: usize = 400;
/// What a remembered id costs beside its texts, bytes, about: its places in two tables.
const ID_BYTES: usize = 200;

/// What remembering an id costs, bytes.
fn cost_of((_, id): &IdKey, receipt: &Receipt) -> usize {
    ID_BYTES + id.as_str().len() + receipt.offsets.len() * size_of::<(RoomName, u64)>()
}

impl BusLog {
    /// An empty log that begins a life.
    pub fn new(life: Life, limits: Limits) -> Self {
        Self {
            limits,
            life,
            seq: 0,
            bytes: 0,
            clock: 0,
            rooms: HashMap::new(),
            by_use: BTreeMap::new(),
            holding: BTreeMap::new(),
            ages: VecDeque::new(),
            kept: 0,
            forgotten: 0,
            ids: HashMap::new(),
            id_ages: VecDeque::new(),
            ids_bytes: 0,
        }
    }

    /// The life of this history.
    pub fn life(&self) -> Life {
        self.life
    }

    /// The last sequence number given out.
    pub fn head(&self) -> u64 {
        self.seq
    }

    /// What the histories cost now, bytes, and how many events they hold.
    pub fn size(&self) -> (usize, usize) {
        (self.bytes, self.kept)
    }

    /// What is remembered beside the histories, bytes, about: rooms and ids.
    pub fn remembered_bytes(&self) -> usize {
        self.rooms.len() * ROOM_BYTES + self.ids_bytes
    }

    /// Goes on from there: numbers up to it may have been given out by somebody who is no more.
    #[cfg(any(test, feature = "testing"))]
    pub fn leap(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    /// How many rooms are remembered.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The last sequence of a room, 0 if it has had no event that is remembered.
    pub fn last_seq(&self, room: &RoomName) -> u64 {
        self.rooms.get(room).map_or(0, |log| log.last_seq)
    }

    /// Numbers an event and keeps it. `keep` says of a room that it must not be forgotten (it has members).
    pub fn publish(&mut self, draft: Draft, keep: impl Fn(&RoomName) -> bool) -> Published {
        self.publish_from(draft, None, keep)
    }

    /// The same, accepted by some node.
    pub fn publish_from(
        &mut self,
        draft: Draft,
        origin: Option<Origin>,
        keep: impl Fn(&RoomName) -> bool,
    ) -> Published {
        let now = draft.ts_ms;
        self.tend(now);
        let key = draft
            .id_chosen
            .then(|| (draft.publisher.clone(), draft.id.clone()));
        let digest = if key.is_some() { draft.digest() } else { 0 };
        if let Some(known) = key.as_ref().and_then(|key| self.ids.get(key)) {
            return if known.digest == digest {
                Published::Repeated(Receipt {
                    repeated: true,
                    ..known.receipt.clone()
                })
            } else {
                Published::IdReused
            };
        }
        self.seq += 1;
        let places: Box<[Place]> = draft.rooms.iter().map(|room| self.place(room)).collect();
        let offsets = places
            .iter()
            .map(|place| (place.room.clone(), place.offset))
            .collect();
        let receipt = Receipt {
            id: draft.id.clone(),
            offsets,
            repeated: false,
            local: false,
        };
        let event = Event::new(draft, self.life, self.seq, places);
        let event = Arc::new(match origin {
            Some(origin) => event.from_node(origin),
            None => event,
        });
        self.keep(&event);
        if let Some(key) = key {
            self.ids_bytes += cost_of(&key, &receipt);
            self.id_ages.push_back((now, key.clone()));
            self.ids.insert(
                key,
                KnownId {
                    digest,
                    receipt: receipt.clone(),
                },
            );
        }
        self.make_room(&keep);
        Published::New(event, receipt)
    }

    /// The next place in a room.
    fn place(&mut self, room: &RoomName) -> Place {
        self.touch(room);
        let seq = self.seq;
        let log = self.rooms.entry(room.clone()).or_default();
        // A room that was forgotten may have had events: the gap must be told from an empty history.
        let prev = if log.last_seq == 0 {
            self.forgotten
        } else {
            log.last_seq
        };
        log.last_seq = seq;
        log.last_offset += 1;
        Place {
            room: room.clone(),
            offset: log.last_offset,
            prev,
        }
    }

    fn touch(&mut self, room: &RoomName) {
        self.clock += 1;
        let log = self.rooms.entry(room.clone()).or_default();
        let before = std::mem::replace(&mut log.used, self.clock);
        self.by_use.remove(&before);
        self.by_use.insert(self.clock, room.clone());
        if self.holding.remove(&before).is_some() {
            self.holding.insert(self.clock, room.clone());
        }
    }

    fn keep(&mut self, event: &Arc<Event>) {
        let cost = event.cost();
        for place in &event.places {
            let Some(log) = self.rooms.get_mut(&place.room) else {
                continue;
            };
            log.kept.push_back(Kept {
                prev: place.prev,
                event: event.clone(),
            });
            self.holding.insert(log.used, place.room.clone());
            self.kept += 1;
            self.bytes += cost;
            self.ages.push_back((event.ts_ms, event.seq, place.room.clone()));
            if log.kept.len() > self.limits.history_events {
                self.drop_oldest(&place.room.clone());
            }
        }
        if self.ages.len() > 2 * self.kept + 1_024 {
            let rooms = &self.rooms;
            let live = |seq: u64, room: &RoomName| {
                rooms
                    .get(room)
                    .and_then(|log| log.kept.front())
                    .is_some_and(|first| first.event.seq <= seq)
            };
            self.ages.retain(|(_, seq, room)| live(*seq, room));
        }
    }

    fn drop_oldest(&mut self, room: &RoomName) -> bool {
        let Some(log) = self.rooms.get_mut(room) else {
            return false;
        };
        let Some(gone) = log.kept.pop_front() else {
            return false;
        };
        if log.kept.is_empty() {
            self.holding.remove(&log.used);
        }
        self.kept -= 1;
        self.bytes -= gone.event.cost();
        true
    }

    /// Drops what is too old. Cheap when nothing is.
    pub fn tend(&mut self, now: i64) {
        let oldest = now - self.limits.history_ms;
        while self.ages.front().is_some_and(|(ts, ..)| *ts < oldest) {
            let Some((_, seq, room)) = self.ages.pop_front() else {
                break;
            };
            let front = self.rooms.get(&room).and_then(|log| log.kept.front());
            if front.is_some_and(|first| first.event.seq <= seq) {
                self.drop_oldest(&room);
            }
        }
        let oldest = now - self.limits.ids_ms;
        let full = |log: &Self| log.id_ages.len() > log.limits.ids_max;
        while full(self) || self.id_ages.front().is_some_and(|(ts, _)| *ts < oldest) {
            let Some((_, key)) = self.id_ages.pop_front() else {
                break;
            };
            if let Some(known) = self.ids.remove(&key) {
                self.ids_bytes -= cost_of(&key, &known.receipt);
            }
        }
    }

    /// Evicts histories of the rooms used longest ago, and forgets rooms beyond the limit.
    fn make_room(&mut self, keep: &impl Fn(&RoomName) -> bool) {
        while self.bytes > self.limits.history_bytes {
            let Some((_, victim)) = self.holding.first_key_value() else {
                break;
            };
            let victim = victim.clone();
            while self.bytes > self.limits.history_bytes && self.drop_oldest(&victim) {}
        }
        // Bounded look-ahead: rooms with members are passed over, and tried again at the next publish.
        let surplus = self.rooms.len().saturating_sub(self.limits.remembered_rooms);
        if surplus > 0 {
            let idle = self
                .by_use
                .iter()
                .take(surplus + 64)
                .filter(|(_, room)| !keep(room))
                .take(surplus);
            let gone: Vec<_> = idle.map(|(used, room)| (*used, room.clone())).collect();
            for (used, room) in gone {
                self.forget(used, &room);
            }
        }
    }

    fn forget(&mut self, used: u64, room: &RoomName) {
        while self.drop_oldest(room) {}
        self.by_use.remove(&used);
        if let Some(log) = self.rooms.remove(room) {
            self.forgotten = self.forgotten.max(log.last_seq);
        }
    }
}

#[cfg(test)]
mod tests;
