//! The actor itself: inputs to the state machine, and its effects carried out.

use super::{
    Answered, App, Engine, EngineDesk,
    transit::{Requests, Transit, answer},
};
use crate::{
    logic::{
        engine_io::{Control, Effect, Input, Link, Outlet, Packet, Reason, Session, Source, payload},
        rate::Pace,
        ws::{self, Decoder},
    },
    peer::{CLOSED, CLOSING, Line, Peer},
    ports::Wire,
};
use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use bytes::{Bytes, BytesMut};
use std::{
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};
use tokio::sync::oneshot;

/// How long a session that its client has ended by polling waits for the GET that it sent before.
const FAREWELL: Duration = Duration::from_secs(1);

/// See the module's description.
pub struct EngineActor<W: Wire> {
    pub(super) peer: Rc<Peer<W>>,
    pub(super) desk: Rc<EngineDesk<W>>,
    session: Session,
    app: Box<dyn App<W>>,
    pub(super) decoder: Decoder,
    pub(super) in_flight: u32,
    pub(super) pace: Pace,
    /// The socket that carries the session, or would.
    pub(super) carrier: Link,
    /// Sockets there have been.
    pub(super) links: u32,
    pub(super) transit: Option<Box<Transit<W>>>,
    /// A GET is to be told that the client itself has ended the session.
    pub(super) farewell: bool,
    /// All of a POST has been given in, but so much of it is under way that it is not answered yet.
    pub(super) post_waits: bool,
    /// Nothing more comes.
    over: bool,
    /// What is to be done when it is gone.
    gone: Option<Box<dyn FnOnce()>>,
}

impl<W: Wire> EngineActor<W> {
    /// A session that begins on a WebSocket; `early` has been read from it already.
    pub fn websocket(
        peer: Rc<Peer<W>>,
        desk: Rc<EngineDesk<W>>,
        app: Box<dyn App<W>>,
        early: BytesMut,
    ) -> Self {
        let now_ms = desk.hub.now_ms.get();
        let session = Session::websocket(Link(0), now_ms, &desk.timing);
        Self::new(peer, desk, session, app, early)
    }

    /// A session that begins by polling. `gone` runs when it is over.
    pub fn polling(
        peer: Rc<Peer<W>>,
        desk: Rc<EngineDesk<W>>,
        app: Box<dyn App<W>>,
        gone: impl FnOnce() + 'static,
    ) -> Self {
        let session = Session::polling(desk.hub.now_ms.get(), &desk.timing);
        let mut actor = Self::new(peer, desk, session, app, BytesMut::new());
        actor.gone = Some(Box::new(gone));
        actor
    }

    fn new(
        peer: Rc<Peer<W>>,
        desk: Rc<EngineDesk<W>>,
        session: Session,
        app: Box<dyn App<W>>,
        early: BytesMut,
    ) -> Self {
        let decoder = Decoder::new(desk.frames);
        let transit = Transit {
            early,
            ..Transit::default()
        };
        let transit = Some(transit).filter(|transit| !transit.is_idle()).map(Box::new);
        Self {
            peer,
            desk,
            session,
            app,
            decoder,
            in_flight: 0,
            pace: Pace::default(),
            carrier: Link(0),
            links: 0,
            transit,
            farewell: false,
            post_waits: false,
            over: false,
            gone: None,
        }
    }

    /// What it needs while it is not on a socket for good.
    pub(super) fn transit(&mut self) -> &mut Transit<W> {
        self.transit.get_or_insert_default()
    }

    fn requests(&mut self) -> &mut Requests {
        &mut self.transit().requests
    }

    /// Gives one input to the state machine, and carries out what comes of it.
    pub(super) fn input(&mut self, input: Input<'_>, ctx: &mut Context<Self>) {
        let mut effects = Vec::new();
        let now_ms = self.desk.hub.now_ms.get();
        self.session
            .handle(input, now_ms, &self.desk.timing, &mut effects);
        for effect in effects {
            self.carry_out(effect, ctx);
        }
    }

    /// The same with a packet, which may be for the application.
    pub(super) fn packet(&mut self, source: Source, packet: &Packet<'_>, ctx: &mut Context<Self>) {
        let mut effects = Vec::new();
        let now_ms = self.desk.hub.now_ms.get();
        let input = Input::Packet(source, packet);
        self.session
            .handle(input, now_ms, &self.desk.timing, &mut effects);
        self.farewell = matches!((source, packet), (Source::Post, Packet::Close));
        for effect in effects {
            match (effect, packet) {
                (Effect::Deliver, Packet::Text(text)) => self.app(ctx, |app, engine| app.text(text, engine)),
                (Effect::Deliver, Packet::Binary(bytes)) => {
                    let bytes = Bytes::copy_from_slice(bytes);
                    self.app(ctx, |app, engine| app.bytes(bytes, engine));
                }
                _ => self.carry_out(effect, ctx),
            }
        }
    }

