//! What was accepted, and whether somebody heard all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::time::{Duration, Instant};

/// What happens within this time happens in the same moment.
const SAME_MOMENT: Duration = Duration::from_millis(250);

/// What a client saw.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// An event of its room, with its number there as the publisher gave it, and its offset (0: none yet).
    Heard { number: u64, offset: u64 },
    /// It was told that something is missing, then.
    Told(Instant),
    /// It came back, then, and nothing is missing.
    Back(Instant),
}

/// When each number of each room was accepted.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<BTreeMap<usize, Vec<Instant>>>>);

impl Book {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next number of a room was accepted.
    pub fn accepted(&self, room: usize) {
        self.0
            .lock()
            .unwrap()
            .entry(room)
            .or_default()
            .push(Instant::now());
    }

    /// The last number of a room.
    pub fn last(&self, room: usize) -> u64 {
        self.0
            .lock()
            .unwrap()
            .get(&room)
            .map_or(0, |all| all.len() as u64)
    }

    /// Milliseconds since the first event was accepted.
    pub fn ms(&self) -> u128 {
        let book = self.0.lock().unwrap();
        let first = book.values().filter_map(|accepted| accepted.first()).min();
        first.map_or(0, |first| first.elapsed().as_millis())
    }

    /// All events.
    pub fn all(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Whether a client that was in a room from the first event on has heard each event once, in the order of their offsets;
    /// what was accepted before it was told that something is missing is excused. Answers how many were excused.
    pub fn check(&self, room: usize, log: &[Entry]) -> Result<usize, String> {
        let mut heard = BTreeSet::new();
        let (mut told, mut last_offset) = (None, 0);
        for entry in log {
            match *entry {
                Entry::Told(at) => told = Some(at),
                Entry::Back(_) => {}
                Entry::Heard { number, offset } => {
                    if !heard.insert(number) {
                        return Err(format!("{number} of room {room} came twice"));
                    }
                    if offset > 0 && offset <= last_offset {
                        return Err(format!("offset {offset} of room {room} came after {last_offset}"));
                    }
                    last_offset = last_offset.max(offset);
                }
            }
        }
        let book = self.0.lock().unwrap();
        let accepted = book.get(&room).map(Vec::as_slice).unwrap_or_default();
        let mut excused = 0;
        for (at, when) in accepted.iter().enumerate() {
            let number = at as u64 + 1;
            if heard.contains(&number) {
                continue;
            }
            // A publisher may learn a little later than a client that its event came before the client's gap ended.
            if told.is_some_and(|told| *when <= told + SAME_MOMENT) {
                excused += 1;
            } else {
                let began = book
                    .values()
                    .filter_map(|accepted| accepted.first())
                    .min()
                    .unwrap();
                return Err(story(room, number, (*began, accepted), log));
            }
        }
        Ok(excused)
    }
}

/// What a client missed, and what it heard around that: whoever looks for the fault begins here.
fn story(room: usize, first: u64, (began, accepted): (Instant, &[Instant]), log: &[Entry]) -> String {
    let heard: BTreeSet<u64> = log
        .iter()
        .filter_map(|entry| match entry {
            Entry::Heard { number, .. } => Some(*number),
            Entry::Told(_) | Entry::Back(_) => None,
        })
        .collect();
    let missing: Vec<u64> = (1..=accepted.len() as u64)
        .filter(|number| *number >= first && !heard.contains(number))
        .collect();
    let ms = |at: &Instant| at.saturating_duration_since(began).as_millis();
    let mut told = String::new();
    for entry in log {
        match entry {
            Entry::Heard { number, offset } => told += &format!(" {number}@{offset}"),
            Entry::Told(at) => told += &format!(" told:{}", ms(at)),
            Entry::Back(at) => told += &format!(" back:{}", ms(at)),
        }
    }
    let when: Vec<u128> = missing
        .iter()
        .map(|number| ms(&accepted[*number as usize - 1]))
        .collect();
    format!(
        "{missing:?} of room {room} are missing, accepted at {when:?} ms, and nobody told; it heard{told}"
    )
}
