//! What the searches over random schedules share, whatever is in their schedules.

mod search;

pub use search::{Outcome, Reached, assert_reached, assert_repeatable, count_shards, hush, search};
