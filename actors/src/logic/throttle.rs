//! The throttle of one user: how many events a second reach it, and how those that wait are merged.
//!
//! A user may have several connections on a thread; an event counts once however many of them get it, and what waits
//! under a key is released to all of them together.

use super::{event::Event, merging::merged_payload, position::WAITING_MAX, room_name::RoomName};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// The window in which events are counted, milliseconds.
pub const WINDOW_MS: u64 = 1_000;

/// How events of one name that wait are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Into one of the same shape that holds them all.
    Append,
    /// Only the newest counts.
    Latest,
    /// Not at all: each goes out by itself, in order.
    None,
}

/// The rule for one event name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How what waits is merged.
    pub merge: Merge,
    /// 0 to 10; what waits rises by one a second, so that nothing starves.
    pub priority: u8,
    /// Events of this name a second a user; `None`: only the limit over all names holds; 0: they are not throttled.
    pub per_second: Option<u32>,
}

/// The rules in force on a node.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Throttled events a second a user; 0 switches the throttle off.
    pub per_second: u32,
    /// What may wait for one user, bytes of payload.
    pub wait_bytes: usize,
    /// The names that are throttled.
    pub by_name: BTreeMap<String, Rule>,
}

impl Default for Rules {
    fn default() -> Self {
        let rule = |merge, priority| Rule {
            merge,
            priority,
            per_second: None,
        };
        Self {
            per_second: 10,
            wait_bytes: 256 << 10,
            by_name: BTreeMap::from([
                ("agent-thought".into(), rule(Merge::Append, 5)),
                ("agent-status".into(), rule(Merge::Latest, 7)),
                ("task-update".into(), rule(Merge::Latest, 6)),
                ("index-progress".into(), rule(Merge::Latest, 3)),
            ]),
        }
    }
}

impl Rules {
    /// The rule for an event, `None` if it is not throttled.
    pub fn of(&self, event: &Event) -> Option<&Rule> {
        if self.per_second == 0 {
            None
        } else {
            let rule = self.by_name.get(event.name.as_str());
            rule.filter(|rule| rule.per_second != Some(0))
        }
    }
}

/// A connection of the user, by a number that no other connection has or will have.
pub type Who = u64;

/// What becomes of an event that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Send it.
    Now,
    /// It waits; [`Throttle::due`] says when to ask for releases.
    Waits,
    /// It does not fit: more waits than is allowed, so the connection must be closed (and will resume).
    Overflow,
}

/// What goes out to one connection at a release: one event, or several merged by the rule.
#[derive(Debug)]
pub struct Release {
    /// To whom.
    pub who: Who,
    /// The newest of the events.
    pub event: Arc<Event>,
    /// How many they are.
    pub count: usize,
    /// Of several, the payload that holds them all.
    pub merged: Option<Vec<u8>>,
}

/// What waits is told apart by name and subject: only those are merged with each other. Events without a subject are
/// told apart by their rooms. What is not merged at all goes out in the order in which it came, one queue a name.
type Key = (String, Option<Box<str>>, Box<[RoomName]>);

fn key_of(event: &Event, rule: &Rule) -> Key {
    let name = event.name.as_str().to_owned();
    match &event.about {
        _ if rule.merge == Merge::None => (name, None, Box::default()),
        Some(about) => (name, Some(about.clone()), Box::default()),
        None => (
            name,
            None,
            event.places.iter().map(|place| place.room.clone()).collect(),
        ),
    }
}

/// What waits under one key.
struct Waiting {
    rule: Rule,
    queues: BTreeMap<Who, Queue>,
}

impl Waiting {
    /// What goes out first ranks highest: by priority, one more a second; of equals the one that came first.
    fn rank(&self, now_ms: u64) -> (u64, Reverse<u64>) {
        let fronts = self.queues.values().filter_map(|queue| queue.events.front());
        let oldest = fronts.map(|(since_ms, event)| (*since_ms, event.seq)).min();
        let (since_ms, seq) = oldest.unwrap_or_default();
        let risen = now_ms.saturating_sub(since_ms);
        (u64::from(self.rule.priority) * 1_000 + risen, Reverse(seq))
    }
}

/// What waits under one key for one connection, never empty: each event, and since when it waits.
#[derive(Default)]
struct Queue {
    events: VecDeque<(u64, Arc<Event>)>,
    /// Of each combination of rooms the first event. A history that holds it holds what follows it there, too: so a
    /// position that names these names all.
    firsts: Vec<Arc<Event>>,
}

impl Queue {
    /// Returns whether the position grew by it.
    fn push(&mut self, since_ms: u64, event: &Arc<Event>) -> bool {
        self.events.push_back((since_ms, event.clone()));
        let is_first = !self.firsts.iter().any(|first| same_rooms(first, event));
        if is_first {
            self.firsts.push(event.clone());
        }
        is_first
    }

