//! The bus of a node without Redis: everything under one lock.
//!
//! Number, history and hand-over happen under that lock, so that two threads cannot hand over 11 before 10. It is a
//! `std` mutex because nothing waits while it is held: a hand-over is a push to a mailbox.

use crate::{
    logic::{
        bus_log::{BusLog, Limits, Page, Published, Query},
        event::{Draft, Event, Receipt},
        position::Life,
        presence::{Card, Presence, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{self, Claimed, Kept, SessionRecord, Sessions},
    },
    messages::FromBus,
    peer::Ticket,
    ports::{Bus, BusError, BusGauges, Inlet, PortFuture, ShardId, WallClock, hand_over_event},
};
use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// See the module's description. Several nodes of one process may share one.
pub struct EmbeddedBus {
    life: Life,
    clock: WallClock,
    inner: Mutex<Inner>,
}

struct Inner {
    log: BusLog,
    presence: Presence,
    sessions: Sessions,
    inlets: BTreeMap<ShardId, Inlet>,
    wanted: HashMap<RoomName, Vec<ShardId>>,
}

impl EmbeddedBus {
    /// An empty bus that begins a life.
    pub fn new(life: Life, limits: Limits, sessions: sessions::Limits, clock: WallClock) -> Self {
        let inner = Inner {
            log: BusLog::new(life, limits),
            presence: Presence::default(),
            sessions: Sessions::new(sessions),
            inlets: BTreeMap::new(),
            wanted: HashMap::new(),
        };
        Self {
            life,
            clock,
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock is a bug in `BusLog`; its state is still the best there is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn want(&mut self, shard: ShardId, rooms: &[RoomName]) {
        for room in rooms {
            let shards = self.wanted.entry(room.clone()).or_default();
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        }
    }

    fn unwant(&mut self, shard: ShardId, rooms: &[RoomName]) {
        for room in rooms {
            if let Some(shards) = self.wanted.get_mut(room) {
                shards.retain(|other| *other != shard);
                if shards.is_empty() {
                    self.wanted.remove(room);
                }
            }
        }
    }

    fn unwant_all(&mut self, shard: ShardId) {
        self.wanted.retain(|_, shards| {
            shards.retain(|other| *other != shard);
            !shards.is_empty()
        });
    }

    /// Hands an event to every shard that wants one of its rooms, once each.
    fn hand_over(&self, event: &Arc<Event>) {
        let mut shards = event
            .places
            .iter()
            .filter_map(|place| self.wanted.get(&place.room));
        let Some(first) = shards.next() else { return };
        let give = |shard: &ShardId| {
            if let Some(inlet) = self.inlets.get(shard) {
                hand_over_event(inlet, event);
            }
        };
        first.iter().for_each(give);
        let mut given = None;
        for more in shards {
            let given = given.get_or_insert_with(|| first.clone());
            for shard in more {
                if !given.contains(shard) {
                    given.push(*shard);
                    give(shard);
                }
            }
        }
    }
}

fn done<T: Send + 'static>(value: T) -> PortFuture<Result<T, BusError>> {
    Box::pin(ready(Ok(value)))
}

impl Bus for EmbeddedBus {
    fn life(&self) -> Life {
        self.life
    }

    fn publish(&self, draft: Draft) -> PortFuture<Result<Receipt, BusError>> {
        let mut inner = self.lock();
        let Inner { log, presence, .. } = &mut *inner;
        let published = log.publish(draft, |room| presence.has_members(room));
        Box::pin(ready(match published {
            Published::New(event, receipt) => {
                inner.hand_over(&event);
                Ok(receipt)
            }
            Published::Repeated(receipt) => Ok(receipt),
            Published::IdReused => Err(BusError::IdReused),
        }))
    }

    fn read(&self, query: Query) -> PortFuture<Result<Page, BusError>> {
        let now = (self.clock)();
        done(self.lock().log.read(&query, now))
    }

    fn attach(&self, inlet: Inlet, rooms: Vec<RoomName>) -> PortFuture<Result<u64, BusError>> {
        let mut inner = self.lock();
        inner.unwant_all(inlet.shard);
        inner.want(inlet.shard, &rooms);
        inlet.behind.store(false, std::sync::atomic::Ordering::Relaxed);
        inner.inlets.insert(inlet.shard, inlet);
        done(inner.log.head())
    }

    fn detach(&self, shard: ShardId) {
        let mut inner = self.lock();
        inner.unwant_all(shard);
        inner.inlets.remove(&shard);
    }

    fn subscribe(&self, shard: ShardId, rooms: &[RoomName]) {
        let mut inner = self.lock();
        inner.want(shard, rooms);
        let at = inner.log.head();
        if let Some(inlet) = inner.inlets.get(&shard) {
            inlet.confirm(rooms, at);
        }
    }

    fn unsubscribe(&self, shard: ShardId, rooms: &[RoomName]) {
        self.lock().unwant(shard, rooms);
    }

    fn enter(&self, rooms: &[RoomName], card: &Arc<Card>) {
        let now = (self.clock)();
        let mut inner = self.lock();
        rooms
            .iter()
            .for_each(|room| inner.presence.enter(room, card, now));
    }

    fn exit(&self, rooms: &[RoomName], card: &Arc<Card>) {
        let mut inner = self.lock();
        rooms.iter().for_each(|room| inner.presence.exit(room, card));
    }

    fn keep_session(&self, secret: Secret, record: SessionRecord) -> PortFuture<Result<Kept, BusError>> {
        done(match self.lock().sessions.keep(secret, record) {
            true => Kept::ByAll,
            false => Kept::Superseded,
        })
    }

    fn claim_session(
        &self,
        secret: Secret,
        subject: Option<Arc<str>>,
    ) -> PortFuture<Result<Option<Claimed>, BusError>> {
        let mut inner = self.lock();
        let record = inner.sessions.claim(secret, subject.as_deref(), (self.clock)());
        if let Some(record) = &record {
            let (id, generation) = (record.id, record.generation);
            for inlet in inner.inlets.values() {
                // A shard that is too far behind to hear it is told when it keeps its sessions anew.
                inlet.hand_over(FromBus::TakenOver { id, generation });
            }
        }
        done(record.map(|record| Claimed {
            record,
            is_latest: true,
        }))
    }

    fn part_session(&self, ticket: Ticket, for_good: bool) {
        let now = (self.clock)();
        let Ticket { secret, generation } = ticket;
        self.lock().sessions.part(secret, generation, for_good, now);
    }

    fn members(&self, room: &RoomName) -> PortFuture<Result<Vec<Member>, BusError>> {
        done(self.lock().presence.members(room))
    }

    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BusError>> {
        done(self.lock().presence.rooms(&prefix, after.as_deref(), limit))
    }

    fn tend(&self) {
        let now = (self.clock)();
        let mut inner = self.lock();
        inner.log.tend(now);
        inner.sessions.tend(now);
    }

    fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    fn gauges(&self) -> BusGauges {
        let inner = self.lock();
        let (bytes, events) = inner.log.size();
        BusGauges {
            head: inner.log.head(),
            events,
            bytes,
            rooms: inner.log.rooms(),
            remembered_bytes: inner.log.remembered_bytes() + inner.sessions.bytes(),
        }
    }
}
