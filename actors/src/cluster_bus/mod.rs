//! A bus of many nodes, made of a broker that they share.
//!
//! The broker numbers events; what it hands out reaches this node in the order of the numbers, over one link, and is given
//! to the shards under one lock, as the embedded bus does. While the link is up, everything is asked of the broker. While
//! it is down, the node goes on by itself (`OnOutage::Local`): events get places among those of this outage, are given to
//! the node's own connections, and wait in the outbox until the broker is back.
//!
//! [`ClusterBus::run`] is its life: the bridge drives it, and drives it anew when a link has ended.

mod clients;
mod outbox;
mod publishing;
mod reads;
mod run;
mod state;
mod subscriptions;

use crate::{
    broker::{Broker, BrokerError, Errand, NodeCard, NodeRow, Outcome},
    logic::{
        bus_log::{Page, Query},
        event::{Draft, Event, NodeTag, Receipt},
        position::{Life, Seen},
        presence::{Card, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{self, Claimed, Kept, SessionRecord},
    },
    messages::Accepted,
    peer::Ticket,
    ports::{Bus, BusError, BusGauges, BusState, Inlet, PortFuture, ShardId, WallClock},
};
use actix::Recipient;
use futures_util::future::FutureExt as _;
use state::State;
use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// What happens to what is published while the broker is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOutage {
    /// It is given to the node's own connections, and relayed later.
    Local,
    /// It is refused.
    Refuse,
}

/// What a bus of many nodes is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which node this is.
    pub tag: NodeTag,
    /// The life that begins if the broker has none.
    pub fresh: Life,
    /// How the node describes itself; its connections are filled in.
    pub card: NodeCard,
    /// How long clients may be gone.
    pub sessions: sessions::Limits,
    /// What happens while the broker is away.
    pub on_outage: OnOutage,
    /// What may wait in the outbox, bytes.
    pub outbox_bytes: usize,
    /// The link is asked for a sign of life so often.
    pub mark_every: Duration,
    /// A broker that gives none for so long is away.
    pub silent_max: Duration,
    /// The node says so often that it is there.
    pub beat_every: Duration,
    /// Where connected clients are is written down again so often: the broker forgets what is not.
    pub renew_every: Duration,
}

/// See the module's description.
pub struct ClusterBus {
    broker: Arc<dyn Broker>,
    settings: Settings,
    clock: WallClock,
    /// `run` has something to do.
    wake: Notify,
    /// The broker has placed something.
    idle: Arc<Notify>,
    /// The first attempt to reach the broker has ended, either way.
    tried: watch::Sender<bool>,
    reads: reads::Reads,
    state: Arc<Mutex<State>>,
}

impl ClusterBus {
    /// A bus that is driven by [`Self::run`].
    pub fn new(broker: Arc<dyn Broker>, settings: Settings, clock: WallClock) -> Arc<Self> {
        let state = State::new(&settings, (clock)());
        Arc::new(Self {
            broker,
            settings,
            clock,
            wake: Notify::new(),
            idle: Arc::default(),
            tried: watch::Sender::new(false),
            reads: reads::Reads::default(),
            state: Arc::new(Mutex::new(state)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug in `State`; what it holds is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which node this is.
    pub fn tag(&self) -> NodeTag {
        self.settings.tag
    }

    fn errand<T: Send + 'static>(
        &self,
        errand: Errand,
        read: impl FnOnce(Outcome) -> T + Send + 'static,
    ) -> PortFuture<Result<T, BusError>> {
        let answer = self.lock().run_errand(errand, (self.clock)());
        self.wake.notify_one();
        Box::pin(answer.map(move |answer| {
            let gone = || BusError::Away("the node is going".into());
            answer.map(read).map_err(|_| gone())
        }))
    }

    fn ask_link<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn crate::broker::Link) -> PortFuture<Result<T, BrokerError>>,
    ) -> Result<PortFuture<Result<T, BusError>>, BusError> {
        let link = self.lock().link()?;
        let answer = self.limited(ask(&*link));
        Ok(Box::pin(answer.map(|answer| answer.map_err(BusError::from))))
    }

    /// The same, but nobody waits for it longer than for a sign of life.
    fn limited<T: Send + 'static>(
        &self,
        asked: PortFuture<Result<T, BrokerError>>,
    ) -> PortFuture<Result<T, BrokerError>> {
        let (asked, late) = (timeout(self.settings.silent_max, asked), self.late());
        Box::pin(asked.map(|answer| answer.unwrap_or(Err(late))))
    }

    fn late(&self) -> BrokerError {
        let limit_ms = self.settings.silent_max.as_millis();
        BrokerError::Away(format!("it does not answer within {limit_ms} ms"))
    }

    fn own_row(&self) -> NodeRow {
        NodeRow {
            tag: self.settings.tag,
            card: self.lock().card(&self.settings.card),
            silent_ms: 0,
        }
    }

    /// The nodes that share the broker, this one among them.
    pub fn all_nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BusError>> {
        let mine = self.own_row();
        match self.ask_link(|link| link.nodes()) {
            Ok(asked) => Box::pin(asked.map(move |rows| {
                let mut rows = rows?;
                if !rows.iter().any(|row| row.tag == mine.tag) {
                    rows.push(mine);
                }
                Ok(rows)
            })),
            Err(_) => Box::pin(ready(Ok(vec![mine]))),
        }
    }
}

