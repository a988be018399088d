//! Who is in which room.

use super::{known::rfc3339, protocol::Member, room_name::RoomName};
use std::{collections::BTreeMap, fmt, ops::Bound, sync::Arc};

/// A connection's id, unique over all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    /// 26 characters of Crockford's base 32, as a ULID is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        for i in (0..26).rev() {
            let digit = (self.0 >> (5 * i)) & 31;
            fmt::Write::write_char(f, DIGITS[digit as usize] as char)?;
        }
        Ok(())
    }
}

/// What others may know of a connection.
#[derive(Debug)]
pub struct Card {
    /// Its id.
    pub id: SessionId,
    /// Who it is, where that is known.
    pub subject: Option<Arc<str>>,
    /// The node it is on.
    pub node: Arc<str>,
    /// `websocket`, `sse` or `process`.
    pub transport: &'static str,
    /// When it connected, milliseconds since 1970.
    pub connected_ms: i64,
}

/// The members of all rooms.
#[derive(Default)]
pub struct Presence {
    rooms: BTreeMap<RoomName, BTreeMap<SessionId, (Arc<Card>, i64)>>,
}

impl Presence {
    /// A connection is in a room since `now_ms`. Entering twice changes nothing.
    pub fn enter(&mut self, room: &RoomName, card: &Arc<Card>, now_ms: i64) {
        self.rooms
            .entry(room.clone())
            .or_default()
            .entry(card.id)
            .or_insert_with(|| (card.clone(), now_ms));
    }

    /// A connection is no longer in a room.
    pub fn exit(&mut self, room: &RoomName, session: SessionId) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.remove(&session);
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    /// Whether anybody is there.
    pub fn has_members(&self, room: &RoomName) -> bool {
        self.rooms.contains_key(room)
    }

    /// The members of a room, in the order of their ids.
    pub fn members(&self, room: &RoomName) -> Vec<Member> {
        let show = |(card, since): &(Arc<Card>, i64)| Member {
            id: card.id.to_string(),
            subject: card.subject.as_deref().map(str::to_owned),
            node: card.node.to_string(),
            joined_at: rfc3339(*since),
        };
        self.rooms
            .get(room)
            .map(|members| members.values().map(show).collect())
            .unwrap_or_default()
    }

    /// At most `limit` rooms that begin with `prefix`, after `after`, by name, with their member counts.
    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(RoomName, usize)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.rooms
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(room, _)| room.as_str().starts_with(prefix))
            .take(limit)
            .map(|(room, members)| (room.clone(), members.len()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: u128) -> Arc<Card> {
        Arc::new(Card {
            id: SessionId(id),
            subject: None,
            node: "n".into(),
            transport: "websocket",
            connected_ms: 0,
        })
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 200).unwrap()
    }

    #[test]
    fn members_come_and_go_and_empty_rooms_vanish() {
        let mut presence = Presence::default();
        presence.enter(&room("a"), &card(1), 5);
        presence.enter(&room("a"), &card(1), 9);
        presence.enter(&room("a"), &card(2), 7);
        let members = presence.members(&room("a"));
        assert_eq!(members.len(), 2);
        assert_eq!(
            members[0].joined_at,
            rfc3339(5),
            "entering twice keeps the first time"
        );
        presence.exit(&room("a"), SessionId(1));
        presence.exit(&room("a"), SessionId(2));
        presence.exit(&room("a"), SessionId(2));
        assert!(presence.rooms("", None, 9).is_empty());
    }

    #[test]
    fn rooms_are_paged_by_prefix() {
        let mut presence = Presence::default();
        for name in ["agent:1", "agent:2", "agent:3", "task:1"] {
            presence.enter(&room(name), &card(1), 0);
        }
        let names = |after, limit| {
            presence
                .rooms("agent:", after, limit)
                .into_iter()
                .map(|(room, _)| room.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(None, 2), ["agent:1", "agent:2"]);
        assert_eq!(names(Some("agent:2"), 2), ["agent:3"]);
        assert_eq!(names(Some("agent:3"), 2), [""; 0]);
        assert_eq!(presence.rooms("", None, 9).len(), 4);
    }

    #[test]
    fn a_session_id_is_written_like_a_ulid() {
        assert_eq!(SessionId(0).to_string(), "0".repeat(26));
        assert_eq!(SessionId(u128::MAX).to_string(), format!("7{}", "Z".repeat(25)));
    }
}
