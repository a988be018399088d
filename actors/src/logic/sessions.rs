//! What is known of clients that may come back to where they were.

use super::{
    digest,
    position::{Life, Position},
    presence::{Secret, SessionId},
    room_name::RoomName,
};
use std::{collections::HashMap, sync::Arc};

/// Where a client was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id, which stays.
    pub id: SessionId,
    /// Who it is: nobody else may come back to it.
    pub subject: Option<Arc<str>>,
    /// It grows whenever the client comes back. What an older one writes is refused.
    pub generation: u32,
    /// The life of the bus to which the numbers belong.
    pub life: Life,
    /// Its rooms, each with the sequence at which it joined: nothing from before is for it.
    pub rooms: Vec<(RoomName, u64)>,
}

/// Where a client was that has come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Where, as its next generation.
    pub record: SessionRecord,
    /// Whether these are its last rooms. A node that is alone does not know where the client was since, and a broker that
    /// was replaced may have an older record: then it is there only if the client says the same
    /// ([`Position::rooms`]).
    pub is_latest: bool,
}

/// What became of writing down where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Every node finds it there.
    ByAll,
    /// Only this node does: the broker is away.
    Here,
    /// Another connection has taken its place, and nothing was written.
    Superseded,
}

/// From one generation to the next where all nodes know of it: those in between are for a node that cannot reach the broker.
pub const GENERATIONS: u32 = 256;

/// What remembering a client costs beside its rooms, bytes, about.
const RECORD_BYTES: usize = 2 * size_of::<SessionRecord>();

impl SessionRecord {
    /// What remembering it costs, bytes, about. The names are shared with the rooms.
    fn cost(&self) -> usize {
        RECORD_BYTES + self.rooms.len() * size_of::<(RoomName, u64)>()
    }

    /// Its rooms in a number, to tell whether they are those that somebody else knows.
    pub fn rooms_digest(&self) -> u32 {
        rooms_digest(self.rooms.iter().map(|(room, _)| room))
    }

    /// What a client has that was given no event yet: nothing of its rooms.
    pub fn start(&self) -> Position {
        let first = self.rooms.iter().map(|(_, joined_at)| *joined_at).min();
        Position::at(self.life, first.unwrap_or(0))
    }
}

/// Rooms in a number, whatever their order; the same on every node.
pub fn rooms_digest<'r>(rooms: impl Iterator<Item = &'r RoomName>) -> u32 {
    rooms
        .map(|room| digest::fnv32(room.as_str().bytes()))
        .fold(0, u32::wrapping_add)
}

/// How many and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Milliseconds for which a client that is gone may come back.
    pub kept_ms: i64,
    /// Clients that are gone and may come back, at most; of more than that none is remembered.
    pub gone: usize,
}

/// Two minutes, as the stock server's default; 100,000 clients.
impl Default for Limits {
    fn default() -> Self {
        Self {
            kept_ms: 120_000,
            gone: 100_000,
        }
    }
}

/// The records of all clients, by their secrets.
#[derive(Clone, Debug)]
pub struct Sessions {
    limits: Limits,
    /// Boxed: a table has twice as many places as records when it has just grown.
    records: HashMap<Secret, Box<Entry>>,
    gone: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    record: SessionRecord,
    gone_ms: Option<i64>,
}

