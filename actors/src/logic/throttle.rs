//! The throttle of one user: how many events a second reach it, and how those that wait are merged.
//!
//! A user may have several connections on a thread; an event counts once however many of them get it, and what waits
//! under a key is released to all of them together.

use super::{event::Event, room_name::RoomName};
use std::{
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
    /// Events of this name a second a user; `None`: only the limit over all names holds.
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
            self.by_name.get(event.name.as_str())
        }
    }
}

/// A connection of the user, by whatever number its owner likes.
pub type Who = u32;

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
    /// The events, oldest first; one, but for [`Merge::Append`].
    pub events: Vec<Arc<Event>>,
}

/// What waits is told apart by name, subject and first room: only those are merged with each other.
type Key = (String, Option<Box<str>>, RoomName);

fn key_of(event: &Event, rule: &Rule) -> Key {
    let first = event.places[0].room.clone();
    let about = if rule.merge == Merge::None {
        None
    } else {
        event.about.clone()
    };
    (event.name.as_str().to_owned(), about, first)
}

struct Waiting {
    rule: Rule,
    since_ms: u64,
    events: BTreeMap<Who, VecDeque<Arc<Event>>>,
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
            .is_some_and(|waiting| waiting.events.contains_key(&who))
    }

    fn wait(&mut self, who: Who, event: &Arc<Event>, rule: &Rule, rules: &Rules, now_ms: u64) -> Offer {
        let bytes = event.payload.json().len();
        let key = key_of(event, rule);
        let new = || Waiting {
            rule: rule.clone(),
            since_ms: now_ms,
            events: BTreeMap::new(),
        };
        let waiting = self.waiting.entry(key).or_insert_with(new);
        let queue = waiting.events.entry(who).or_default();
        if rule.merge == Merge::Latest {
            for gone in queue.drain(..) {
                self.bytes -= gone.payload.json().len();
            }
        }
        queue.push_back(event.clone());
        self.bytes += bytes;
        if self.bytes > rules.wait_bytes {
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
        let rank = |waiting: &Waiting| {
            let risen = now_ms.saturating_sub(waiting.since_ms) / 1_000;
            (
                u64::from(waiting.rule.priority) + risen,
                std::cmp::Reverse(waiting.since_ms),
            )
        };
        let (key, _) = open.max_by_key(|(_, waiting)| rank(waiting))?;
        let key = key.clone();
        let mut waiting = self.waiting.remove(&key)?;
        let mut releases = Vec::new();
        if waiting.rule.merge == Merge::None {
            self.release_first(&mut waiting, &mut releases);
        } else {
            for (who, events) in std::mem::take(&mut waiting.events) {
                releases.push(Release {
                    who,
                    events: events.into(),
                });
            }
        }
        let sent = releases.iter().flat_map(|release| &release.events);
        self.bytes -= sent.map(|event| event.payload.json().len()).sum::<usize>();
        if let Some(newest) = releases
            .iter()
            .filter_map(|release| release.events.last())
            .max_by_key(|e| e.seq)
        {
            let newest = newest.clone();
            self.count(&newest, &waiting.rule, rules, now_ms);
        }
        if !waiting.events.is_empty() {
            waiting.since_ms = now_ms;
            self.waiting.insert(key, waiting);
        }
        Some(releases)
    }

    /// The oldest event under the key, to each connection for which it is the oldest.
    fn release_first(&self, waiting: &mut Waiting, releases: &mut Vec<Release>) {
        let first = waiting
            .events
            .values()
            .filter_map(|queue| queue.front())
            .map(|event| event.seq)
            .min();
        for (who, queue) in &mut waiting.events {
            if queue.front().map(|event| event.seq) == first {
                releases.push(Release {
                    who: *who,
                    events: queue.pop_front().into_iter().collect(),
                });
            }
        }
        waiting.events.retain(|_, queue| !queue.is_empty());
    }

    /// The first event that waits for a connection under each key, ascending: what its position must name.
    pub fn firsts(&self, who: Who) -> Vec<u64> {
        let queues = self
            .waiting
            .values()
            .filter_map(|waiting| waiting.events.get(&who));
        let mut firsts: Vec<u64> = queues
            .filter_map(|queue| queue.front())
            .map(|event| event.seq)
            .collect();
        firsts.sort_unstable();
        firsts
    }

    /// The connection is gone: nothing waits for it any more. Returns whether the user has nothing left to remember.
    pub fn forget(&mut self, who: Who) -> bool {
        for waiting in self.waiting.values_mut() {
            for gone in waiting.events.remove(&who).into_iter().flatten() {
                self.bytes -= gone.payload.json().len();
            }
        }
        self.waiting.retain(|_, waiting| !waiting.events.is_empty());
        self.waiting.is_empty()
    }

    /// Bytes of payload that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether two events would wait under the same key.
pub fn same_key(one: &Event, other: &Event, rule: &Rule) -> bool {
    one.name == other.name && key_of(one, rule) == key_of(other, rule)
}

/// The payload of several merged events, `None` where the newest stands for itself.
///
/// The newest one's fields, `thought` all texts joined by a line break, `merged` their number, `thoughts` the
/// originals in order: each its own fields without those that say who thinks, and the `id` of its event.
pub fn merged_payload(events: &[Arc<Event>]) -> Option<Vec<u8>> {
    use serde_json::{Map, Value};
    let newest = events.last().filter(|_| events.len() > 1)?;
    let object = |event: &Event| serde_json::from_slice::<Map<String, Value>>(event.payload.json()).ok();
    let mut merged = object(newest)?;
    let mut texts = Vec::with_capacity(events.len());
    let mut thoughts = Vec::with_capacity(events.len());
    for event in events {
        let mut one = object(event)?;
        texts.push(one.get("thought")?.as_str()?.to_owned());
        for who in ["agentId", "agentName", "projectId"] {
            one.remove(who);
        }
        one.insert("id".into(), event.id.as_str().into());
        thoughts.push(Value::Object(one));
    }
    merged.insert("thought".into(), texts.join("\n").into());
    merged.insert("merged".into(), events.len().into());
    merged.insert("thoughts".into(), thoughts.into());
    serde_json::to_vec(&merged).ok()
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
