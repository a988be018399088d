//! From what somebody wants to publish to a draft: every check there is, once, for every surface.

use super::{
    event::{Draft, EventId, EventName, Payload},
    fault::{Code, Fault},
    known::{self, Known},
    protocol::Publication,
    room_name::RoomName,
};
use serde_json::{json, value::RawValue};
use std::{collections::BTreeSet, sync::Arc};

/// What may be published.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Characters in a room name.
    pub name_chars: usize,
    /// Rooms an event may name.
    pub rooms: usize,
    /// Bytes of an event's JSON.
    pub event_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            name_chars: super::room_name::NAME_CHARS_DEFAULT,
            rooms: 16,
            event_bytes: 256 << 10,
        }
    }
}

/// What the world adds to a publication.
pub struct Stamp {
    /// Who publishes, where that is known.
    pub publisher: Option<Arc<str>>,
    /// The id if the publisher chose none.
    pub new_id: EventId,
    /// Now, milliseconds since 1970.
    pub now_ms: i64,
}

/// Checks a publication to exactly the rooms it names.
pub fn check(publication: Publication, stamp: Stamp, limits: &Limits) -> Result<Draft, Fault> {
    let rooms = check_rooms(&publication.rooms, limits)?;
    check_to(publication, rooms, stamp, limits)
}

/// Checks names of rooms: each once, in the order in which they were named.
pub fn check_rooms(names: &[String], limits: &Limits) -> Result<Vec<RoomName>, Fault> {
    if names.is_empty() {
        return Err(Fault::new(Code::RoomNameInvalid, "at least one room"));
    }
    let mut seen = BTreeSet::new();
    let mut rooms = Vec::with_capacity(names.len());
    for name in names {
        let room = RoomName::parse(name, limits.name_chars).map_err(|error| {
            Fault::new(Code::RoomNameInvalid, error.to_string()).with(json!({"room": name}))
        })?;
        if seen.insert(room.clone()) {
            rooms.push(room);
        }
    }
    Ok(rooms)
}

/// Checks a publication to rooms that are checked already.
pub fn check_to(
    publication: Publication,
    rooms: Vec<RoomName>,
    stamp: Stamp,
    limits: &Limits,
) -> Result<Draft, Fault> {
    if rooms.len() > limits.rooms {
        return Err(Fault::new(
            Code::TooManyRooms,
            format!("an event may name {} rooms", limits.rooms),
        ));
    }
    let name = EventName::parse(&publication.event)
        .map_err(|error| Fault::new(Code::EventNameInvalid, error.to_string()))?;
    let id_chosen = publication.id.is_some();
    let id = match &publication.id {
        Some(id) => {
            EventId::parse(id).map_err(|error| Fault::new(Code::EventIdInvalid, error.to_string()))?
        }
        None => stamp.new_id,
    };
    let payload = payload(publication.data.as_deref(), publication.args.as_deref())?;
    let bytes = payload.json().len();
    if bytes > limits.event_bytes {
        let message = format!(
            "an event has at most {} bytes, this one has {bytes}",
            limits.event_bytes
        );
        return Err(Fault::new(Code::EventTooLarge, message).with(json!({"limitBytes": limits.event_bytes})));
    }
    let about = match Known::named(name.as_str()) {
        Some(known) => Some(about(
            known,
            publication.data.as_deref(),
            publication.args.as_deref(),
        )?),
        None => None,
    };
    Ok(Draft {
        id,
        id_chosen,
        publisher: stamp.publisher,
        rooms,
        name,
        payload,
        written: None,
        about,
        ts_ms: stamp.now_ms,
    })
}

fn payload(data: Option<&RawValue>, args: Option<&RawValue>) -> Result<Payload, Fault> {
    match (data, args) {
        (Some(_), Some(_)) => Err(Fault::new(Code::BadRequest, "either data or args, not both")),
        (Some(data), None) => Ok(Payload::data(data)),
        (None, Some(args)) if args.get().starts_with('[') => Ok(Payload::args(args)),
        (None, Some(_)) => Err(Fault::new(Code::BadRequest, "args is an array")),
        (None, None) => Ok(Payload::Data("null".into())),
    }
}

/// Whom a known event is about. Its payload must hold, as `data` or as the only argument.
fn about(known: Known, data: Option<&RawValue>, args: Option<&RawValue>) -> Result<Box<str>, Fault> {
    let none = || {
        Fault::new(
            Code::PayloadInvalid,
            "this event needs its payload as data (or as the only argument)",
        )
    };
    let routing = match (data, args) {
        (Some(data), _) => known.check(data)?,
        (None, Some(args)) => {
            let args: Vec<Box<RawValue>> = serde_json::from_str(args.get()).map_err(|_| none())?;
            let [only] = args.as_slice() else {
                return Err(none());
            };
            known.check(only)?
        }
        (None, None) => return Err(none()),
    };
    Ok(routing.about.into())
}

