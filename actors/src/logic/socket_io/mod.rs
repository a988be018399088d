//! Socket.IO, protocol revision 5, as pure functions: the packets that travel in the messages of Engine.IO.
//!
//! - [`decode`] reads one packet, [`Assembly`] a connection's packets with their attachments.
//! - [`encode`] writes what a server says, with bytes taken out as attachments.
//! - [`Acks`] remembers the answers that the server waits for.
//!
//! Bytes are `{"$binary":"<base64>"}` in our JSON, everywhere but on this wire.
//!
//! The facts are those of `docs/socket.io-protocol/v5-current.md` in the socketio/socket.io repository and, where that is
//! silent, of `packages/socket.io-parser`. Both ends of the stock are JavaScript: where its parser takes more than the
//! document allows only because of how JavaScript compares, such as a blank for the number 0, this one does not.

mod acks;
mod binary;
pub mod encode;
mod json;
mod packet;
#[cfg(test)]
mod tests;

pub use acks::Acks;
pub(in crate::logic) use binary::bytes_in;
pub use binary::{Assembly, Taken, take_out};
pub(in crate::logic) use json::{depth_within, tokens};
pub(in crate::logic) use packet::RESERVED;
pub use packet::{ACK_ID_MAX, DecodeError, Event, JSON_DEPTH_MAX, Kind, Limits, Packet, decode};
