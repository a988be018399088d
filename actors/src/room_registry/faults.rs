//! Planned failures, by name and place; only tests can reach them (feature `testing`).

use crate::ports::ShardId;
use std::cell::RefCell;

thread_local! {
    /// Which shards of this thread fall over in the middle of a fan-out, and after how many more members. A universe
    /// lives in one thread, and tests in others must not meet its failures.
    static HALF_WAY: RefCell<Vec<(ShardId, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The shard panics in a fan-out, just before it gives an event to the member after the next `members`.
pub fn fail_half_way(shard: ShardId, members: u32) {
    HALF_WAY.with_borrow_mut(|planned| planned.push((shard, members)));
}

/// Whether every planned failure has happened.
pub fn all_happened() -> bool {
    HALF_WAY.with_borrow(Vec::is_empty)
}

/// Plans no failure any more.
pub fn forget_all() {
    HALF_WAY.take();
}

pub(super) fn trip(shard: ShardId) {
    let is_now = HALF_WAY.with_borrow_mut(|planned| {
        let Some(at) = planned.iter().position(|(planned, _)| *planned == shard) else {
            return false;
        };
        let (_, members) = &mut planned[at];
        if *members > 0 {
            *members -= 1;
            return false;
        }
        planned.swap_remove(at);
        true
    });
    if is_now {
        #[expect(clippy::panic, reason = "a planned failure, which only tests can reach")]
        {
            panic!("shard {} fails half-way through a fan-out, as planned", shard.0);
        }
    }
}
