//! A client of greenroom.v1 as its user's program would be: it keeps the last position it saw and comes back with it. What
//! it was promised is for the suite to say.

use greenroom_actors::{logic::position::Position, testing::wire::Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a client asked and was not answered yet.
pub enum Asked {
    /// To join rooms; one that comes back has everything up to `since`.
    Join {
        rooms: Vec<String>,
        since: Option<Position>,
    },
    /// To leave rooms.
    Leave(Vec<String>),
    /// To publish the event of this id.
    Publish(String),
}

/// One client.
#[derive(Default)]
pub struct ResumingClient {
    /// Whether it reads.
    pub stalled: bool,
    /// The last position it saw.
    pub position: Option<String>,
    /// The rooms it wants to be in, each with the moment from which on it is promised everything, once it is.
    pub rooms: BTreeMap<String, Option<u64>>,
    /// Rooms in which the node has said that this connection is.
    pub here: BTreeSet<String>,
    /// Everything that happened to it, in words that are the same in every run.
    pub diary: Vec<String>,
    /// How often it was told that something is missing, before it left a room: a position may name what waited there, which
    /// is not found in the rooms that it comes back to.
    pub gaps: usize,
    /// Its connection, while it has one.
    connection: Option<Client>,
    asked: BTreeMap<u64, Asked>,
    refs: u64,
    has_left: bool,
}

impl ResumingClient {
    /// Takes a connection and comes back, if it was here before. Returns whether it is a new client: one without rooms has
    /// nothing to come back to.
    pub fn connect(&mut self, connection: Client) -> bool {
        self.connection = Some(connection);
        self.stalled = false;
        self.asked.clear();
        self.here.clear();
        let Some(since) = self.position.clone() else {
            self.rooms.clear();
            return true;
        };
        let rooms: Vec<String> = self.rooms.keys().cloned().collect();
        if rooms.is_empty() {
            self.position = None;
            return true;
        }
        let frame = json!({"type": "join", "rooms": rooms, "since": since});
        let since = Some(since.parse().expect("a position that the node gave"));
        self.ask(frame, Asked::Join { rooms, since });
        false
    }

    fn ask(&mut self, mut frame: Value, asked: Asked) {
        let Some(connection) = &self.connection else {
            return;
        };
        self.refs += 1;
        frame["ref"] = self.refs.into();
        connection.send(&frame);
        self.asked.insert(self.refs, asked);
    }

    /// Joins rooms.
    pub fn join(&mut self, rooms: &[&str]) {
        if self.is_connected() {
            let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
            for room in &rooms {
                self.rooms.entry(room.clone()).or_default();
            }
            let frame = json!({"type": "join", "rooms": rooms});
            self.ask(frame, Asked::Join { rooms, since: None });
        }
    }

    /// Leaves rooms. What of them it was not given yet it is owed no longer.
    pub fn leave(&mut self, rooms: &[&str]) {
        if self.is_connected() {
            self.has_left = true;
            let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
            self.rooms.retain(|room, _| !rooms.contains(room));
            let frame = json!({"type": "leave", "rooms": rooms});
            self.ask(frame, Asked::Leave(rooms));
        }
    }

    /// Publishes.
    pub fn say(&mut self, mut frame: Value, id: String) {
        frame["type"] = "publish".into();
        self.ask(frame, Asked::Publish(id));
    }

    /// The connection is cut. Half-open: what is left of it is given back.
    pub fn cut(&mut self, half_open: bool) -> Option<Client> {
        let connection = self.connection.take()?;
        self.diary.push("cut".into());
        if half_open {
            return Some(connection);
        }
        connection.hang_up();
        None
    }

    /// Reads at most `bytes`. Each frame is to be told to `hear`, and after the last one comes `end`.
    pub fn read(&mut self, bytes: usize) -> Vec<Value> {
        match &mut self.connection {
            Some(connection) => connection.read_at_most(bytes),
            None => Vec::new(),
        }
    }

    /// Keeps the position of a frame. Returns what the frame answers.
    pub fn hear(&mut self, frame: &Value) -> Option<Asked> {
        if let Some(position) = frame["position"].as_str() {
            let parsed: Result<Position, _> = position.parse();
            assert!(parsed.is_ok(), "{position} is a position");
            self.position = Some(position.to_owned());
        }
        self.asked.remove(&frame["ref"].as_u64()?)
    }

    /// Learns that the connection is over, when all is read. Returns the code with which it was closed.
    pub fn end(&mut self) -> Option<u16> {
        let is_over = |connection: &mut Client| connection.is_over() && connection.unread() == 0;
        let connection = self.connection.take_if(is_over)?;
        let code = connection.closed.as_ref().map_or(0, |(code, _)| *code);
        self.diary.push(format!("closed {code}"));
        connection.hang_up();
        Some(code)
    }

    /// It was told that it is in rooms, of which it is promised everything from a moment on. Returns whether nothing is
    /// missing of what it asked for.
    pub fn joined(&mut self, frame: &Value, rooms: Vec<String>, since: Option<&Position>, from: u64) -> bool {
        let recovered = frame["recovered"] == true;
        assert!(recovered || since.is_some(), "{frame}");
        for room in rooms {
            self.here.insert(room.clone());
            // A room that it has left since it asked for it is promised nothing.
            let left = |asked: &Asked| matches!(asked, Asked::Leave(rooms) if rooms.contains(&room));
            if self.asked.values().any(left) {
                continue;
            }
            if let Some(promised) = self.rooms.get_mut(&room) {
                promised.get_or_insert(from);
            }
        }
        self.gaps += usize::from(!recovered && !self.has_left);
        recovered
    }

    /// It was told that it is in these rooms no longer.
    pub fn left(&mut self, rooms: &[String]) {
        self.here.retain(|room| !rooms.contains(room));
    }

    /// An event for these rooms came, and it is in one of them.
    pub fn assert_wanted(&self, id: &str, rooms: &[String]) {
        let is_wanted = rooms.iter().any(|room| self.here.contains(room));
        assert!(is_wanted, "{id} is for {rooms:?}: {:#?}", self.diary);
    }

    /// Whether it has a connection.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether it wants to be connected but is not.
    pub fn is_away(&self) -> bool {
        self.connection.is_none() && self.position.is_some()
    }

    /// Whether it believes to be in a room.
    pub fn is_in(&self, room: &str) -> bool {
        self.is_connected() && self.rooms.contains_key(room)
    }

    /// What it waits for, though everything has come to rest.
    pub fn unanswered(&self) -> Option<String> {
        let waits = self.is_connected() && !self.asked.is_empty();
        waits.then(|| format!("{} commands are not answered", self.asked.len()))
    }
}
