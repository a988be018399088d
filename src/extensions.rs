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

/// See the module's description.
#[derive(Clone, Default)]
pub struct Extensions {
    /// Namespaces by their names with the slash. `/` takes the place of the node's rooms.
    pub namespaces: Vec<(String, HandlerOf)>,
    /// What speaks Engine.IO without Socket.IO, by path, such as `/engine.io/`.
    pub engines: Vec<(String, Begins)>,
    /// What speaks over plain WebSockets, by path. They are connections like others: counted, pinged, bounded, told to
    /// go when the node shuts down.
    pub sockets: Vec<(String, Speaks)>,
}
