//! Socket.IO as its stock clients see it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

#[path = "../kit/mod.rs"]
mod kit;

mod selftest;
