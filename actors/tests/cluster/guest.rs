//! A client of Socket.IO that comes back by its secret, with what it was promised.

use crate::truth::{Answer, Given, Told, Truth, ids_of};
use greenroom_actors::testing::socket_io::{SocketIo, Stock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What it has asked and waits to hear.
enum Asked {
    Join(&'static str),
    Leave,
    Publish(String),
}

/// One client.
#[derive(Default)]
pub struct Guest {
    stock: Stock,
    /// The node that it is on.
    pub node: (usize, u32),
    /// Its rooms, each with the moment from which on it is promised everything.
    rooms: BTreeMap<String, Option<u64>>,
    /// Rooms that it may be in: it has asked, in this life.
    asked_for: BTreeSet<&'static str>,
    waits: BTreeMap<u64, Asked>,
    lives: u32,
    heard: usize,
    given: Given,
    /// Sessions that it has given up.
    pub old: Vec<SocketIo>,
    /// How often it was where it was, and how often it was new.
    pub returns: (u64, u64),
    pub diary: Vec<String>,
    /// What is not as promised.
    pub broken: Option<String>,
}

impl Guest {
    /// Hears at most so many bytes.
    pub fn hear(&mut self, bytes: usize, truth: &mut Truth) {
        if self.stock.now.is_none() {
            return;
        }
        let was_greeted = self.stock.recovered;
        self.stock.listen_to(bytes);
        if was_greeted.is_none() && self.stock.recovered.is_some() {
            self.greeted();
        }
        for (id, answer) in std::mem::take(&mut self.stock.now().answers) {
            self.answered(id, &answer, truth);
        }
        while self.heard < self.stock.events.len() {
            let event = self.stock.events[self.heard].clone();
            self.heard += 1;
            self.event(&event, truth);
        }
    }

    fn greeted(&mut self) {
        if self.stock.lives == self.lives {
            self.diary.push("where it was".into());
            self.returns.0 += 1;
            return;
        }
        self.diary.push("new".into());
        self.returns.1 += 1;
        self.lives = self.stock.lives;
        self.heard = 0;
        self.rooms.clear();
        self.asked_for.clear();
        self.given = Given::default();
    }

    fn answered(&mut self, id: u64, answer: &Value, truth: &mut Truth) {
        let is_ok = answer["ok"] == true;
        match self.waits.remove(&id) {
            Some(Asked::Join(room)) => {
                assert!(is_ok, "{answer}");
                self.diary.push(format!("joined {room}"));
                let now = truth.tick();
                self.rooms.entry(room.to_owned()).or_insert(Some(now));
            }
            Some(Asked::Leave) => assert!(is_ok, "{answer}"),
            Some(Asked::Publish(id)) => {
                let is_local = answer["scope"] == "local";
                truth.answered(
                    &id,
                    match (is_ok, is_local) {
                        (true, true) => Answer::Local,
                        (true, false) => Answer::Shared,
                        (false, _) => Answer::Refused,
                    },
                );
            }
            None => {}
        }
    }

    fn event(&mut self, event: &[Value], truth: &Truth) {
        if event[0] == "greenroom" {
            return;
        }
        let ids = ids_of(&event[1]);
        self.diary.push(format!("event {ids:?}"));
        for id in ids {
            let told = &truth.events[&id];
            let is_wanted = told.rooms.iter().any(|room| self.asked_for.contains(&**room));
            assert!(is_wanted, "{id} is for {:?}: {:#?}", told.rooms, self.diary);
            let is_merged = !event[1]["thoughts"].is_null();
            if let Err(why) = self.given.add(&id, Some(false).filter(|_| is_merged), truth) {
                self.broken.get_or_insert(why);
            }
        }
    }

    fn is_there(&mut self) -> bool {
        self.stock.now.is_some() && self.stock.recovered.is_some() && !self.stock.now().is_over()
    }

    /// Joins a room or leaves it.
    pub fn ask(&mut self, room: &'static str, joins: bool) {
        if !self.is_there() {
            return;
        }
        let asked = if joins {
            self.asked_for.insert(room);
            Asked::Join(room)
        } else {
            // From here on it is promised nothing of it.
            self.rooms.remove(room);
            let is_it = |asked: &Asked| matches!(asked, Asked::Join(other) if *other == room);
            for asked in self.waits.values_mut().filter(|asked| is_it(asked)) {
                *asked = Asked::Leave;
            }
            Asked::Leave
        };
        let name = if joins { "join" } else { "leave" };
        let id = self.stock.now().emit(name, &json!(room));
        self.waits.insert(id, asked);
    }

    /// Publishes. Returns whether it could.
    pub fn say(&mut self, frame: &Value, id: &str) -> bool {
        let can = self.is_there();
        if can {
            let asked = self.stock.now().emit("publish", frame);
            self.waits.insert(asked, Asked::Publish(id.to_owned()));
        }
        can
    }

    /// Comes back over a new session.
    pub fn back(&mut self, session: SocketIo, node: (usize, u32), half_open: bool) {
        self.diary.push(format!("back at {}", node.0));
        self.node = node;
        self.waits.clear();
        if let Some(mut old) = self.stock.enter(session) {
            if !half_open {
                old.hang_up();
            }
            self.old.push(old);
        }
    }

    /// Whether its connection is over, or it has none yet.
    pub fn is_away(&mut self) -> bool {
        self.stock.now.is_none() || self.stock.now().is_over()
    }

    pub fn is_in(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// The position that it would come back with.
    pub fn position(&self) -> Option<&str> {
        self.stock.offset.as_deref()
    }

    /// Whether it was given an event.
    pub fn has(&self, id: &str) -> bool {
        self.given.has(id)
    }

    /// After everything has come to rest: the first promise that is not kept.
    pub fn find_broken(&self, truth: &Truth) -> Option<String> {
        if !self.waits.is_empty() {
            return Some(format!("{} commands are not answered", self.waits.len()));
        }
        let missing = |told: &Told| format!("lost {told:?} of {:?}", self.rooms);
        let broken = self.broken.clone();
        broken
            .or_else(|| self.given.missing(&self.rooms, truth).map(missing))
            .or_else(|| self.given.disorder(truth))
    }
}
