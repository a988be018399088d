//! What a peer has been given, and where it is in the history while it is not live.

use super::{PERSONAL, Peer, PendingJoin};
use crate::{
    logic::{
        bus_log::Gap,
        event::Event,
        position::{SEEN_MAX, Seen},
    },
    ports::Wire,
};
use std::sync::Arc;

/// A peer that is being given the history.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// Read up to here.
    pub after: u64,
    /// The peer has everything up to here, except what is found below from `firsts` on.
    pub base: u64,
    /// The first event under each throttle key that the peer does not have, though it is at or below `base`.
    pub firsts: Vec<u64>,
    /// What it has been told is missing.
    pub gaps: Vec<Gap>,
    /// Events at or below `base` that it does not have, found so far.
    pub resend: Vec<Arc<Event>>,
    /// The join that is answered with the first page. Until then the client has what it said it has.
    pub told: Option<PendingJoin>,
    /// A watcher that was told how its join went must still be told that it missed something.
    pub missed: bool,
    /// The read that is under way: the answers to others came too late.
    pub reading: Option<u64>,
}

impl CatchUp {
    /// It is told that this is missing.
    pub fn note_gaps(&mut self, gaps: &[Gap]) {
        self.gaps
            .retain(|(room, _)| !gaps.iter().any(|(gap, _)| gap == room));
        self.gaps.extend_from_slice(gaps);
    }
}

impl<W: Wire> Peer<W> {
    /// Whether it was given an event while the broker was away; `key` is the hash of the event's throttle key.
    pub fn has_seen(&self, event: &Event, key: impl Fn() -> Option<u32>) -> bool {
        let seen = self.seen.borrow();
        !seen.is_empty()
            && event
                .origin
                .is_some_and(|origin| seen.iter().any(|seen| seen.includes(origin, &key)))
    }

    /// It has been given this while the broker is away, and all before it of the same outage: so its position is its own.
    pub fn note_seen(&self, new: Seen) {
        self.set(PERSONAL);
        let mut seen = self.seen.borrow_mut();
        let is_it = |seen: &&mut Seen| seen.node == new.node && seen.from == new.from;
        if let Some(known) = seen.iter_mut().find(is_it) {
            known.upto = known.upto.max(new.upto);
            return;
        }
        let mut all = std::mem::take(&mut *seen).into_vec();
        if all.len() == SEEN_MAX {
            all.remove(0);
        }
        all.push(new);
        *seen = all.into();
    }

    /// It has been given an event of an outage; `key` is the hash of the event's throttle key. What it said that it lacks
    /// of that key begins behind it.
    pub fn note_given(&self, event: &Event, key: impl Fn() -> Option<u32>) {
        let (Some(new), Some(origin)) = (event.seen(), event.origin) else {
            return;
        };
        self.note_seen(new);
        for seen in self
            .seen
            .borrow_mut()
            .iter_mut()
            .filter(|seen| seen.covers(origin))
        {
            if seen.waiting.is_empty() {
                continue;
            }
            let (upto, key) = (seen.upto, key());
            for unsent in seen.waiting.iter_mut().filter(|unsent| Some(unsent.key) == key) {
                unsent.from = unsent.from.max(origin.count + 1);
            }
            seen.waiting.retain(|unsent| unsent.from <= upto);
        }
    }
}
