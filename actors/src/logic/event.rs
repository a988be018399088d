//! The event: one thing that happened, in one or several rooms, the same for every protocol.

use super::{
    base36, digest,
    position::{Life, Position, Seen},
    protocol::{self, Protocol},
    room_name::RoomName,
    socket_io,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// The longest event name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest event id that a publisher may choose, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Names under which the node itself sends; those that the stock Socket.IO client refuses are reserved too.
const OWN: [&str; 2] = ["greenroom", "joined"];

/// An event as the bus accepted and numbered it.
#[derive(Debug)]
pub struct Event {
    /// The life of the bus that numbered it.
    pub life: Life,
    /// Its place in the one sequence of the bus.
    pub seq: u64,
    /// Its id: the publisher's own, or a ULID.
    pub id: EventId,
    /// Its name.
    pub name: EventName,
    /// Where it stands in each of its rooms; the first is the one its publisher named first. Never empty.
    pub places: Box<[Place]>,
    /// What it says.
    pub payload: Payload,
    /// Of a known event, whom it is about (the agent, task or project): events are merged per subject.
    pub about: Option<Box<str>>,
    /// When the node accepted it, milliseconds since 1970.
    pub ts_ms: i64,
    /// Which node accepted it, where several share a bus.
    pub origin: Option<Origin>,
    /// The broker was away: the node has given it to its own connections, and its number is that of the last event before
    /// the outage. The count of the first event that the node gave out so.
    pub local_from: Option<u64>,
    /// Of an outage that began while events were on their way: the broker may have accepted those, and other nodes given
    /// them out under numbers that this one does not know.
    pub doubtful: bool,
    /// The shared frames, one a form, each encoded by whoever needs it first.
    frames: [OnceLock<Bytes>; Protocol::FORMS],
}

/// Which node accepted an event, and as the how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The node.
    pub node: NodeTag,
    /// How many it had accepted then, this one included.
    pub count: u64,
}

/// One life of a node's process: a node that is started again has another one. 40 bits, 1 to 8 characters in base 36.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeTag(pub u64);

/// Where an event stands in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The room.
    pub room: RoomName,
    /// Its number in that room, from 1.
    pub offset: u64,
    /// The sequence of the event before it in that room, 0 if there was none: how a gap is told from a quiet room.
    pub prev: u64,
}

/// What an event says: one JSON value, or the arguments of a Socket.IO event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One JSON text.
    Data(Bytes),
    /// A JSON array, one item an argument.
    Args(Bytes),
}

impl Payload {
    /// One JSON value as it was written, in one line: line breaks in JSON stand between tokens only, so a space does.
    pub fn data(raw: &RawValue) -> Self {
        Self::Data(one_line(raw.get()))
    }

    /// The arguments of an event: `raw` is a JSON array (the caller's duty).
    pub fn args(raw: &RawValue) -> Self {
        Self::Args(one_line(raw.get()))
    }

    /// The JSON text, whichever it is.
    pub fn json(&self) -> &Bytes {
        match self {
            Self::Data(json) | Self::Args(json) => json,
        }
    }
}

fn one_line(json: &str) -> Bytes {
    let mut json = json.as_bytes().to_vec();
    json.iter_mut()
        .filter(|b| matches!(b, b'\n' | b'\r'))
        .for_each(|b| *b = b' ');
    json.into()
}

impl Event {
    /// The event for `draft` at its place in the sequence.
    pub fn new(draft: Draft, life: Life, seq: u64, places: Box<[Place]>) -> Self {
        let Draft {
            id,
            name,
            payload,
            about,
            ts_ms,
            ..
        } = draft;
        Self {
            life,
            seq,
            id,
            name,
            places,
            payload,
            about,
            ts_ms,
            origin: None,
            local_from: None,
            doubtful: false,
            frames: Default::default(),
        }
    }

    /// The same, accepted by that node.
    pub fn from_node(self, origin: Origin) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    /// The same, given out while the broker is away; `from` is the count of the first such event.
    pub fn given_locally(self, from: u64, doubtful: bool) -> Self {
        Self {
            local_from: Some(from),
            doubtful,
            ..self
        }
    }

    /// What a connection has seen that was given this one while the broker is away.
    pub fn seen(&self) -> Option<Seen> {
        let (origin, from) = (self.origin?, self.local_from?);
        Some(Seen {
            node: origin.node,
            from,
            upto: origin.count,
            waiting: Vec::new(),
        })
    }

    /// Where it stands among the events of a node: those of an outage share the number of the last one before it.
    pub fn order(&self) -> (u64, u64) {
        let local = self.origin.filter(|_| self.local_from.is_some());
        (self.seq, local.map_or(0, |origin| origin.count))
    }

    /// The position of whoever was given this event, and lacks nothing before it.
    pub fn position(&self) -> Position {
        Position {
            seen: self.seen().into_iter().collect(),
            ..Position::at(self.life, self.seq)
        }
    }

    /// The frame that every client of this protocol gets, encoded once.
    pub fn frame(&self, protocol: Protocol) -> Bytes {
        self.frames[protocol.form()]
            .get_or_init(|| protocol::shared_frame(self, protocol))
            .clone()
    }

