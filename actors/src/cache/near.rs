//! The near tier, and what is on its way.

use super::Lives;
use crate::logic::cache::Key;
use bytes::Bytes;
use moka::{Expiry, sync::Cache};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What an entry costs beside its name and value, bytes, about: two table entries, its places in the queues of the crate, a
/// value's head.
const ENTRY_BYTES: usize = 200;

/// Entries that may be on the landing before they are stowed, whoever waits.
const LANDING_MAX: usize = 10_000;

/// Entries in the process, bounded in bytes, each for as long as its kind lives.
pub(super) struct Near {
    entries: Cache<Key, Bytes>,
    /// Those that have just come. Stowing one takes microseconds, for which who asked for a hundred need not wait.
    landing: HashMap<Key, Bytes>,
    /// Entries that were put out for others, and of which the time was up.
    gone: Arc<Gone>,
}

#[derive(Default)]
struct Gone {
    evicted: AtomicU64,
    expired: AtomicU64,
}

struct Lifetimes(Lives);

impl Expiry<Key, Bytes> for Lifetimes {
    fn expire_after_create(&self, key: &Key, _: &Bytes, _: Instant) -> Option<Duration> {
        Some(self.0.of(key))
    }

    fn expire_after_read(
        &self,
        key: &Key,
        _: &Bytes,
        _: Instant,
        left: Option<Duration>,
        _: Instant,
    ) -> Option<Duration> {
        match key.kind.row().is_renewed {
            true => Some(self.0.of(key)),
            false => left,
        }
    }

    fn expire_after_update(&self, key: &Key, _: &Bytes, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(self.0.of(key))
    }
}

impl Near {
    pub fn new(bytes: u64, lives: Lives) -> Self {
        let gone = Arc::<Gone>::default();
        let counted = gone.clone();
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Key, value: &Bytes| {
                u32::try_from(ENTRY_BYTES + key.bytes() + value.len()).unwrap_or(u32::MAX)
            })
            .expire_after(Lifetimes(lives))
            .eviction_listener(move |_, _, cause| {
                use moka::notification::RemovalCause;
                let counter = match cause {
                    RemovalCause::Size => &counted.evicted,
                    RemovalCause::Expired => &counted.expired,
                    RemovalCause::Explicit | RemovalCause::Replaced => return,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        Self {
            entries,
            landing: HashMap::new(),
            gone,
        }
    }

    pub fn get(&self, key: &Key) -> Option<Bytes> {
        let landed = self.landing.get(key).cloned();
        landed.or_else(|| self.entries.get(key))
    }

    /// Whether it is there; asking is no use.
    pub fn has(&self, key: &Key) -> bool {
        self.landing.contains_key(key) || self.entries.contains_key(key)
    }

    /// Whoever puts has it stowed soon.
    pub fn put(&mut self, key: Key, value: Bytes) {
        if key.kind.row().is_near {
            self.landing.insert(key, value);
        }
        if self.landing.len() >= LANDING_MAX {
            self.stow();
        }
    }

    /// Whether there is anything to be stowed.
    pub fn is_landing(&self) -> bool {
        !self.landing.is_empty()
    }

    pub fn stow(&mut self) {
        for (key, value) in self.landing.drain() {
            self.entries.insert(key, value);
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: &Key) -> bool {
        let landed = self.landing.remove(key).is_some();
        self.entries.remove(key).is_some() || landed
    }

    pub fn clear(&mut self) {
        self.landing.clear();
        self.entries.invalidate_all();
    }

    /// Entries and bytes by kind.
    pub fn sizes(&self) -> Vec<(Key, usize)> {
        let size = |(key, value): (Arc<Key>, Bytes)| ((*key).clone(), key.bytes() + value.len());
        self.entries.iter().map(size).collect()
    }

    /// Does what the crate has left to do, so that what is told is true.
    pub fn settle(&mut self) {
        self.stow();
        self.entries.run_pending_tasks();
    }

    /// Entries, and what they cost, bytes.
    pub fn size(&self) -> (u64, u64) {
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    pub fn evicted(&self) -> u64 {
        self.gone.evicted.load(Ordering::Relaxed)
    }

    pub fn expired(&self) -> u64 {
        self.gone.expired.load(Ordering::Relaxed)
    }
}
