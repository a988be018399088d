//! What waits: a queue a key and connection.

use super::{
    super::{digest, event::Event, merging::merged_payload, room_name::RoomName},
    Merge, Release, Rule, Who,
    window::{EventKey, event_key},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What merging writes around one event, bytes, and what a queue needs for it.
const AROUND_BYTES: usize = 32;

/// What waits is told apart by name and subject: only those are merged with each other. Events without a subject are
/// told apart by their rooms. What is not merged at all goes out in the order in which it came, one queue a name.
pub(super) type Key = (String, Option<Box<str>>, Box<[RoomName]>);

pub(super) fn key_of(event: &Event, rule: &Rule) -> Key {
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

/// Whether `event` waits where `first` is the first that a position names: then it was not sent either if it came later.
pub fn same_key(first: &Event, event: &Event, rule: &Rule) -> bool {
    first.name == event.name && same_rooms(first, event) && key_of(first, rule) == key_of(event, rule)
}

/// A hash by which events that wait under the same key, for the same rooms, are known again, on every node.
pub fn key_hash(event: &Event, rule: &Rule) -> u32 {
    let about = event.about.as_deref().filter(|_| rule.merge != Merge::None);
    let rooms = event.places.iter().map(|place| place.room.as_str());
    let texts = [event.name.as_str()].into_iter().chain(rooms).chain(about);
    digest::fnv32(texts.flat_map(|text| text.bytes().chain([0xff])))
}

/// Whether two events are for the same rooms, named in the same order.
pub fn same_rooms(one: &Event, other: &Event) -> bool {
    let rooms = |event: &Event| event.places.len();
    let mut pairs = one.places.iter().zip(&other.places);
    rooms(one) == rooms(other) && pairs.all(|(one, other)| one.room == other.room)
}

/// The events that wait, each once however many connections wait for it: they share it.
#[derive(Default)]
pub(super) struct Held {
    waiters: BTreeMap<EventKey, usize>,
    bytes: usize,
}

impl Held {
    pub(super) fn add(&mut self, event: &Event) {
        let waiters = self.waiters.entry(event_key(event)).or_default();
        if *waiters == 0 {
            self.bytes += cost(event);
        }
        *waiters += 1;
    }

    pub(super) fn remove(&mut self, event: &Event) {
        let Some(waiters) = self.waiters.get_mut(&event_key(event)) else {
            return;
        };
        *waiters -= 1;
        if *waiters == 0 {
            self.waiters.remove(&event_key(event));
            self.bytes -= cost(event);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more is held than may be. One event is held in any case, whatever its size.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        self.bytes > bytes && self.waiters.len() > 1
    }
}

/// What an event costs while it waits, bytes: all of it that a merged one repeats.
pub fn cost(event: &Event) -> usize {
    event.payload.json().len() + event.id.as_str().len() + AROUND_BYTES
}

/// What waits under one key.
pub(super) struct Waiting {
    pub(super) rule: Rule,
    pub(super) queues: BTreeMap<Who, Queue>,
}

impl Waiting {
    pub(super) fn new(rule: &Rule) -> Self {
        Self {
            rule: rule.clone(),
            queues: BTreeMap::new(),
        }
    }

    /// What goes out first ranks highest: by priority, one more a second; of equals the one that came first. `None` if
    /// nothing is to be decided here.
    pub(super) fn rank(&self, now_ms: u64) -> Option<(u64, Reverse<(u64, u64)>)> {
        let fronts = self.undecided().filter_map(|(_, queue)| queue.events.front());
        let oldest = fronts.map(|(since_ms, event)| (*since_ms, event.order())).min();
        let (since_ms, order) = oldest?;
        let risen = now_ms.saturating_sub(since_ms);
        Some((u64::from(self.rule.priority) * 1_000 + risen, Reverse(order)))
    }

    /// Takes so many events out at the front of what waits for a connection.
    pub(super) fn take(&mut self, who: Who, count: usize) -> Vec<Arc<Event>> {
        let queue = self.queues.get_mut(&who);
        let taken = queue.map(|queue| queue.take(count)).unwrap_or_default();
        self.drop_if_empty(who);
        taken
    }

    /// Takes out what is to go of what waits for a connection.
    pub(super) fn drop_if(&mut self, who: Who, goes: impl Fn(&Event) -> bool) -> Vec<(u64, Arc<Event>)> {
        let queue = self.queues.get_mut(&who);
        let gone = queue.map(|queue| queue.drop_if(goes)).unwrap_or_default();
        self.drop_if_empty(who);
        gone
    }

    fn drop_if_empty(&mut self, who: Who) {
        if self.queues.get(&who).is_some_and(|queue| queue.events.is_empty()) {
            self.queues.remove(&who);
        }
    }

    fn undecided(&self) -> impl Iterator<Item = (&Who, &Queue)> {
        self.queues.iter().filter(|(_, queue)| queue.granted.is_none())
    }

    /// What goes out in one slot: one thing to each connection.
    pub(super) fn decide(&self) -> Vec<Release> {
        self.all_merged().unwrap_or_else(|| self.oldest())
    }

    /// All that waits, merged: `None` if that cannot be done.
    fn all_merged(&self) -> Option<Vec<Release>> {
        if self.rule.merge == Merge::None {
            return None;
        }
        let mut releases = Vec::with_capacity(self.queues.len());
        for (who, queue) in self.undecided() {
            let events: Vec<&Event> = queue.events.iter().map(|(_, event)| &**event).collect();
            let (_, newest) = queue.events.back()?;
            let merged = match events.len() {
                1 => None,
                _ if self.rule.merge == Merge::Latest => return None,
                _ => Some(merged_payload(&events)?),
            };
            releases.push(Release {
                who: *who,
                event: newest.clone(),
                count: events.len(),
                merged,
            });
        }
        Some(releases)
    }

    /// The oldest event, to each connection for which it is the oldest.
    fn oldest(&self) -> Vec<Release> {
        let front = |queue: &Queue| queue.events.front().map(|(_, event)| event.clone());
        let fronts = || {
            self.undecided()
                .filter_map(|(who, queue)| Some((*who, front(queue)?)))
        };
        let first = fronts().map(|(_, event)| event.order()).min();
        fronts()
            .filter(|(_, event)| Some(event.order()) == first)
            .map(|(who, event)| Release {
                who,
                event,
                count: 1,
                merged: None,
            })
            .collect()
    }
}

/// What waits under one key for one connection, never empty: each event, and since when it waits.
#[derive(Default)]
pub(super) struct Queue {
    events: VecDeque<(u64, Arc<Event>)>,
    /// Of each combination of rooms the first event. A history that holds it holds what follows it there, too: so a
    /// position that names these names all.
    pub(super) firsts: Vec<Arc<Event>>,
    /// What another shard has decided may go out, of the front: the connection's own takes it, unless it comes too late.
    /// Until then it waits here, so that whatever happens it is neither lost nor missing in a position.
    pub(super) granted: Option<Grant>,
}

/// What may go out, and in which slot.
pub(super) struct Grant {
    pub(super) slot: u64,
    pub(super) release: Release,
}

impl Queue {
    pub(super) fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().map(|(_, event)| event)
    }

    /// Returns whether the position grew by it. What has a number goes before what was given out in an outage and has none
    /// yet: that will be a higher one.
    pub(super) fn push(&mut self, since_ms: u64, event: &Arc<Event>) -> bool {
        let is_unnumbered = |(_, waits): &(u64, Arc<Event>)| waits.local_from.is_some();
        let at = self.events.iter().position(is_unnumbered);
        if let Some(at) = at.filter(|_| event.local_from.is_none()) {
            let firsts = self.firsts.len();
            let mut events = std::mem::take(&mut self.events);
            events.insert(at, (since_ms, event.clone()));
            *self = Self::from(events);
            return self.firsts.len() > firsts;
        }
        self.events.push_back((since_ms, event.clone()));
        // Those of an outage are named by their own counts.
        let is_like = |first: &Arc<Event>| first.local_from.is_some() == event.local_from.is_some();
        let is_first = !self
            .firsts
            .iter()
            .any(|first| is_like(first) && same_rooms(first, event));
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

    /// Takes so many events out at the front.
    fn take(&mut self, count: usize) -> Vec<Arc<Event>> {
        let taken = self.events.drain(..count).map(|(_, event)| event).collect();
        *self = Self::from(std::mem::take(&mut self.events));
        taken
    }

    /// Puts an event that has its number now in the place of the same one without, if that waits. Returns that. What was
    /// granted of it is not any more.
    pub(super) fn number(&mut self, event: &Arc<Event>) -> Option<Arc<Event>> {
        let is_it =
            |(_, waits): &(u64, Arc<Event>)| waits.local_from.is_some() && waits.origin == event.origin;
        let at = self.events.iter().position(is_it)?;
        let (since_ms, unnumbered) = self.events.remove(at)?;
        *self = Self::from(std::mem::take(&mut self.events));
        self.push(since_ms, event);
        Some(unnumbered)
    }

    /// Takes out what is to go. What was granted of it is not any more.
    fn drop_if(&mut self, goes: impl Fn(&Event) -> bool) -> Vec<(u64, Arc<Event>)> {
        if !self.events.iter().any(|(_, event)| goes(event)) {
            return Vec::new();
        }
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|(_, event)| goes(event));
        *self = Self::from(left);
        gone
    }

    /// Takes out what has a newer value. A value for a room that the newer one is not for stays: its reader may leave the
    /// newer one's rooms. So does one of an outage, which is relayed later, when a numbered one comes: by their numbers it
    /// may be the newer.
    pub(super) fn supersede(&mut self, newer: &Event) -> Vec<(u64, Arc<Event>)> {
        let is_for = |room: &RoomName| newer.places.iter().any(|place| place.room == *room);
        let is_older = |event: &Event| event.local_from.is_none() || newer.local_from.is_some();
        self.drop_if(|event| is_older(event) && event.places.iter().all(|place| is_for(&place.room)))
    }
}
