//! The throttle of one user: how many events a second reach it, and how those that wait are merged.
//!
//! A user may have connections on several shards; an event counts once however many of them get it. What waits under a
//! key is released to all of them together: whichever shard comes first decides for all, gives its own connections
//! theirs, and leaves to the others what is granted to theirs, for each shard's own timer to take.

mod waiting;
mod window;

pub use waiting::{cost, key_hash, same_key, same_rooms};
pub use window::WINDOW_MS;

use super::{
    event::{Event, Origin},
    position::{Unsent, WAITING_MAX},
};
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};
use waiting::{Grant, Held, Key, Queue, Waiting, key_of};
use window::{EventKey, Slot, Window, event_key};

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
    /// What may wait for one user, bytes: see [`cost`].
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

/// A connection of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// The number of its shard.
    pub shard: u32,
    /// A number that no other connection of the shard has or will have.
    pub key: u64,
}

impl Who {
    fn all_of(shard: u32) -> RangeInclusive<Self> {
        let with = |key| Self { shard, key };
        with(0)..=with(u64::MAX)
    }
}

/// What becomes of an event that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Send it.
    Now,
    /// It waits; [`Throttle::opens`] says when to ask for releases.
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

/// See the module's description. All times are of one clock.
#[derive(Default)]
pub struct Throttle {
    all: Window,
    by_name: BTreeMap<String, Window>,
    waiting: BTreeMap<Key, Waiting>,
    held: Held,
    /// Slots there have been.
    slots: u64,
    /// The latest time it was told: shards look at the clock before they wait for each other.
    latest_ms: u64,
}

impl Throttle {
    /// An event for one connection of the user.
    pub fn offer(&mut self, who: Who, event: &Arc<Event>, rule: &Rule, rules: &Rules, now_ms: u64) -> Offer {
        let now_ms = self.advance(now_ms);
        let counted = self.all.slot_of(event_key(event), now_ms);
        if let Some(slot) = counted
            && !self.waits_for(who, event, rule)
        {
            self.all.renew(slot, now_ms);
            if let Some(own) = self.by_name.get_mut(event.name.as_str()) {
                own.renew(slot, now_ms);
            }
            return Offer::Now;
        }
        if self.waiting.is_empty() && self.opens(event.name.as_str(), rule, rules) <= now_ms {
            self.count(event.name.as_str(), Some(event_key(event)), rule, rules, now_ms);
            return Offer::Now;
        }
        self.wait(who, event, rule, rules, now_ms)
    }

    fn advance(&mut self, now_ms: u64) -> u64 {
        self.latest_ms = self.latest_ms.max(now_ms);
        self.latest_ms
    }

    /// Whether something waits that the connection is to be given before the event.
    fn waits_for(&self, who: Who, event: &Event, rule: &Rule) -> bool {
        let under = || self.waiting.get(&key_of(event, rule));
        !self.waiting.is_empty() && under().is_some_and(|waiting| waiting.queues.contains_key(&who))
    }

    fn wait(&mut self, who: Who, event: &Arc<Event>, rule: &Rule, rules: &Rules, now_ms: u64) -> Offer {
        let waiting = self.waiting.entry(key_of(event, rule));
        let waiting = waiting.or_insert_with(|| Waiting::new(rule));
        let queue = waiting.queues.entry(who).or_default();
        let mut since_ms = now_ms;
        if rule.merge == Merge::Latest {
            let gone = queue.supersede(event);
            gone.iter().for_each(|(_, event)| self.held.remove(event));
            // The newest takes the age of the oldest.
            since_ms = gone.first().map_or(now_ms, |(since_ms, _)| *since_ms);
        }
        let longer = queue.push(since_ms, event);
        self.held.add(event);
        let untold = longer && self.firsts(who).len() > WAITING_MAX;
        if self.held.is_over(rules.wait_bytes) || untold {
            Offer::Overflow
        } else {
            Offer::Waits
        }
    }

    /// When an event of this name may go out at the earliest. That never gets earlier.
    pub fn opens(&self, name: &str, rule: &Rule, rules: &Rules) -> u64 {
        let own = rule
            .per_second
            .and_then(|limit| Some(self.by_name.get(name)?.opens(limit)));
        self.all.opens(rules.per_second).max(own.unwrap_or(0))
    }

    /// Returns the slot.
    fn count(&mut self, name: &str, event: Option<EventKey>, rule: &Rule, rules: &Rules, now_ms: u64) -> u64 {
        self.slots += 1;
        let slot = Slot {
            id: self.slots,
            event,
            counted_ms: now_ms,
            used_ms: now_ms,
        };
        self.all.count(slot, rules.per_second);
        if let Some(limit) = rule.per_second {
            let own = self.by_name.entry(name.to_owned()).or_default();
            own.count(slot, limit);
        }
        slot.id
    }

    /// When something may be released to connections of this shard, milliseconds; `None` while nothing waits for them.
    pub fn due(&self, shard: u32, rules: &Rules) -> Option<u64> {
        let due = |(key, waiting): (&Key, &Waiting)| {
            let mut own = waiting.queues.range(Who::all_of(shard)).peekable();
            own.peek()?;
            Some(match own.any(|(_, queue)| queue.granted.is_some()) {
                true => 0,
                false => self.opens(&key.0, &waiting.rule, rules),
            })
        };
        self.waiting.iter().filter_map(due).min()
    }

