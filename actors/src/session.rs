//! SessionActor: one WebSocket connection.
//!
//! **Owns** the reading side of one socket and the decoding of what comes in.
//! **Hears** nothing but its socket: what goes out is put into its outbox by the RoomRegistry of its thread.
//! **Tells** the RoomRegistry what the client asks; the client, through the outbox, what became of it.
//! **Fails** when its client breaks the protocol, which costs that client its connection and nobody else anything.
//! **After a restart** there is none: a session is never restarted, the client comes back and resumes.

use crate::{
    gate,
    hub::Hub,
    logic::{
        access::Action,
        event::{Draft, EventId},
        fault::{CloseCode, Code, Fault},
        position::Position,
        protocol::{self, Answer, Ask, Command, Publication, Rooms, greenroom_v1},
        publication::{self, Stamp},
        rate::{self, Pace},
        room_name::RoomName,
        ws::{self, Decoder, Incoming},
    },
    messages::{Join, Leave, Publish},
    peer::{CLOSED, CLOSING, Line, Peer},
    ports::{Bus, BusError, Gate, WallClock, Wire},
    reply::posted,
    room_registry::RoomRegistry,
};
use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, MailboxError, WrapFuture,
    fut::ActorFutureExt,
};
use bytes::BytesMut;
use serde_json::{json, value::RawValue};
use std::{
    ops::ControlFlow,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

/// What the sessions of a thread share.
pub struct Desk<W: Wire> {
    /// The thread's connections.
    pub hub: Rc<Hub<W>>,
    /// The thread's rooms.
    pub registry: Addr<RoomRegistry<W>>,
    /// For presence.
    pub bus: Arc<dyn Bus>,
    /// Who may do what.
    pub gate: Arc<dyn Gate>,
    /// What may be published.
    pub publish: publication::Limits,
    /// How large frames and messages may be.
    pub frames: ws::Limits,
    /// How fast they may come.
    pub pace: rate::Limits,
    /// Commands of one connection that may be unanswered; beyond it, it is not read from.
    pub commands_in_flight: usize,
    /// The wall clock.
    pub clock: WallClock,
    /// Where event ids come from.
    pub new_event_id: fn() -> EventId,
}

impl<W: Wire> Desk<W> {
    /// Checks what somebody wants to publish.
    pub fn draft(&self, publication: Publication, publisher: Option<Arc<str>>) -> Result<Draft, Fault> {
        publication::check(publication, self.stamp(publisher), &self.publish)
    }

    /// The same, of a connection: into rooms into which it may publish.
    pub fn draft_of(&self, peer: &Peer<W>, publication: Publication) -> Result<Draft, Fault> {
        let draft = self.draft(publication, peer.card().subject.clone())?;
        self.may(peer, Action::Publish, &draft.rooms)?;
        Ok(draft)
    }

    /// Whether a connection may do something with each of these rooms. Errors: `forbidden`, `unauthenticated`.
    pub fn may<'r>(
        &self,
        peer: &Peer<W>,
        action: impl Fn(&'r RoomName) -> Action<'r>,
        rooms: &'r [RoomName],
    ) -> Result<(), Fault> {
        gate::may(&*self.gate, peer, action, rooms, (self.clock)())
    }

    /// A new connection, in the hub. If its grant was taken back on the way here, when nobody who looked for such
    /// connections could see this one, it is closed.
    pub fn welcome(&self, peer: Peer<W>) -> Rc<Peer<W>> {
        let peer = self.hub.add(peer);
        let is_taken_back = peer.with_standing(|standing| {
            let grant = standing.and_then(|standing| standing.as_ref().ok());
            grant.is_some_and(|grant| !self.gate.holds(grant))
        });
        if is_taken_back {
            self.hub.close(&peer, CloseCode::Revoked, "");
        }
        peer
    }

    /// What the world adds to a publication now.
    pub fn stamp(&self, publisher: Option<Arc<str>>) -> Stamp {
        Stamp {
            publisher,
            new_id: (self.new_event_id)(),
            now_ms: (self.clock)(),
        }
    }
}

/// The fault that a client sees when the bus did not do it.
pub fn bus_fault(error: &BusError) -> Fault {
    match error {
        BusError::IdReused => Fault::new(Code::IdReused, "this event id was used before with other content"),
        BusError::Full => full(),
        BusError::Away(_) => Fault::new(Code::Unavailable, "the bus is away"),
    }
}

/// Milliseconds after which whoever is refused by a full node should try again: it looks anew once a second.
const RETRY_MS: u32 = 1_000;

/// The fault that a client sees when the node holds as much as it may.
pub fn full() -> Fault {
    let message = "the node is full (limits.memory_bytes)";
    Fault::new(Code::Overloaded, message).with(json!({"retryInMs": RETRY_MS}))
}

/// The fault that a client sees when an actor did not answer.
pub fn mailbox_fault(_: MailboxError) -> Fault {
    Fault::new(Code::Unavailable, "the part that would answer is being restarted")
}

/// See the module's description.
pub struct SessionActor<W: Wire> {
    peer: Rc<Peer<W>>,
    desk: Rc<Desk<W>>,
    decoder: Decoder,
    /// What had been read before the socket was handed over.
    early: BytesMut,
    in_flight: usize,
    pace: Pace,
    /// Nothing more will be read.
    over: bool,
    /// At level debug only, because a span that is kept costs memory on every idle connection.
    span: tracing::Span,
    /// Whether a join has been asked: only the first may carry a position.
    joined: bool,
}

impl<W: Wire> SessionActor<W> {
    /// A session for a connection that is in the hub already.
    pub fn new(peer: Rc<Peer<W>>, desk: Rc<Desk<W>>, early: BytesMut) -> Self {
        let decoder = Decoder::new(desk.frames);
        let span = tracing::debug_span!("connection", session = %peer.card().id);
        Self {
            peer,
            desk,
            decoder,
            early,
            in_flight: 0,
            pace: Pace::default(),
            over: false,
            span,
            joined: false,
        }
    }

    /// Reads and carries out what is there. Ready when the connection is over.
    fn read(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let (desk, peer) = (self.desk.clone(), self.peer.clone());
        // Without room, one of the answers lets it read on.
        let has_room = |act: &Self| act.in_flight < act.desk.commands_in_flight;
        let take = |act: &mut Self, bytes: &mut [u8]| act.take(bytes, ctx);
        desk.hub.read_turn(&peer, task, self, has_room, take)
    }

    /// Bytes from the client. Once the connection is closing they are only counted as life.
    fn take(&mut self, bytes: &mut [u8], ctx: &mut Context<Self>) {
        if self.peer.is(CLOSING | CLOSED) {
            return;
        }
        let now_ms = self.desk.hub.look_at_the_clock();
        self.peer.heard_ms.set(now_ms);
        let length = bytes.len() as u64;
        let mut asked = Vec::new();
        let fed = self.decoder.feed(bytes, &mut |incoming| {
            asked.push(match incoming {
                Incoming::Text(text) => Input::Command(greenroom_v1::decode(text)),
                Incoming::Ping(payload) => Input::Ping(ws::pong_frame(payload)),
                Incoming::Pong(_) => Input::Pong,
                Incoming::Binary(_) => Input::Binary,
                Incoming::Close { code, .. } => Input::Close(code),
            });
            ControlFlow::Continue(())
        });
        if let Err(too_fast) = self.pace.take(&self.desk.pace, now_ms, 0, length) {
            return self.desk.hub.too_fast(&self.peer, too_fast);
        }
        for input in asked {
            // A frame before this one may have ended the connection.
            if self.peer.is(CLOSING | CLOSED) {
                return;
            }
            if let Err(too_fast) = self.pace.take(&self.desk.pace, now_ms, 1, 0) {
                return self.desk.hub.too_fast(&self.peer, too_fast);
            }
            self.input(input, ctx);
        }
        if let Err(violation) = fed {
            self.desk.hub.refuse(&self.peer, violation);
        }
    }

    fn input(&mut self, input: Input, ctx: &mut Context<Self>) {
        match input {
            Input::Command(Ok(command)) => self.command(command, ctx),
            Input::Command(Err((reference, fault))) => self.refuse(&fault, reference.as_deref()),
            // It was heard of already, which is all that a pong says.
            Input::Pong => {}
            Input::Ping(pong) => self.desk.hub.send(&self.peer, pong),
            Input::Binary => self
                .desk
                .hub
                .close(&self.peer, CloseCode::Unsupported, "text frames only"),
            Input::Close(code) => self.desk.hub.close_back(&self.peer, code),
        }
    }

    fn command(&mut self, command: Command, ctx: &mut Context<Self>) {
        self.desk.hub.stats.commands.add(1);
        let Command { reference, ask } = command;
        let done = match ask {
            Ask::Join { rooms, since } => self.join(rooms, since, &reference, ctx),
            Ask::Leave { rooms } => self.leave(rooms, &reference, ctx),
            Ask::Publish(publication) => self.publish(*publication, &reference, ctx),
            Ask::Presence { room } => self.presence(room, &reference, ctx),
            Ask::Ping => {
                self.answer(&Answer::Pong, reference.as_deref());
                Ok(())
            }
        };
        if let Err(fault) = done {
            self.refuse(&fault, reference.as_deref());
        }
    }

    fn join(
        &mut self,
        asked: Rooms,
        since: Option<String>,
        reference: &Reference,
        ctx: &mut Context<Self>,
    ) -> Done {
        let rooms = publication::check_rooms(asked.names(), &self.desk.publish)?;
        self.desk.may(&self.peer, Action::Join, &rooms)?;
        let since = match since {
            None => None,
            Some(_) if self.joined => {
                return Err(Fault::new(
                    Code::SinceNotFirst,
                    "only a connection's first join may carry since",
                ));
            }
            Some(text) => {
                let parsed = text.parse::<Position>();
                Some(parsed.map_err(|error| Fault::new(Code::PositionInvalid, error.to_string()))?)
            }
        };
        self.joined = true;
        let join = Join {
            peer: self.peer.key.get(),
            rooms,
            asked,
            since,
            reference: reference.clone(),
        };
        self.tell(self.desk.registry.send(join), reference, ctx);
        Ok(())
    }

    fn leave(&mut self, asked: Rooms, reference: &Reference, ctx: &mut Context<Self>) -> Done {
        let rooms = publication::check_rooms(asked.names(), &self.desk.publish)?;
        let leave = Leave {
            peer: self.peer.key.get(),
            rooms,
            asked,
            reference: reference.clone(),
        };
        self.tell(self.desk.registry.send(leave), reference, ctx);
        Ok(())
    }

    /// A message whose answer the RoomRegistry gives to the client itself; only its loss is answered here.
    fn tell(
        &mut self,
        sent: impl Future<Output = Result<(), MailboxError>> + 'static,
        reference: &Reference,
        ctx: &mut Context<Self>,
    ) {
        let reference = reference.clone();
        self.in_flight += 1;
        ctx.spawn(posted(sent).into_actor(self).map(move |told, act, _| {
            act.answered();
            if let Err(error) = told {
                act.refuse(&mailbox_fault(error), reference.as_deref());
            }
        }));
    }

    fn publish(&mut self, publication: Publication, reference: &Reference, ctx: &mut Context<Self>) -> Done {
        let draft = self.desk.draft_of(&self.peer, publication)?;
        let reference = reference.clone();
        self.in_flight += 1;
        let answer = posted(self.desk.registry.send(Publish {
            draft,
            behind: Some(self.peer.key.get()),
        }))
        .into_actor(self);
        ctx.spawn(answer.map(move |answer, act, _| {
            act.answered();
            let reference = reference.as_deref();
            match answer {
                Ok(Ok(receipt)) => act.answer(&Answer::Published(&receipt), reference),
                Ok(Err(error)) => act.refuse(&bus_fault(&error), reference),
                Err(error) => act.refuse(&mailbox_fault(error), reference),
            }
        }));
        Ok(())
    }

    fn presence(&mut self, room: String, reference: &Reference, ctx: &mut Context<Self>) -> Done {
        let room = RoomName::parse(&room, self.desk.publish.name_chars)
            .map_err(|error| Fault::new(Code::RoomNameInvalid, error.to_string()))?;
        let room = [room];
        self.desk.may(&self.peer, Action::Presence, &room)?;
        let [room] = room;
        let reference = reference.clone();
        self.in_flight += 1;
        let answer = self.desk.bus.members(&room).into_actor(self);
        ctx.spawn(answer.map(move |members, act, _| {
            act.answered();
            match members {
                Ok(members) => {
                    act.answer(
                        &Answer::Presence {
                            room: &room,
                            members: &members,
                        },
                        reference.as_deref(),
                    );
                }
                Err(error) => act.refuse(&bus_fault(&error), reference.as_deref()),
            }
        }));
        Ok(())
    }

    /// A command was answered. This future runs after the one that reads: whoever waits for it there must be woken.
    fn answered(&mut self) {
        self.in_flight -= 1;
        if self.over || self.in_flight + 1 == self.desk.commands_in_flight {
            self.peer.wake();
        }
    }

    fn refuse(&self, fault: &Fault, reference: Option<&RawValue>) {
        self.desk.hub.stats.command_errors.add(1);
        self.answer(&Answer::Error(fault), reference);
    }

    fn answer(&self, answer: &Answer<'_>, reference: Option<&RawValue>) {
        if let Some(frame) = protocol::answer_frame(answer, reference, self.peer.protocol) {
            self.desk.hub.send(&self.peer, frame);
        }
    }
}

type Done = Result<(), Fault>;
type Reference = Option<Box<RawValue>>;

/// What one frame asks of the session.
enum Input {
    Command(Result<Command, greenroom_v1::Misread>),
    Ping(bytes::Bytes),
    Pong,
    Binary,
    Close(Option<u16>),
}

/// The socket's life within the actor: reads, and writes where the shard's flusher was blocked.
struct Life;

impl<W: Wire> ActorFuture<SessionActor<W>> for Life {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut SessionActor<W>,
        ctx: &mut Context<SessionActor<W>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let span = act.span.clone();
        let _within = span.enter();
        act.peer.waked_by(task.waker());
        act.desk.hub.write_blocked(&act.peer, task);
        if !act.early.is_empty() {
            let mut early = std::mem::take(&mut act.early);
            act.take(&mut early, ctx);
        }
        act.over = act.over || act.read(ctx, task).is_ready();
        // What was asked is still carried out: a message whose sender stops is not handled any more.
        if act.over && act.in_flight > 0 {
            act.desk.hub.finish(&act.peer);
        }
        if !act.over || act.in_flight > 0 {
            return Poll::Pending;
        }
        ctx.stop();
        Poll::Ready(())
    }
}

impl<W: Wire> Actor for SessionActor<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Life);
    }
}

/// Also when it panicked: the connection is closed and forgotten.
impl<W: Wire> Drop for SessionActor<W> {
    fn drop(&mut self) {
        if let Line::Socket(wire) = &self.peer.line {
            wire.shutdown(true);
        }
        self.desk.hub.remove(&self.peer);
        self.peer.task.take();
    }
}
