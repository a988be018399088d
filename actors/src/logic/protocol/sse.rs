//! Server-sent events: `id:` is the position, `event:` the name, `data:` one line of JSON.

use super::{Answer, Rooms, View, event_json};
use crate::logic::position::Position;
use bytes::Bytes;
use serde_json::json;
use std::io::Write as _;

/// A comment line: keeps proxies from closing a quiet stream.
pub const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An event.
pub(super) fn event(view: View<'_>, position: &Position) -> Bytes {
    let json = event_json(view);
    let mut out = Vec::with_capacity(json.len() + 64);
    // An event name has no control characters, hence no line breaks; the JSON is one line.
    let _ = write!(out, "id: {position}\nevent: {}\ndata: ", view.event.name.as_str());
    out.extend_from_slice(&json);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// What the stream says besides events: where it begins, and what the node says about itself.
pub(super) fn answer(answer: &Answer<'_>) -> Option<Bytes> {
    let mut out = Vec::with_capacity(160);
    match answer {
        Answer::Joined {
            rooms,
            position,
            recovered,
        } => {
            let text = position.to_string();
            let body = match rooms {
                Rooms::One(room) => json!({"room": room, "position": text, "recovered": recovered}),
                Rooms::Many(rooms) => {
                    json!({"room": rooms.first(), "rooms": rooms, "position": text, "recovered": recovered})
                }
            };
            let _ = write!(out, "id: {text}\nevent: joined\ndata: {body}\n\n");
        }
        Answer::Notice { notice, position } => {
            if let Some(ms) = notice.retry_in_ms {
                let _ = writeln!(out, "retry: {ms}");
            }
            let body = serde_json::to_string(notice).unwrap_or_default();
            if let Some(position) = position {
                let _ = writeln!(out, "id: {position}");
            }
            let _ = write!(out, "event: greenroom\ndata: {body}\n\n");
        }
        Answer::Left { .. }
        | Answer::Published(_)
        | Answer::Presence { .. }
        | Answer::Pong
        | Answer::Error(_) => {
            return None;
        }
    }
    Some(out.into())
}
