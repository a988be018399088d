//! `greenroom.v1`: one JSON object a text frame, in both directions.

use super::{
    Answer, Ask, Command, Publication, Rooms, View,
    answers::{push_fault, push_fields},
    push_event_fields,
};
use crate::logic::{
    fault::{Code, Fault},
    position::Position,
    ws,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Write as _;

/// The longest `ref`, bytes of JSON.
pub const REFERENCE_BYTES_MAX: usize = 256;

/// A client's frame, every field that any command has: one flat object, because a tagged enum cannot hold raw values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    r#type: String,
    #[serde(default, rename = "ref")]
    reference: Option<Box<RawValue>>,
    room: Option<String>,
    rooms: Option<Vec<String>>,
    since: Option<String>,
    event: Option<String>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    args: Option<Box<RawValue>>,
    id: Option<String>,
}

/// A field that is there, even if it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A frame that could not be understood: the fault, and the `ref` to answer it with where one could be read.
pub type Misread = (Option<Box<RawValue>>, Fault);

/// Reads one text frame.
pub fn decode(text: &str) -> Result<Command, Misread> {
    // serde would also take an array for a struct, field by field.
    if text.trim_start().starts_with('[') {
        return Err((None, Fault::new(Code::BadRequest, "a frame is a JSON object")));
    }
    let mut frame: Frame = serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() {
            Code::BadRequest
        } else {
            Code::BadJson
        };
        (find_reference(text), Fault::new(code, error.to_string()))
    })?;
    let reference = frame.reference.take();
    if reference.as_deref().is_some_and(|raw| !is_reference(raw)) {
        return Err((
            None,
            Fault::new(
                Code::BadRequest,
                "ref is a string or a number of at most 256 bytes",
            ),
        ));
    }
    match ask(frame) {
        Ok(ask) => Ok(Command { reference, ask }),
        Err(fault) => Err((reference, fault)),
    }
}

fn is_reference(raw: &RawValue) -> bool {
    let json = raw.get();
    json.len() <= REFERENCE_BYTES_MAX
        && (json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()))
}

/// The `ref` of a frame that is JSON but not a command, so that its sender can tell which one failed.
fn find_reference(text: &str) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(rename = "ref")]
        reference: Box<RawValue>,
    }
    serde_json::from_str::<Only>(text)
        .ok()
        .map(|only| only.reference)
        .filter(|raw| is_reference(raw))
}

fn ask(frame: Frame) -> Result<Ask, Fault> {
    let Frame {
        r#type,
        room,
        rooms,
        since,
        event,
        data,
        args,
        id,
        ..
    } = frame;
    let missing = |field: &str| Fault::new(Code::BadRequest, format!("{type} needs the field {field:?}"));
    let rooms = match (room, rooms) {
        (Some(room), None) => Some(Rooms::One(room)),
        (None, Some(rooms)) => Some(Rooms::Many(rooms)),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(Fault::new(Code::BadRequest, "either room or rooms, not both")),
    };
    match r#type.as_str() {
        "join" => Ok(Ask::Join {
            rooms: rooms.ok_or_else(|| missing("room"))?,
            since,
        }),
        "leave" => Ok(Ask::Leave {
            rooms: rooms.ok_or_else(|| missing("room"))?,
        }),
        "publish" => Ok(Ask::Publish(Box::new(Publication {
            rooms: rooms.ok_or_else(|| missing("room"))?.names().to_vec(),
            event: event.ok_or_else(|| missing("event"))?,
            data,
            args,
            id,
        }))),
        "presence" => match rooms {
            Some(Rooms::One(room)) => Ok(Ask::Presence { room }),
            _ => Err(missing("room")),
        },
        "ping" => Ok(Ask::Ping),
        other => Err(Fault::new(
            Code::BadRequest,
            format!("unknown type {other:?}; there are join, leave, publish, presence and ping"),
        )),
    }
}

/// An event frame: `{"type":"event", ...the event, "position"}`.
pub(super) fn event(view: View<'_>, position: &Position) -> Bytes {
    let mut json = Vec::with_capacity(view.merged.unwrap_or_else(|| view.event.payload.json()).len() + 240);
    json.extend_from_slice(b"{\"type\":\"event\",");
    push_event_fields(&mut json, view);
    let _ = write!(json, ",\"position\":\"{position}\"}}");
    ws::encode_text(&json)
}

/// Any other frame.
pub(super) fn answer(answer: &Answer<'_>, reference: Option<&RawValue>) -> Bytes {
    let mut json = Vec::with_capacity(160);
    json.extend_from_slice(b"{\"type\":\"");
    json.extend_from_slice(match answer {
        Answer::Joined { .. } => b"joined\"",
        Answer::Left { .. } => b"left\"",
        Answer::Published(_) => b"published\"",
        Answer::Presence { .. } => b"presence\"",
        Answer::Pong => b"pong\"",
        Answer::Error(_) => b"error\"",
        Answer::Notice { .. } => b"event\"",
    });
    if let Some(reference) = reference {
        let _ = write!(json, ",\"ref\":{}", reference.get());
    }
    push_own_fields(&mut json, answer);
    json.push(b'}');
    ws::encode_text(&json)
}

fn push_own_fields(json: &mut Vec<u8>, answer: &Answer<'_>) {
    match answer {
        Answer::Error(fault) => {
            json.push(b',');
            push_fault(json, fault);
        }
        Answer::Notice { notice, position } => {
            json.extend_from_slice(b",\"event\":\"greenroom\",\"data\":");
            let _ = serde_json::to_writer(&mut *json, notice);
            if let Some(position) = position {
                let _ = write!(json, ",\"position\":\"{position}\"");
            }
        }
        _ => push_fields(json, answer),
    }
}
