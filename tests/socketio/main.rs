//! Socket.IO as its stock clients see it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

#[path = "../kit/mod.rs"]
mod kit;

mod auth;
mod browser;
mod connecting;
mod recovery;
mod rooms;
mod selftest;
