//! A client's record and a member's card as a broker keeps them: JSON, so that an operator can read them there.

use crate::logic::{
    known::rfc3339,
    presence::{Card, SessionId},
    protocol::Member,
    room_name::RoomName,
    sessions::SessionRecord,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct Record {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    life: String,
    rooms: Vec<(String, u64)>,
}

/// A record without its generation, which the broker counts.
pub fn write(record: &SessionRecord) -> String {
    let record = Record {
        id: format!("{:x}", { record.id.0 }),
        subject: record.subject.as_deref().map(str::to_owned),
        life: record.life.to_string(),
        rooms: record
            .rooms
            .iter()
            .map(|(room, joined_at)| (room.to_string(), *joined_at))
            .collect(),
    };
    // Texts and numbers are always serialisable.
    serde_json::to_string(&record).unwrap_or_default()
}

/// Reads a record; `None` where it is none that this version can read.
pub fn read(text: &str, generation: u32) -> Option<SessionRecord> {
    let Record {
        id,
        subject,
        life,
        rooms,
    } = serde_json::from_str(text).ok()?;
    let room = |(room, joined_at): (String, u64)| Some((RoomName::parse(&room, room.len()).ok()?, joined_at));
    Some(SessionRecord {
        id: SessionId(u128::from_str_radix(&id, 16).ok()?),
        subject: subject.map(Arc::from),
        generation,
        life: life.parse().ok()?,
        rooms: rooms.into_iter().map(room).collect::<Option<_>>()?,
    })
}

#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    since: i64,
}

/// A member of a room, as its own node writes it down.
pub fn write_member(card: &Card, since_ms: i64) -> String {
    let row = Row {
        subject: card.subject.as_deref().map(str::to_owned),
        since: since_ms,
    };
    serde_json::to_string(&row).unwrap_or_default()
}

/// Reads a member: its id, the name of its node, and what that node wrote down.
pub fn read_member(id: &str, node: &str, text: &str) -> Option<Member> {
    let Row { subject, since } = serde_json::from_str(text).ok()?;
    Some(Member {
        id: id.to_owned(),
        subject,
        node: node.to_owned(),
        joined_at: rfc3339(since),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::position::Life;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            id: u128, subject in proptest::option::of(".{0,9}"), generation: u32, life: u64,
            rooms in proptest::collection::vec(("[a-z:0-9]{1,9}", 0u64..1 << 53), 0..4),
        ) {
            let record = SessionRecord {
                id: SessionId(id),
                subject: subject.map(Arc::from),
                generation,
                life: Life::from_random(life),
                rooms: rooms.into_iter().map(|(room, at)| (RoomName::parse(&room, 9).unwrap(), at)).collect(),
            };
            prop_assert_eq!(read(&write(&record), generation), Some(record));
        }

        #[test]
        fn nonsense_is_no_record(text in ".{0,40}") {
            prop_assert_eq!(read(&text, 0), None);
        }
    }

    #[test]
    fn a_member_is_read_as_its_node_wrote_it() {
        let card = Card {
            id: SessionId(1),
            generation: 0,
            subject: Some("ada".into()),
            node: "a".into(),
            connected_ms: 0,
        };
        let member = read_member("x", "a", &write_member(&card, 5)).unwrap();
        assert_eq!(
            (member.subject.as_deref(), &*member.joined_at),
            (Some("ada"), &*rfc3339(5))
        );
        assert_eq!(read_member("x", "a", "{}"), None);
    }
}
