//! A bus whose answers take their time, as those of a bus beyond a network do, and that keeps a record.

use crate::{
    logic::{
        bus_log::{Page, Query},
        event::{Draft, Receipt},
        position::Life,
        presence::{Card, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{Claimed, Kept, SessionRecord},
    },
    peer::Ticket,
    ports::{Bus, BusError, BusGauges, Inlet, PortFuture, ShardId},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// Who wants to be handed what.
type Subscriptions = Vec<(ShardId, Vec<RoomName>)>;

/// See the module's description. What a call does, it does at once; only the answer comes later.
pub struct SlowBus {
    inner: Mutex<Arc<dyn Bus>>,
    answers_after: Duration,
    away: AtomicBool,
    accepted: Mutex<Vec<(u64, Draft)>>,
    /// What somebody publishes just when a shard next writes down where a client is.
    meanwhile: Mutex<Vec<Draft>>,
    /// What was subscribed to since confirmations are held back.
    held: Mutex<Option<Subscriptions>>,
}

impl SlowBus {
    /// A bus like `inner`, whose answers come later.
    pub fn new(inner: Arc<dyn Bus>, answers_after: Duration) -> Self {
        Self {
            inner: Mutex::new(inner),
            answers_after,
            away: AtomicBool::new(false),
            accepted: Mutex::default(),
            meanwhile: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// From now on it is like another one: it has lost its history, and begins a new life.
    pub fn begin_anew(&self, inner: Arc<dyn Bus>) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = inner;
    }

    fn inner(&self) -> Arc<dyn Bus> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// While it is away, the history cannot be read and nobody can attach.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// When a shard next writes down where a client is, these are published before it goes on: by another thread, as it
    /// were.
    pub fn publish_meanwhile(&self, drafts: Vec<Draft>) {
        *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = drafts;
    }

    /// From now on nothing that is subscribed to is confirmed, but by an attachment.
    pub fn hold_subscriptions(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// Confirms what was held back, and all that comes.
    pub fn release_subscriptions(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (shard, rooms) in held.unwrap_or_default() {
            self.inner().subscribe(shard, &rooms);
        }
    }

    /// What was accepted since the last time, with its sequence: only publishing moves the head.
    pub fn accepted(&self) -> Vec<(u64, Draft)> {
        std::mem::take(&mut *self.accepted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn later<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&dyn Bus) -> PortFuture<Result<T, BusError>>,
    ) -> PortFuture<Result<T, BusError>> {
        if self.away.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(BusError::Away("by the test".into()))));
        }
        let (answer, after) = (answer(&*self.inner()), self.answers_after);
        Box::pin(async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            answer.await
        })
    }
}

impl Bus for SlowBus {
    fn life(&self) -> Life {
        self.inner().life()
    }

    fn publish(&self, draft: Draft) -> PortFuture<Result<Receipt, BusError>> {
        self.later(|bus| {
            let head = bus.gauges().head;
            let answer = bus.publish(draft.clone());
            if bus.gauges().head > head {
                let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
                accepted.push((head + 1, draft));
            }
            answer
        })
    }

    fn read(&self, query: Query) -> PortFuture<Result<Page, BusError>> {
        self.later(|bus| bus.read(query))
    }

    fn attach(&self, inlet: Inlet, rooms: Vec<RoomName>) -> PortFuture<Result<u64, BusError>> {
        self.later(|bus| bus.attach(inlet, rooms))
    }

    fn detach(&self, shard: ShardId) {
        self.inner().detach(shard);
    }

    fn subscribe(&self, shard: ShardId, rooms: &[RoomName]) {
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.push((shard, rooms.to_vec())),
            None => self.inner().subscribe(shard, rooms),
        }
    }

    fn unsubscribe(&self, shard: ShardId, rooms: &[RoomName]) {
        self.inner().unsubscribe(shard, rooms);
    }

    fn enter(&self, rooms: &[RoomName], card: &Arc<Card>) {
        self.inner().enter(rooms, card);
    }

    fn exit(&self, rooms: &[RoomName], card: &Arc<Card>) {
        self.inner().exit(rooms, card);
    }

    fn keep_session(&self, secret: Secret, record: SessionRecord) -> PortFuture<Result<Kept, BusError>> {
        for draft in std::mem::take(&mut *self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner)) {
            drop(self.inner().publish(draft));
        }
        // A node remembers what it could not write, so this one is never away.
        let (answer, after) = (self.inner().keep_session(secret, record), self.answers_after);
        if after.is_zero() {
            return answer;
        }
        Box::pin(async move {
            sleep(after).await;
            answer.await
        })
    }

    fn claim_session(
        &self,
        secret: Secret,
        subject: Option<Arc<str>>,
    ) -> PortFuture<Result<Option<Claimed>, BusError>> {
        self.later(|bus| bus.claim_session(secret, subject))
    }

    fn part_session(&self, ticket: Ticket, for_good: bool) {
        self.inner().part_session(ticket, for_good);
    }

    fn members(&self, room: &RoomName) -> PortFuture<Result<Vec<Member>, BusError>> {
        self.inner().members(room)
    }

    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BusError>> {
        self.inner().rooms(prefix, after, limit)
    }

    fn tend(&self) {
        self.inner().tend();
    }

    fn now_ms(&self) -> i64 {
        self.inner().now_ms()
    }

    fn gauges(&self) -> BusGauges {
        self.inner().gauges()
    }
}
