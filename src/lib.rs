//! Greenroom: one self-hosted node for AI-agent products.
pub use greenroom_actors as actors;
