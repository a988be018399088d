//! What really happened: every event that the bus accepted.

use greenroom_actors::{logic::event::Draft, testing::slow_bus::SlowBus};
use std::collections::BTreeMap;

/// An event.
#[derive(Clone, Debug)]
pub struct Told {
    pub seq: u64,
    pub id: String,
    pub rooms: Vec<String>,
    /// Events that share this come in order.
    pub order: String,
    /// Whether a newer one stands for it.
    pub is_latest: bool,
}

/// Every event.
#[derive(Default)]
pub struct Truth {
    pub events: BTreeMap<String, Told>,
    by_room: BTreeMap<String, Vec<Told>>,
    head: u64,
    /// Whether some kinds are throttled, so that only within a kind there is an order.
    is_throttled: bool,
    history_events: usize,
}

impl Truth {
    /// Nothing yet.
    pub fn new(is_throttled: bool, history_events: usize) -> Self {
        Self {
            is_throttled,
            history_events,
            ..Self::default()
        }
    }

    /// Writes down what was accepted since the last time.
    pub fn listen(&mut self, bus: &SlowBus) {
        for (seq, draft) in bus.accepted() {
            let told = self.tell(seq, &draft);
            self.head = seq;
            for room in &told.rooms {
                self.by_room.entry(room.clone()).or_default().push(told.clone());
            }
            let before = self.events.insert(told.id.clone(), told);
            assert!(before.is_none(), "an id is accepted once");
        }
    }

    fn tell(&self, seq: u64, draft: &Draft) -> Told {
        let about = draft.about.as_deref().unwrap_or_default();
        let name = draft.name.as_str();
        Told {
            seq,
            id: draft.id.as_str().to_owned(),
            rooms: draft.rooms.iter().map(ToString::to_string).collect(),
            order: if self.is_throttled {
                format!("{name} {about}")
            } else {
                String::new()
            },
            is_latest: self.is_throttled && name == "task-update",
        }
    }

    /// The last sequence.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Whether the history of a room still has an event.
    pub fn is_kept(&self, room: &str, seq: u64) -> bool {
        self.after(room, seq).len() < self.history_events
    }

    /// Whether every history still has everything.
    pub fn is_whole(&self) -> bool {
        self.by_room.values().all(|all| all.len() <= self.history_events)
    }

    /// The events of a room after a sequence.
    pub fn after(&self, room: &str, seq: u64) -> &[Told] {
        let all = self.by_room.get(room).map_or(&[][..], Vec::as_slice);
        &all[all.partition_point(|told| told.seq <= seq)..]
    }
}
