//! A position: everything a client has, in one short text that is opaque to it.
//!
//! The sequence is one for the whole bus, so "everything up to n" covers all of a client's rooms at once. Only while
//! throttled events of a client wait does it need more: the first event that waits under each throttle key. From such
//! an event on nothing of its key has been sent, everything else up to n has.

use std::{fmt, str::FromStr};

/// One life of a bus's history. A bus that lost its history begins a new life, so that old positions are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(u64);

/// Lives are 40 bits: 8 characters in base 36, and no accident brings two equal ones.
const LIFE_BITS: u32 = 40;

/// The most waiting events a position names. More cannot be told to a client; it gets `recovered: false` instead.
pub const WAITING_MAX: usize = 1_024;

impl Life {
    /// A life from random bits, of which 40 are used.
    pub fn from_random(bits: u64) -> Self {
        Self(bits & ((1 << LIFE_BITS) - 1))
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
}

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
        }
    }
}

/// `{life}-{seq}` in base 36, then `~` and the distances of the waiting events below `seq`, separated by dots.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base36(f, self.life.0)?;
        f.write_str("-")?;
        write_base36(f, self.seq)?;
        for (i, first) in self.waiting.iter().enumerate() {
            f.write_str(if i == 0 { "~" } else { "." })?;
            write_base36(f, self.seq.saturating_sub(*first))?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (life, rest) = text.split_once('-').ok_or(PositionError)?;
        let life = read_base36(life)
            .filter(|bits| bits >> LIFE_BITS == 0)
            .ok_or(PositionError)?;
        let (seq, waits) = rest
            .split_once('~')
            .map_or((rest, None), |(seq, waits)| (seq, Some(waits)));
        let seq = read_base36(seq).ok_or(PositionError)?;
        let mut waiting = Vec::new();
        for distance in waits
            .into_iter()
            .flat_map(|waits| waits.split('.'))
            .take(WAITING_MAX + 1)
        {
            let first = read_base36(distance).and_then(|distance| seq.checked_sub(distance));
            waiting.push(first.filter(|&first| first > 0).ok_or(PositionError)?);
        }
        if waiting.len() > WAITING_MAX {
            return Err(PositionError);
        }
        waiting.sort_unstable();
        waiting.dedup();
        Ok(Self {
            life: Life(life),
            seq,
            waiting,
        })
    }
}

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn write_base36(f: &mut fmt::Formatter<'_>, mut number: u64) -> fmt::Result {
    let mut text = [0u8; 13]; // 36^13 > 2^64
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = DIGITS[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            return f.write_str(std::str::from_utf8(&text[at..]).map_err(|_| fmt::Error)?);
        }
    }
}

fn read_base36(text: &str) -> Option<u64> {
    let lower = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    // `from_str_radix` alone would take a sign and capitals: one position has one spelling.
    (!text.is_empty() && text.bytes().all(lower))
        .then(|| u64::from_str_radix(text, 36).ok())
        .flatten()
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
        ] {
            let parsed = text.parse::<Position>();
            assert!(parsed.is_err() || text == "1609-0", "{text}: {parsed:?}");
        }
        let endless = format!("a-zzzzz~{}", vec!["1"; WAITING_MAX + 1].join("."));
        assert_eq!(endless.parse::<Position>(), Err(PositionError));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            bits: u64, seq in 1u64.., mut distances in proptest::collection::btree_set(0u64..5_000, 0..20)
        ) {
            distances.retain(|d| *d < seq);
            let waiting = distances.iter().rev().map(|d| seq - d).collect();
            let position = Position { life: Life::from_random(bits), seq, waiting };
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-z~.-]{0,40}") {
            let _ = text.parse::<Position>();
        }
    }
}