    /// Lets the application do something.
    fn app(&mut self, ctx: &mut Context<Self>, does: impl FnOnce(&mut dyn App<W>, &mut Engine<'_, W>)) {
        let mut engine = Engine {
            peer: &self.peer,
            hub: &self.desk.hub,
            now_ms: self.desk.hub.now_ms.get(),
            work: Vec::new(),
            close: None,
        };
        does(&mut *self.app, &mut engine);
        let Engine { work, close, .. } = engine;
        for work in work {
            self.in_flight += 1;
            ctx.spawn(work.into_actor(self).map(|(), act, _| {
                act.in_flight -= 1;
                // Its reading may have waited for this, and its end.
                act.peer.wake();
            }));
        }
        if let Some(reason) = close {
            self.close(reason, ctx);
        }
    }

    /// Ends the session once the client has what is queued.
    fn close(&mut self, reason: Reason, ctx: &mut Context<Self>) {
        // A socket is closed by a frame behind all that is queued; a polling client has to come for it.
        let backlog = self.peer.line.socket().is_none() && self.peer.bytes() > 0;
        self.input(Input::Close { reason, backlog }, ctx);
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::AnswerGet(control) => self.answer_get(Some(control), ctx),
            Effect::AcceptPost => answer(self.requests().post.take(), Answered::Taken),
            Effect::AbortPost(fault) => answer(self.requests().post.take(), Answered::Refused(fault)),
            Effect::Refuse(fault) => answer(self.requests().arriving.take(), Answered::Refused(fault)),
            Effect::Write(link, control) => self.write(link, control),
            Effect::CloseSocket(link) => self.close_socket(link, ctx),
            // Given by `packet`, with the packet.
            Effect::Deliver => {}
            Effect::Upgraded(link) => self.upgraded(link),
            Effect::Closed(reason) => self.closed(reason, ctx),
        }
    }

    fn answer_get(&mut self, control: Option<Control>, ctx: &mut Context<Self>) {
        let requests = self.requests();
        let Some(request) = requests.get.take().or_else(|| requests.arriving.take()) else {
            return;
        };
        let is_taken = !matches!(control, Some(Control::Close | Control::Noop));
        let body = match control {
            // Nothing is read behind these, nor taken from the outbox for them.
            Some(control @ (Control::Close | Control::Noop)) => {
                self.farewell = false;
                let mut body = std::mem::take(&mut self.transit().last_words);
                if !body.is_empty() {
                    body.push(payload::SEPARATOR as u8);
                }
                body.extend_from_slice(control.text().as_bytes());
                body
            }
            control => self.peer.take_payload(control, self.desk.payload.bytes),
        };
        if request.send(Answered::Payload(body)).is_err() && is_taken {
            // It broke while it waited, and what it was to bring is lost: the client must not go on as if it had it.
            self.input(Input::CloseNow(Reason::TransportError), ctx);
        }
        self.desk.hub.drained(&self.peer);
    }

    fn write(&mut self, link: Link, control: Control) {
        let frame = ws::encode_text(control.text().as_bytes());
        match self.candidate() {
            Some(candidate) if candidate.link == link => {
                candidate.out.extend_from_slice(&frame);
                self.peer.wake();
            }
            _ => self.desk.hub.send(&self.peer, frame),
        }
    }

    fn upgraded(&mut self, link: Link) {
        let Some(candidate) = self.transit().candidate.take() else {
            return;
        };
        let (Line::Engine(line), Some(wire)) = (&self.peer.line, Rc::into_inner(candidate.wire)) else {
            return;
        };
        if line.set(wire).is_ok() {
            self.carrier = link;
            self.decoder = candidate.decoder;
            self.desk.hub.flush(&self.peer);
        }
    }

    fn closed(&mut self, reason: Reason, ctx: &mut Context<Self>) {
        self.app.closed(reason);
        self.post_waits = false;
        if let Some(transit) = &mut self.transit {
            transit.requests.post = None;
            transit.requests.get = None;
        }
        // A socket is read until its other side has closed too, or the sweep cuts it off.
        self.over = self.peer.line.socket().is_none();
        if self.over && self.farewell {
            // Its GET, sent before, may come by a slower thread.
            self.over = false;
            ctx.run_later(FAREWELL, |act, _| {
                act.over = true;
                act.peer.wake();
            });
        }
        self.peer.wake();
    }

    /// Whether this GET was only to hear that its client has ended the session.
    pub(super) fn bid_farewell(&mut self) -> bool {
        let arriving = &mut self.transit.get_or_insert_default().requests.arriving;
        if !self.session.is_open() && self.farewell && arriving.is_some() {
            answer(arriving.take(), Answered::Payload(Control::Noop.text().into()));
            self.farewell = false;
            self.over = true;
            self.peer.wake();
            return true;
        }
        false
    }

