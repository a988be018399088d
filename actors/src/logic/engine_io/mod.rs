//! Engine.IO, protocol revision 4, as pure functions and one state machine a session: what lies under Socket.IO.
//!
//! - [`Packet`] is what both sides say: one a WebSocket frame, or several in a [`payload`] of HTTP long-polling.
//! - [`request`] sorts HTTP requests, and [`Fault`] is what those that make no sense are answered.
//! - [`Session`] is one client over the transports it comes by; [`Heartbeat`] alone is enough for a WebSocket that
//!   never polls.
//!
//! The facts are those of `docs/engine.io-protocol/v4-current.md` in the socketio/socket.io repository and, where that
//! is silent, of its server, `packages/engine.io`.

mod fault;
mod heartbeat;
mod packet;
pub mod payload;
mod reason;
pub mod request;
mod session;

pub use fault::Fault;
pub use heartbeat::{Beat, Heartbeat, Timing};
pub(in crate::logic) use packet::BASE64;
pub use packet::{Control, DecodeError, Packet, Transport, open_packet};
pub use reason::Reason;
pub use session::{Carrier, Effect, Input, Link, Outlet, Session, Source};
