//! For which sockets something is: rooms, exceptions and flags.

use super::msgpack::{push_array_head, push_json, push_map_head, push_str};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Borrow, borrow::Cow, collections::BTreeSet, fmt};

/// How many rooms a message may name in one list. One that names more is refused.
pub const ROOMS_MAX: usize = 10_000;

/// A room as JavaScript names it.
#[derive(Clone, Debug, PartialEq)]
pub enum Room {
    /// By a text.
    Text(String),
    /// By a number. JavaScript tells it from the text of that number; here both are the same room, since clients join by
    /// texts only.
    Number(serde_json::Number),
    /// By something else: a room in which nobody is.
    Other,
}

impl Room {
    /// Its name.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(name) => Some(Cow::Borrowed(name)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Other => None,
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(name) => push_str(out, name),
            Self::Number(number) => push_json(out, &number.to_string()),
            Self::Other => push_json(out, "null"),
        }
    }
}

impl From<&str> for Room {
    fn from(name: &str) -> Self {
        Self::Text(name.to_owned())
    }
}

impl<'de> Deserialize<'de> for Room {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let other = |_| Self::Other;
        Ok(match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(json).map_or_else(other, Self::Text),
            Some(b'-' | b'0'..=b'9') => serde_json::from_str(json).map_or_else(other, Self::Number),
            _ => Self::Other,
        })
    }
}

/// For whom something is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Opts {
    /// For sockets in any of these rooms; if there are none, for every socket.
    #[serde(default, deserialize_with = "rooms")]
    pub rooms: Vec<Room>,
    /// But not for sockets in any of these.
    #[serde(default, deserialize_with = "rooms")]
    pub except: Vec<Room>,
    /// How it is to be sent.
    #[serde(default, deserialize_with = "or_default")]
    pub flags: Flags,
}

/// How something is to be sent. The others that there are concern the server that sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Flags {
    /// It may be dropped where a client cannot take it at once.
    #[serde(default, deserialize_with = "truth")]
    pub volatile: bool,
    /// Whether it should be compressed; `None` leaves it to the server.
    #[serde(default, deserialize_with = "maybe_truth")]
    pub compress: Option<bool>,
    /// For how many milliseconds answers are waited for.
    #[serde(default, rename = "timeout", deserialize_with = "milliseconds")]
    pub timeout_ms: Option<u64>,
}

impl Opts {
    /// For everyone in any of these rooms; if there are none, for every socket.
    pub fn to<'a>(rooms: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            rooms: rooms.into_iter().map(Room::from).collect(),
            ..Self::default()
        }
    }

    /// What tells who is meant.
    pub fn selection(&self) -> Selection {
        let names = |rooms: &[Room]| -> BTreeSet<String> {
            rooms.iter().filter_map(Room::name).map(Cow::into_owned).collect()
        };
        Selection {
            everyone: self.rooms.is_empty(),
            rooms: names(&self.rooms),
            except: names(&self.except),
        }
    }

    /// Appends it as the adapter writes it.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        push_map_head(out, 3);
        for (key, rooms) in [("rooms", &self.rooms), ("except", &self.except)] {
            push_str(out, key);
            push_array_head(out, rooms.len());
            rooms.iter().for_each(|room| room.push(out));
        }
        push_str(out, "flags");
        self.flags.push(out);
    }
}

impl Flags {
    fn push(&self, out: &mut Vec<u8>) {
        let volatile = self.volatile.then(|| "true".to_owned());
        let compress = self.compress.map(|compress| compress.to_string());
        let timeout = self.timeout_ms.map(|timeout_ms| timeout_ms.to_string());
        let flags = [
            ("volatile", volatile),
            ("compress", compress),
            ("timeout", timeout),
        ];
        push_map_head(out, flags.iter().filter(|(_, json)| json.is_some()).count());
        for (key, json) in flags {
            if let Some(json) = json {
                push_str(out, key);
                push_json(out, &json);
            }
        }
    }
}

/// Tells for many sockets, one after the other, whether they are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    everyone: bool,
    rooms: BTreeSet<String>,
    except: BTreeSet<String>,
}

impl Selection {
    /// Whether the socket with this id is meant, which is in these rooms. A socket's id is one of its rooms, whether it
    /// is among `rooms` or not.
    pub fn has<R: Borrow<str>>(&self, id: &str, rooms: &[R]) -> bool {
        let is_in = |set: &BTreeSet<String>| {
            !set.is_empty() && (set.contains(id) || rooms.iter().any(|room| set.contains(room.borrow())))
        };
        (self.everyone || is_in(&self.rooms)) && !is_in(&self.except)
    }
}

/// A list of rooms; null is an empty one.
pub(super) fn rooms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Room>, D::Error> {
    deserializer.deserialize_any(RoomsVisitor)
}

struct RoomsVisitor;

impl<'de> Visitor<'de> for RoomsVisitor {
    type Value = Vec<Room>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {ROOMS_MAX} rooms")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut rooms = Vec::new();
        while let Some(room) = list.next_element()? {
            if rooms.len() == ROOMS_MAX {
                return Err(Error::invalid_length(ROOMS_MAX + 1, &self));
            }
            rooms.push(room);
        }
        Ok(rooms)
    }
}

/// A value, or nothing for null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What JavaScript takes for true.
pub(super) fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    Ok(!matches!(json, "null" | "false" | "0" | "\"\""))
}

fn maybe_truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    Ok((json != "null").then_some(!matches!(json, "false" | "0" | "\"\"")))
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    let number = json.parse::<f64>().ok().filter(|number| *number >= 0.0);
    // What is too large for a u64 becomes the largest.
    Ok(number.map(|number| number as u64))
}