/// What a typed publishing call fills in, and what it must not contradict.
pub struct Typed<'a> {
    /// The event.
    pub known: Known,
    /// Its name.
    pub event: &'a str,
    /// The field that names whom it is about.
    pub field: &'a str,
    /// Its value in the path.
    pub id: &'a str,
}

/// Completes the body of a typed publishing call: the id of the path and the time where they are left out.
pub fn complete(typed: &Typed<'_>, body: &[u8], now_ms: i64) -> Result<Box<RawValue>, Fault> {
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(|error| {
            let code = if error.is_data() {
                Code::BadRequest
            } else {
                Code::BadJson
            };
            Fault::new(code, format!("the body is not a JSON object: {error}"))
        })?;
    let id = object.entry(typed.field).or_insert_with(|| typed.id.into());
    if id.as_str() != Some(typed.id) {
        let message = format!("{} in the body is not the one in the path", typed.field);
        return Err(Fault::new(Code::PayloadInvalid, message).with(json!({"path": typed.field})));
    }
    object
        .entry("timestamp")
        .or_insert_with(|| known::rfc3339(now_ms).into());
    serde_json::value::to_raw_value(&object).map_err(|error| Fault::new(Code::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn raw(value: Value) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(&value).ok()
    }

    fn publication(event: &str, data: Option<Value>, args: Option<Value>) -> Publication {
        Publication {
            rooms: vec!["a".into(), "b".into(), "a".into()],
            event: event.into(),
            data: data.and_then(raw),
            args: args.and_then(raw),
            id: None,
        }
    }

    fn draft(publication: Publication) -> Result<Draft, Fault> {
        let stamp = Stamp {
            publisher: None,
            new_id: EventId::parse("new").unwrap(),
            now_ms: 0,
        };
        check(
            publication,
            stamp,
            &Limits {
                event_bytes: 200,
                ..Limits::default()
            },
        )
    }

    fn code(publication: Publication) -> Code {
        draft(publication).unwrap_err().code
    }

    #[test]
    fn rooms_are_taken_once_in_order() {
        let draft = draft(publication("e", None, None)).unwrap();
        assert_eq!(
            draft.rooms.iter().map(RoomName::as_str).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(draft.payload.json(), "null".as_bytes());
        assert!(!draft.id_chosen);
    }

    #[test]
    fn every_fault_has_its_code() {
        let ok = || publication("e", Some(json!(1)), None);
        assert_eq!(
            code(Publication {
                rooms: vec![],
                ..ok()
            }),
            Code::RoomNameInvalid
        );
        assert_eq!(
            code(Publication {
                rooms: vec!["a b".into()],
                ..ok()
            }),
            Code::RoomNameInvalid
        );
        let many = (0..17).map(|i| format!("r{i}")).collect();
        assert_eq!(code(Publication { rooms: many, ..ok() }), Code::TooManyRooms);
        assert_eq!(code(publication("connect", None, None)), Code::EventNameInvalid);
        assert_eq!(
            code(Publication {
                id: Some("a b".into()),
                ..ok()
            }),
            Code::EventIdInvalid
        );
        assert_eq!(
            code(publication("e", Some(json!("x".repeat(300))), None)),
            Code::EventTooLarge
        );
        assert_eq!(
            code(publication("e", Some(json!(1)), Some(json!([])))),
            Code::BadRequest
        );
        assert_eq!(code(publication("e", None, Some(json!({})))), Code::BadRequest);
        assert_eq!(
            code(publication("agent-thought", Some(json!({})), None)),
            Code::PayloadInvalid
        );
        assert_eq!(
            code(publication("agent-thought", None, Some(json!([1, 2])))),
            Code::PayloadInvalid
        );
        assert_eq!(
            code(publication("agent-thought", None, None)),
            Code::PayloadInvalid
        );
    }

    #[test]
    fn a_known_event_says_whom_it_is_about_in_either_form() {
        let thought = json!({"agentId": "7", "thought": "t", "timestamp": "2026-01-01T00:00:00Z"});
        let about = |p| draft(p).unwrap().about;
        assert_eq!(
            about(publication("agent-thought", Some(thought.clone()), None)).as_deref(),
            Some("7")
        );
        assert_eq!(
            about(publication("agent-thought", None, Some(json!([thought])))).as_deref(),
            Some("7")
        );
        assert_eq!(about(publication("anything", Some(json!(1)), None)), None);
    }

    #[test]
    fn a_typed_body_is_completed_and_may_not_contradict_its_path() {
        let typed = Typed {
            known: Known::AgentThought,
            event: "agent-thought",
            field: "agentId",
            id: "7",
        };
        let body = complete(&typed, br#"{"thought":"t"}"#, 0).unwrap();
        assert_eq!(typed.known.check(&body).unwrap().about, "7");
        assert_eq!(
            complete(&typed, br#"{"agentId":"8"}"#, 0).unwrap_err().code,
            Code::PayloadInvalid
        );
        assert_eq!(complete(&typed, b"[1]", 0).unwrap_err().code, Code::BadRequest);
        assert_eq!(complete(&typed, b"{", 0).unwrap_err().code, Code::BadJson);
    }
}
