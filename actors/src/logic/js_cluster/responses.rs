//! What servers answer: as JSON, but for a client's answer, which may have bytes in it.

use super::{
    DecodeError, Room,
    msgpack::{push_json, push_map_head, push_str},
    opts, requests,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What other servers see of one of our sockets.
#[derive(Clone, Debug, Serialize)]
pub struct Fetched {
    /// Its id.
    pub id: String,
    /// How it came: an object with the fields of `socket.handshake`.
    pub handshake: Box<RawValue>,
    /// Its rooms, its id among them.
    pub rooms: Vec<String>,
    /// What the server keeps with it: `socket.data`, an object.
    pub data: Box<RawValue>,
}

/// What another server has answered to the request with this id. All servers of the cluster may hear it: mostly it is the
/// answer to somebody else.
#[derive(Clone, Debug)]
pub struct Response {
    /// The request's id.
    pub id: String,
    /// The answer.
    pub answered: Answered,
}

/// An answer. Only those to events have a type; the others are told by what is in them.
#[derive(Clone, Debug)]
pub enum Answered {
    /// The sockets there: a JSON array of ids, or of objects with `id`, `handshake`, `rooms` and `data`, as was asked.
    Sockets(Box<RawValue>),
    /// The rooms there.
    Rooms(Vec<Room>),
    /// What the server answers to a `serverSideEmit`. Type 6.
    Emitted(Box<RawValue>),
    /// How many sockets there were given the event. Type 8.
    ClientCount(u64),
    /// What one of them answers. Type 9.
    Ack(Box<RawValue>),
    /// It is done.
    Done,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    request_id: String,
    r#type: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "some_rooms")]
    rooms: Option<Vec<Room>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    client_count: Option<u64>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
}

fn some_rooms<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Room>>, D::Error> {
    opts::rooms(deserializer).map(Some)
}

/// Reads an answer.
pub(super) fn decode(message: &[u8]) -> Result<Response, DecodeError> {
    let json = requests::json(message)?;
    let raw: Raw<'_> = serde_json::from_str(&json).map_err(DecodeError::of_json)?;
    let value = |json: Option<&RawValue>| json.unwrap_or(RawValue::NULL).to_owned();
    let answered = match raw.r#type {
        Some(6) => Answered::Emitted(value(raw.data)),
        Some(8) => Answered::ClientCount(raw.client_count.ok_or(DecodeError::Shape)?),
        Some(9) => Answered::Ack(value(raw.packet)),
        Some(other) => return Err(DecodeError::UnknownType(other)),
        None => match (raw.sockets, raw.rooms) {
            (Some(sockets), _) if sockets.get().starts_with('[') => Answered::Sockets(sockets.to_owned()),
            (_, Some(rooms)) => Answered::Rooms(rooms),
            _ => Answered::Done,
        },
    };
    Ok(Response {
        id: raw.request_id,
        answered,
    })
}

/// An answer in JSON, in the order of keys that the adapter has.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<Sockets<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Sockets<'a> {
    Ids(&'a [String]),
    Rows(&'a [Fetched]),
}

impl Json<'_> {
    fn bytes(&self) -> Bytes {
        // Texts, numbers and JSON are always serialisable.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The ids of our sockets that were asked for.
pub(super) fn sockets(id: &str, ids: &[String]) -> Bytes {
    let json = Json {
        request_id: Some(id),
        sockets: Some(Sockets::Ids(ids)),
        ..Json::default()
    };
    json.bytes()
}

/// The rooms of our sockets.
pub(super) fn all_rooms(id: &str, rooms: &[&str]) -> Bytes {
    let json = Json {
        request_id: Some(id),
        rooms: Some(rooms),
        ..Json::default()
    };
    json.bytes()
}

/// Our sockets that were asked for.
pub(super) fn fetched(id: &str, rows: &[Fetched]) -> Bytes {
    let json = Json {
        request_id: Some(id),
        sockets: Some(Sockets::Rows(rows)),
        ..Json::default()
    };
    json.bytes()
}

/// What was asked is done.
pub(super) fn done(id: &str) -> Bytes {
    let json = Json {
        request_id: Some(id),
        ..Json::default()
    };
    json.bytes()
}

/// What the program here answers to a `serverSideEmit`.
pub(super) fn emitted(id: &str, data: &RawValue) -> Bytes {
    let json = Json {
        r#type: Some(6),
        request_id: Some(id),
        data: Some(data),
        ..Json::default()
    };
    json.bytes()
}

/// How many sockets of ours were given an event that they are to answer.
pub(super) fn client_count(id: &str, count: usize) -> Bytes {
    let json = Json {
        r#type: Some(8),
        request_id: Some(id),
        client_count: Some(count),
        ..Json::default()
    };
    json.bytes()
}

/// What one of them answers: a JSON value; JavaScript leaves it out where there is none.
pub(super) fn ack(id: &str, value: Option<&str>) -> Bytes {
    let mut out = Vec::new();
    push_map_head(&mut out, 2 + usize::from(value.is_some()));
    push_str(&mut out, "type");
    push_json(&mut out, "9");
    push_str(&mut out, "requestId");
    push_str(&mut out, id);
    if let Some(value) = value {
        push_str(&mut out, "packet");
        push_json(&mut out, value);
    }
    out.into()
}
