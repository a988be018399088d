//! The protocols a client may speak: one neutral command and answer each, and an encoder and decoder a protocol.

mod answers;
pub mod foreign;
pub mod greenroom_v1;
pub mod socket_io;
pub mod sse;

use super::{
    event::{Event, Payload, Receipt},
    fault::Fault,
    known::rfc3339,
    position::Position,
    room_name::RoomName,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// A protocol that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `greenroom.v1`: JSON text frames over a plain WebSocket.
    GreenroomV1,
    /// Server-sent events.
    Sse,
    /// Socket.IO, over whatever Engine.IO has.
    SocketIo,
    /// An embedding program's own, over a plain WebSocket: the node itself says nothing in it, and the events of rooms
    /// are those of `greenroom.v1`.
    Own,
}

impl Protocol {
    /// How many forms an event has.
    pub const FORMS: usize = 3;

    /// Which of them it has here.
    pub fn form(self) -> usize {
        match self {
            Self::GreenroomV1 | Self::Own => 0,
            Self::Sse => 1,
            Self::SocketIo => 2,
        }
    }
}

/// What a client asks of its connection. Names are not checked yet.
#[derive(Debug)]
pub struct Command {
    /// What the client wants back with the answer: a JSON string or number.
    pub reference: Option<Box<RawValue>>,
    /// What it asks.
    pub ask: Ask,
}

/// The kinds of commands.
#[derive(Debug)]
pub enum Ask {
    /// Join rooms; resume from `since`.
    Join {
        /// The rooms.
        rooms: Rooms,
        /// A position.
        since: Option<String>,
    },
    /// Leave rooms.
    Leave {
        /// The rooms.
        rooms: Rooms,
    },
    /// Publish an event.
    Publish(Box<Publication>),
    /// Who is in a room.
    Presence {
        /// The room.
        room: String,
    },
    /// Answer, so that I know you are there.
    Ping,
}

/// Rooms as the client named them: answered in the same form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rooms {
    /// `"room": "..."`
    One(String),
    /// `"rooms": [...]`
    Many(Vec<String>),
}

impl Rooms {
    /// The names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// What somebody wants to publish, not checked yet.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// The rooms.
    pub rooms: Vec<String>,
    /// The event's name.
    pub event: String,
    /// One value, or `None` where there are `args` (or nothing, which is `null`).
    pub data: Option<Box<RawValue>>,
    /// The arguments of a Socket.IO event: a JSON array.
    pub args: Option<Box<RawValue>>,
    /// The publisher's own id.
    pub id: Option<String>,
}

/// What the node says to one client.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The client is in these rooms; what follows is theirs.
    Joined {
        /// In the form in which they were asked for.
        rooms: &'a Rooms,
        /// What the client has from here on.
        position: &'a Position,
        /// Whether nothing is missing between the position it gave and this one.
        recovered: bool,
    },
    /// The client has left these rooms.
    Left {
        /// The rooms.
        rooms: &'a Rooms,
    },
    /// The event was accepted.
    Published(&'a Receipt),
    /// Who is in the room.
    Presence {
        /// The room.
        room: &'a RoomName,
        /// Its members.
        members: &'a [Member],
    },
    /// I am there.
    Pong,
    /// The command was not carried out.
    Error(&'a Fault),
    /// The node says something about itself: event `greenroom`.
    Notice {
        /// What.
        notice: &'a Notice,
        /// What the client has; a connection that is nowhere has nothing, and must not forget what it came with.
        position: Option<&'a Position>,
    },
}

/// A member of a room as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The connection's id.
    pub id: String,
    /// Who it is, where that is known.
    pub subject: Option<String>,
    /// The node it is on.
    pub node: String,
    /// When it joined the room, RFC 3339.
    pub joined_at: String,
}

/// What the node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// `draining`, `degraded`, `restored`, `expiring`; and, as the last word, `expired`, `revoked`, `ended`.
    pub r#type: &'static str,
    /// One sentence.
    pub message: String,
    /// When to come back, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
}

