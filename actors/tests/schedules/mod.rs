//! What the searches over random schedules share, whatever is in their schedules.

mod events;
mod resuming_client;
mod search;

pub use events::{publication, thought, update};
pub use resuming_client::{Asked, ResumingClient};
pub use search::{Outcome, Reached, assert_reached, assert_repeatable, count_shards, hush, search};
