//! What a node holds for its clients: histories, and what waits for connections. Past a limit it takes nothing new.
//!
//! Every shard weighs its connections in its sweep, so that nothing is counted where something is delivered. What waits
//! in many outboxes is mostly the same frames: the plain sum of the outboxes is quickly made and too high, so only where
//! it comes near the limit a shard looks which frames are the same.

use crate::logic::memory::is_full;
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// See the module's description.
#[derive(Debug, Default)]
pub struct Memory {
    /// Bytes; 0: no limit.
    limit: u64,
    /// What waits for connections, where what they share counts as often as there are connections.
    summed: AtomicU64,
    /// The same, each thing counted once, as far as a shard had to look.
    weighed: AtomicU64,
    /// What else is being given out.
    lent: AtomicU64,
    /// What the bus keeps, when a shard last looked.
    kept: AtomicU64,
    full: AtomicBool,
}

impl Memory {
    /// With a limit in bytes; 0: none.
    pub fn new(limit: u64) -> Arc<Self> {
        let memory = Self {
            limit,
            ..Self::default()
        };
        Arc::new(memory)
    }

    /// Whether it takes nothing new.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// What it holds, bytes, as of the last sweeps.
    pub fn held(&self) -> u64 {
        let load = |part: &AtomicU64| part.load(Ordering::Relaxed);
        load(&self.weighed) + load(&self.lent) + load(&self.kept)
    }

    /// The limit, bytes; 0: none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Something that is given to a client in another way than by an outbox; counted until this is dropped.
    pub fn lend(self: &Arc<Self>, bytes: usize) -> Lent {
        self.lent.fetch_add(bytes as u64, Ordering::Relaxed);
        Lent {
            memory: self.clone(),
            bytes: bytes as u64,
        }
    }

    /// Decides anew. The log is told of a change, once.
    fn decide(&self) {
        let (was_full, held) = (self.is_full(), self.held());
        let now_full = is_full(was_full, held, self.limit);
        if now_full == was_full || self.full.swap(now_full, Ordering::Relaxed) == now_full {
            return;
        }
        let (limit, histories) = (self.limit, self.kept.load(Ordering::Relaxed));
        if now_full {
            tracing::warn!(
                held,
                limit,
                histories,
                "the node is full (limits.memory_bytes): it refuses publications and new connections"
            );
        } else {
            tracing::info!(
                held,
                limit,
                histories,
                "the node takes publications and connections again"
            );
        }
    }
}

/// See [`Memory::lend`].
#[derive(Debug)]
pub struct Lent {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.memory.lent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What one shard has said of its connections; taken back when it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    summed: Cell<u64>,
    weighed: Cell<u64>,
}

impl Share {
    /// Nothing yet.
    pub fn of(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            summed: Cell::new(0),
            weighed: Cell::new(0),
        }
    }

    /// Of which node.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// So much waits for the shard's connections by the plain sum, and `weigh` says how much of that is not the same; the
    /// bus keeps `kept` bytes. Returns what counts.
    pub fn tell(&self, summed: u64, kept: u64, weigh: impl FnOnce() -> u64) -> u64 {
        let memory = &*self.memory;
        memory.kept.store(kept, Ordering::Relaxed);
        exchange(&memory.summed, &self.summed, summed);
        let most = memory.summed.load(Ordering::Relaxed) + memory.lent.load(Ordering::Relaxed) + kept;
        // As if it were full, so that what is weighed near the limit is weighed alike before and after.
        let is_near = is_full(true, most, memory.limit);
        let counts = if is_near { weigh() } else { summed };
        exchange(&memory.weighed, &self.weighed, counts);
        memory.decide();
        counts
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        exchange(&self.memory.summed, &self.summed, 0);
        exchange(&self.memory.weighed, &self.weighed, 0);
    }
}

/// Puts a shard's new part of a sum in the place of its old one.
fn exchange(sum: &AtomicU64, part: &Cell<u64>, new: u64) {
    // In this order the sum is never below nothing.
    sum.fetch_add(new, Ordering::Relaxed);
    sum.fetch_sub(part.replace(new), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unasked() -> u64 {
        unreachable!("far from the limit nobody looks closely")
    }

    #[test]
    fn shards_and_histories_and_what_is_lent_count_together() {
        let memory = Memory::new(1_000);
        let (one, other) = (Share::of(memory.clone()), Share::of(memory.clone()));
        assert_eq!(one.tell(300, 100, unasked), 300);
        assert_eq!(other.tell(400, 100, unasked), 400);
        assert!(!memory.is_full() && memory.held() == 800);
        let lent = memory.lend(201);
        other.tell(400, 100, || 400);
        assert!(memory.is_full() && memory.held() == 1_001);
        drop(lent);
        one.tell(300, 100, unasked);
        assert!(!memory.is_full());
        other.tell(401, 300, || 401);
        assert!(memory.is_full());
        drop(other);
        one.tell(300, 300, unasked);
        assert!(!memory.is_full() && memory.held() == 600);
    }

    #[test]
    fn what_is_the_same_does_not_fill_a_node() {
        let memory = Memory::new(1_000);
        let share = Share::of(memory.clone());
        assert_eq!(share.tell(1_000_000, 0, || 10), 10);
        assert!(!memory.is_full());
        share.tell(1_000_000, 0, || 1_001);
        assert!(memory.is_full());
        share.tell(1_000_000, 0, || 901);
        assert!(memory.is_full(), "a tenth is to be free");
        share.tell(1_000_000, 0, || 900);
        assert!(!memory.is_full());
    }

    #[test]
    fn without_a_limit_it_is_never_full() {
        let memory = Memory::new(0);
        assert_eq!(
            Share::of(memory.clone()).tell(u64::MAX >> 1, 1, unasked),
            u64::MAX >> 1
        );
        assert!(!memory.is_full());
    }
}
