//! Greenroom: one self-hosted node for AI-agent products.

pub mod cli;
pub mod config;
pub mod logging;

pub use greenroom_actors as actors;
