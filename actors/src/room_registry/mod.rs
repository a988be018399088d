//! RoomRegistry: one shard of the node's rooms, one a thread.
//!
//! **Owns** which connections of its thread are in which room, and when what to write to them.
//! **Hears** [`Join`], [`Leave`], [`Enter`], [`Depart`], [`Publish`], [`Watch`], [`FromBus`], [`SayInterest`], [`Announce`], [`Drain`].
//! **Tells** its connections, through their outboxes; the bridge, which rooms it wants; the bus, what is published.
//! **Fails** never by itself; a full mailbox only makes it catch up from the history.
//! **After a restart** the connections are where they were: each is in its rooms again and is given, from the history,
//! what came after the last event it was given. The same happens whenever something between bus and shard was lost.

mod attaching;
mod burst;
mod catch_up;
mod fan_out;
#[cfg(feature = "testing")]
pub mod faults;
mod housekeeping;
mod joining;
mod outage;
mod outside;
mod putting_out;
mod restoring;
mod weighing;

pub use restoring::{Claim, Newcomer, Restoring};

use crate::{
    hub::Hub,
    logic::{event::Receipt, known::rfc3339, presence::SessionId, room_name::RoomName, throttle::Rules},
    memory::{Memory, Share},
    messages::{
        Announce, Attach, Depart, Drain, EndSession, Enter, FromBus, Interest, Join, Leave, ListSessions,
        PeerKey, Publish, Recheck, SayInterest, SessionRow, Unwatch, Watch,
    },
    peer::Peer,
    ports::{Bus, BusError, Gate, ShardId, Wire},
    reply::Reply,
    subjects::User,
};
use actix::{Actor, AsyncContext, Context, Handler, Recipient, Running, Supervised};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
};

/// What a shard is told once, by configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name.
    pub node: Arc<str>,
    /// The throttle.
    pub rules: Rules,
    /// What may wait to be written for one connection, bytes.
    pub outbox_bytes: usize,
    /// Rooms a connection may be in.
    pub rooms_per_connection: usize,
    /// A WebSocket client not heard of for this long is pinged, milliseconds.
    pub ping_interval_ms: u64,
    /// It is closed when it does not answer for this long, milliseconds.
    pub ping_timeout_ms: u64,
    /// The shortest time that a session of Engine.IO waits for, milliseconds.
    pub engine_ping_ms: u64,
    /// A stream that was silent for this long gets a comment line, milliseconds.
    pub comment_ms: u64,
    /// While the node is full, a client may be behind for so long, milliseconds.
    pub behind_ms: u64,
    /// A client hears so long before that its token expires, milliseconds.
    pub expiring_ms: i64,
    /// A room without members is unsubscribed from after this, milliseconds, so that flapping clients cost nothing.
    pub linger_ms: u64,
    /// How a watching actor's connection gets its id.
    pub new_session_id: fn() -> SessionId,
}

/// To whom a shard speaks.
#[derive(Clone)]
pub struct Neighbours {
    /// The bus, for publishing, reading and presence.
    pub bus: Arc<dyn Bus>,
    /// Whose grants still hold.
    pub gate: Arc<dyn Gate>,
    /// What the node holds.
    pub memory: Arc<Memory>,
    /// The bridge: here I am.
    pub attach: Recipient<Attach>,
    /// The bridge: what I want.
    pub interest: Recipient<Interest>,
}

/// See the module's description.
pub struct RoomRegistry<W: Wire> {
    deps: Deps<W>,
    state: State<W>,
}

/// What a restart keeps.
struct Deps<W: Wire> {
    shard: ShardId,
    hub: Rc<Hub<W>>,
    settings: Rc<Settings>,
    neighbours: Neighbours,
    /// What it has told of its connections.
    share: Share,
    behind: Arc<AtomicBool>,
    /// The life of the bus that the connections' positions belong to; `None` before the shard has begun.
    life: Option<crate::logic::position::Life>,
    /// Attachments asked for: only the answer to the last one counts, and what is confirmed for it.
    attachments: u64,
    /// Pages of the history asked for.
    reads: u64,
    /// Records that joins have waited for.
    writes: u64,
    /// Its clients were told that the broker is away.
    told_away: bool,
    /// What this shard has given out while the broker is away, and the last number before.
    local: Option<(u64, crate::logic::position::Seen)>,
    /// Where JavaScript servers have put clients.
    side: crate::logic::js_cluster::SideRooms,
}

/// What a restart makes anew.
struct State<W> {
    rooms: HashMap<RoomName, Room<W>>,
    /// Every event up to here has been given to those it is for.
    applied: u64,
    attachment: Attachment,
    /// Whether it will be asked for again soon.
    attach_planned: bool,
    /// Users for whose connections here something waits, by when it may go out.
    due: BTreeSet<(u64, u64)>,
    /// The same by their ids.
    users: BTreeMap<u64, (u64, Arc<User>)>,
    timer: Option<(u64, actix::SpawnHandle)>,
    burst: burst::Burst,
}

/// How the shard stands with the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    /// Not attached.
    None,
    /// It was asked for; `again` if something was lost since.
    Asked { again: bool },
    /// Everything that the shard wants is handed over.
    Made,
}

struct Room<W> {
    members: Vec<Rc<Peer<W>>>,
    waiters: Vec<Rc<Peer<W>>>,
    confirmed: bool,
    empty_since_ms: Option<u64>,
}

impl<W> Default for State<W> {
    fn default() -> Self {
        Self {
            rooms: HashMap::new(),
            applied: 0,
            attachment: Attachment::None,
            attach_planned: false,
            due: BTreeSet::new(),
            users: BTreeMap::new(),
            timer: None,
            burst: burst::Burst::default(),
        }
    }
}

