//! A node in a cluster of JavaScript Socket.IO servers, as pure functions: what `@socket.io/redis-adapter` 8.3.0 (the
//! classic one, by PUBLISH and SUBSCRIBE) and `@socket.io/redis-emitter` 5.1.0 say, and what they are answered.

mod channels;

pub use channels::{Channel, Channels};
