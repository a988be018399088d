//! The actors of a Greenroom node.

pub mod logic;