/// An event as one client sees it: as it was published, or with a merged payload.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The event; of merged ones the newest.
    pub event: &'a Event,
    /// What it says instead of the event's own payload.
    pub merged: Option<&'a [u8]>,
}

/// The frame that every client gets whose position is simply the event's sequence.
pub fn shared_frame(event: &Event, protocol: Protocol) -> Bytes {
    event_frame(View { event, merged: None }, &event.position(), protocol)
}

/// The frame of an event with this position.
pub fn event_frame(view: View<'_>, position: &Position, protocol: Protocol) -> Bytes {
    match protocol {
        Protocol::GreenroomV1 | Protocol::Own => greenroom_v1::event(view, position),
        Protocol::Sse => sse::event(view, position),
        Protocol::SocketIo => socket_io::event(view, position),
    }
}

/// The frame of an answer, where the protocol has one for it.
pub fn answer_frame(answer: &Answer<'_>, reference: Option<&RawValue>, protocol: Protocol) -> Option<Bytes> {
    match protocol {
        Protocol::GreenroomV1 => Some(greenroom_v1::answer(answer, reference)),
        Protocol::Sse => sse::answer(answer),
        Protocol::SocketIo => socket_io::answer(answer, reference),
        Protocol::Own => None,
    }
}

/// Appends `text` as a JSON string.
pub(in crate::logic) fn push_json_str(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec does not fail, and a str is always serialisable.
    let _ = serde_json::to_writer(out, text);
}

/// Appends the fields of an event, without braces: `"id":...,"ts":...`.
pub fn push_event_fields(out: &mut Vec<u8>, view: View<'_>) {
    let View { event, merged } = view;
    let first = &event.places[0];
    push_field(out, "\"id\":\"", event.id.as_str());
    push_field(out, "\",\"room\":\"", first.room.as_str());
    if event.places.len() > 1 {
        out.extend_from_slice(b"\",\"rooms\":[");
        for (i, place) in event.places.iter().enumerate() {
            push_field(out, if i == 0 { "\"" } else { ",\"" }, place.room.as_str());
            out.push(b'"');
        }
        out.extend_from_slice(b"],\"event\":");
    } else {
        out.extend_from_slice(b"\",\"event\":");
    }
    push_json_str(out, event.name.as_str());
    out.extend_from_slice(match event.payload {
        Payload::Data(_) => b",\"data\":",
        Payload::Args(_) => b",\"args\":",
    });
    out.extend_from_slice(merged.unwrap_or_else(|| event.payload.json()));
    push_field(out, ",\"offset\":", &first.offset.to_string());
    push_field(out, ",\"ts\":\"", &rfc3339(event.ts_ms));
    out.push(b'"');
    if event.local_from.is_some() {
        out.extend_from_slice(LOCAL_FIELD);
    }
}

/// Of an event and of a receipt while the broker of several nodes is away.
const LOCAL_FIELD: &[u8] = b",\"scope\":\"local\"";

fn push_field(out: &mut Vec<u8>, before: &str, text: &str) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// An event as JSON, as the history and the typed surfaces show it.
pub fn event_json(view: View<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(view.event.payload.json().len() + 200);
    out.push(b'{');
    push_event_fields(&mut out, view);
    out.push(b'}');
    out
}

/// A publisher's receipt as JSON fields.
pub fn push_receipt_fields(out: &mut Vec<u8>, receipt: &Receipt) {
    push_field(out, "\"id\":\"", receipt.id.as_str());
    out.extend_from_slice(b"\",\"rooms\":{");
    for (i, (room, offset)) in receipt.offsets.iter().enumerate() {
        push_field(out, if i == 0 { "\"" } else { ",\"" }, room.as_str());
        push_field(out, "\":", &offset.to_string());
    }
    out.push(b'}');
    if receipt.local {
        out.extend_from_slice(LOCAL_FIELD);
    }
}
