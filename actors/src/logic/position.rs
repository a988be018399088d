//! A position: everything a client has, in one short text that is opaque to it.
//!
//! The sequence is one for the whole bus, so "everything up to n" covers all of a client's rooms at once. Only while
//! throttled events of a client wait does it need more: the first event that waits under each throttle key. From such
//! an event on nothing of its key has been sent, everything else up to n has.
//!
//! While the broker of several nodes is away, a node numbers what it gives out by itself. Who was given some of that has
//! *seen* it, by that node's count: when it is relayed later and gets its number, it is not given to him again.

use super::{
    base36,
    event::{NodeTag, Origin},
};
use std::{fmt, str::FromStr};

/// One life of a bus's history. A bus that lost its history begins a new life, so that old positions are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(u64);

/// Lives are 40 bits: 8 characters in base 36, and no accident brings two equal ones.
const LIFE_BITS: u32 = 40;

/// The most waiting events a position names. More cannot be told to a client; it gets `recovered: false` instead.
pub const WAITING_MAX: usize = 1_024;

impl Life {
    /// That of a bus of which nothing is known yet: no bus ever has it.
    pub const NONE: Self = Self(0);

    /// A life from random bits, of which 40 are used.
    pub fn from_random(bits: u64) -> Self {
        Self((bits & ((1 << LIFE_BITS) - 1)).max(1))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base36::write(f, self.0)
    }
}

impl FromStr for Life {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let bits = base36::read(text).filter(|bits| bits >> LIFE_BITS == 0);
        bits.map(Self).ok_or(PositionError)
    }
}

/// What a client has: all events of its rooms up to `seq`, except those that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the bus to which the numbers belong.
    pub life: Life,
    /// The last sequence number that is included.
    pub seq: u64,
    /// The first waiting event of each throttle key, ascending, each at most `seq`; nearly always empty.
    pub waiting: Vec<u64>,
    /// What it was given by nodes that could not reach the broker; nearly always empty.
    pub seen: Vec<Seen>,
    /// A digest of its rooms, while those may not be written down where every node finds them; nearly always none.
    pub rooms: Option<u32>,
}

/// What somebody was given by a node while that could not reach the broker: all that it gave out for his rooms, from one
/// count to another, except what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The node.
    pub node: NodeTag,
    /// The count of the first event that it gave out in that outage.
    pub from: u64,
    /// The count of the last one that is included.
    pub upto: u64,
    /// What waits, a throttle key each, ascending.
    pub waiting: Vec<Unsent>,
}

/// From some event of an outage on nothing with a certain throttle key was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsent {
    /// The count of that event.
    pub from: u64,
    /// The key's hash: see [`throttle::key_hash`](super::throttle::key_hash).
    pub key: u32,
}

impl Seen {
    /// Whether an event of that origin is one of these, waiting or not.
    pub fn covers(&self, origin: Origin) -> bool {
        self.node == origin.node && (self.from..=self.upto).contains(&origin.count)
    }

    /// Whether an event of that origin and throttle key was sent.
    pub fn includes(&self, origin: Origin, key: impl Fn() -> Option<u32>) -> bool {
        let is_unsent = |unsent: &Unsent| unsent.from <= origin.count && Some(unsent.key) == key();
        self.covers(origin) && !self.waiting.iter().any(is_unsent)
    }
}

/// The most outages of which a position tells; of more than that the earliest is left out, and its events may be given
/// twice.
pub const SEEN_MAX: usize = 8;

/// A text that is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position of this service")]
pub struct PositionError;

impl Position {
    /// The position of a client for which nothing waits.
    pub fn at(life: Life, seq: u64) -> Self {
        Self {
            life,
            seq,
            waiting: Vec::new(),
            seen: Vec::new(),
            rooms: None,
        }
    }
}

/// `{life}-{seq}` in base 36, then `~` and the distances of the waiting events below `seq`, separated by dots; then, for
/// each outage of which something was seen, `!{node}.{from}.{upto}`, and likewise what waits of it, each distance with `_` and
/// the hash of its key; at last `@` and the digest of the rooms, if there is one.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.life)?;
        base36::write(f, self.seq)?;
        write_distances(f, self.seq, &self.waiting)?;
        for seen in &self.seen {
            write!(f, "!{}.", seen.node)?;
            base36::write(f, seen.from)?;
            f.write_str(".")?;
            base36::write(f, seen.upto)?;
            for (i, unsent) in seen.waiting.iter().enumerate() {
                f.write_str(if i == 0 { "~" } else { "." })?;
                base36::write(f, seen.upto.saturating_sub(unsent.from))?;
                f.write_str("_")?;
                base36::write(f, u64::from(unsent.key))?;
            }
        }
        if let Some(rooms) = self.rooms {
            f.write_str("@")?;
            base36::write(f, u64::from(rooms))?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (text, rooms) = match text.split_once('@') {
            Some((text, rooms)) => (text, Some(read_digest(rooms)?)),
            None => (text, None),
        };
        let mut parts = text.split('!');
        let (life, rest) = parts
            .next()
            .and_then(|part| part.split_once('-'))
            .ok_or(PositionError)?;
        let (seq, waiting) = read_distances(rest)?;
        let seen: Vec<Seen> = parts
            .take(SEEN_MAX + 1)
            .map(read_seen)
            .collect::<Result<_, _>>()?;
        if seen.len() > SEEN_MAX {
            return Err(PositionError);
        }
        Ok(Self {
            life: life.parse()?,
            seq,
            waiting,
            seen,
            rooms,
        })
    }
}

