//! Events that were read lately: whoever reads them too is given the same ones, decoded once and with their frames encoded
//! once. When a thousand clients of a room come back, they mostly miss the same.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use greenroom_actors::logic::cluster::entry::{self, EntryError};
use greenroom_actors::logic::event::Event;
use greenroom_actors::logic::position::Life;

/// What they may take, bytes. A few thousand thoughts of an agent; it is beside `limits.memory_bytes`.
const BYTES_MAX: usize = 16 << 20;

/// See the module's description. Of one life.
#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    events: HashMap<u64, Arc<Event>>,
    /// The one that was read longest ago first.
    order: VecDeque<u64>,
    bytes: usize,
}

impl Recent {
    /// Reads an entry, unless its event is here already. Errors: it is no entry of this version.
    pub fn read(&self, entry: Bytes, life: Life) -> Result<Arc<Event>, EntryError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = entry::seq(&entry).and_then(|seq| kept.events.get(&seq)) {
            return Ok(event.clone());
        }
        let event = Arc::new(entry::read(entry, life)?);
        kept.bytes += event.cost();
        kept.order.push_back(event.seq);
        kept.events.insert(event.seq, event.clone());
        while kept.bytes > BYTES_MAX && kept.order.len() > 1 {
            let oldest = kept.order.pop_front();
            if let Some(gone) = oldest.and_then(|seq| kept.events.remove(&seq)) {
                kept.bytes -= gone.cost();
            }
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, bytes: usize) -> Bytes {
        let body = format!("1 5 a.1 D\nid\nnote\nroom\n\n\"{}\"", "x".repeat(bytes));
        Bytes::from(entry::head(seq, &[(1, 0)]) + &body)
    }

    #[test]
    fn an_event_is_decoded_once_and_the_oldest_is_forgotten() {
        let recent = Recent::default();
        let first = recent.read(entry(1, 9), Life::NONE).expect("an entry");
        let again = recent.read(entry(1, 9), Life::NONE).expect("an entry");
        assert!(Arc::ptr_eq(&first, &again));
        for seq in 2..50 {
            recent.read(entry(seq, 1 << 20), Life::NONE).expect("an entry");
        }
        let again = recent.read(entry(1, 9), Life::NONE).expect("an entry");
        assert!(!Arc::ptr_eq(&first, &again));
        assert!(recent.0.lock().unwrap_or_else(PoisonError::into_inner).bytes <= BYTES_MAX);
        assert!(recent.read(Bytes::from_static(b"nonsense"), Life::NONE).is_err());
    }
}
