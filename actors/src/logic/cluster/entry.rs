//! An event as a broker keeps it and hands it out: some lines of text, then the payload as it was published.
//!
//! ```text
//! {sequence}                          what the broker adds,
//! {offset}.{prev},{offset}.{prev}     a room each, in their order
//! {version} {milliseconds} {node}.{count} {D or A}
//! {id}
//! {name}
//! {room},{room}
//! {about, as a JSON string, or nothing}
//! {payload}
//! ```
//!
//! Texts that a room, an id or a name may be have neither line breaks nor commas.

use crate::logic::{
    base36,
    event::{Draft, Event, EventId, EventName, NodeTag, Origin, Payload, Place},
    position::Life,
    room_name::RoomName,
};
use bytes::Bytes;
use std::fmt::Write as _;

/// The form described above. A node that reads another one passes the event over, and says so.
const VERSION: &str = "1";
/// Lines before the payload.
const LINES: usize = 7;
/// The longest room name that any node may have let in: what is read was checked where it was published.
const NAME_CHARS_MAX: usize = 1 << 16;

/// What came from the broker cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event of this version")]
pub struct EntryError;

/// What a node writes of an event: all but the first two lines.
pub fn body(draft: &Draft, origin: Origin) -> Vec<u8> {
    let (kind, json) = match &draft.payload {
        Payload::Data(json) => ('D', json),
        Payload::Args(json) => ('A', json),
    };
    let mut head = String::with_capacity(160 + json.len());
    // Writing to a String does not fail.
    let _ = writeln!(head, "{VERSION} {} {origin} {kind}", draft.ts_ms);
    let _ = writeln!(head, "{}\n{}", draft.id.as_str(), draft.name.as_str());
    for (at, room) in draft.rooms.iter().enumerate() {
        let _ = write!(head, "{}{room}", if at == 0 { "" } else { "," });
    }
    head.push('\n');
    let mut body = head.into_bytes();
    if let Some(about) = &draft.about {
        // A string is always serialisable, and in one line.
        let _ = serde_json::to_writer(&mut body, about);
    }
    body.push(b'\n');
    body.extend_from_slice(json);
    body
}

/// The lines that a broker adds, for brokers that are not Redis.
pub fn head(seq: u64, places: &[(u64, u64)]) -> String {
    let places: Vec<String> = places
        .iter()
        .map(|(offset, prev)| format!("{offset}.{prev}"))
        .collect();
    format!("{seq}\n{}\n", places.join(","))
}

/// The number of an entry, if it begins like one.
pub fn seq(entry: &[u8]) -> Option<u64> {
    let end = entry.iter().position(|byte| *byte == b'\n')?;
    std::str::from_utf8(&entry[..end]).ok()?.parse().ok()
}

