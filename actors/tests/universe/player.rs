//! A client of greenroom.v1 that records what it was given. What it was promised is checked against the record of the bus.

use crate::{
    schedules::{Asked, ResumingClient},
    truth::{Told, Truth},
};
use greenroom_actors::{logic::position::Position, testing::wire::Client};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One client.
#[derive(Default)]
pub struct Player {
    /// Each of its rooms is promised from a sequence on.
    pub client: ResumingClient,
    /// Every event it was given, in order; of merged ones the originals.
    given: Vec<Told>,
    given_ids: BTreeSet<String>,
    /// Everything that was promised: the ids of events.
    promised: BTreeSet<String>,
    /// Up to here everything promised was looked at.
    promised_upto: BTreeMap<String, u64>,
    /// How its connections ended, by code.
    pub closes: Vec<u16>,
}

impl Player {
    /// Takes a connection and comes back, if it was here before.
    pub fn connect(&mut self, connection: Client, shard: usize) {
        self.client.diary.push(format!("connect {shard}"));
        self.client.connect(connection);
    }

    /// Leaves rooms. What of them it was not given yet it is owed no longer.
    pub fn leave(&mut self, rooms: &[&str], truth: &Truth) {
        if self.client.is_connected() {
            self.settle_promises(truth);
            self.client.leave(rooms);
            let (given, left) = (&self.given_ids, &self.client.rooms);
            self.promised.retain(|id| {
                let told = &truth.events[id];
                given.contains(id)
                    || told.rooms.iter().any(|room| {
                        left.get(room)
                            .is_some_and(|from| from.is_some_and(|from| told.seq > from))
                    })
            });
        }
    }

    /// The connection is cut after the client has read `bytes` more. Half-open: what is left of it is given back.
    pub fn cut(&mut self, bytes: usize, half_open: bool, truth: &Truth) -> Option<Client> {
        self.read(bytes, truth);
        self.client.cut(half_open)
    }

    /// Reads at most `bytes`, and learns that the connection is over when all is read.
    pub fn read(&mut self, bytes: usize, truth: &Truth) {
        for frame in self.client.read(bytes) {
            self.hear(&frame, truth);
        }
        self.closes.extend(self.client.end());
    }

    fn hear(&mut self, frame: &Value, truth: &Truth) {
        let asked = self.client.hear(frame);
        match (frame["type"].as_str().expect("a type"), asked) {
            ("joined", Some(Asked::Join { rooms, since })) => self.joined(frame, rooms, since, truth),
            ("left", Some(Asked::Leave(rooms))) => self.client.left(&rooms),
            ("published", Some(Asked::Publish(id))) => assert_eq!(frame["id"], id),
            ("event", _) if frame["event"] == "greenroom" => self.client.diary.push("notice".into()),
            ("event", _) => self.event(frame, truth),
            ("error", Some(Asked::Publish(_))) if frame["code"] == "unavailable" => {}
            _ => panic!("not an answer to anything: {frame}"),
        }
    }

    fn joined(&mut self, frame: &Value, rooms: Vec<String>, since: Option<Position>, truth: &Truth) {
        let position = frame["position"].as_str().expect("a position");
        let at: Position = position.parse().expect("one that holds");
        let recovered = frame["recovered"] == true;
        let note = format!("joined {rooms:?} at {} {recovered}", at.seq);
        self.client.diary.push(note);
        let from = since.as_ref().filter(|_| recovered).unwrap_or(&at).seq;
        if !self.client.joined(frame, rooms, since.as_ref(), from) {
            // It was told: what waited for it when it was cut, and what the history has no more, it does not get.
            self.settle_promises(truth);
            let (given, here) = (&self.given_ids, &self.client.here);
            self.promised.retain(|id| {
                let told = &truth.events[id];
                let is_kept = |room: &String| here.contains(room) && truth.is_kept(room, told.seq);
                given.contains(id) || (told.seq > at.seq && told.rooms.iter().any(is_kept))
            });
        }
    }

    fn event(&mut self, frame: &Value, truth: &Truth) {
        let ids: Vec<&str> = match frame["data"]["thoughts"].as_array() {
            Some(thoughts) => thoughts
                .iter()
                .map(|one| one["id"].as_str().expect("an id"))
                .collect(),
            None => vec![frame["id"].as_str().expect("an id")],
        };
        let position = frame["position"].as_str().unwrap_or_default();
        // Without the life, which is another one in every run.
        let position = position.split_once('-').map_or("", |(_, rest)| rest);
        let client = &mut self.client;
        client.diary.push(format!("event {ids:?} at {position}"));
        for id in ids {
            let told = truth
                .events
                .get(id)
                .unwrap_or_else(|| panic!("nobody published {id}"));
            client.assert_wanted(id, &told.rooms);
            let is_new = self.given_ids.insert(id.to_owned());
            assert!(is_new, "{id} came twice: {:#?}", client.diary);
            self.given.push(told.clone());
        }
    }

    /// Writes down what has been promised since the last time.
    fn settle_promises(&mut self, truth: &Truth) {
        for (room, from) in &self.client.rooms {
            let Some(from) = from else { continue };
            let upto = self.promised_upto.entry(room.clone()).or_insert(0);
            for told in truth.after(room, (*upto).max(*from)) {
                self.promised.insert(told.id.clone());
            }
            *upto = truth.head();
        }
        let rooms = &self.client.rooms;
        self.promised_upto.retain(|room, _| rooms.contains_key(room));
    }

    /// After everything has come to rest: the first promise that is not kept.
    pub fn broken(&mut self, truth: &Truth) -> Option<String> {
        self.settle_promises(truth);
        if let Some(unanswered) = self.client.unanswered() {
            return Some(unanswered);
        }
        let lacks = self.promised.iter().filter(|id| !self.given_ids.contains(*id));
        let lost: Vec<&Told> = lacks
            .map(|id| &truth.events[id])
            .filter(|told| !self.is_superseded(told, truth))
            .collect();
        if !lost.is_empty() {
            return Some(format!("lost {lost:?}"));
        }
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for told in &self.given {
            let before = last.insert(&told.order, told.seq).unwrap_or(0);
            if before >= told.seq {
                return Some(format!("{told:?} came after {before}"));
            }
        }
        None
    }

    /// Whether the client has a newer value.
    fn is_superseded(&self, told: &Told, truth: &Truth) -> bool {
        told.is_latest
            && truth.events.values().any(|newer| {
                newer.order == told.order && newer.seq > told.seq && self.given_ids.contains(&newer.id)
            })
    }
}