    /// Gives what waits to whoever may have it, and says when it is gone.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.session.outlet() == Outlet::Get && self.peer.bytes() > 0 {
            self.give(ctx);
        }
        if !self.session.is_open() && self.peer.bytes() == 0 {
            self.input(Input::Drained, ctx);
        }
        if self.post_waits && self.has_room() {
            self.post_waits = false;
            self.input(Input::PostEnded, ctx);
        }
        let due_ms = self.session.due_ms().unwrap_or(u64::MAX).min(self.app_due_ms());
        self.peer.due_ms.set(due_ms);
        self.set_alarm(due_ms, ctx);
        if self.transit.as_ref().is_some_and(|transit| transit.is_idle()) {
            self.transit = None;
        }
    }

    /// Answers the GET from the outbox.
    fn give(&mut self, ctx: &mut Context<Self>) {
        if self.session.is_open() {
            self.answer_get(None, ctx);
            return self.input(Input::GetAnswered, ctx);
        }
        let words = self.peer.take_payload(None, self.desk.payload.bytes);
        if self.peer.bytes() > 0 {
            self.requests().answer_with(words);
            return self.input(Input::GetAnswered, ctx);
        }
        // The end goes out with it: when the node shuts down, the client finds nobody to poll again.
        self.transit().last_words = words;
        self.input(Input::Drained, ctx);
    }

    /// When the application has something to do. Once the session ends, that is never.
    fn app_due_ms(&self) -> u64 {
        let due_ms = self.app.due_ms().filter(|_| self.session.is_open());
        due_ms.unwrap_or(u64::MAX)
    }

    fn set_alarm(&mut self, due_ms: u64, ctx: &mut Context<Self>) {
        let polls = self.peer.line.socket().is_none() && due_ms < u64::MAX;
        if let Some(transit) = &mut self.transit {
            if transit.alarm.is_some_and(|(at_ms, _)| polls && at_ms == due_ms) {
                return;
            }
            if let Some((_, alarm)) = transit.alarm.take() {
                ctx.cancel_future(alarm);
            }
        }
        if polls {
            let wait = Duration::from_millis(due_ms.saturating_sub(self.desk.hub.now_ms.get()));
            let alarm = ctx.run_later(wait, |act, ctx| {
                act.transit().alarm = None;
                act.tick(ctx);
                act.pump(ctx);
            });
            self.transit().alarm = Some((due_ms, alarm));
        }
    }

    pub(super) fn tick(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.desk.hub.look_at_the_clock();
        if self.session.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.input(Input::Tick, ctx);
        }
        if self.app_due_ms() <= now_ms {
            self.app(ctx, |app, engine| app.tick(engine));
        }
    }

    /// What others did to the connection: the shard closed or cut it, its request is gone.
    fn notice(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) {
        let get = self.transit.as_mut().map(|transit| &mut transit.requests.get);
        let gone = |get: &mut oneshot::Sender<Answered>| get.poll_closed(task).is_ready();
        if get.is_some_and(|get| get.take_if(gone).is_some()) {
            self.input(Input::GetAborted, ctx);
        }
        if self.peer.is(CLOSED) {
            self.input(Input::CloseNow(Reason::ForcedClose), ctx);
            self.over = true;
        } else if self.peer.is(CLOSING) && self.session.is_open() {
            self.close(
                match self.desk.hub.draining.get() {
                    true => Reason::ServerShuttingDown,
                    false => Reason::ForcedClose,
                },
                ctx,
            );
        }
    }
}

/// The session's life within the actor.
struct Life;

impl<W: Wire> ActorFuture<EngineActor<W>> for Life {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut EngineActor<W>,
        ctx: &mut Context<EngineActor<W>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        act.peer.waked_by(task.waker());
        act.desk.hub.write_blocked(&act.peer, task);
        act.notice(ctx, task);
        act.tick(ctx);
        act.see_off(task);
        act.read_candidate(ctx, task);
        if act.read(ctx, task).is_ready() {
            act.input(Input::SocketClosed(act.carrier), ctx);
            act.over = true;
        }
        act.pump(ctx);
        // What was asked is still carried out: a message whose sender stops is not handled any more.
        let parts = act
            .transit
            .as_ref()
            .is_some_and(|transit| !transit.parting.is_empty());
        if act.over && act.in_flight > 0 && !parts {
            act.desk.hub.finish(&act.peer);
        }
        if !act.over || act.in_flight > 0 || parts {
            return Poll::Pending;
        }
        ctx.stop();
        Poll::Ready(())
    }
}

impl<W: Wire> Actor for EngineActor<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Life);
    }
}

/// Also when it panicked: the connection is closed and forgotten.
impl<W: Wire> Drop for EngineActor<W> {
    fn drop(&mut self) {
        if let Some(wire) = self.peer.line.socket() {
            wire.shutdown(true);
        }
        if let Some(candidate) = self.candidate() {
            candidate.wire.shutdown(true);
        }
        self.desk.hub.remove(&self.peer);
        self.peer.task.take();
        if let Some(gone) = self.gone.take() {
            gone();
        }
    }
}
