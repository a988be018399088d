//! A client of greenroom.v1, with what it was given and was promised.

use crate::{
    schedules::{Asked, ResumingClient},
    truth::{Answer, Given, Told, Truth, ids_of},
};
use greenroom_actors::{
    logic::position::{Life, Position},
    testing::wire::Client,
};
use serde_json::Value;

/// One client.
#[derive(Default)]
pub struct Player {
    pub client: ResumingClient,
    /// The node that it is on.
    pub node: (usize, u32),
    given: Given,
    /// What is not as promised.
    pub broken: Option<String>,
}

impl Player {
    /// Takes a connection and comes back, if it was here before.
    pub fn connect(&mut self, connection: Client, node: (usize, u32), shard: usize) {
        self.client.diary.push(format!("connect {} {shard}", node.0));
        self.node = node;
        if self.client.connect(connection) {
            // Nobody knows what it had.
            self.given = Given::default();
        }
    }

    /// The connection is cut after the client has read `bytes` more. Half-open: what is left of it is given back.
    pub fn cut(&mut self, bytes: usize, half_open: bool, truth: &mut Truth) -> Option<Client> {
        self.read(bytes, truth);
        self.client.cut(half_open)
    }

    /// Reads at most `bytes`, and learns that the connection is over when all is read.
    pub fn read(&mut self, bytes: usize, truth: &mut Truth) {
        for frame in self.client.read(bytes) {
            self.hear(&frame, truth);
        }
        self.client.end();
    }

    fn hear(&mut self, frame: &Value, truth: &mut Truth) {
        let asked = self.client.hear(frame);
        match (frame["type"].as_str().expect("a type"), asked) {
            ("joined", Some(Asked::Join { rooms, since })) => self.joined(frame, rooms, since, truth),
            ("left", Some(Asked::Leave(rooms))) => self.client.left(&rooms),
            ("published", Some(Asked::Publish(id))) => {
                let is_local = frame["scope"] == "local";
                truth.answered(&id, if is_local { Answer::Local } else { Answer::Shared });
            }
            ("event", _) if frame["event"] == "greenroom" => {
                let notice = format!("notice {}", frame["data"]["type"]);
                self.client.diary.push(notice);
            }
            ("event", _) => self.event(frame, truth),
            ("error", Some(Asked::Publish(id))) if is_transient(frame) => {
                truth.answered(&id, Answer::Refused);
            }
            _ => panic!("not an answer to anything: {frame}"),
        }
    }

    fn joined(&mut self, frame: &Value, rooms: Vec<String>, since: Option<Position>, truth: &mut Truth) {
        let note = format!("joined {rooms:?} {}", frame["recovered"] == true);
        self.client.diary.push(note);
        let now = truth.tick();
        if !self.client.joined(frame, rooms, since.as_ref(), now) {
            // It was told: what it was not given until now it need not get.
            for from in self.client.rooms.values_mut().flatten() {
                *from = now;
            }
            // In another life everything is new: also what is in it because somebody put an old copy of the data back.
            if frame["position"].as_str().and_then(life) != since.map(|since| since.life) {
                self.given = Given::default();
            }
        }
    }

    fn event(&mut self, frame: &Value, truth: &Truth) {
        let is_local = frame["scope"] == "local";
        let ids = ids_of(&frame["data"]);
        let client = &mut self.client;
        client.diary.push(format!("event {ids:?} {is_local}"));
        if is_local {
            assert_eq!(frame["offset"], 0, "{frame}");
        }
        for id in ids {
            client.assert_wanted(&id, &truth.events[&id].rooms);
            // Of merged ones nobody says which had their numbers.
            let is_numbered = Some(!is_local).filter(|_| frame["data"]["thoughts"].is_null());
            if let Err(why) = self.given.add(&id, is_numbered, truth) {
                self.broken.get_or_insert(why);
            }
        }
    }

    /// Whether it was given an event.
    pub fn has(&self, id: &str) -> bool {
        self.given.has(id)
    }

    /// After everything has come to rest: the first promise that is not kept.
    pub fn find_broken(&self, truth: &Truth) -> Option<String> {
        let rooms = &self.client.rooms;
        let missing = |told: &Told| format!("lost {told:?} of {rooms:?}");
        let unanswered = self.client.unanswered();
        unanswered
            .or_else(|| self.broken.clone())
            .or_else(|| self.given.missing(rooms, truth).map(missing))
            .or_else(|| self.given.disorder(truth))
    }
}

/// The life of the broker that a position is of.
fn life(position: &str) -> Option<Life> {
    position.parse::<Position>().ok().map(|position| position.life)
}

fn is_transient(frame: &Value) -> bool {
    frame["code"] == "unavailable" || frame["code"] == "overloaded"
}
