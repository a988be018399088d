//! SpeakerActor: one WebSocket on which an embedding program speaks a protocol of its own.
//!
//! **Owns** the reading side of one socket and the decoding of what comes in.
//! **Hears** nothing but its socket.
//! **Tells** its [`Speaker`] each whole message; it answers pings and close frames itself (RFC 6455 section 5.5).
//! **Fails** when its client breaks RFC 6455, which costs that client its connection and nobody else anything.
//! **After a restart** there is none: a session is never restarted, the client comes back.

use crate::{
    hub::Hub,
    logic::{
        fault::CloseCode,
        rate::{self, Pace},
        ws::{self, Decoder, Incoming},
    },
    peer::{CLOSED, CLOSING, Peer},
    ports::Wire,
};
use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context};
use bytes::{Bytes, BytesMut};
use std::{
    ops::ControlFlow,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

/// What an embedding program makes of what a client says. It is dropped when the connection is over.
pub trait Speaker<W: Wire> {
    /// A message of text has come.
    fn text(&mut self, text: &str, client: &Client<W>);

    /// A message of bytes has come.
    fn bytes(&mut self, bytes: &[u8], client: &Client<W>);
}

/// The client at the other end of a [`Speaker`]'s WebSocket.
pub struct Client<W: Wire> {
    /// The connection.
    pub peer: Rc<Peer<W>>,
    /// The thread's connections.
    pub hub: Rc<Hub<W>>,
}

impl<W: Wire> Clone for Client<W> {
    fn clone(&self) -> Self {
        let (peer, hub) = (self.peer.clone(), self.hub.clone());
        Self { peer, hub }
    }
}

impl<W: Wire> Client<W> {
    /// Sends a message of text. A client that reads so slowly that it does not fit into the outbox is closed.
    pub fn text(&self, text: &str) {
        self.send(ws::encode_text(text.as_bytes()));
    }

    /// Sends a message of bytes, likewise.
    pub fn bytes(&self, bytes: &[u8]) {
        self.send(ws::encode_binary(bytes));
    }

    /// Closes the connection behind all that was sent.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.hub.close(&self.peer, code, reason);
    }

    fn send(&self, frame: Bytes) {
        self.hub.send(&self.peer, frame);
    }

    fn hears(&mut self, incoming: Incoming<'_>, speaker: &mut dyn Speaker<W>) -> ControlFlow<()> {
        match incoming {
            Incoming::Text(text) => speaker.text(text, self),
            Incoming::Binary(bytes) => speaker.bytes(bytes, self),
            Incoming::Ping(payload) => self.send(ws::pong_frame(payload)),
            Incoming::Pong(_) => {}
            Incoming::Close { code, .. } => self.hub.close_back(&self.peer, code),
        }
        if self.peer.is(CLOSING | CLOSED) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How large frames and messages may be.
    pub frames: ws::Limits,
    /// How fast they may come.
    pub pace: rate::Limits,
}

/// See the module's description.
pub struct SpeakerActor<W: Wire> {
    client: Client<W>,
    speaker: Box<dyn Speaker<W>>,
    decoder: Decoder,
    limits: rate::Limits,
    pace: Pace,
    /// What had been read before the socket was handed over.
    early: BytesMut,
}

impl<W: Wire> SpeakerActor<W> {
    /// A session for a connection that is in the hub already.
    pub fn new(client: Client<W>, speaker: Box<dyn Speaker<W>>, limits: Limits, early: BytesMut) -> Self {
        Self {
            client,
            speaker,
            decoder: Decoder::new(limits.frames),
            limits: limits.pace,
            pace: Pace::default(),
            early,
        }
    }

    /// Reads what is there. Ready when the connection is over.
    fn read(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let Client { peer, hub } = self.client.clone();
        if peer.line.socket().is_none() {
            return Poll::Ready(());
        }
        let mut early = std::mem::take(&mut self.early);
        self.take(&mut early);
        hub.read_turn(&peer, task, self, |_| true, Self::take)
    }

    /// Bytes from the client. Once the connection is closing they are dropped.
    fn take(&mut self, bytes: &mut [u8]) {
        let Client { peer, hub } = self.client.clone();
        if bytes.is_empty() || peer.is(CLOSING | CLOSED) {
            return;
        }
        let now_ms = hub.look_at_the_clock();
        peer.heard_ms.set(now_ms);
        let (client, speaker) = (&mut self.client, &mut *self.speaker);
        let (limits, pace) = (&self.limits, &mut self.pace);
        let mut kept = pace.take(limits, now_ms, 0, bytes.len() as u64);
        let fed = self.decoder.feed(bytes, &mut |incoming| {
            kept = kept.and_then(|()| pace.take(limits, now_ms, 1, 0));
            match kept {
                Ok(()) => client.hears(incoming, speaker),
                Err(_) => ControlFlow::Break(()),
            }
        });
        if let Err(too_fast) = kept {
            return hub.too_fast(&peer, too_fast);
        }
        if let Err(violation) = fed {
            hub.refuse(&peer, violation);
        }
    }
}

/// The socket's life within the actor: reads, and writes where the shard's flusher was blocked.
struct Life;

impl<W: Wire> ActorFuture<SpeakerActor<W>> for Life {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut SpeakerActor<W>,
        ctx: &mut Context<SpeakerActor<W>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        act.client.peer.waked_by(task.waker());
        act.client.hub.write_blocked(&act.client.peer, task);
        let over = act.read(task);
        if over.is_ready() {
            ctx.stop();
        }
        over
    }
}

impl<W: Wire> Actor for SpeakerActor<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Life);
    }
}

/// Also when it panicked: the connection is closed and forgotten.
impl<W: Wire> Drop for SpeakerActor<W> {
    fn drop(&mut self) {
        let Client { peer, hub } = &self.client;
        if let Some(wire) = peer.line.socket() {
            wire.shutdown(true);
        }
        hub.remove(peer);
        peer.task.take();
    }
}
