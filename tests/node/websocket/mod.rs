//! The plain WebSocket: the handshake, commands and answers, violations, and resuming after a cut.

mod commands;
mod endings;
mod frames;
mod handshake;
mod resuming;

const JOIN: &str = r#"{"type":"join","room":"lobby","ref":1}"#;
