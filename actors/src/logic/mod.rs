//! Pure logic: no actix, no tokio, no clock, no randomness, no I/O.

pub mod utf8;
pub mod ws;
