//! What really happened: every event that somebody published, what became of it, and what the broker has of it.

use greenroom_actors::{
    logic::event::{Draft, Receipt},
    ports::BusError,
    testing::memory_broker::{Has, MemoryBroker},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// An event.
#[derive(Clone, Debug)]
pub struct Told {
    pub id: String,
    /// When it was published: what was answered to a client before has a lower number.
    pub tick: u64,
    pub rooms: Vec<String>,
    /// Events that share this come in order.
    pub order: String,
    /// Whether a newer one stands for it.
    pub is_latest: bool,
    /// Where, and by whom: `local` events of one publisher come in order there.
    pub publisher: String,
    /// The node through which it was published, and which of those that were started in its place.
    pub node: (usize, u32),
    /// Where it is among all that was accepted, as often as it was: a broker that has lost it may be told again.
    pub accepted: Vec<usize>,
    /// The broker has lost it since.
    pub is_lost: bool,
    /// Its publisher was told that the broker has it, or that it waits.
    pub receipt: Option<Answer>,
}

/// What a publisher was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The broker has it.
    Shared,
    /// It is given to those who are on the same node, and waits.
    Local,
    /// It was not accepted, as far as is known.
    Refused,
}

impl Answer {
    /// What an answer says.
    pub fn of(answer: &Result<Receipt, BusError>) -> Self {
        match answer {
            Ok(receipt) if receipt.local => Self::Local,
            Ok(_) => Self::Shared,
            Err(_) => Self::Refused,
        }
    }
}

/// Every event.
#[derive(Default)]
pub struct Truth {
    pub events: BTreeMap<String, Told>,
    tick: u64,
    accepted: usize,
    saved: usize,
    is_throttled: bool,
    /// Whether the broker has ever lost anything.
    pub has_lost: bool,
}

impl Truth {
    pub fn new(is_throttled: bool) -> Self {
        Self {
            is_throttled,
            ..Self::default()
        }
    }

    /// A moment after all before.
    pub fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Somebody publishes an event.
    pub fn publish(&mut self, id: &str, frame: &Value, publisher: &str, node: (usize, u32)) {
        let name = frame["event"].as_str().expect("a name");
        let data = &frame["data"];
        let about = data["agentId"].as_str().or_else(|| data["taskId"].as_str());
        let rooms = frame["rooms"].as_array().expect("rooms");
        let text = |room: &Value| room.as_str().expect("a name").to_owned();
        let tick = self.tick();
        let told = Told {
            id: id.to_owned(),
            tick,
            rooms: rooms.iter().map(text).collect(),
            order: if self.is_throttled {
                format!("{name} {}", about.unwrap_or_default())
            } else {
                String::new()
            },
            is_latest: self.is_throttled && name == "task-update",
            publisher: publisher.to_owned(),
            node,
            accepted: Vec::new(),
            is_lost: false,
            receipt: None,
        };
        self.events.insert(id.to_owned(), told);
    }

    /// Its publisher hears what became of it; of two that are the same, the better is true.
    pub fn answered(&mut self, id: &str, answer: Answer) {
        if let Some(told) = self.events.get_mut(id)
            && told.receipt.is_none_or(|before| before == Answer::Refused)
        {
            told.receipt = Some(answer);
        }
    }

    /// Writes down what was accepted since the last time.
    pub fn listen(&mut self, broker: &MemoryBroker) {
        for (_, draft) in broker.accepted() {
            self.accept(&draft);
        }
    }

    fn accept(&mut self, draft: &Draft) {
        let told = self
            .events
            .get_mut(draft.id.as_str())
            .expect("one that was published");
        assert!(
            told.accepted.is_empty() || told.is_lost,
            "accepted twice: {told:?}"
        );
        told.is_lost = false;
        self.accepted += 1;
        told.accepted.push(self.accepted);
    }

    pub fn save(&mut self) {
        self.saved = self.accepted;
    }