impl Sessions {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            records: HashMap::new(),
            gone: 0,
            bytes: 0,
        }
    }

    /// A client that is connected is here now. Returns whether it is the one that came back last.
    pub fn keep(&mut self, secret: Secret, record: SessionRecord) -> bool {
        match self.records.get_mut(&secret) {
            Some(kept) if kept.record.generation > record.generation => false,
            Some(kept) => {
                self.gone -= usize::from(kept.gone_ms.take().is_some());
                self.bytes = self.bytes + record.cost() - kept.record.cost();
                kept.record = record;
                true
            }
            None => {
                let gone_ms = None;
                self.bytes += record.cost();
                self.records.insert(secret, Box::new(Entry { record, gone_ms }));
                true
            }
        }
    }

    /// A client has come back: where it was, as its next generation. `None` where nobody was, too long ago, or somebody else.
    pub fn claim(&mut self, secret: Secret, subject: Option<&str>, now_ms: i64) -> Option<SessionRecord> {
        self.claim_as(secret, subject, now_ms, |generation| {
            (generation / GENERATIONS + 1).checked_mul(GENERATIONS)
        })
    }

    /// The same while the broker is away, which may have given the client's place to somebody else by now: that one is of
    /// a later generation then.
    pub fn claim_alone(
        &mut self,
        secret: Secret,
        subject: Option<&str>,
        now_ms: i64,
    ) -> Option<SessionRecord> {
        self.claim_as(secret, subject, now_ms, |generation| {
            Some(generation + 1).filter(|next| next % GENERATIONS != 0)
        })
    }

    fn claim_as(
        &mut self,
        secret: Secret,
        subject: Option<&str>,
        now_ms: i64,
        next: impl Fn(u32) -> Option<u32>,
    ) -> Option<SessionRecord> {
        let kept = self.records.get_mut(&secret)?;
        let is_late = |gone_ms: i64| now_ms - gone_ms > self.limits.kept_ms;
        if kept.gone_ms.is_some_and(is_late) || kept.record.subject.as_deref() != subject {
            return None;
        }
        kept.record.generation = next(kept.record.generation)?;
        self.gone -= usize::from(kept.gone_ms.take().is_some());
        Some(kept.record.clone())
    }

    /// Where a client is, or was.
    pub fn get(&self, secret: Secret) -> Option<&SessionRecord> {
        self.records.get(&secret).map(|kept| &kept.record)
    }

    /// The connection of this generation is over, perhaps for good.
    pub fn part(&mut self, secret: Secret, generation: u32, for_good: bool, now_ms: i64) {
        let Some(kept) = self.records.get_mut(&secret) else {
            return;
        };
        if kept.record.generation != generation || kept.gone_ms.is_some() {
            return;
        }
        if for_good || self.gone >= self.limits.gone {
            self.bytes -= kept.record.cost();
            self.records.remove(&secret);
        } else {
            kept.gone_ms = Some(now_ms);
            self.gone += 1;
        }
    }

    /// Forgets who has been gone for too long.
    pub fn tend(&mut self, now_ms: i64) {
        let kept_ms = self.limits.kept_ms;
        self.records
            .retain(|_, kept| kept.gone_ms.is_none_or(|gone_ms| now_ms - gone_ms <= kept_ms));
        self.gone = self
            .records
            .values()
            .filter(|kept| kept.gone_ms.is_some())
            .count();
        self.bytes = self.records.values().map(|kept| kept.record.cost()).sum();
    }

    /// Those that are connected.
    pub fn connected(&self) -> impl Iterator<Item = (Secret, &SessionRecord)> {
        let here = self.records.iter().filter(|(_, kept)| kept.gone_ms.is_none());
        here.map(|(secret, kept)| (*secret, &kept.record))
    }

    /// What they cost, bytes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many are remembered, connected or not.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Secret = Secret(7);

    fn record(generation: u32) -> SessionRecord {
        SessionRecord {
            id: SessionId(1),
            subject: Some("ada".into()),
            generation,
            life: Life::from_random(1),
            rooms: Vec::new(),
        }
    }

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(Limits {
            kept_ms: 100,
            gone: 1,
        });
        assert!(sessions.keep(ME, record(0)));
        sessions
    }

    #[test]
    fn who_comes_back_in_time_is_the_next_generation() {
        let mut sessions = sessions();
        sessions.part(ME, 0, false, 1_000);
        let back = sessions.claim(ME, Some("ada"), 1_100);
        assert_eq!(back.map(|record| record.generation), Some(GENERATIONS));
    }

    #[test]
    fn nobody_comes_back_too_late_nor_to_anothers_place() {
        let mut sessions = sessions();
        assert_eq!(sessions.claim(ME, Some("eve"), 0), None);
        assert_eq!(sessions.claim(ME, None, 0), None);
        assert_eq!(sessions.claim(Secret(8), Some("ada"), 0), None);
        sessions.part(ME, 0, false, 1_000);
        assert_eq!(sessions.claim(ME, Some("ada"), 1_101), None);
        sessions.tend(1_101);
        assert!(sessions.is_empty() && sessions.bytes() == 0);
    }

    #[test]
    fn what_a_node_decides_alone_is_older_than_what_all_know_of() {
        let mut alone = sessions();
        let mut shared = sessions();
        let mut claim = || {
            alone
                .claim_alone(ME, Some("ada"), 0)
                .map(|record| record.generation)
        };
        assert_eq!((claim(), claim()), (Some(1), Some(2)));
        assert!(shared.keep(ME, record(2)));
        let claimed = shared.claim(ME, Some("ada"), 0);
        assert_eq!(claimed.map(|record| record.generation), Some(GENERATIONS));
        assert!(!shared.keep(ME, record(3)));
        let last = std::iter::repeat_with(claim).take_while(Option::is_some).last();
        assert_eq!(last, Some(Some(GENERATIONS - 1)));
    }

    #[test]
    fn an_old_connection_neither_writes_nor_ends_what_was_taken_over() {
        let mut sessions = sessions();
        assert!(sessions.claim(ME, Some("ada"), 0).is_some());
        assert!(!sessions.keep(ME, record(0)));
        sessions.part(ME, 0, true, 0);
        assert_eq!(sessions.len(), 1);
        let without_rooms = sessions.bytes();
        let mut in_a_room = record(GENERATIONS);
        in_a_room.rooms = vec![(RoomName::parse("a", 1).unwrap(), 0)];
        assert!(sessions.keep(ME, in_a_room));
        assert!(sessions.bytes() > without_rooms);
        sessions.part(ME, GENERATIONS, true, 0);
        assert!(sessions.is_empty() && sessions.bytes() == 0);
    }

    #[test]
    fn those_who_are_gone_are_bounded() {
        let mut sessions = sessions();
        sessions.keep(Secret(8), record(0));
        sessions.part(ME, 0, false, 0);
        sessions.part(Secret(8), 0, false, 0);
        assert_eq!(sessions.len(), 1, "the second one found no room");
        assert!(sessions.claim(ME, Some("ada"), 0).is_some());
        sessions.part(ME, 1, false, 0);
        assert_eq!(sessions.len(), 1, "who came back was counted off");
    }
}
