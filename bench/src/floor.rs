//! The floor: the least a server can do. One thread, a frame built once an event, one `write()` a member.
//!
//! What a fan-out costs above this is a server's own doing. `--coalesce` keeps a turn's frames together and writes
//! each member once a turn instead: the least a server can do when events come faster than one by one.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::frame;
use crate::server::{self, Hall, Service};
use crate::socket;

/// Serves the floor on a loopback port until the process ends.
pub fn run(port: u16, coalesce: bool) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = socket::listen(address).with_context(|| format!("cannot listen on {address}"))?;
    server::serve(listener, &mut Floor::new(coalesce), None)
}

/// What a client may send: a join (`room`, `since`) or a publish (`room`, `event`, `data`).
///
/// Not an enum: serde buffers a tagged one, and a raw value does not survive that.
#[derive(Deserialize)]
pub struct Request<'a> {
    /// `join` or `publish`.
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
    /// The room.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// The position to come back from.
    #[serde(borrow)]
    pub since: Option<Cow<'a, str>>,
    /// The event's name.
    #[serde(borrow)]
    pub event: Option<Cow<'a, str>>,
    /// The event's content.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// Handed back in the answer.
    #[serde(borrow)]
    pub r#ref: Option<&'a RawValue>,
}

/// An event as it is posted.
#[derive(Deserialize)]
pub struct Posted<'a> {
    /// Its name.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// Its content.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// Rooms and their members, nothing else.
pub struct Floor {
    rooms: HashMap<String, Room>,
    sequence: u64,
    coalesce: bool,
    /// Connections with something pending, and what.
    dirty: Vec<usize>,
    pending: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    offset: u64,
}

impl Floor {
    /// A floor without rooms.
    pub fn new(coalesce: bool) -> Self {
        Self {
            rooms: HashMap::new(),
            sequence: 0,
            coalesce,
            dirty: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn join(&mut self, room: &str, member: usize) {
        self.rooms
            .entry(room.to_owned())
            .or_default()
            .members
            .push(member);
        let length = self.pending.len().max(member + 1);
        self.pending.resize_with(length, Vec::new);
    }

    /// Sends an event to the members of a room; its id and offset.
    fn publish(&mut self, room: &str, event: &str, data: &RawValue, hall: &mut Hall) -> (String, u64) {
        self.sequence += 1;
        let id = ulid(self.sequence);
        let Some(found) = self.rooms.get_mut(room) else {
            return (id, 0);
        };
        found.offset += 1;
        let bytes = event_frame(room, event, data, &id, found.offset, self.sequence);
        for member in &found.members {
            if self.coalesce {
                let pending = &mut self.pending[*member];
                if pending.is_empty() {
                    self.dirty.push(*member);
                }
                pending.extend_from_slice(&bytes);
            } else {
                hall.send(*member, &bytes);
            }
        }
        (id, found.offset)
    }
}

impl Service for Floor {
    fn hear(&mut self, from: usize, text: &[u8], hall: &mut Hall) {
        match serde_json::from_slice(text) {
            Ok(Request {
                r#type,
                room,
                since,
                r#ref,
                ..
            }) if r#type == "join" => {
                self.join(&room, from);
                hall.say(
                    from,
                    &joined(&room, r#ref, &self.sequence.to_string(), since.is_none()),
                );
            }
            Ok(Request {
                room,
                event: Some(event),
                data: Some(data),
                r#ref,
                ..
            }) => {
                let (id, offset) = self.publish(&room, &event, data, hall);
                hall.say(from, &published(&room, r#ref, &id, offset));
            }
            _ => hall.say(
                from,
                r#"{"type":"error","code":"frame_invalid","message":"not understood"}"#,
            ),
        }
    }

    fn post(&mut self, room: &str, body: &[u8], hall: &mut Hall) -> Option<String> {
        let Posted { event, data } = serde_json::from_slice(body).ok()?;
        let (id, offset) = self.publish(room, &event, data, hall);
        Some(format!(r#"{{"id":"{id}","rooms":{{"{room}":{offset}}}}}"#))
    }

    fn left(&mut self, who: usize) {
        self.rooms
            .values_mut()
            .for_each(|room| room.members.retain(|member| *member != who));
        if let Some(pending) = self.pending.get_mut(who) {
            pending.clear();
        }
    }

    fn turn_over(&mut self, hall: &mut Hall) {
        for member in self.dirty.drain(..) {
            hall.send(member, &self.pending[member]);
            self.pending[member].clear();
        }
    }
}

/// The answer to a join.
pub fn joined(room: &str, reference: Option<&RawValue>, position: &str, recovered: bool) -> String {
    let reference = reference.map_or("null", RawValue::get);
    format!(
        r#"{{"type":"joined","ref":{reference},"room":"{room}","position":"{position}","recovered":{recovered}}}"#
    )
}

/// The answer to a publish.
pub fn published(room: &str, reference: Option<&RawValue>, id: &str, offset: u64) -> String {
    let reference = reference.map_or("null", RawValue::get);
    format!(r#"{{"type":"published","ref":{reference},"id":"{id}","rooms":{{"{room}":{offset}}}}}"#)
}

/// An identifier of the length of a ULID.
pub fn ulid(number: u64) -> String {
    format!("{number:026}")
}

/// The frame of an event, as long as a real one.
pub fn event_frame(
    room: &str,
    event: &str,
    data: &RawValue,
    id: &str,
    offset: u64,
    position: u64,
) -> Vec<u8> {
    let text = format!(
        r#"{{"type":"event","id":"{id}","room":"{room}","event":"{event}","data":{data},"offset":{offset},"ts":"2026-01-01T00:00:00.000Z","position":"{position}"}}"#
    );
    let mut bytes = Vec::with_capacity(text.len() + 4);
    frame::encode_from_server(&mut bytes, frame::TEXT, text.as_bytes());
    bytes
}
