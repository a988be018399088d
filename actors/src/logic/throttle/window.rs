//! A sliding window over what a user was given lately.
//!
//! What is counted is a *slot*: something that goes out once, to each of the user's connections at most once. Those on
//! other shards are given it a little later, and a slot counts from the last time that it was used: so whichever
//! connections are looked at, no more slots than the limit were used within any one second. A slot may be used for one
//! second after it was counted, and no longer, so that a shard that lags behind holds up the others no more than that.

use super::super::{event::Event, position::Life};
use std::collections::VecDeque;

/// The window in which slots are counted, milliseconds.
pub const WINDOW_MS: u64 = 1_000;

/// Slots that are looked through, of the latest, for an event that was counted already. Whoever is further behind than
/// that is counted again.
const LOOK_BACK: usize = 64;

/// Which event, whatever the history's life.
pub(super) type EventKey = (Life, (u64, u64));

/// Which event this is.
pub(super) fn event_key(event: &Event) -> EventKey {
    (event.life, event.order())
}

/// Something that went out.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// Its number, from 1.
    pub(super) id: u64,
    /// The event that a connection is given for nothing if it comes to it later; `None` where connections were given
    /// different things, so that one that has had its share might be given another.
    pub(super) event: Option<EventKey>,
    /// When it was counted.
    pub(super) counted_ms: u64,
    /// When it was used last.
    pub(super) used_ms: u64,
}

impl Slot {
    fn is_usable(&self, now_ms: u64) -> bool {
        now_ms < self.counted_ms + WINDOW_MS
    }
}

/// The slots used last, in the order in which they were; no more than the limit are kept.
#[derive(Default)]
pub(super) struct Window(VecDeque<Slot>);

impl Window {
    /// When the next may be counted. That never gets earlier.
    pub(super) fn opens(&self, limit: u32) -> u64 {
        let limit = limit as usize;
        if self.0.len() < limit {
            0
        } else {
            self.0[self.0.len() - limit].used_ms + WINDOW_MS
        }
    }

    /// One more.
    pub(super) fn count(&mut self, slot: Slot, limit: u32) {
        self.0.push_back(slot);
        while self.0.len() > limit as usize {
            self.0.pop_front();
        }
    }

    /// The slot of an event that was counted and may still be given to others.
    pub(super) fn slot_of(&self, event: EventKey, now_ms: u64) -> Option<u64> {
        let latest = self.0.iter().rev().take(LOOK_BACK);
        let mut recent = latest.take_while(|slot| now_ms < slot.used_ms + WINDOW_MS);
        let slot = recent.find(|slot| slot.event == Some(event) && slot.is_usable(now_ms));
        slot.map(|slot| slot.id)
    }

    /// A slot is used once more, if it may be. Returns whether it was.
    pub(super) fn renew(&mut self, id: u64, now_ms: u64) -> bool {
        let at = self.0.iter().rposition(|slot| slot.id == id);
        let Some((at, slot)) = at
            .map(|at| (at, self.0[at]))
            .filter(|(_, slot)| slot.is_usable(now_ms))
        else {
            return false;
        };
        if slot.used_ms < now_ms {
            self.0.remove(at);
            self.0.push_back(Slot {
                used_ms: now_ms,
                ..slot
            });
        }
        true
    }
}