    pub fn restart(&mut self, has: Has) {
        let kept = match has {
            Has::All => return,
            Has::Saved => self.saved,
            Has::Nothing => 0,
        };
        for told in self.events.values_mut() {
            if told.accepted.last().is_some_and(|at| *at > kept) {
                told.is_lost = true;
                self.has_lost = true;
            }
        }
        // What was saved is what it has now.
        self.saved = self.saved.min(kept);
    }

    /// Events of a room after a moment that the broker has.
    pub fn of(&self, room: &str, after: u64) -> impl Iterator<Item = &Told> {
        let is_it = move |told: &&Told| told.tick > after && told.rooms.iter().any(|name| name == room);
        self.events
            .values()
            .filter(is_it)
            .filter(|told| !told.accepted.is_empty() && !told.is_lost)
    }
}

/// The ids that what a client was given says: of merged thoughts the originals.
pub fn ids_of(data: &Value) -> Vec<String> {
    let id = |text: &Value| text.as_str()?.split(' ').next().map(str::to_owned);
    if let Some(thoughts) = data["thoughts"].as_array() {
        return thoughts.iter().filter_map(|one| id(&one["thought"])).collect();
    }
    let text = [data, &data["thought"], &data["message"]];
    text.into_iter().find_map(id).into_iter().collect()
}

/// What a client was given, in order, and the rules for that.
#[derive(Default)]
pub struct Given {
    counts: BTreeMap<String, usize>,
    /// Ids, and whether they were given under their numbers.
    list: Vec<(String, Option<bool>)>,
}

impl Given {
    /// It was given this: under its number, before it had one, or nobody knows.
    pub fn add(&mut self, id: &str, is_numbered: Option<bool>, truth: &Truth) -> Result<(), String> {
        let told = truth
            .events
            .get(id)
            .ok_or_else(|| format!("nobody published {id}"))?;
        let count = self.counts.entry(id.to_owned()).or_default();
        *count += 1;
        // A broker that has lost an event, which its node tells it again, numbers it twice.
        if *count > told.accepted.len().max(1) {
            return Err(format!("{id} came {count} times: {told:?}"));
        }
        self.list.push((id.to_owned(), is_numbered));
        Ok(())
    }

    pub fn has(&self, id: &str) -> bool {
        self.counts.contains_key(id)
    }

    /// The first of these rooms' events, each from a moment on, that is missing.
    pub fn missing<'t>(&self, rooms: &BTreeMap<String, Option<u64>>, truth: &'t Truth) -> Option<&'t Told> {
        let due = rooms.iter().filter_map(|(room, from)| Some((room, (*from)?)));
        let mut due = due.flat_map(|(room, from)| truth.of(room, from));
        due.find(|told| !self.has(&told.id) && !self.is_superseded(told, truth))
    }

    /// Whether the client has a newer value.
    fn is_superseded(&self, told: &Told, truth: &Truth) -> bool {
        let newest = |told: &Told| told.accepted.last().copied();
        told.is_latest
            && truth
                .events
                .values()
                .any(|newer| newer.order == told.order && newest(newer) > newest(told) && self.has(&newer.id))
    }

    /// What came in the wrong order, if anything did.
    pub fn disorder(&self, truth: &Truth) -> Option<String> {
        let mut numbered: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        let mut local = BTreeMap::new();
        for (id, is_numbered) in &self.list {
            let told = &truth.events[id];
            let was_shared = told.receipt == Some(Answer::Shared);
            // Of one that was numbered twice, nobody knows which it is.
            if let [at] = told.accepted[..]
                && is_numbered.unwrap_or(was_shared)
            {
                let before = numbered.insert(&told.order, (at, id));
                if let Some(before) = before.filter(|(before, _)| *before > at) {
                    return Some(format!("{told:?} came after {before:?}"));
                }
            }
            if *is_numbered == Some(false) {
                let key = (told.publisher.as_str(), told.node, told.order.as_str());
                let before = local.insert(key, (told.tick, id));
                if let Some(before) = before.filter(|(before, _)| *before > told.tick) {
                    return Some(format!("{told:?} came after {before:?} of the same publisher"));
                }
            }
        }
        None
    }
}
