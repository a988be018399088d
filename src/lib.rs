//! Greenroom: one self-hosted node for AI-agent products.

pub mod config;

pub use greenroom_actors as actors;
