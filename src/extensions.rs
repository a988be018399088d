//! What an embedding program adds to a node: namespaces of Socket.IO, and protocols of its own.

use std::rc::Rc;
use std::sync::Arc;

use greenroom_actors::session::Desk;
use greenroom_actors::socket_io::Handler;
use greenroom_actors::speaker::Speaker;

use crate::adapters::tcp_wire::TcpWire;
use crate::http::socketio::Begins;
use crate::shards::Thread;

/// Makes a namespace's handler for a thread, with that thread's rooms.
pub type HandlerOf = Arc<dyn Fn(&Rc<Desk<TcpWire>>) -> Rc<dyn Handler<TcpWire>> + Send + Sync>;

/// Makes what speaks over a WebSocket that begins in this thread.
pub type Speaks = Arc<dyn Fn(&Thread) -> Box<dyn Speaker<TcpWire>> + Send + Sync>;

/// A door at which a program speaks Engine.IO without Socket.IO. Its sessions are connections like others: counted,
/// bounded in what they send and in what waits for them, told to go when the node shuts down.
#[derive(Clone)]
pub struct EngineDoor {
    /// Where it is, with the slash at the end, such as `/engine.io/`.
    pub path: String,
    /// What speaks over a session.
    pub begins: Begins,
    /// Whether anybody may open a session, also where the node asks for tokens: then the program has to ask by itself.
    /// Otherwise whoever opens one shows a token in the head or the query, and the session ends with it.
    pub is_open: bool,
}

/// See the module's description.
#[derive(Clone, Default)]
pub struct Extensions {
    /// Namespaces by their names with the slash. `/` takes the place of the node's rooms.
    pub namespaces: Vec<(String, HandlerOf)>,
    /// What speaks Engine.IO without Socket.IO.
    pub engines: Vec<EngineDoor>,
    /// What speaks over plain WebSockets, by path. They are connections like others: counted, pinged, bounded, told to
    /// go when the node shuts down.
    pub sockets: Vec<(String, Speaks)>,
}