fn away<T: Send + 'static>(error: BusError) -> PortFuture<Result<T, BusError>> {
    Box::pin(ready(Err(error)))
}

impl Bus for ClusterBus {
    fn life(&self) -> Life {
        self.lock().life()
    }

    fn publish(&self, draft: Draft) -> PortFuture<Result<Receipt, BusError>> {
        let answer = self.lock().publish(draft);
        self.wake.notify_one();
        answer
    }

    fn read(&self, query: Query) -> PortFuture<Result<Page, BusError>> {
        self.reads.share(query, |query| {
            self.ask_link(|link| link.read(query)).unwrap_or_else(away)
        })
    }

    fn attach(&self, inlet: Inlet, rooms: Vec<RoomName>) -> PortFuture<Result<u64, BusError>> {
        let answer = self.lock().attach(inlet, rooms);
        self.wake.notify_one();
        Box::pin(answer.map(|answer| answer.map_err(|_| BusError::Away("the node is going".into()))))
    }

    fn detach(&self, shard: ShardId) {
        self.lock().detach(shard);
        self.wake.notify_one();
    }

    fn subscribe(&self, shard: ShardId, rooms: &[RoomName]) {
        self.lock().subscribe(shard, rooms);
        self.wake.notify_one();
    }

    fn unsubscribe(&self, shard: ShardId, rooms: &[RoomName]) {
        self.lock().unsubscribe(shard, rooms);
        self.wake.notify_one();
    }

    fn enter(&self, rooms: &[RoomName], card: &Arc<Card>) {
        self.lock().enter(rooms, card, (self.clock)());
        self.wake.notify_one();
    }

    fn exit(&self, rooms: &[RoomName], card: &Arc<Card>) {
        self.lock().exit(rooms, card);
        self.wake.notify_one();
    }

    fn keep_session(&self, secret: Secret, record: SessionRecord) -> PortFuture<Result<Kept, BusError>> {
        self.errand(Errand::Keep(secret, record), |outcome| match outcome {
            Outcome::Kept(kept) => kept,
            Outcome::Done | Outcome::Claimed(_) => Kept::Here,
        })
    }

    fn claim_session(
        &self,
        secret: Secret,
        subject: Option<Arc<str>>,
    ) -> PortFuture<Result<Option<Claimed>, BusError>> {
        self.errand(Errand::Claim(secret, subject), |outcome| match outcome {
            Outcome::Claimed(claimed) => claimed,
            Outcome::Done | Outcome::Kept(_) => None,
        })
    }

    fn part_session(&self, ticket: Ticket, for_good: bool) {
        drop(self.errand(Errand::Part(ticket, for_good), drop));
    }

    fn members(&self, room: &RoomName) -> PortFuture<Result<Vec<Member>, BusError>> {
        let asked = self.ask_link(|link| link.members(room.clone()));
        asked.unwrap_or_else(|_| Box::pin(ready(Ok(self.lock().members(room)))))
    }

    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BusError>> {
        let asked = self.ask_link(|link| link.rooms(prefix.clone(), after.clone(), limit));
        asked.unwrap_or_else(|_| Box::pin(ready(Ok(self.lock().rooms(&prefix, after.as_deref(), limit)))))
    }

    fn nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BusError>> {
        self.all_nodes()
    }

    fn this_node(&self) -> Option<NodeRow> {
        Some(self.own_row())
    }

    fn tend(&self) {
        self.lock().tend((self.clock)());
        self.wake.notify_one();
    }

    fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    fn gauges(&self) -> BusGauges {
        self.lock().gauges()
    }

    fn state(&self) -> BusState {
        self.lock().standing()
    }

    fn bound(&self, seq: u64) -> u64 {
        // Another node may have been ahead of this one, and nobody but the broker knows how far.
        seq
    }

    fn local_events(&self, after: u64) -> Vec<Arc<Event>> {
        self.lock().local_events(after)
    }

    fn settled(&self, seen: &Seen) -> Option<u64> {
        self.lock().settled(seen)
    }

    fn tell_accepted(&self, to: Recipient<Accepted>) {
        self.lock().tell_accepted(to);
    }

    fn tried(&self) -> PortFuture<()> {
        let mut tried = self.tried.subscribe();
        Box::pin(async move {
            // Without its sender there is no bus to wait for.
            let _ = tried.wait_for(|tried| *tried).await;
        })
    }

    fn relayed(&self) -> PortFuture<()> {
        let (state, idle) = (self.state.clone(), self.idle.clone());
        Box::pin(async move {
            while state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .has_to_relay()
            {
                idle.notified().await;
            }
        })
    }

    fn leave(&self) -> PortFuture<()> {
        let gone = self.errand(Errand::Empty, drop);
        let bye = self.errand(Errand::Bye, drop);
        Box::pin(async move {
            // Whoever does not hear it finds out by itself.
            let _ = (gone.await, bye.await);
        })
    }

    fn drive(self: Arc<Self>) -> PortFuture<String> {
        Box::pin(self.run())
    }
}
