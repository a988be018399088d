//! A running node as clients, operators and embedding programs see it, by subject.

#[path = "../kit/mod.rs"]
mod kit;

mod faults;
mod hostile;
mod http;
mod library;
mod sse;
mod websocket;
