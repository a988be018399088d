//! Greenroom: one self-hosted node for AI-agent products.
//!
//! The `greenroom` command runs a node; a program that brings its own agents embeds one with [`node::Node::start`].

pub mod adapters;
pub mod auth;
pub mod buses;
mod cache;
mod cache_metrics;
pub mod cli;
pub mod config;
pub mod extensions;
pub mod http;
pub mod ids;
mod js_cluster;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod open_files;
pub mod rooms;
mod settings;
pub mod shards;

pub use greenroom_actors as actors;