    /// What keeping it costs, bytes: itself, its texts, and the frames of two protocols (each a payload and about 100 bytes
    /// more). With a payload of 256 bytes that is 1.4 KB, as `heaptrack` finds in the case `soak` of the benchmark.
    pub fn cost(&self) -> usize {
        size_of::<Self>()
            + self.places.len() * size_of::<Place>()
            + self.id.as_str().len()
            + 3 * (self.payload.json().len() + self.name.as_str().len())
            + 300
    }
}

/// An event before the bus has numbered it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its id.
    pub id: EventId,
    /// Whether the publisher chose the id, and so may send it again.
    pub id_chosen: bool,
    /// Who publishes; ids of different publishers do not meet.
    pub publisher: Option<Arc<str>>,
    /// The rooms, each once, at least one.
    pub rooms: Vec<RoomName>,
    /// Its name.
    pub name: EventName,
    /// What it says.
    pub payload: Payload,
    /// What the publisher wrote, where the node has completed it: the time it fills in differs at every attempt.
    pub written: Option<Bytes>,
    /// Whom a known event is about.
    pub about: Option<Box<str>>,
    /// When the node accepted it, milliseconds since 1970.
    pub ts_ms: i64,
}

impl Draft {
    /// A digest of what is published where, to tell a repeated request from a reused id. The same on every node, of
    /// whatever build, of texts with an end mark each.
    pub fn digest(&self) -> u64 {
        let written = self.written.as_ref().unwrap_or(self.payload.json());
        let rooms = self.rooms.iter().map(|room| room.as_str().as_bytes());
        let texts = rooms.chain([self.name.as_str().as_bytes(), written]);
        // No text has this byte: rooms and names are UTF-8, and so is JSON.
        digest::fnv64(texts.flat_map(|text| text.iter().copied().chain([0xff])))
    }
}

/// What the bus answers to a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: EventId,
    /// Its number in each room.
    pub offsets: Vec<(RoomName, u64)>,
    /// Whether this id had been accepted before, so that nothing was published now.
    pub repeated: bool,
    /// The broker is away: the event has no number in any room yet, and what is told of its order and survival does not
    /// hold beyond this node.
    pub local: bool,
}

/// An event's id: 1 to 128 characters of `[A-Za-z0-9_.:/@+=-]`, so that it needs no escaping anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Arc<str>);

/// Why a text is not an event id or an event name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than the limit.
    #[error("{what} has 1 to {limit} bytes, this one has {bytes}")]
    Length {
        /// Which of the two.
        what: &'static str,
        /// Bytes of the text.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A character that is not allowed.
    #[error("{what} must not contain {found:?}")]
    Character {
        /// Which of the two.
        what: &'static str,
        /// The first one found.
        found: char,
    },
    /// A name that stands for something else.
    #[error("the event name {0:?} is reserved")]
    Reserved(String),
}

fn check_length(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    let bytes = text.len();
    if bytes == 0 || bytes > limit {
        Err(NameError::Length { what, bytes, limit })
    } else {
        Ok(())
    }
}

/// `{node}.{count}`, the node in base 36.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.count)
    }
}

impl NodeTag {
    /// A tag from random bits, of which 40 are used.
    pub fn from_random(bits: u64) -> Self {
        Self(bits & ((1 << 40) - 1))
    }

    /// Reads a tag as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        base36::read(text).map(Self)
    }
}

impl fmt::Display for NodeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base36::write(f, self.0)
    }
}

impl EventId {
    /// Checks an id that a publisher chose.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "an event id";
        check_length(WHAT, text, ID_BYTES_MAX)?;
        match text
            .chars()
            .find(|&c| !(c.is_ascii_alphanumeric() || "_.:/@+=-".contains(c)))
        {
            Some(found) => Err(NameError::Character { what: WHAT, found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An event's name: 1 to 128 bytes without control characters, and not a reserved one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName(Arc<str>);

impl EventName {
    /// Checks the name of an event that somebody publishes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "an event name";
        check_length(WHAT, text, NAME_BYTES_MAX)?;
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(NameError::Character { what: WHAT, found });
        }
        if Self::is_reserved(text) {
            return Err(NameError::Reserved(text.into()));
        }
        Ok(Self(text.into()))
    }

    /// Whether this stands for something else.
    pub fn is_reserved(text: &str) -> bool {
        socket_io::RESERVED.contains(&text) || OWN.contains(&text)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused() {
        for name in socket_io::RESERVED.into_iter().chain(OWN) {
            assert_eq!(EventName::parse(name), Err(NameError::Reserved(name.into())));
        }
        assert!(EventName::parse("agent-thought").is_ok());
        assert!(EventName::parse("überraschung").is_ok());
    }

    #[test]
    fn names_and_ids_have_limits() {
        assert!(EventName::parse("").is_err());
        assert!(EventName::parse("a\nb").is_err());
        assert!(EventName::parse(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(EventName::parse(&"x".repeat(NAME_BYTES_MAX + 1)).is_err());
        assert!(EventId::parse("order-7/retry:1").is_ok());
        for id in ["", "a b", "a\"b", "ä", &"x".repeat(ID_BYTES_MAX + 1)] {
            assert!(EventId::parse(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_payload_is_one_line() {
        let raw: Box<RawValue> = serde_json::from_str("{\n  \"a\": \"x\\ny\"\r\n}").unwrap();
        assert_eq!(Payload::data(&raw).json(), "{   \"a\": \"x\\ny\"  }".as_bytes());
    }
}