    fn from(events: impl IntoIterator<Item = (u64, Arc<Event>)>) -> Self {
        let mut queue = Self::default();
        for (since_ms, event) in events {
            queue.push(since_ms, &event);
        }
        queue
    }

    fn pop(&mut self) -> Option<Arc<Event>> {
        let (_, event) = self.events.pop_front()?;
        *self = Self::from(std::mem::take(&mut self.events));
        Some(event)
    }

    /// Drops what has a newer value, and says since when the oldest of it waited: the newest takes its age. A value
    /// for a room that the newer one is not for stays: its reader may leave the newer one's rooms.
    fn supersede(&mut self, newer: &Event) -> Option<u64> {
        let is_for = |room: &RoomName| newer.places.iter().any(|place| place.room == *room);
        let superseded = |event: &Event| event.places.iter().all(|place| is_for(&place.room));
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|(_, event)| superseded(event));
        *self = Self::from(left);
        gone.first().map(|(since_ms, _)| *since_ms)
    }

    fn bytes(&self) -> usize {
        self.events
            .iter()
            .map(|(_, event)| event.payload.json().len())
            .sum()
    }
}

/// A sliding window: when the last few were sent.
#[derive(Default)]
struct Window(VecDeque<u64>);

impl Window {
    /// When the next may be sent.
    fn opens(&self, limit: u32) -> u64 {
        let limit = limit as usize;
        if self.0.len() < limit {
            0
        } else {
            self.0[self.0.len() - limit] + WINDOW_MS
        }
    }

    fn count(&mut self, now_ms: u64, limit: u32) {
        self.0.push_back(now_ms);
        while self.0.len() > limit as usize {
            self.0.pop_front();
        }
    }
}

/// See the module's description.
#[derive(Default)]
pub struct Throttle {
    all: Window,
    by_name: BTreeMap<String, Window>,
    waiting: BTreeMap<Key, Waiting>,
    bytes: usize,
    /// The last event counted: the user's next connection gets it for nothing.
    counted: u64,
}

impl Throttle {
    /// An event for one connection of the user.
    pub fn offer(&mut self, who: Who, event: &Arc<Event>, rule: &Rule, rules: &Rules, now_ms: u64) -> Offer {
        if self.waiting.is_empty() {
            if self.counted == event.seq {
                return Offer::Now;
            }
            if self.opens(event.name.as_str(), rule, rules) <= now_ms {
                self.count(event, rule, rules, now_ms);
                return Offer::Now;
            }
        } else if self.counted == event.seq && !self.waits_for(who, &key_of(event, rule)) {
            return Offer::Now;
        }
        self.wait(who, event, rule, rules, now_ms)
    }

    fn waits_for(&self, who: Who, key: &Key) -> bool {
        self.waiting
            .get(key)
            .is_some_and(|waiting| waiting.queues.contains_key(&who))
    }

    fn wait(&mut self, who: Who, event: &Arc<Event>, rule: &Rule, rules: &Rules, now_ms: u64) -> Offer {
        let new = || Waiting {
            rule: rule.clone(),
            queues: BTreeMap::new(),
        };
        let waiting = self.waiting.entry(key_of(event, rule)).or_insert_with(new);
        let queue = waiting.queues.entry(who).or_default();
        let mut since_ms = now_ms;
        if rule.merge == Merge::Latest {
            self.bytes -= queue.bytes();
            since_ms = queue.supersede(event).unwrap_or(now_ms);
            self.bytes += queue.bytes();
        }
        let longer = queue.push(since_ms, event);
        self.bytes += event.payload.json().len();
        let untold = longer && self.firsts(who).len() > WAITING_MAX;
        if self.bytes > rules.wait_bytes || untold {
            Offer::Overflow
        } else {
            Offer::Waits
        }
    }

    fn opens(&self, name: &str, rule: &Rule, rules: &Rules) -> u64 {
        let own = rule
            .per_second
            .and_then(|limit| Some(self.by_name.get(name)?.opens(limit)));
        self.all.opens(rules.per_second).max(own.unwrap_or(0))
    }

    fn count(&mut self, event: &Event, rule: &Rule, rules: &Rules, now_ms: u64) {
        self.counted = event.seq;
        self.all.count(now_ms, rules.per_second);
        if let Some(limit) = rule.per_second {
            self.by_name
                .entry(event.name.as_str().to_owned())
                .or_default()
                .count(now_ms, limit);
        }
    }

    /// When something may be released, milliseconds; `None` while nothing waits.
    pub fn due(&self, rules: &Rules) -> Option<u64> {
        self.waiting
            .iter()
            .map(|(key, waiting)| self.opens(&key.0, &waiting.rule, rules))
            .min()
    }

