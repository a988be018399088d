//! The fields of an answer that are the same in every protocol.

use super::{Answer, Rooms, push_json_str, push_receipt_fields};
use crate::logic::fault::Fault;
use std::io::Write as _;

/// Writes them, each behind a comma. What an error and a notice look like is for the protocol.
pub(super) fn push_fields(json: &mut Vec<u8>, answer: &Answer<'_>) {
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
            push_receipt_fields(json, receipt);
        }
        Answer::Presence { room, members } => {
            let count = members.len();
            let _ = write!(json, ",\"room\":\"{room}\",\"count\":{count},\"members\":");
            let _ = serde_json::to_writer(json, members);
        }
        Answer::Pong | Answer::Error(_) | Answer::Notice { .. } => {}
    }
}

/// Writes an error's code, message and details.
pub(super) fn push_fault(json: &mut Vec<u8>, fault: &Fault) {
    let _ = write!(json, "\"code\":\"{}\",\"message\":", fault.code.row().name);
    push_json_str(json, &fault.message);
    if let Some(details) = &fault.details {
        let _ = write!(json, ",\"details\":{details}");
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
