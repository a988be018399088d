//! Who is in which room.

use super::{known::rfc3339, protocol::Member, room_name::RoomName};
use std::{collections::BTreeMap, fmt, ops::Bound, sync::Arc};

/// A connection's id, unique over all nodes. Packed, so that what holds it is not aligned, and padded, to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    /// The lower 120 bits as 20 characters of URL-safe base64, the form of the ids of Socket.IO: in a cluster with its
    /// JavaScript servers, rooms of that length are taken for ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in (0..20).rev() {
            let digit = (self.0 >> (6 * i)) & 63;
            fmt::Write::write_char(f, DIGITS[digit as usize] as char)?;
        }
        Ok(())
    }
}

/// The digits of ids.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl SessionId {
    /// The bits that are shown.
    pub fn shown(self) -> u128 {
        self.0 & ((1 << 120) - 1)
    }

    /// The bits that this text shows; `None` where it is no id.
    pub fn shown_by(text: &str) -> Option<u128> {
        let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte);
        let add = |bits: u128, byte| Some(bits << 6 | digit(byte)? as u128);
        let is_long_enough = text.len() == 20;
        is_long_enough.then(|| text.bytes().try_fold(0, add)).flatten()
    }
}

/// What only one client knows: with it, it comes back to where it was. Packed as [`SessionId`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct Secret(pub u128);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secret {
    /// As its client is told it.
    pub fn to_text(self) -> String {
        format!("{:032x}", { self.0 })
    }

    /// Reads what a client shows; `None` where that cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| digits(text))
            .map(Self)
    }
}

/// What others may know of a connection.
#[derive(Debug)]
pub struct Card {
    /// Its id.
    pub id: SessionId,
    /// How often its client has come back to it.
    pub generation: u32,
    /// Who it is, where that is known.
    pub subject: Option<Arc<str>>,
    /// The node it is on.
    pub node: Arc<str>,
    /// When it connected, milliseconds since 1970.
    pub connected_ms: i64,
}

/// The members of all rooms.
#[derive(Default)]
pub struct Presence {
    rooms: BTreeMap<RoomName, BTreeMap<SessionId, (Arc<Card>, i64)>>,
}

impl Presence {
    /// A connection is in a room since `now_ms`. Entering twice changes nothing; who takes another's place has been there
    /// as long.
    pub fn enter(&mut self, room: &RoomName, card: &Arc<Card>, now_ms: i64) {
        let members = self.rooms.entry(room.clone()).or_default();
        let (known, _) = members.entry(card.id).or_insert_with(|| (card.clone(), now_ms));
        if known.generation < card.generation {
            *known = card.clone();
        }
    }

    /// A connection is no longer in a room, unless another has taken its place.
    pub fn exit(&mut self, room: &RoomName, card: &Card) {
        if let Some(members) = self.rooms.get_mut(room) {
            let is_it = |(known, _): &(Arc<Card>, i64)| known.generation == card.generation;
            if members.get(&card.id).is_some_and(is_it) {
                members.remove(&card.id);
            }
            if members.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    /// Every member of every room, and since when, milliseconds since 1970.
    pub fn all(&self) -> impl Iterator<Item = (&RoomName, &Arc<Card>, i64)> {
        let members = |(room, members)| members_of(room, members);
        self.rooms.iter().flat_map(members)
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

fn members_of<'a>(
    room: &'a RoomName,
    members: &'a BTreeMap<SessionId, (Arc<Card>, i64)>,
) -> impl Iterator<Item = (&'a RoomName, &'a Arc<Card>, i64)> {
    members.values().map(move |(card, since)| (room, card, *since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: u128) -> Arc<Card> {
        Arc::new(Card {
            id: SessionId(id),
            generation: 0,
            subject: None,
            node: "n".into(),
            connected_ms: 0,
        })
    }

    fn room(name: &str) -> RoomName {
        RoomName::parse(name, 200).unwrap()
    }

    #[test]
    fn an_id_is_known_by_its_text() {
        for bits in [0, 5, u128::MAX, 0x0190_1234_5678_9abc_def0_1234_5678_9abc] {
            let id = SessionId(bits);
            assert_eq!(SessionId::shown_by(&id.to_string()), Some(id.shown()));
        }
        for text in [
            "",
            "lobby",
            &"A".repeat(19),
            &"A".repeat(21),
            &"ä".repeat(10),
            &"a b".repeat(7)[..20],
        ] {
            assert_eq!(SessionId::shown_by(text), None, "{text}");
        }
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
        presence.exit(&room("a"), &card(1));
        presence.exit(&room("a"), &card(2));
        presence.exit(&room("a"), &card(2));
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
    fn a_session_id_is_written_in_twenty_characters() {
        assert_eq!(SessionId(0).to_string(), "A".repeat(20));
        assert_eq!(SessionId(u128::MAX).to_string(), "_".repeat(20));
        assert_ne!(SessionId(1 << 119).to_string(), SessionId(0).to_string());
    }

    #[test]
    fn who_takes_anothers_place_stays_when_that_one_goes() {
        let mut presence = Presence::default();
        let back = Arc::new(Card {
            generation: 1,
            node: "m".into(),
            ..Arc::into_inner(card(1)).expect("the only one")
        });
        presence.enter(&room("a"), &card(1), 5);
        presence.enter(&room("a"), &back, 9);
        presence.exit(&room("a"), &card(1));
        let members = presence.members(&room("a"));
        assert_eq!(members.len(), 1);
        assert_eq!(
            (members[0].node.as_str(), &members[0].joined_at),
            ("m", &rfc3339(5))
        );
        presence.exit(&room("a"), &back);
        assert!(!presence.has_members(&room("a")));
    }

    #[test]
    fn a_secret_is_read_as_it_was_told_and_never_printed() {
        let secret = Secret(0xfeed);
        assert_eq!(Secret::parse(&secret.to_text()), Some(secret));
        for text in ["", "feed", &"+".repeat(32), &"f".repeat(33)] {
            assert_eq!(Secret::parse(text), None, "{text}");
        }
        assert_eq!(format!("{secret:?}"), "***");
    }
}