    /// Releases what waits under one key, if anything may go out now: the highest priority first, of equals the oldest.
    pub fn release(&mut self, rules: &Rules, now_ms: u64) -> Option<Vec<Release>> {
        let open = self
            .waiting
            .iter()
            .filter(|(key, waiting)| self.opens(&key.0, &waiting.rule, rules) <= now_ms);
        let (key, _) = open.max_by_key(|(_, waiting)| waiting.rank(now_ms))?;
        let key = key.clone();
        let mut waiting = self.waiting.remove(&key)?;
        let before: usize = waiting.queues.values().map(Queue::bytes).sum();
        let releases = release_all(&mut waiting).unwrap_or_else(|| release_first(&mut waiting));
        let after: usize = waiting.queues.values().map(Queue::bytes).sum();
        self.bytes -= before - after;
        if let Some(newest) = releases
            .iter()
            .map(|release| &release.event)
            .max_by_key(|e| e.seq)
        {
            self.count(newest, &waiting.rule, rules, now_ms);
        }
        if !waiting.queues.is_empty() {
            self.waiting.insert(key, waiting);
        }
        Some(releases)
    }

    /// The first events that wait for a connection, ascending: what its position must name.
    pub fn firsts(&self, who: Who) -> Vec<u64> {
        let queues = self
            .waiting
            .values()
            .filter_map(|waiting| waiting.queues.get(&who));
        let mut firsts: Vec<u64> = queues
            .flat_map(|queue| &queue.firsts)
            .map(|event| event.seq)
            .collect();
        firsts.sort_unstable();
        firsts
    }

    /// Of what waits for a connection, only what is still wanted goes on waiting.
    pub fn retain(&mut self, who: Who, wanted: impl Fn(&Event) -> bool) {
        for waiting in self.waiting.values_mut() {
            let Some(queue) = waiting.queues.remove(&who) else {
                continue;
            };
            self.bytes -= queue.bytes();
            let left = Queue::from(queue.events.into_iter().filter(|(_, event)| wanted(event)));
            self.bytes += left.bytes();
            if !left.events.is_empty() {
                waiting.queues.insert(who, left);
            }
        }
        self.waiting.retain(|_, waiting| !waiting.queues.is_empty());
    }

    /// The connection is gone: nothing waits for it any more.
    pub fn forget(&mut self, who: Who) {
        self.retain(who, |_| false);
    }

    /// Bytes of payload that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events that wait.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        let queues = self.waiting.values().flat_map(|waiting| waiting.queues.values());
        queues.flat_map(|queue| queue.events.iter().map(|(_, event)| event))
    }
}

/// All that waits under a key, merged: `None` if that cannot be done.
fn release_all(waiting: &mut Waiting) -> Option<Vec<Release>> {
    if waiting.rule.merge == Merge::None {
        return None;
    }
    let mut releases = Vec::with_capacity(waiting.queues.len());
    for (who, queue) in &waiting.queues {
        let events: Vec<&Event> = queue.events.iter().map(|(_, event)| &**event).collect();
        let (_, newest) = queue.events.back()?;
        let merged = match events.len() {
            1 => None,
            _ if waiting.rule.merge == Merge::Latest => return None,
            _ => Some(merged_payload(&events)?),
        };
        releases.push(Release {
            who: *who,
            event: newest.clone(),
            count: events.len(),
            merged,
        });
    }
    waiting.queues.clear();
    Some(releases)
}

/// The oldest event under a key, to each connection for which it is the oldest.
fn release_first(waiting: &mut Waiting) -> Vec<Release> {
    let front = |queue: &Queue| queue.events.front().map(|(_, event)| event.seq);
    let first = waiting.queues.values().filter_map(front).min();
    let mut releases = Vec::new();
    for (who, queue) in &mut waiting.queues {
        if front(queue) == first {
            releases.extend(queue.pop().map(|event| Release {
                who: *who,
                event,
                count: 1,
                merged: None,
            }));
        }
    }
    waiting.queues.retain(|_, queue| !queue.events.is_empty());
    releases
}

/// Whether `event` waits where `first` is the first that a position names: then it was not sent either if it came later.
pub fn same_key(first: &Event, event: &Event, rule: &Rule) -> bool {
    first.name == event.name && same_rooms(first, event) && key_of(first, rule) == key_of(event, rule)
}

/// Whether two events are for the same rooms, named in the same order.
pub fn same_rooms(one: &Event, other: &Event) -> bool {
    let rooms = |event: &Event| event.places.len();
    let mut pairs = one.places.iter().zip(&other.places);
    rooms(one) == rooms(other) && pairs.all(|(one, other)| one.room == other.room)
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
