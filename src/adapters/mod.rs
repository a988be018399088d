//! One file, one outside system, one port.

pub mod redis;
pub mod stream;
pub mod tcp_wire;
pub mod tls;
