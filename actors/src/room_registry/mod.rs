//! RoomRegistry: one shard of the node's rooms, one a thread.
//!
//! **Owns** which connections of its thread are in which room, and when what to write to them.
//! **Hears** [`Join`], [`Leave`], [`Publish`], [`Watch`], [`FromBus`], [`SayInterest`], [`Announce`], [`Drain`].
//! **Tells** its connections, through their outboxes; the bridge, which rooms it wants; the bus, what is published.
//! **Fails** never by itself; a full mailbox only makes it catch up from the history.
//! **After a restart** the connections are where they were: each is in its rooms again and is given, from the history,
//! what came after the last event it was given. The same happens whenever something between bus and shard was lost.

mod catch_up;
mod fan_out;
#[cfg(feature = "testing")]
pub mod faults;
mod housekeeping;
mod joining;

use crate::{
    hub::Hub,
    logic::{event::Receipt, known::rfc3339, presence::SessionId, room_name::RoomName, throttle::Rules},
    messages::{
        Announce, Attach, Drain, FromBus, Interest, Join, Leave, ListSessions, PeerKey, Publish, SayInterest,
        SessionRow, Unwatch, Watch,
    },
    peer::{Peer, Pending, User},
    ports::{Bus, BusError, Inlet, ShardId, Wire},
    reply::Reply,
};
use actix::{
    Actor, AsyncContext, Context, Handler, Recipient, Running, Supervised, WrapFuture, fut::ActorFutureExt,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

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
    /// A stream that was silent for this long gets a comment line, milliseconds.
    pub comment_ms: u64,
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
    began: Instant,
    behind: Arc<AtomicBool>,
    /// The life of the bus that the connections' positions belong to; `None` before the shard has begun.
    life: Option<crate::logic::position::Life>,
    users_made: u64,
    /// Attachments asked for: only the answer to the last one counts, and what is confirmed for it.
    attachments: u64,
    /// Pages of the history asked for.
    reads: u64,
}

/// What a restart makes anew.
struct State<W> {
    rooms: HashMap<RoomName, Room<W>>,
    /// Every event up to here has been given to those it is for.
    applied: u64,
    attachment: Attachment,
    /// Whether it will be asked for again soon.
    attach_planned: bool,
    /// Users for whom something waits, by when it may go out.
    due: BTreeSet<(u64, u64)>,
    users: BTreeMap<u64, Rc<User>>,
    timer: Option<(u64, actix::SpawnHandle)>,
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
        }
    }
}

/// How long a shard waits before it asks a bridge again that did not answer.
const ATTACH_AGAIN: Duration = Duration::from_millis(50);

impl<W: Wire> RoomRegistry<W> {
    /// A shard whose connections are in `hub`.
    pub fn new(shard: ShardId, hub: Rc<Hub<W>>, settings: Rc<Settings>, neighbours: Neighbours) -> Self {
        let deps = Deps {
            shard,
            hub,
            settings,
            neighbours,
            began: Instant::now(),
            behind: Arc::default(),
            life: None,
            users_made: 0,
            attachments: 0,
            reads: 0,
        };
        Self {
            deps,
            state: State::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        let now = self.deps.began.elapsed().as_millis() as u64;
        self.deps.hub.now_ms.set(now);
        now
    }

    /// Asks the bus to hand over everything that any connection wants, and catches every connection up from where it is.
    fn attach(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.state.attachment, Attachment::Asked { .. }) {
            // One at a time: an older wish must not reach the bus after a newer one.
            self.state.attachment = Attachment::Asked { again: true };
            return;
        }
        self.state.attachment = Attachment::Asked { again: false };
        self.deps.hub.stats.catch_ups.add(1);
        self.lag_all();
        self.rebuild_rooms();
        let mut rooms: Vec<RoomName> = self.state.rooms.keys().cloned().collect();
        rooms.sort_unstable();
        self.deps.attachments += 1;
        let inlet = Inlet {
            shard: self.deps.shard,
            attachment: self.deps.attachments,
            mailbox: ctx.address().recipient(),
            behind: self.deps.behind.clone(),
        };
        let message = Attach {
            inlet,
            ask: ctx.address().recipient(),
            rooms: rooms.clone(),
        };
        let answer = self.deps.neighbours.attach.send(message).into_actor(self);
        ctx.spawn(answer.map(move |answer, act, ctx| {
            let again = act.state.attachment == Attachment::Asked { again: true };
            act.state.attachment = Attachment::None;
            match answer {
                Ok(Ok(_)) if again => act.attach(ctx),
                Ok(Ok(head)) => act.attached(&rooms, head, ctx),
                _ => act.plan_attach(ctx),
            }
        }));
    }

