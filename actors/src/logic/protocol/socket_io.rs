//! Socket.IO: events by their own names with the position as last argument, answers as acks with one object.
//!
//! Every frame is one of WebSocket, or several where bytes are attached; a transport that is none takes them apart.

use super::{Answer, Rooms, View, push_json_str, push_receipt_fields};
use crate::logic::{
    event::Payload,
    position::Position,
    presence::{Secret, SessionId},
    socket_io::encode::{self, Args, Message, Outgoing},
    ws,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::io::Write as _;

/// A message in frames.
pub fn frames(message: &Message) -> Bytes {
    if message.attachments.is_empty() {
        return ws::encode_text(&message.text);
    }
    let mut out = ws::encode_text(&message.text).to_vec();
    for attachment in &message.attachments {
        out.extend_from_slice(&ws::encode_binary(attachment));
    }
    out.into()
}

/// An event. What the stock client keeps as its offset is the position.
pub(super) fn event(view: View<'_>, position: &Position) -> Bytes {
    let View { event, merged } = view;
    let json = merged.unwrap_or_else(|| event.payload.json());
    // Payloads are checked JSON, which is UTF-8.
    let json = std::str::from_utf8(json).unwrap_or("null");
    let name = event.name.as_str();
    frames(&encode::event(&Outgoing {
        namespace: None,
        id: None,
        args: match event.payload {
            Payload::Data(_) => Args::One(name, json),
            Payload::Args(_) => Args::Many(name, json),
        },
        offset: Some(&position.to_string()),
    }))
}

/// The client is connected, as whom, and with what it may come back.
pub fn connected(id: SessionId, secret: Option<Secret>) -> Bytes {
    let secret = secret.map(Secret::to_text);
    ws::encode_text(&encode::connect(None, &id.to_string(), secret.as_deref()))
}

/// The ack of a command, if the client wants one; what the node says by itself is an event.
pub fn answer(answer: &Answer<'_>, reference: Option<&RawValue>) -> Option<Bytes> {
    if let Answer::Notice { notice, position } = answer {
        let data = serde_json::to_string(notice).unwrap_or_default();
        let position = position.map(Position::to_string);
        return Some(frames(&encode::event(&Outgoing {
            namespace: None,
            id: None,
            args: Args::One("greenroom", &data),
            offset: position.as_deref(),
        })));
    }
    let id: u64 = reference?.get().parse().ok()?;
    let mut json = Vec::with_capacity(128);
    json.extend_from_slice(b"[{\"ok\":");
    json.extend_from_slice(if matches!(answer, Answer::Error(_)) {
        b"false"
    } else {
        b"true"
    });
    push_fields(&mut json, answer);
    json.extend_from_slice(b"}]");
    let json = String::from_utf8(json).unwrap_or_default();
    Some(frames(&encode::ack(None, id, &json)))
}

fn push_fields(json: &mut Vec<u8>, answer: &Answer<'_>) {
    match answer {
        Answer::Joined {
            rooms,
            position,
            recovered,
        } => {
            push_rooms(json, rooms);
            let _ = write!(json, ",\"position\":\"{position}\",\"recovered\":{recovered}");
        }
        Answer::Left { rooms } => push_rooms(json, rooms),
        Answer::Published(receipt) => {
            json.push(b',');
            push_receipt_fields(json, &receipt.id, &receipt.offsets);
        }
        Answer::Presence { room, members } => {
            let count = members.len();
            let _ = write!(json, ",\"room\":\"{room}\",\"count\":{count},\"members\":");
            let _ = serde_json::to_writer(json, members);
        }
        Answer::Error(fault) => {
            let name = fault.code.row().name;
            let _ = write!(json, ",\"error\":{{\"code\":\"{name}\",\"message\":");
            push_json_str(json, &fault.message);
            if let Some(details) = &fault.details {
                let _ = write!(json, ",\"details\":{details}");
            }
            json.push(b'}');
        }
        Answer::Pong | Answer::Notice { .. } => {}
    }
}

fn push_rooms(json: &mut Vec<u8>, rooms: &Rooms) {
    match rooms {
        Rooms::One(room) => {
            json.extend_from_slice(b",\"room\":");
            push_json_str(json, room);
        }
        Rooms::Many(rooms) => {
            json.extend_from_slice(b",\"rooms\":");
            let _ = serde_json::to_writer(json, rooms);
        }
    }
}
