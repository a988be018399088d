//! What many connections hold together, and when that is too much.

use super::event::Event;
use bytes::Bytes;
use std::{collections::HashSet, sync::Arc};

/// What a place in a queue costs beside the frame, bytes.
pub const PLACE_BYTES: usize = size_of::<Bytes>();

/// Whether a node that holds so many bytes is full. One that is stays so until a tenth of its limit is free: else it
/// would open and close with each publication. A limit of 0 is none.
pub fn is_full(was_full: bool, held: u64, limit: u64) -> bool {
    let most = if was_full { limit / 10 * 9 } else { limit };
    limit > 0 && held > most
}

/// A sum in which what many share counts once: all who are given an event share its frame.
#[derive(Debug, Default)]
pub struct Tally {
    seen: HashSet<*const u8>,
    bytes: usize,
}

impl Tally {
    /// A frame that waits for somebody, and its place in the queue, which nobody shares.
    pub fn frame(&mut self, frame: &Bytes) {
        self.bytes += PLACE_BYTES;
        self.once(frame.as_ptr(), frame.len());
    }

    /// An event that waits for the throttle or in a catch-up: its payload.
    pub fn event(&mut self, event: &Arc<Event>) {
        self.once(Arc::as_ptr(event).cast(), event.payload.json().len());
    }

    /// The sum.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn once(&mut self, at: *const u8, bytes: usize) {
        if self.seen.insert(at) {
            self.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_opens_again_when_a_tenth_is_free() {
        for (was_full, held, expected) in [
            (false, 0, false),
            (false, 1_000, false),
            (false, 1_001, true),
            (true, 1_001, true),
            (true, 901, true),
            (true, 900, false),
            (false, 901, false),
        ] {
            assert_eq!(is_full(was_full, held, 1_000), expected, "{was_full} {held}");
        }
        for was_full in [false, true] {
            assert!(!is_full(was_full, u64::MAX, 0), "no limit is none");
        }
    }

    #[test]
    fn what_is_shared_counts_once_and_its_places_each() {
        let shared = Bytes::from(vec![0; 1_000]);
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.frame(&shared.clone());
        }
        assert_eq!(tally.bytes(), 1_000 + 3 * PLACE_BYTES);
        tally.frame(&Bytes::from(vec![0; 1_000]));
        assert_eq!(tally.bytes(), 2_000 + 4 * PLACE_BYTES);
    }
}