    fn plan_attach(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.state.attach_planned, true) {
            ctx.run_later(ATTACH_AGAIN, |act, ctx| {
                act.state.attach_planned = false;
                act.attach(ctx);
            });
        }
    }

    fn is_attached(&self) -> bool {
        self.state.attachment == Attachment::Made
    }

    /// Whatever did not fit into the mailbox is in the history.
    fn notice_behind(&mut self, ctx: &mut Context<Self>) {
        if self.is_attached() && self.deps.behind.load(Ordering::Relaxed) {
            self.attach(ctx);
        }
    }

    /// The rooms as the connections have them: what a restart cannot know otherwise.
    fn rebuild_rooms(&mut self) {
        self.state.rooms.clear();
        for peer in self.deps.hub.all() {
            for (room, _) in &*peer.rooms.borrow() {
                self.room(room).members.push(peer.clone());
            }
            for pending in &*peer.pending.borrow() {
                if let Pending::Join(join) = pending {
                    for room in &join.rooms {
                        self.room(room).waiters.push(peer.clone());
                    }
                }
            }
        }
    }

    fn room(&mut self, name: &RoomName) -> &mut Room<W> {
        self.state.rooms.entry(name.clone()).or_insert_with(|| Room {
            members: Vec::new(),
            waiters: Vec::new(),
            confirmed: false,
            empty_since_ms: None,
        })
    }

    fn attached(&mut self, rooms: &[RoomName], head: u64, ctx: &mut Context<Self>) {
        let life = self.deps.neighbours.bus.life();
        if self.deps.life.replace(life).is_some_and(|before| before != life) {
            self.new_life();
            // Events of the new life that came before it was known were passed over.
            return self.attach(ctx);
        }
        self.state.attachment = Attachment::Made;
        self.state.applied = self.state.applied.max(head);
        self.confirmed(rooms, head, ctx);
        // What was asked for meanwhile is not part of the attachment.
        let more = self
            .state
            .rooms
            .iter()
            .filter(|(_, room)| !room.confirmed)
            .map(|(name, _)| name.clone());
        let mut more: Vec<RoomName> = more.collect();
        if !more.is_empty() {
            more.sort_unstable();
            self.say_interest(more, Vec::new(), ctx);
        }
        for peer in self.deps.hub.all() {
            self.feed(&peer, ctx);
        }
    }

    /// Tells the bridge what has changed; what cannot be told is told whole, by attaching again.
    fn say_interest(&mut self, wanted: Vec<RoomName>, unwanted: Vec<RoomName>, ctx: &mut Context<Self>) {
        let message = Interest {
            shard: self.deps.shard,
            wanted,
            unwanted,
        };
        if self.is_attached() && self.deps.neighbours.interest.try_send(message).is_err() {
            self.plan_attach(ctx);
        }
    }
}

impl<W: Wire> Actor for RoomRegistry<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.now_ms();
        let life = self.deps.neighbours.bus.life();
        self.deps.life.get_or_insert(life);
        self.attach(ctx);
        self.reschedule_all(ctx);
        ctx.spawn(housekeeping::EndOfTurn);
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

impl<W: Wire> Handler<Leave> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, leave: Leave, ctx: &mut Self::Context) {
        self.leave(leave, ctx);
    }
}

impl<W: Wire> Handler<Publish> for RoomRegistry<W> {
    type Result = Reply<Result<Receipt, BusError>>;
    fn handle(&mut self, Publish(draft): Publish, _: &mut Self::Context) -> Self::Result {
        Reply(self.deps.neighbours.bus.publish(draft))
    }
}

impl<W: Wire> Handler<FromBus> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, message: FromBus, ctx: &mut Self::Context) {
        match message {
            FromBus::Event(event) => self.fan_out(&event, ctx),
            // What an earlier attachment confirmed may not be wanted any more at the bus.
            FromBus::Subscribed {
                attachment,
                rooms,
                at,
            } if self.is_attached() && attachment == self.deps.attachments => {
                self.confirmed(&rooms, at, ctx);
            }
            FromBus::Subscribed { .. } => {}
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

impl<W: Wire> Handler<ListSessions> for RoomRegistry<W> {
    type Result = Vec<SessionRow>;
    fn handle(&mut self, _: ListSessions, _: &mut Self::Context) -> Self::Result {
        let row = |peer: Rc<Peer<W>>| SessionRow {
            id: peer.card.id.to_string(),
            transport: peer.card.transport,
            rooms: peer.rooms.borrow().iter().map(|(room, _)| room.clone()).collect(),
            connected_at: rfc3339(peer.card.connected_ms),
            bytes_waiting: peer.bytes(),
        };
        self.deps.hub.all().into_iter().map(row).collect()
    }
}
