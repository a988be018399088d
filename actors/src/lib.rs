//! The actors of a Greenroom node.

pub mod broker;
pub mod cache;
pub mod callers;
pub mod cluster_bus;
pub mod embedded_bus;
pub mod engine;
pub mod event_stream;
pub mod far_cache;
pub mod gate;
pub mod hub;
pub mod js_bridge;
pub mod logic;
pub mod memory;
pub mod messages;
pub mod peer;
pub mod ports;
pub mod radio;
mod reading;
pub mod redis_bridge;
pub mod reply;
pub mod room_registry;
pub mod session;
pub mod socket_io;
pub mod speaker;
pub mod stats;
pub mod subjects;
pub mod supervise;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