impl<W: Wire> RoomRegistry<W> {
    /// A shard whose connections are in `hub`.
    pub fn new(shard: ShardId, hub: Rc<Hub<W>>, settings: Rc<Settings>, neighbours: Neighbours) -> Self {
        let deps = Deps {
            shard,
            hub,
            settings,
            share: Share::of(neighbours.memory.clone()),
            neighbours,
            behind: Arc::default(),
            life: None,
            attachments: 0,
            reads: 0,
            writes: 0,
            told_away: false,
            local: None,
            side: crate::logic::js_cluster::SideRooms::default(),
        };
        Self {
            deps,
            state: State::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.deps.hub.look_at_the_clock()
    }
}

impl<W: Wire> Actor for RoomRegistry<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.now_ms();
        let life = self.deps.neighbours.bus.life();
        self.deps.life.get_or_insert(life);
        self.begin_writing_again();
        self.attach(ctx);
        self.reschedule_all(ctx);
        ctx.spawn(housekeeping::EndOfTurn);
        // What was due while it did not run is not left for another period.
        self.sweep(ctx);
        let period = self.sweep_period();
        ctx.run_interval(period, |act, ctx| act.sweep(ctx));
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.deps.neighbours.bus.detach(self.deps.shard);
        Running::Stop
    }
}

impl<W: Wire> Supervised for RoomRegistry<W> {
    fn restarting(&mut self, _: &mut Self::Context) {
        let applied = self.state.applied;
        self.state = State {
            applied,
            ..State::default()
        };
    }
}

impl<W: Wire> Handler<Join> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, join: Join, ctx: &mut Self::Context) {
        self.join(join, ctx);
    }
}

impl<W: Wire> Handler<Enter> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, enter: Enter, ctx: &mut Self::Context) {
        self.enter(enter, ctx);
    }
}

impl<W: Wire> Handler<Depart> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, Depart(key): Depart, _: &mut Self::Context) {
        if let Some(peer) = self.deps.hub.peer(key) {
            self.forget(&peer, true);
        }
    }
}

impl<W: Wire> Handler<Leave> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, leave: Leave, ctx: &mut Self::Context) {
        self.leave(leave, ctx);
    }
}

impl<W: Wire> Handler<Publish> for RoomRegistry<W> {
    type Result = Reply<Result<Receipt, BusError>>;
    fn handle(&mut self, publish: Publish, _: &mut Self::Context) -> Self::Result {
        Reply(self.publish(publish))
    }
}

impl<W: Wire> Handler<FromBus> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, message: FromBus, ctx: &mut Self::Context) {
        if !matches!(message, FromBus::Event(_)) {
            self.give_out(ctx);
        }
        match message {
            FromBus::Event(event) => self.take_in(event, ctx),
            // What an earlier attachment confirmed may not be wanted any more at the bus.
            FromBus::Subscribed {
                attachment,
                rooms,
                at,
            } if self.is_attached() && attachment == self.deps.attachments => {
                self.confirmed(&rooms, at, ctx);
            }
            FromBus::Subscribed { .. } => {}
            FromBus::BrokerAway { upto } => self.broker_away(upto),
            FromBus::AttachAgain => self.broker_back(ctx),
            FromBus::TakenOver { id, generation } => self.taken_over(id, generation),
        }
        self.notice_behind(ctx);
    }
}

impl<W: Wire> Handler<SayInterest> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, _: SayInterest, ctx: &mut Self::Context) {
        self.attach(ctx);
    }
}

impl<W: Wire> Handler<Announce> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, Announce(notice): Announce, _: &mut Self::Context) {
        self.announce(&notice);
    }
}

impl<W: Wire> Handler<Drain> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, drain: Drain, _: &mut Self::Context) {
        self.drain(drain);
    }
}

impl<W: Wire> Handler<Watch> for RoomRegistry<W> {
    type Result = Result<PeerKey, crate::logic::fault::Fault>;
    fn handle(&mut self, watch: Watch, ctx: &mut Self::Context) -> Self::Result {
        self.watch(watch, ctx)
    }
}

impl<W: Wire> Handler<Unwatch> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, Unwatch(key): Unwatch, _: &mut Self::Context) {
        if let Some(peer) = self.deps.hub.peer(key) {
            self.deps.hub.remove(&peer);
        }
    }
}

impl<W: Wire> Handler<Recheck> for RoomRegistry<W> {
    type Result = usize;
    fn handle(&mut self, _: Recheck, _: &mut Self::Context) -> usize {
        self.recheck()
    }
}

impl<W: Wire> Handler<EndSession> for RoomRegistry<W> {
    type Result = bool;
    fn handle(&mut self, EndSession(id): EndSession, _: &mut Self::Context) -> bool {
        self.end_session(&id)
    }
}

impl<W: Wire> Handler<ListSessions> for RoomRegistry<W> {
    type Result = Vec<SessionRow>;
    fn handle(&mut self, _: ListSessions, _: &mut Self::Context) -> Self::Result {
        let row = |peer: Rc<Peer<W>>| {
            let card = peer.card();
            SessionRow {
                id: card.id.to_string(),
                subject: card.subject.as_deref().map(str::to_owned),
                transport: peer.transport(),
                address: peer
                    .caller
                    .as_ref()
                    .map(|session| session.caller().network().to_string()),
                rooms: peer.rooms.borrow().iter().map(|(room, _)| room.clone()).collect(),
                connected_at: rfc3339(card.connected_ms),
                bytes_waiting: peer.bytes(),
            }
        };
        self.deps.hub.all().into_iter().map(row).collect()
    }
}