    /// Releases what is granted to connections of this shard, or else what waits under one key, if anything may go out
    /// now: the highest priority first, of equals the oldest. There may be more; what is for connections of other shards
    /// is granted to them.
    pub fn release(&mut self, shard: u32, rules: &Rules, now_ms: u64) -> Option<Vec<Release>> {
        let now_ms = self.advance(now_ms);
        let granted = self.take_granted(shard, now_ms);
        if !granted.is_empty() {
            return Some(granted);
        }
        let is_open = |(key, waiting): &(&Key, &Waiting)| self.opens(&key.0, &waiting.rule, rules) <= now_ms;
        let open = self.waiting.iter().filter(is_open);
        let ranked = open.filter_map(|(key, waiting)| Some((waiting.rank(now_ms)?, key, waiting)));
        let (_, key, waiting) = ranked.max_by_key(|(rank, ..)| *rank)?;
        let (key, rule, decided) = (key.clone(), waiting.rule.clone(), waiting.decide());
        let slot = self.count(&key.0, common_event(&decided), &rule, rules, now_ms);
        let mut released = Vec::new();
        let waiting = self.waiting.get_mut(&key)?;
        for release in decided {
            if release.who.shard == shard {
                let events = waiting.take(release.who, release.count);
                events.iter().for_each(|event| self.held.remove(event));
                released.push(release);
            } else if let Some(queue) = waiting.queues.get_mut(&release.who) {
                queue.granted = Some(Grant { slot, release });
            }
        }
        self.drop_empty();
        Some(released)
    }

    /// Takes what is granted to connections of this shard under one key: the position that goes with one thing has to
    /// name the next. What was granted too long ago goes on waiting: by now others may have used up what the user may be
    /// given in a second.
    fn take_granted(&mut self, shard: u32, now_ms: u64) -> Vec<Release> {
        let mut taken = Vec::new();
        for (key, waiting) in &mut self.waiting {
            let own = waiting.queues.range_mut(Who::all_of(shard));
            let granted: Vec<Grant> = own.filter_map(|(_, queue)| queue.granted.take()).collect();
            for Grant { slot, release } in granted {
                if !self.all.renew(slot, now_ms) {
                    continue;
                }
                if let Some(own) = self.by_name.get_mut(&key.0) {
                    own.renew(slot, now_ms);
                }
                let events = waiting.take(release.who, release.count);
                events.iter().for_each(|event| self.held.remove(event));
                taken.push(release);
            }
            if !taken.is_empty() {
                break;
            }
        }
        self.drop_empty();
        taken
    }

    fn drop_empty(&mut self) {
        self.waiting.retain(|_, waiting| !waiting.queues.is_empty());
    }

    /// The first events that wait for a connection, ascending: what its position must name.
    pub fn firsts(&self, who: Who) -> Vec<u64> {
        let queues = self
            .waiting
            .values()
            .filter_map(|waiting| waiting.queues.get(&who));
        let mut firsts: Vec<u64> = queues
            .flat_map(|queue| &queue.firsts)
            .filter(|event| event.local_from.is_none())
            .map(|event| event.seq)
            .collect();
        firsts.sort_unstable();
        firsts
    }

    /// The first events that wait for a connection of those that its node gave out while the broker was away.
    pub fn local_firsts(&self, who: Who) -> Vec<(Origin, Unsent)> {
        let of = |waiting: &Waiting, event: &Arc<Event>| {
            let origin = event.origin.filter(|_| event.local_from.is_some())?;
            let key = key_hash(event, &waiting.rule);
            let from = origin.count;
            Some((origin, Unsent { from, key }))
        };
        let mut firsts = Vec::new();
        for waiting in self.waiting.values() {
            let queue = waiting.queues.get(&who);
            firsts.extend(
                queue
                    .iter()
                    .flat_map(|queue| &queue.firsts)
                    .filter_map(|event| of(waiting, event)),
            );
        }
        firsts
    }

    /// Whether anything waits for a connection.
    pub fn waits(&self, who: Who) -> bool {
        let mut all = self.waiting.values();
        all.any(|waiting| waiting.queues.contains_key(&who))
    }

    /// Of what waits for a connection, only what is still wanted goes on waiting.
    pub fn retain(&mut self, who: Who, wanted: impl Fn(&Event) -> bool) {
        for waiting in self.waiting.values_mut() {
            let gone = waiting.drop_if(who, |event| !wanted(event));
            gone.iter().for_each(|(_, event)| self.held.remove(event));
        }
        self.drop_empty();
    }

    /// An event that waits for a connection since an outage has its number now: from here on its position names that.
    pub fn number(&mut self, who: Who, event: &Arc<Event>) {
        for waiting in self.waiting.values_mut() {
            let queue = waiting.queues.get_mut(&who);
            if let Some(unnumbered) = queue.and_then(|queue| queue.number(event)) {
                self.held.remove(&unnumbered);
                self.held.add(event);
            }
        }
    }

    /// The connection is gone: nothing waits for it any more.
    pub fn forget(&mut self, who: Who) {
        self.retain(who, |_| false);
    }

    /// The events that wait for a connection.
    pub fn events(&self, who: Who) -> impl Iterator<Item = &Arc<Event>> {
        let all = self.waiting.values();
        let queues = all.filter_map(move |waiting| waiting.queues.get(&who));
        queues.flat_map(Queue::events)
    }

    /// Bytes that wait for the user: see [`cost`].
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }
}

/// The event that is the newest of all these releases, if they have it in common.
fn common_event(releases: &[Release]) -> Option<EventKey> {
    let mut newest = releases.iter().map(|release| event_key(&release.event));
    let first = newest.next()?;
    newest.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests;
