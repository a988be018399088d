//! An event for the sockets of all servers: `[uid, {type, data, nsp}, {rooms, except, flags}]`.

use super::{
    DecodeError, EncodeError,
    msgpack::{Reader, push_array_head, push_json, push_map_head, push_str},
    opts::Opts,
};
use crate::logic::socket_io::{self, JSON_DEPTH_MAX, depth_within, encode::Args};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The numbers that JavaScript gives to an event, the second one to an event with bytes in old versions.
const EVENT_TYPES: [u64; 2] = [2, 5];

/// An event that another server has for its sockets and ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// The namespace with its slash.
    pub namespace: String,
    /// What it says.
    pub event: Event,
    /// For whom.
    pub to: Opts,
}

/// What an event says.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name. A number is given as it is written.
    pub name: String,
    /// Its arguments: a JSON array, with bytes as `{"$binary":"<base64>"}`.
    pub args: Box<RawValue>,
}

/// Equal as they are written.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.args.get() == other.args.get()
    }
}

impl Event {
    /// Takes the arguments of `emit` apart, of which the name is the first.
    fn of(data: &RawValue) -> Result<Self, DecodeError> {
        let event = socket_io::Event::of(data).ok_or(DecodeError::Shape)?;
        if !depth_within(data.get(), JSON_DEPTH_MAX) {
            return Err(DecodeError::TooDeep);
        }
        let args = RawValue::from_string(format!("[{}]", event.args)).map_err(|_| DecodeError::NotJson)?;
        Ok(Self {
            name: event.name.into_owned(),
            args,
        })
    }
}

/// A packet as the adapter holds it.
#[derive(Deserialize)]
pub(super) struct Packet<'a> {
    r#type: u64,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    nsp: Option<Cow<'a, str>>,
}

impl Packet<'_> {
    /// What it says, if it is an event.
    pub fn event(&self) -> Result<Event, DecodeError> {
        if EVENT_TYPES.contains(&self.r#type) {
            Event::of(self.data)
        } else {
            Err(DecodeError::Shape)
        }
    }
}

/// Whether one of us says it, as far as can be told: the sender stands first.
pub(super) fn is_ours(message: &[u8], is_ours: impl FnOnce(&str) -> bool) -> bool {
    let mut reader = Reader::new(message);
    let sender = reader.array().and_then(|_| reader.json());
    let uid = sender
        .ok()
        .and_then(|json| serde_json::from_str::<String>(&json).ok());
    uid.is_some_and(|uid| is_ours(&uid))
}

/// Reads an event, or only its sender where `is_ours` says that this is one of us.
///
/// Namespaces that are null or not given are the main one, rooms and exceptions none.
pub(super) fn decode(
    message: &[u8],
    is_ours: impl FnOnce(&str) -> bool,
) -> Result<Option<Broadcast>, DecodeError> {
    let mut reader = Reader::new(message);
    let len = reader.array()?;
    if len < 3 {
        return Err(DecodeError::Shape);
    }
    // A sender that is no text is some other server.
    let uid: Option<String> = serde_json::from_str(&reader.json()?).unwrap_or_default();
    if uid.is_some_and(|uid| is_ours(&uid)) {
        return Ok(None);
    }
    let (packet, to) = (reader.json()?, reader.json()?);
    for _ in 3..len {
        reader.skip()?;
    }
    if !reader.is_at_end() {
        return Err(DecodeError::NotMessagePack);
    }
    let packet: Packet<'_> = serde_json::from_str(&packet).map_err(|_| DecodeError::Shape)?;
    Ok(Some(Broadcast {
        event: packet.event()?,
        namespace: packet.nsp.map_or_else(|| "/".to_owned(), Cow::into_owned),
        to: serde_json::from_str(&to).map_err(|_| DecodeError::Shape)?,
    }))
}

/// Writes an event, byte by byte as the adapter writes it. `args` is valid JSON.
pub(super) fn encode(uid: &str, namespace: &str, args: Args<'_>, to: &Opts) -> Result<Bytes, EncodeError> {
    let data = match args {
        Args::Whole(array) => Cow::Borrowed(array),
        Args::One(name, data) => Cow::Owned(format!("[{},{data}]", quoted(name))),
        Args::Many(name, array) => {
            let inside = array.trim_ascii().strip_prefix('[');
            let items = inside.and_then(|inside| inside.strip_suffix(']')).unwrap_or("");
            let comma = if items.trim_ascii().is_empty() { "" } else { "," };
            Cow::Owned(format!("[{}{comma}{items}]", quoted(name)))
        }
    };
    if !depth_within(&data, JSON_DEPTH_MAX) {
        return Err(EncodeError::TooDeep);
    }
    let mut out = Vec::with_capacity(data.len() + 128);
    push_array_head(&mut out, 3);
    push_str(&mut out, uid);
    push_map_head(&mut out, 3);
    push_str(&mut out, "type");
    push_json(&mut out, "2");
    push_str(&mut out, "data");
    push_json(&mut out, &data);
    push_str(&mut out, "nsp");
    push_str(&mut out, namespace);
    to.push(&mut out);
    Ok(out.into())
}

fn quoted(text: &str) -> String {
    // A text is always serialisable.
    serde_json::to_string(text).unwrap_or_default()
}
