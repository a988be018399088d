//! Socket.IO: events by their own names with the position as last argument, answers as acks with one object.
//!
//! Every frame is one of WebSocket, or several where bytes are attached; a transport that is none takes them apart.

use super::{
    Answer, View,
    answers::{push_fault, push_fields},
};
use crate::logic::{
    event::Payload,
    position::Position,
    presence::{Secret, SessionId},
    socket_io::encode::{self, Args, Message, Outgoing},
    ws,
};
use bytes::Bytes;
use serde_json::value::RawValue;

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
    if let Answer::Error(fault) = answer {
        json.extend_from_slice(b",\"error\":{");
        push_fault(&mut json, fault);
        json.push(b'}');
    }
    push_fields(&mut json, answer);
    json.extend_from_slice(b"}]");
    let json = String::from_utf8(json).unwrap_or_default();
    Some(frames(&encode::ack(None, id, &json)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::{
        event::{Event, EventName, Place},
        fault::{Code, Fault},
        position::Life,
        protocol::{Member, Notice, Protocol, Rooms, event_frame, shared_frame},
        room_name::RoomName,
    };
    use serde_json::json;

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 200).unwrap()
    }

    fn an_event(payload: Payload) -> Event {
        let place = Place {
            room: room("agent:1"),
            offset: 3,
            prev: 0,
        };
        let draft = crate::logic::event::Draft {
            id: crate::logic::event::EventId::parse("id").unwrap(),
            id_chosen: false,
            publisher: None,
            rooms: vec![room("agent:1")],
            name: EventName::parse("note").unwrap(),
            payload,
            about: None,
            written: None,
            ts_ms: 0,
        };
        Event::new(draft, Life::from_random(10), 71, Box::new([place]))
    }

    /// The messages in a frame: text as it is, bytes as their number.
    fn messages(frames: &Bytes) -> Vec<String> {
        let message = |(opcode, message): (ws::Opcode, &[u8])| match opcode {
            ws::Opcode::Binary => format!("{message:?}"),
            _ => String::from_utf8(message.to_vec()).unwrap(),
        };
        ws::own_messages(frames).map(message).collect()
    }

    fn raw(json: &serde_json::Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(json).unwrap()
    }

    #[test]
    fn an_event_has_its_position_as_last_argument() {
        let data = an_event(Payload::Data(r#"{"n":1}"#.into()));
        assert_eq!(
            messages(&shared_frame(&data, Protocol::SocketIo)),
            [r#"42["note",{"n":1},"a-1z"]"#]
        );
        let args = an_event(Payload::Args("[1,\"x\"]".into()));
        assert_eq!(
            messages(&shared_frame(&args, Protocol::SocketIo)),
            [r#"42["note",1,"x","a-1z"]"#]
        );
        let none = an_event(Payload::Args("[]".into()));
        assert_eq!(
            messages(&shared_frame(&none, Protocol::SocketIo)),
            [r#"42["note","a-1z"]"#]
        );
    }

    #[test]
    fn a_merged_event_and_a_personal_position_take_the_place_of_its_own() {
        let event = an_event(Payload::Data("1".into()));
        let position = Position {
            life: Life::from_random(10),
            seq: 71,
            waiting: vec![70],
            seen: Vec::new(),
            rooms: None,
        };
        let view = View {
            event: &event,
            merged: Some(b"[2,3]"),
        };
        let frame = event_frame(view, &position, Protocol::SocketIo);
        assert_eq!(messages(&frame), [r#"42["note",[2,3],"a-1z~1"]"#]);
    }

    #[test]
    fn bytes_are_attachments_behind_the_event_in_the_same_frame() {
        let event = an_event(Payload::Data(r#"[{"$binary":"AQID"},{"$binary":""}]"#.into()));
        let text = r#"452-["note",[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}],"a-1z"]"#;
        assert_eq!(
            messages(&shared_frame(&event, Protocol::SocketIo)),
            [text, "[1, 2, 3]", "[]"]
        );
    }

    #[test]
    fn an_answer_is_one_object_to_who_wants_it() {
        let position = Position::at(Life::from_random(10), 71);
        let rooms = Rooms::One("a".into());
        let joined = Answer::Joined {
            rooms: &rooms,
            position: &position,
            recovered: true,
        };
        assert_eq!(answer(&joined, None), None);
        assert_eq!(answer(&joined, Some(&raw(&json!("x")))), None);
        let members = [Member {
            id: "1".into(),
            subject: None,
            node: "n".into(),
            joined_at: "t".into(),
        }];
        let presence = Answer::Presence {
            room: &room("a"),
            members: &members,
        };
        let fault = Fault::new(Code::BadRequest, "no \"x\"").with(json!({"at": "x"}));
        let many = Rooms::Many(vec!["a".into(), "b".into()]);
        for (said, expected) in [
            (
                joined,
                json!({"ok": true, "room": "a", "position": "a-1z", "recovered": true}),
            ),
            (
                Answer::Left { rooms: &many },
                json!({"ok": true, "rooms": ["a", "b"]}),
            ),
            (
                presence,
                json!({"ok": true, "room": "a", "count": 1, "members":
                    [{"id": "1", "subject": null, "node": "n", "joinedAt": "t"}]}),
            ),
            (
                Answer::Error(&fault),
                json!({"ok": false, "error": {"code": "bad_request", "message": "no \"x\"", "details": {"at": "x"}}}),
            ),
            (Answer::Pong, json!({"ok": true})),
        ] {
            let frame = answer(&said, Some(&raw(&json!(7)))).unwrap();
            let text = messages(&frame).remove(0);
            let json: serde_json::Value = serde_json::from_str(text.strip_prefix("437").unwrap()).unwrap();
            assert_eq!(json, json!([expected]));
        }
    }

    #[test]
    fn what_the_node_says_by_itself_is_an_event_that_moves_only_who_is_somewhere() {
        let notice = Notice {
            r#type: "draining",
            message: "m".into(),
            retry_in_ms: Some(5),
        };
        let position = Position::at(Life::from_random(10), 71);
        let say = |position| {
            let notice = Answer::Notice {
                notice: &notice,
                position,
            };
            messages(&answer(&notice, None).unwrap()).remove(0)
        };
        let data = r#"{"type":"draining","message":"m","retryInMs":5}"#;
        assert_eq!(say(Some(&position)), format!(r#"42["greenroom",{data},"a-1z"]"#));
        assert_eq!(say(None), format!(r#"42["greenroom",{data}]"#));
    }

    #[test]
    fn a_client_is_told_who_it_is_and_its_secret_where_it_may_come_back() {
        let sid = "A".repeat(19) + "F";
        let greet = |secret| messages(&connected(SessionId(5), secret)).remove(0);
        assert_eq!(greet(None), format!(r#"40{{"sid":"{sid}"}}"#));
        let pid = "0".repeat(31) + "7";
        assert_eq!(
            greet(Some(Secret(7))),
            format!(r#"40{{"sid":"{sid}","pid":"{pid}"}}"#)
        );
    }
}
