//! Planned failures, by name and place; only tests can reach them (feature `testing`).

use crate::ports::ShardId;
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

/// Which shards fall over in the middle of a fan-out, and after how many more members.
type Planned = Vec<(ShardId, u32)>;

thread_local! {
    /// Failures of this thread's shards: a universe lives in one thread, and tests in others must not meet its failures.
    static HERE: RefCell<Planned> = const { RefCell::new(Vec::new()) };
}

/// Failures of shards in any thread: those of a running node, whose numbers no other node of the process has.
static ANYWHERE: Mutex<Planned> = Mutex::new(Vec::new());

/// A shard of this thread panics in a fan-out, just before it gives an event to the member after the next `members`.
pub fn fail_half_way(shard: ShardId, members: u32) {
    HERE.with_borrow_mut(|planned| planned.push((shard, members)));
}

/// The same for a shard of another thread.
pub fn fail_half_way_anywhere(shard: ShardId, members: u32) {
    anywhere(|planned| planned.push((shard, members)));
}

/// Whether every planned failure, here and anywhere, has happened.
pub fn all_happened() -> bool {
    HERE.with_borrow(Vec::is_empty) && anywhere(|planned| planned.is_empty())
}

/// Plans no failure here any more.
pub fn forget_all() {
    HERE.take();
}

fn anywhere<T>(with: impl FnOnce(&mut Planned) -> T) -> T {
    with(&mut ANYWHERE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn is_now(planned: &mut Planned, shard: ShardId) -> bool {
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
}

pub(super) fn trip(shard: ShardId) {
    if HERE.with_borrow_mut(|planned| is_now(planned, shard)) || anywhere(|planned| is_now(planned, shard)) {
        #[expect(clippy::panic, reason = "a planned failure, which only tests can reach")]
        {
            panic!("shard {} fails half-way through a fan-out, as planned", shard.0);
        }
    }
}