/// Reads an event. Errors: it is of another version, or no event at all.
pub fn read(entry: Bytes, life: Life) -> Result<Event, EntryError> {
    let mut lines = [""; LINES];
    let mut from = 0;
    for line in &mut lines {
        let rest = &entry[from..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(EntryError)?;
        *line = std::str::from_utf8(&rest[..end]).map_err(|_| EntryError)?;
        from += end + 1;
    }
    let [seq, places, stamp, id, name, rooms, about] = lines;
    let (ts_ms, origin, payload) = read_stamp(stamp, entry.slice(from..))?;
    let about = match about {
        "" => None,
        about => Some(serde_json::from_str::<Box<str>>(about).map_err(|_| EntryError)?),
    };
    let places = read_places(places, rooms)?;
    let draft = Draft {
        id: EventId::parse(id).map_err(|_| EntryError)?,
        id_chosen: false,
        publisher: None,
        rooms: Vec::new(),
        name: EventName::parse(name).map_err(|_| EntryError)?,
        payload,
        written: None,
        about,
        ts_ms,
    };
    let seq = seq.parse().map_err(|_| EntryError)?;
    Ok(Event::new(draft, life, seq, places).from_node(origin))
}

fn read_stamp(stamp: &str, json: Bytes) -> Result<(i64, Origin, Payload), EntryError> {
    let mut words = stamp.split(' ');
    let mut word = || words.next().ok_or(EntryError);
    if word()? != VERSION {
        return Err(EntryError);
    }
    let ts_ms = word()?.parse().map_err(|_| EntryError)?;
    let (node, count) = word()?.split_once('.').ok_or(EntryError)?;
    let origin = Origin {
        node: base36::read(node).map(NodeTag).ok_or(EntryError)?,
        count: count.parse().map_err(|_| EntryError)?,
    };
    let payload = match word()? {
        "D" => Payload::Data(json),
        "A" => Payload::Args(json),
        _ => return Err(EntryError),
    };
    Ok((ts_ms, origin, payload))
}

fn read_places(places: &str, rooms: &str) -> Result<Box<[Place]>, EntryError> {
    let (mut places, mut rooms) = (places.split(','), rooms.split(','));
    let mut read = Vec::with_capacity(1);
    loop {
        match (places.next(), rooms.next()) {
            (None, None) => return Ok(read.into()),
            (Some(place), Some(room)) => {
                let (offset, prev) = place.split_once('.').ok_or(EntryError)?;
                read.push(Place {
                    room: RoomName::parse(room, NAME_CHARS_MAX).map_err(|_| EntryError)?,
                    offset: offset.parse().map_err(|_| EntryError)?,
                    prev: prev.parse().map_err(|_| EntryError)?,
                });
            }
            _ => return Err(EntryError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draft(rooms: &[String], about: Option<String>, args: bool, json: &str) -> Draft {
        let json = Bytes::copy_from_slice(json.as_bytes());
        Draft {
            id: EventId::parse("order-7").unwrap(),
            id_chosen: true,
            publisher: Some("ada".into()),
            rooms: rooms
                .iter()
                .map(|room| RoomName::parse(room, 200).unwrap())
                .collect(),
            name: EventName::parse("grüße, alle").unwrap(),
            payload: if args {
                Payload::Args(json)
            } else {
                Payload::Data(json)
            },
            written: None,
            about: about.map(Into::into),
            ts_ms: 1_700_000_000_123,
        }
    }

    const ORIGIN: Origin = Origin {
        node: NodeTag(71),
        count: 9,
    };

    proptest! {
        #[test]
        fn what_a_node_writes_every_node_reads(
            rooms in proptest::collection::vec("[a-zA-Z0-9_.:/@-]{1,9}", 1..4),
            about in proptest::option::of(".{0,9}"),
            args: bool,
            seq in 1u64..1 << 53,
            text in ".{0,20}",
        ) {
            let json = serde_json::to_string(&text).unwrap();
            let draft = draft(&rooms, about, args, &json);
            let places: Vec<(u64, u64)> = (0..rooms.len() as u64).map(|n| (n + 1, seq - 1)).collect();
            let mut entry = head(seq, &places).into_bytes();
            entry.extend(body(&draft, ORIGIN));
            let event = read(entry.into(), Life::from_random(5)).unwrap();
            prop_assert_eq!(event.seq, seq);
            prop_assert_eq!(event.origin, Some(ORIGIN));
            prop_assert_eq!(&event.id, &draft.id);
            prop_assert_eq!(&event.name, &draft.name);
            prop_assert_eq!(&event.payload, &draft.payload);
            prop_assert_eq!(&event.about, &draft.about);
            prop_assert_eq!(event.ts_ms, draft.ts_ms);
            let read: Vec<_> = event.places.iter().map(|p| (p.room.clone(), p.offset, p.prev)).collect();
            let written: Vec<_> = draft.rooms.iter().cloned().zip(places).map(|(r, (o, p))| (r, o, p)).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn no_bytes_at_all_are_more_than_refused(bytes: Vec<u8>, lines in "[0-9., DA\n]{0,60}") {
            let _ = read(bytes.into(), Life::NONE);
            let _ = read(lines.into_bytes().into(), Life::NONE);
        }
    }

    #[test]
    fn another_version_is_not_taken_for_this_one() {
        let mut entry = head(1, &[(1, 0)]);
        entry.push_str(&String::from_utf8(body(&draft(&["a".into()], None, false, "1"), ORIGIN)).unwrap());
        let newer = entry.replacen("\n1 ", "\n2 ", 1);
        assert!(read(entry.into(), Life::NONE).is_ok());
        assert_eq!(read(newer.into(), Life::NONE).unwrap_err(), EntryError);
    }
}
