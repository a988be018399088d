//! Pure logic: no actix, no tokio, no clock, no randomness, no I/O. Time and chance are arguments, effects are results.

pub mod access;
pub mod base36;
pub mod bus_log;
pub mod cache;
pub mod cluster;
pub mod digest;
pub mod engine_io;
pub mod event;
pub mod fault;
pub mod few;
pub mod js_cluster;
pub mod known;
pub mod memory;
pub mod merging;
pub mod position;
pub mod presence;
pub mod protocol;
pub mod publication;
pub mod rate;
pub mod restarts;
pub mod room_name;
pub mod sessions;
pub mod socket_io;
pub mod throttle;
pub mod utf8;
pub mod ws;
