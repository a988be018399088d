//! A node in a cluster of JavaScript Socket.IO servers, as pure functions: what `@socket.io/redis-adapter` 8.3.0 (the
//! classic one, by PUBLISH and SUBSCRIBE) and `@socket.io/redis-emitter` 5.1.0 say, and what they are answered.

mod channels;
pub mod msgpack;
#[cfg(test)]
mod tests;

pub use channels::{Channel, Channels};

use super::socket_io::JSON_DEPTH_MAX;

/// How deep arrays and maps of a message may go: as deep as what clients may send, and what is around it.
pub const DEPTH_MAX: usize = JSON_DEPTH_MAX + 3;

/// Why a message is not understood. None of them is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nested more than [`DEPTH_MAX`] deep, or an event more than [`JSON_DEPTH_MAX`].
    #[error("the message is nested too deep")]
    TooDeep,
    /// No MessagePack, only a part of a value, or something behind it.
    #[error("the message is not one value of MessagePack")]
    NotMessagePack,
    /// Something is missing, of another kind, or too long a list.
    #[error("the message is not as it should be")]
    Shape,
}
