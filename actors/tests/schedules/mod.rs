//! What the searches over random schedules share, whatever is in their schedules.

mod resuming_client;
mod search;

pub use resuming_client::{Asked, ResumingClient};
pub use search::{Outcome, Reached, assert_reached, assert_repeatable, count_shards, hush, search};
