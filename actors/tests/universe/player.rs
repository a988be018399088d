//! A client as its user's program would be: it keeps the last position it saw, comes back with it, and records what it
//! was given. What it was promised is checked against the record of the bus.

use crate::truth::{Told, Truth};
use greenroom_actors::{logic::position::Position, testing::wire::Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a client asked and was not answered yet.
enum Asked {
    Join { rooms: Vec<String>, since: Option<u64> },
    Leave(Vec<String>),
    Publish(String),
}

/// One client.
#[derive(Default)]
pub struct Player {
    /// Its connection, while it has one.
    pub client: Option<Client>,
    /// Whether it reads.
    pub stalled: bool,
    /// The last position it saw.
    position: Option<String>,
    /// The rooms it wants to be in, each with the sequence from which on it was promised everything, once it was.
    rooms: BTreeMap<String, Option<u64>>,
    asked: BTreeMap<u64, Asked>,
    refs: u64,
    /// Rooms in which the node has said that this connection is.
    here: BTreeSet<String>,
    /// Every event it was given, in order; of merged ones the originals.
    given: Vec<Told>,
    given_ids: BTreeSet<String>,
    /// Everything that was promised: the ids of events.
    promised: BTreeSet<String>,
    /// Up to here everything promised was looked at.
    promised_upto: BTreeMap<String, u64>,
    /// Everything that happened to it, in words that are the same in every run.
    pub diary: Vec<String>,
    /// How often it was told that something is missing. Not counted once it has left a room: its position may name
    /// what waited there, which is not found in the rooms that it comes back to.
    pub gaps: usize,
    has_left: bool,
    /// How its connections ended, by code.
    pub closes: Vec<u16>,
}

impl Player {
    /// Takes a connection and comes back, if it was here before.
    pub fn connect(&mut self, client: Client, shard: usize) {
        self.diary.push(format!("connect {shard}"));
        self.client = Some(client);
        self.stalled = false;
        self.asked.clear();
        self.here.clear();
        let Some(since) = self.position.clone() else {
            self.rooms.clear();
            return;
        };
        let rooms: Vec<String> = self.rooms.keys().cloned().collect();
        if rooms.is_empty() {
            // A client without rooms has nothing to come back to.
            self.position = None;
            return;
        }
        let at: Position = since.parse().expect("a position that the node gave");
        let frame = json!({"type": "join", "rooms": rooms, "since": since});
        let asked = Asked::Join {
            rooms,
            since: Some(at.seq),
        };
        self.ask(frame, asked);
    }

    fn ask(&mut self, mut frame: Value, asked: Asked) {
        let Some(client) = &self.client else { return };
        self.refs += 1;
        frame["ref"] = self.refs.into();
        client.send(&frame);
        self.asked.insert(self.refs, asked);
    }

    /// Joins rooms.
    pub fn join(&mut self, rooms: &[&str]) {
        if self.client.is_some() {
            let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
            for room in &rooms {
                self.rooms.entry(room.clone()).or_default();
            }
            let frame = json!({"type": "join", "rooms": rooms});
            self.ask(frame, Asked::Join { rooms, since: None });
        }
    }

    /// Leaves rooms. What of them it was not given yet it is owed no longer.
    pub fn leave(&mut self, rooms: &[&str], truth: &Truth) {
        if self.client.is_some() {
            self.has_left = true;
            self.settle_promises(truth);
            let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
            self.rooms.retain(|room, _| !rooms.contains(room));
            let (given, left) = (&self.given_ids, &self.rooms);
            self.promised.retain(|id| {
                let told = &truth.events[id];
                given.contains(id)
                    || told.rooms.iter().any(|room| {
                        left.get(room)
                            .is_some_and(|from| from.is_some_and(|from| told.seq > from))
                    })
            });
            let frame = json!({"type": "leave", "rooms": rooms});
            self.ask(frame, Asked::Leave(rooms));
        }
    }

    /// Publishes.
    pub fn say(&mut self, mut frame: Value, id: String) {
        frame["type"] = "publish".into();
        self.ask(frame, Asked::Publish(id));
    }

    /// The connection is cut after the client has read `bytes` more. Half-open: what is left of it is given back.
    pub fn cut(&mut self, bytes: usize, half_open: bool, truth: &Truth) -> Option<Client> {
        self.read(bytes, truth);
        let client = self.client.take()?;
        self.diary.push("cut".into());
        if half_open {
            return Some(client);
        }
        client.hang_up();
        None
    }

    /// Reads at most `bytes`, and learns that the connection is over when all is read.
    pub fn read(&mut self, bytes: usize, truth: &Truth) -> usize {
        let Some(client) = &mut self.client else { return 0 };
        let frames = client.read_at_most(bytes);
        let over = client.is_over() && client.unread() == 0;
        let count = frames.len();
        for frame in frames {
            self.hear(&frame, truth);
        }
        if over && let Some(client) = self.client.take() {
            let code = client.closed.as_ref().map_or(0, |(code, _)| *code);
            self.diary.push(format!("closed {code}"));
            self.closes.push(code);
            client.hang_up();
        }
        count
    }

    fn hear(&mut self, frame: &Value, truth: &Truth) {
        if let Some(position) = frame["position"].as_str() {
            let parsed: Result<Position, _> = position.parse();
            assert!(parsed.is_ok(), "{position} is a position");
            self.position = Some(position.to_owned());
        }
        let asked = frame["ref"]
            .as_u64()
            .and_then(|number| self.asked.remove(&number));
        match (frame["type"].as_str().expect("a type"), asked) {
            ("joined", Some(Asked::Join { rooms, since })) => self.joined(frame, rooms, since, truth),
            ("left", Some(Asked::Leave(rooms))) => self.here.retain(|room| !rooms.contains(room)),
            ("published", Some(Asked::Publish(id))) => assert_eq!(frame["id"], id),
            ("event", _) if frame["event"] == "greenroom" => self.diary.push("notice".into()),
            ("event", _) => self.event(frame, truth),
            ("error", Some(Asked::Publish(_))) if frame["code"] == "unavailable" => {}
            _ => panic!("not an answer to anything: {frame}"),
        }
    }

    fn joined(&mut self, frame: &Value, rooms: Vec<String>, since: Option<u64>, truth: &Truth) {
        let position = frame["position"].as_str().expect("a position");
        let at: Position = position.parse().expect("one that holds");
        let recovered = frame["recovered"] == true;
        self.diary
            .push(format!("joined {rooms:?} at {} {recovered}", at.seq));
        assert!(recovered || since.is_some(), "{frame}");
        for room in rooms {
            self.here.insert(room.clone());
            // A room that it has left since it asked for it is promised nothing.
            let left = |asked: &Asked| matches!(asked, Asked::Leave(rooms) if rooms.contains(&room));
            if self.asked.values().any(left) {
                continue;
            }
            if let Some(from) = self.rooms.get_mut(&room) {
                from.get_or_insert(if recovered {
                    since.unwrap_or(at.seq)
                } else {
                    at.seq
                });
            }
        }
        if !recovered {
            self.gaps += usize::from(!self.has_left);
            // It was told: what waited for it when it was cut, and what the history has no more, it does not get.
            self.settle_promises(truth);
            let (given, here) = (&self.given_ids, &self.here);
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
        self.diary.push(format!("event {ids:?} at {position}"));
        for id in ids {
            let told = truth
                .events
                .get(id)
                .unwrap_or_else(|| panic!("nobody published {id}"));
            let is_wanted = told.rooms.iter().any(|room| self.here.contains(room));
            assert!(is_wanted, "{id} is for {:?}: {:#?}", told.rooms, self.diary);
            let is_new = self.given_ids.insert(id.to_owned());
            assert!(is_new, "{id} came twice: {:#?}", self.diary);
            self.given.push(told.clone());
        }
    }

    /// Writes down what has been promised since the last time.
    fn settle_promises(&mut self, truth: &Truth) {
        for (room, from) in &self.rooms {
            let Some(from) = from else { continue };
            let upto = self.promised_upto.entry(room.clone()).or_insert(0);
            for told in truth.after(room, (*upto).max(*from)) {
                self.promised.insert(told.id.clone());
            }
            *upto = truth.head();
        }
        let rooms = &self.rooms;
        self.promised_upto.retain(|room, _| rooms.contains_key(room));
    }

    /// Whether it wants to be connected but is not.
    pub fn is_away(&self) -> bool {
        self.client.is_none() && self.position.is_some()
    }

    /// The rooms in which it is.
    pub fn is_in(&self, room: &str) -> bool {
        self.client.is_some() && self.rooms.contains_key(room)
    }

    /// After everything has come to rest: the first promise that is not kept.
    pub fn broken(&mut self, truth: &Truth) -> Option<String> {
        self.settle_promises(truth);
        if self.client.is_some() && !self.asked.is_empty() {
            return Some(format!("{} commands are not answered", self.asked.len()));
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
