//! A client of greenroom.v1 as its user's program would be: it keeps the last position it saw and comes back with it.

use crate::truth::{Answer, Given, Told, Truth, ids_of};
use greenroom_actors::{
    logic::position::{Life, Position},
    testing::wire::Client,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a client asked and was not answered yet.
enum Asked {
    Join { rooms: Vec<String>, resumes: bool },
    Leave(Vec<String>),
    Publish(String),
}

/// One client.
#[derive(Default)]
pub struct Player {
    /// Its connection, while it has one.
    pub client: Option<Client>,
    /// The node that it is on.
    pub node: (usize, u32),
    /// Whether it reads.
    pub stalled: bool,
    /// The last position it saw.
    pub position: Option<String>,
    /// The life of the broker with which it came back.
    came_with: Option<Life>,
    /// The rooms it wants to be in, each with the moment from which on it is promised everything, once it is.
    rooms: BTreeMap<String, Option<u64>>,
    asked: BTreeMap<u64, Asked>,
    refs: u64,
    /// Rooms in which the node has said that this connection is.
    here: BTreeSet<String>,
    given: Given,
    /// Everything that happened to it, in words that are the same in every run.
    pub diary: Vec<String>,
    /// How often it was told that something is missing, before it left a room: a position may name what waited there.
    pub gaps: usize,
    has_left: bool,
    /// What is not as promised.
    pub broken: Option<String>,
}

fn life(position: &str) -> Option<Life> {
    position.parse::<Position>().ok().map(|position| position.life)
}

impl Player {
    /// Takes a connection and comes back, if it was here before.
    pub fn connect(&mut self, client: Client, node: (usize, u32), shard: usize) {
        self.diary.push(format!("connect {} {shard}", node.0));
        self.client = Some(client);
        self.node = node;
        self.stalled = false;
        self.asked.clear();
        self.here.clear();
        let Some(since) = self.position.clone() else {
            self.rooms.clear();
            return;
        };
        self.came_with = life(&since);
        let rooms: Vec<String> = self.rooms.keys().cloned().collect();
        if rooms.is_empty() {
            // A client without rooms has nothing to come back to: it is a new one, and nobody knows what it had.
            self.position = None;
            self.given = Given::default();
            return;
        }
        let frame = json!({"type": "join", "rooms": rooms, "since": since});
        let resumes = true;
        self.ask(frame, Asked::Join { rooms, resumes });
    }

    fn ask(&mut self, mut frame: Value, asked: Asked) {
        let Some(client) = &self.client else { return };
        self.refs += 1;
        frame["ref"] = self.refs.into();
        client.send(&frame);
        self.asked.insert(self.refs, asked);
    }

    pub fn join(&mut self, rooms: &[&str]) {
        if self.client.is_some() {
            let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
            for room in &rooms {
                self.rooms.entry(room.clone()).or_default();
            }
            let frame = json!({"type": "join", "rooms": rooms});
            let resumes = false;
            self.ask(frame, Asked::Join { rooms, resumes });
        }
    }

    /// Leaves rooms. What of them it was not given yet it is owed no longer.
    pub fn leave(&mut self, rooms: &[&str]) {
        if self.client.is_some() {
            self.has_left = true;
            let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
            self.rooms.retain(|room, _| !rooms.contains(room));
            let frame = json!({"type": "leave", "rooms": rooms});
            self.ask(frame, Asked::Leave(rooms));
        }
    }

    pub fn say(&mut self, mut frame: Value, id: String) {
        frame["type"] = "publish".into();
        self.ask(frame, Asked::Publish(id));
    }

    /// The connection is cut after the client has read `bytes` more. Half-open: what is left of it is given back.
    pub fn cut(&mut self, bytes: usize, half_open: bool, truth: &mut Truth) -> Option<Client> {
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
    pub fn read(&mut self, bytes: usize, truth: &mut Truth) {
        let Some(client) = &mut self.client else { return };
        let frames = client.read_at_most(bytes);
        let over = client.is_over() && client.unread() == 0;
        for frame in frames {
            self.hear(&frame, truth);
        }
        if over && let Some(client) = self.client.take() {
            let code = client.closed.as_ref().map_or(0, |(code, _)| *code);
            self.diary.push(format!("closed {code}"));
            client.hang_up();
        }
    }

    fn hear(&mut self, frame: &Value, truth: &mut Truth) {
        if let Some(position) = frame["position"].as_str() {
            let parsed: Result<Position, _> = position.parse();
            assert!(parsed.is_ok(), "{position} is a position");
            self.position = Some(position.to_owned());
        }
        let asked = frame["ref"]
            .as_u64()
            .and_then(|number| self.asked.remove(&number));
        match (frame["type"].as_str().expect("a type"), asked) {
            ("joined", Some(Asked::Join { rooms, resumes })) => self.joined(frame, rooms, resumes, truth),
            ("left", Some(Asked::Leave(rooms))) => self.here.retain(|room| !rooms.contains(room)),
            ("published", Some(Asked::Publish(id))) => {
                let is_local = frame["scope"] == "local";
                truth.answered(&id, if is_local { Answer::Local } else { Answer::Shared });
            }
            ("event", _) if frame["event"] == "greenroom" => {
                self.diary.push(format!("notice {}", frame["data"]["type"]));
            }
            ("event", _) => self.event(frame, truth),
            ("error", Some(Asked::Publish(id))) if is_transient(frame) => {
                truth.answered(&id, Answer::Refused);
            }
            _ => panic!("not an answer to anything: {frame}"),
        }
    }

    fn joined(&mut self, frame: &Value, rooms: Vec<String>, resumes: bool, truth: &mut Truth) {
        let recovered = frame["recovered"] == true;
        self.diary.push(format!("joined {rooms:?} {recovered}"));
        assert!(recovered || resumes, "{frame}");
        let now = truth.tick();
        for room in rooms {
            self.here.insert(room.clone());
            // A room that it has left since it asked for it is promised nothing.
            let left = |asked: &Asked| matches!(asked, Asked::Leave(rooms) if rooms.contains(&room));
            if self.asked.values().any(left) {
                continue;
            }
            if let Some(from) = self.rooms.get_mut(&room) {
                from.get_or_insert(now);
            }
        }
        if !recovered {
            self.gaps += usize::from(!self.has_left);
            // It was told: what it was not given until now it need not get.
            for from in self.rooms.values_mut().flatten() {
                *from = now;
            }
            // In another life everything is new: also what is in it because somebody put an old copy of the data back.
            if frame["position"].as_str().and_then(life) != self.came_with {
                self.given = Given::default();
            }
        }
    }

    fn event(&mut self, frame: &Value, truth: &Truth) {
        let is_local = frame["scope"] == "local";
        let ids = ids_of(&frame["data"]);
        self.diary.push(format!("event {ids:?} {is_local}"));
        if is_local {
            assert_eq!(frame["offset"], 0, "{frame}");
        }
        for id in ids {
            let told = &truth.events[&id];
            let is_wanted = told.rooms.iter().any(|room| self.here.contains(room));
            assert!(is_wanted, "{id} is for {:?}: {:#?}", told.rooms, self.diary);
            // Of merged ones nobody says which had their numbers.
            let is_numbered = Some(!is_local).filter(|_| frame["data"]["thoughts"].is_null());
            if let Err(why) = self.given.add(&id, is_numbered, truth) {
                self.broken.get_or_insert(why);
            }
        }
    }

    /// Whether it wants to be connected but is not.
    pub fn is_away(&self) -> bool {
        self.client.is_none() && self.position.is_some()
    }

    /// Whether it believes to be in a room.
    pub fn is_in(&self, room: &str) -> bool {
        self.client.is_some() && self.rooms.contains_key(room)
    }

    /// Whether it was given an event.
    pub fn has(&self, id: &str) -> bool {
        self.given.has(id)
    }

    /// After everything has come to rest: the first promise that is not kept.
    pub fn find_broken(&self, truth: &Truth) -> Option<String> {
        if self.client.is_some() && !self.asked.is_empty() {
            return Some(format!("{} commands are not answered", self.asked.len()));
        }
        let missing = |told: &Told| format!("lost {told:?} of {:?}", self.rooms);
        let broken = self.broken.clone();
        broken
            .or_else(|| self.given.missing(&self.rooms, truth).map(missing))
            .or_else(|| self.given.disorder(truth))
    }
}

fn is_transient(frame: &Value) -> bool {
    frame["code"] == "unavailable" || frame["code"] == "overloaded"
}
