//! One file, one outside system, one port.

pub mod tcp_wire;
