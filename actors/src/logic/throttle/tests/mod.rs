//! The throttle against a naive record of what was offered and what went out.

mod properties;
mod rules;
mod shards;

use super::*;
use crate::logic::{
    event::{Draft, EventId, EventName, Payload, Place},
    merging::merged_payload,
    position::Life,
    room_name::RoomName,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The kinds that the tests offer: name, merge, priority, its own limit a second.
const KINDS: [(&str, Merge, u8, Option<u32>); 5] = [
    ("agent-thought", Merge::Append, 5, None),
    ("task-update", Merge::Latest, 6, None),
    ("chat", Merge::None, 0, None),
    ("slow", Merge::Latest, 9, Some(1)),
    ("odd", Merge::Append, 10, Some(2)), // without a `thought`: cannot be merged
];

fn rules(per_second: u32) -> Rules {
    let rule = |(name, merge, priority, per_second): (&str, Merge, u8, Option<u32>)| {
        let rule = Rule {
            merge,
            priority,
            per_second,
        };
        (name.to_owned(), rule)
    };
    Rules {
        per_second,
        wait_bytes: usize::MAX,
        by_name: KINDS.into_iter().map(rule).collect(),
    }
}

fn event(seq: u64, name: &str, about: Option<&str>, rooms: &[&str], payload: Value) -> Arc<Event> {
    let rooms: Vec<RoomName> = rooms
        .iter()
        .map(|room| RoomName::parse(room, 200).unwrap())
        .collect();
    let place = |room: &RoomName| Place {
        room: room.clone(),
        offset: seq,
        prev: 0,
    };
    let places = rooms.iter().map(place).collect();
    let json = payload.to_string().into();
    let draft = Draft {
        id: EventId::parse(&format!("e{seq}")).unwrap(),
        id_chosen: false,
        publisher: None,
        rooms,
        name: EventName::parse(name).unwrap(),
        payload: if payload.is_array() {
            Payload::Args(json)
        } else {
            Payload::Data(json)
        },
        about: about.map(Into::into),
        written: None,
        ts_ms: 0,
    };
    Arc::new(Event::new(draft, Life::from_random(1), seq, places))
}

fn thought(seq: u64, agent: &str) -> Arc<Event> {
    let payload =
        json!({"agentId": agent, "thought": format!("t{seq}"), "timestamp": "2026-01-01T00:00:00Z"});
    event(seq, "agent-thought", Some(agent), &["agent:1"], payload)
}

fn update(seq: u64, task: &str) -> Arc<Event> {
    event(
        seq,
        "task-update",
        Some(task),
        &["task:1"],
        json!({"taskId": task}),
    )
}

/// A connection; from 1,000 on those of the second shard.
type Number = u64;

fn who(number: Number) -> Who {
    Who {
        shard: u32::from(number >= 1_000),
        key: number,
    }
}

/// A user, and the naive record of what happened to it.
struct User {
    throttle: Throttle,
    rules: Rules,
    now_ms: u64,
    /// When each shard's timer looks at the user.
    timers: [Option<u64>; 2],
    /// How much later than it was set each shard's timer runs.
    late_ms: [u64; 2],
    /// What each connection was offered, in order.
    offered: BTreeMap<Number, Vec<Arc<Event>>>,
    /// What each connection got: when, and the events of which it was made.
    got: BTreeMap<Number, Vec<(u64, Vec<u64>)>>,
    /// When something was counted, by name.
    counted: Vec<(u64, String)>,
    /// When which slot was used.
    used: Vec<(u64, u64)>,
}

impl User {
    fn new(rules: Rules) -> Self {
        Self {
            throttle: Throttle::default(),
            rules,
            now_ms: 0,
            timers: [None; 2],
            late_ms: [0; 2],
            offered: BTreeMap::new(),
            got: BTreeMap::new(),
            counted: Vec::new(),
            used: Vec::new(),
        }
    }

    /// The same event for some of the user's connections, one after the other.
    fn offer(&mut self, numbers: &[Number], event: &Arc<Event>) -> Vec<Offer> {
        let rule = self.rules.of(event).unwrap().clone();
        let name = event.name.as_str();
        let mut offers = Vec::new();
        for number in numbers {
            let (who, slots) = (who(*number), self.throttle.slots);
            self.offered.entry(*number).or_default().push(event.clone());
            let offer = self.throttle.offer(who, event, &rule, &self.rules, self.now_ms);
            if offer == Offer::Now {
                let got = self.got.entry(*number).or_default();
                got.push((self.now_ms, vec![event.seq]));
                let slot = self.throttle.all.slot_of(event_key(event), self.now_ms);
                self.used.push((self.now_ms, slot.unwrap()));
            } else {
                self.set_timer(who.shard, self.throttle.opens(name, &rule, &self.rules));
            }
            if self.throttle.slots > slots {
                self.counted.push((self.now_ms, name.to_owned()));
            }
            offers.push(offer);
        }
        offers
    }

    /// As the registry does.
    fn set_timer(&mut self, shard: u32, due_ms: u64) {
        let due_ms = due_ms.max(self.now_ms);
        let timer = &mut self.timers[shard as usize];
        *timer = Some(timer.map_or(due_ms, |set_ms| set_ms.min(due_ms)));
    }

    /// Time passes; each shard's timer does what the registry's timer does.
    fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some((at_ms, shard)) = self.next_timer().filter(|(at_ms, _)| *at_ms <= until) {
            self.now_ms = self.now_ms.max(at_ms);
            self.timers[shard as usize] = None;
            while self.release(shard) {}
            if let Some(due_ms) = self.throttle.due(shard, &self.rules) {
                assert!(due_ms > self.now_ms, "it is not set for nothing without end");
                self.set_timer(shard, due_ms);
            }
        }
        self.now_ms = until;
    }

    fn next_timer(&self) -> Option<(u64, u32)> {
        let timer = |shard: u32| {
            let set_ms = self.timers[shard as usize]?;
            Some((set_ms + self.late_ms[shard as usize], shard))
        };
        (0..2).filter_map(timer).min()
    }

    fn release(&mut self, shard: u32) -> bool {
        let (slots, granted) = (self.throttle.slots, self.granted());
        let Some(releases) = self.throttle.release(shard, &self.rules, self.now_ms) else {
            return false;
        };
        if self.throttle.slots > slots {
            let name = releases.first().map(|release| release.event.name.as_str());
            let name = name.unwrap_or_else(|| self.granted_last());
            self.counted.push((self.now_ms, name.to_owned()));
        }
        let whos: BTreeSet<Who> = releases.iter().map(|release| release.who).collect();
        assert_eq!(
            whos.len(),
            releases.len(),
            "each position names all that is not sent"
        );
        for release in releases {
            assert_eq!(release.who.shard, shard);
            let seqs = seqs_of(&release);
            assert_eq!(
                (seqs.len(), seqs.last()),
                (release.count, Some(&release.event.seq))
            );
            let got = self.got.entry(release.who.key).or_default();
            got.push((self.now_ms, seqs));
            // What was not counted now was granted before.
            let slot = match self.throttle.slots > slots {
                true => self.throttle.slots,
                false => granted[&(release.who, release.event.seq)],
            };
            self.used.push((self.now_ms, slot));
        }
        true
    }

    fn grants(&self) -> impl Iterator<Item = (&Key, &Grant)> {
        let all = self.throttle.waiting.iter();
        let queues = all.flat_map(|(key, waiting)| waiting.queues.values().map(move |queue| (key, queue)));
        queues.filter_map(|(key, queue)| Some((key, queue.granted.as_ref()?)))
    }

    /// The slots of what is granted: to whom, up to which event.
    fn granted(&self) -> BTreeMap<(Who, u64), u64> {
        let slot = |grant: &Grant| ((grant.release.who, grant.release.event.seq), grant.slot);
        self.grants().map(|(_, grant)| slot(grant)).collect()
    }

    /// The name of what the last slot was counted for, all of it for others.
    fn granted_last(&self) -> &str {
        let mut grants = self.grants();
        let last = grants.find(|(_, grant)| grant.slot == self.throttle.slots);
        &last.unwrap().0.0
    }

    /// What a connection got, event by event.
    fn seqs(&self, number: Number) -> Vec<u64> {
        let got = self.got.get(&number).into_iter().flatten();
        got.flat_map(|(_, seqs)| seqs.clone()).collect()
    }

    /// By the naive rule: under each key what a connection lacks, given what it got.
    fn lacks(&self, number: Number) -> BTreeSet<u64> {
        let got: BTreeSet<u64> = self.seqs(number).into_iter().collect();
        let mut lacks: BTreeMap<Key, Vec<Arc<Event>>> = BTreeMap::new();
        for event in self.offered.get(&number).into_iter().flatten() {
            let rule = self.rules.of(event).unwrap();
            let under = lacks.entry(key_of(event, rule)).or_default();
            if rule.merge == Merge::Latest {
                under.retain(|earlier| !is_within(earlier, event));
            }
            if !got.contains(&event.seq) {
                under.push(event.clone());
            }
        }
        lacks.into_values().flatten().map(|event| event.seq).collect()
    }
}

/// Whether every room of one event is a room of the other.
fn is_within(one: &Event, other: &Event) -> bool {
    let rooms =
        |event: &Event| -> BTreeSet<RoomName> { event.places.iter().map(|p| p.room.clone()).collect() };
    rooms(one).is_subset(&rooms(other))
}

/// The events of which a release is made, as its payload tells.
fn seqs_of(release: &Release) -> Vec<u64> {
    let Some(merged) = &release.merged else {
        return vec![release.event.seq];
    };
    let merged: Value = serde_json::from_slice(merged).unwrap();
    let merged = if merged.is_array() { &merged[0] } else { &merged };
    let id = |one: &Value| one["id"].as_str().unwrap()[1..].parse().unwrap();
    merged["thoughts"].as_array().unwrap().iter().map(id).collect()
}
