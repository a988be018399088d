//! Socket.IO over a session of Engine.IO: namespaces, events, acks. What they mean is up to a [`Handler`] a namespace;
//! the node's rooms are one ([`rooms`]).

mod connection;
pub mod rooms;
mod shown;
mod socket;

pub use connection::Connection;
pub use socket::{Asked, EmitError, Socket};

use crate::{
    logic::{engine_io::Reason, socket_io::Limits},
    ports::{Gate, WallClock, Wire},
};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, rc::Rc, sync::Arc};

/// What a handler does that takes time: nothing more is read from the client while too much of it is under way.
pub type Work = Option<LocalBoxFuture<'static, ()>>;

/// What happens in a namespace.
pub trait Handler<W: Wire> {
    /// A client wants to be let in, with what it says of itself. Whoever is neither accepted nor refused in time is
    /// disconnected.
    fn connect(&self, socket: Rc<Socket<W>>, auth: Option<Box<RawValue>>) -> Work;

    /// Whether a client with this to say of itself may come back to where it was, and so in the place of another connection
    /// of its own. If there is no other place left, [`Handler::connect`] has to find it one, or to refuse it.
    fn comes_back(&self, _auth: Option<&RawValue>) -> bool {
        false
    }

    /// A client that was accepted sends an event.
    fn event(&self, socket: Rc<Socket<W>>, asked: Asked) -> Work;

    /// A client is gone that was accepted, or was still waiting to be. Where the whole session is over, nobody does what
    /// this returns.
    fn disconnect(&self, socket: &Rc<Socket<W>>, reason: Reason) -> Work;
}

/// What the connections of a thread share.
pub struct Namespaces<W: Wire> {
    /// The handler of each namespace, by its name with the slash.
    pub handlers: BTreeMap<String, Rc<dyn Handler<W>>>,
    /// Who is let in.
    pub gate: Arc<dyn Gate>,
    /// The wall clock.
    pub clock: WallClock,
    /// A client hears so long before that its token expires, milliseconds.
    pub expiring_ms: i64,
    /// What a client may send in one packet.
    pub limits: Limits,
    /// Milliseconds a client may take from opening a session to entering a namespace.
    pub connect_timeout_ms: u64,
    /// Answers of one client that may be waited for.
    pub acks: usize,
}