fn read_digest(text: &str) -> Result<u32, PositionError> {
    let digest = base36::read(text).and_then(|digest| u32::try_from(digest).ok());
    digest.ok_or(PositionError)
}

fn write_distances(f: &mut fmt::Formatter<'_>, upto: u64, firsts: &[u64]) -> fmt::Result {
    for (i, first) in firsts.iter().enumerate() {
        f.write_str(if i == 0 { "~" } else { "." })?;
        base36::write(f, upto.saturating_sub(*first))?;
    }
    Ok(())
}

/// A number, and the numbers at some distances below it, ascending.
fn read_distances(text: &str) -> Result<(u64, Vec<u64>), PositionError> {
    let (upto, waits) = text
        .split_once('~')
        .map_or((text, None), |(upto, waits)| (upto, Some(waits)));
    let upto = base36::read(upto).ok_or(PositionError)?;
    let mut waiting = Vec::new();
    for distance in waits
        .into_iter()
        .flat_map(|waits| waits.split('.'))
        .take(WAITING_MAX + 1)
    {
        let first = base36::read(distance).and_then(|distance| upto.checked_sub(distance));
        waiting.push(first.filter(|&first| first > 0).ok_or(PositionError)?);
    }
    if waiting.len() > WAITING_MAX {
        return Err(PositionError);
    }
    waiting.sort_unstable();
    waiting.dedup();
    Ok((upto, waiting))
}

fn read_seen(text: &str) -> Result<Seen, PositionError> {
    let (range, waits) = text
        .split_once('~')
        .map_or((text, None), |(range, waits)| (range, Some(waits)));
    let numbers: Vec<u64> = range.split('.').map_while(base36::read).take(4).collect();
    let &[node, from, upto] = &numbers[..] else {
        return Err(PositionError);
    };
    let node = NodeTag(node);
    if from > upto || from == 0 {
        return Err(PositionError);
    }
    let unsent = |wait: &str| {
        let (distance, key) = wait.split_once('_')?;
        let from = upto
            .checked_sub(base36::read(distance)?)
            .filter(|first| *first >= from)?;
        let key = u32::try_from(base36::read(key)?).ok()?;
        Some(Unsent { from, key })
    };
    let waits = waits.into_iter().flat_map(|waits| waits.split('.'));
    let waiting: Option<Vec<Unsent>> = waits.take(WAITING_MAX).map(unsent).collect();
    let mut waiting = waiting.ok_or(PositionError)?;
    waiting.sort_unstable();
    Ok(Seen {
        node,
        from,
        upto,
        waiting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_position_is_short() {
        let text = Position::at(Life::from_random(u64::MAX), 1_000_000).to_string();
        assert!(text.len() <= 13, "{text}");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-",
            "abc",
            "zzzzzzzzzzzzz-1",
            "a-",
            "a--1",
            "A-1",
            "a-1~",
            "a-1~2",
            "a-+1",
            "1609-0",
            "a-1~1",
            "a-1!",
            "a-1!1.1",
            "a-1!1.2.1",
            "a-1!1.0.1",
            "a-1!1.1.1.1",
            "a-1!1.1.2~2_1",
            "a-1!1.1.2~1",
            "a-1!1.1.2~1_zzzzzzzz",
            "a-1@",
            "a-1@zzzzzzz",
            "a-1@1!1.1.1",
        ] {
            let parsed = text.parse::<Position>();
            assert!(parsed.is_err() || text == "1609-0", "{text}: {parsed:?}");
        }
        let endless = format!("a-zzzzz~{}", vec!["1"; WAITING_MAX + 1].join("."));
        assert_eq!(endless.parse::<Position>(), Err(PositionError));
    }

    fn seen() -> impl Strategy<Value = Seen> {
        let unsent = proptest::collection::btree_set((0u64..9, any::<u32>()), 0..3);
        (any::<u64>(), 1u64..1 << 40, 9u64..1 << 40, unsent).prop_map(|(node, from, more, unsent)| {
            let unsent = unsent.into_iter().map(|(more, key)| Unsent {
                from: from + more,
                key,
            });
            Seen {
                node: NodeTag(node),
                from,
                upto: from + more,
                waiting: unsent.collect(),
            }
        })
    }

    #[test]
    fn what_was_seen_is_told_from_what_was_not() {
        let origin = |node, count| Origin {
            node: NodeTag(node),
            count,
        };
        let seen = Seen {
            node: NodeTag(1),
            from: 5,
            upto: 9,
            waiting: vec![Unsent { from: 7, key: 3 }],
        };
        for (count, key, is_seen) in [
            (4, 1, false),
            (5, 1, true),
            (9, 1, true),
            (10, 1, false),
            (6, 3, true),
            (7, 3, false),
        ] {
            assert_eq!(
                seen.includes(origin(1, count), || Some(key)),
                is_seen,
                "{count} of {key}"
            );
        }
        assert!(!seen.includes(origin(2, 5), || None), "of another node");
        let many = format!("a-1{}", "!1.1.1".repeat(SEEN_MAX + 1));
        assert_eq!(many.parse::<Position>(), Err(PositionError));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            bits: u64, seq in 1u64.., mut distances in proptest::collection::btree_set(0u64..5_000, 0..20),
            seen in proptest::collection::vec(seen(), 0..=SEEN_MAX), rooms: Option<u32>,
        ) {
            distances.retain(|d| *d < seq);
            let waiting = distances.iter().rev().map(|d| seq - d).collect();
            let position = Position { life: Life::from_random(bits), seq, waiting, seen, rooms };
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-z~._!@-]{0,40}") {
            let _ = text.parse::<Position>();
        }
    }
}
