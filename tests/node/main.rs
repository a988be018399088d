//! A running node as clients, operators and embedding programs see it, by subject.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

#[path = "../kit/mod.rs"]
mod kit;

mod auth;
mod echo;
mod faults;
mod floods;
mod hostile;
mod http;
mod library;
mod limits;
mod memory;
mod polling;
mod proxies;
mod socketio;
mod sse;
mod tls;
mod websocket;
