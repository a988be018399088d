//! EngineActor: one session of Engine.IO, over long-polling, a WebSocket, or the one on its way to the other.
//!
//! **Owns** the session's state, the requests that wait for it, and its sockets.
//! **Hears** [`Poll`], [`Push`], [`Pushed`], [`Attach`] from the HTTP surface; its sockets.
//! **Tells** its [`App`] what the client says; the client what the outbox holds.
//! **Fails** when its client breaks the protocol, which costs that client its session and nobody else anything.
//! **After a restart** there is none: a session is never restarted, the client comes back.

mod actor;
mod requests;
mod sockets;
mod transit;

pub use actor::EngineActor;
pub use requests::{Answered, Attach, Poll, Push, Pushed};

use crate::{
    hub::Hub,
    logic::{
        engine_io::{Reason, Timing, payload},
        rate, ws,
    },
    peer::Peer,
    ports::Wire,
};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;

/// What the sessions of a thread share.
pub struct EngineDesk<W: Wire> {
    /// The thread's connections.
    pub hub: Rc<Hub<W>>,
    /// The times of the heartbeat and of upgrades.
    pub timing: Timing,
    /// How large frames and messages may be.
    pub frames: ws::Limits,
    /// How much a client may put into one POST, and is given in one answer.
    pub payload: payload::Limits,
    /// How fast what a client sends may come.
    pub pace: rate::Limits,
    /// Work of one session that may be under way; beyond it, its socket is not read from.
    pub in_flight: usize,
}

/// What speaks over a session.
pub trait App<W: Wire> {
    /// A message of text has come.
    fn text(&mut self, text: &str, engine: &mut Engine<'_, W>);

    /// A message of bytes has come.
    fn bytes(&mut self, bytes: Bytes, engine: &mut Engine<'_, W>);

    /// The time for which [`due_ms`](Self::due_ms) asked has come.
    fn tick(&mut self, engine: &mut Engine<'_, W>);

    /// When it has something to do by itself, shard milliseconds.
    fn due_ms(&self) -> Option<u64>;

    /// The session is over.
    fn closed(&mut self, reason: Reason);
}

/// What an [`App`] may do with its session.
pub struct Engine<'a, W: Wire> {
    /// The connection.
    pub peer: &'a Rc<Peer<W>>,
    /// The thread's connections.
    pub hub: &'a Rc<Hub<W>>,
    /// Shard milliseconds.
    pub now_ms: u64,
    work: Vec<LocalBoxFuture<'static, ()>>,
    close: Option<Reason>,
}

impl<W: Wire> Engine<'_, W> {
    /// Queues what is framed already.
    pub fn send(&self, frames: Bytes) {
        self.hub.send(self.peer, frames);
    }

    /// Does something that takes time. The session's socket is not read from while too much of it is under way.
    pub fn spawn(&mut self, work: LocalBoxFuture<'static, ()>) {
        self.work.push(work);
    }

    /// Ends the session, once all that is queued has gone.
    pub fn close(&mut self, reason: Reason) {
        self.close.get_or_insert(reason);
    }
}
