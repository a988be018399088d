//! Planned failures, by name and place; only tests can reach them (feature `testing`).

use crate::ports::ShardId;
use std::sync::Mutex;

/// Which shards fall over in the middle of a fan-out, and after how many more members.
static HALF_WAY: Mutex<Vec<(ShardId, u32)>> = Mutex::new(Vec::new());

/// The shard panics in a fan-out, just before it gives an event to the member after the next `members`.
pub fn fail_half_way(shard: ShardId, members: u32) {
    if let Ok(mut planned) = HALF_WAY.lock() {
        planned.push((shard, members));
    }
}

/// Whether every planned failure has happened.
pub fn all_happened() -> bool {
    HALF_WAY.lock().is_ok_and(|planned| planned.is_empty())
}

pub(super) fn trip(shard: ShardId) {
    let Ok(mut planned) = HALF_WAY.lock() else { return };
    let Some(at) = planned.iter().position(|(planned, _)| *planned == shard) else {
        return;
    };
    if planned[at].1 > 0 {
        planned[at].1 -= 1;
        return;
    }
    planned.swap_remove(at);
    drop(planned);
    #[expect(clippy::panic, reason = "a planned failure, which only tests can reach")]
    {
        panic!("shard {} fails half-way through a fan-out, as planned", shard.0);
    }
}
