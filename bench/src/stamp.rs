//! What a published event carries: room, sequence and send time, found again without parsing JSON.
//!
//! The data is one JSON object of exactly [`DATA_BYTES`], `{"p":"<magic><room><sequence><sent><padding>"}`. Numbers are
//! written a nibble a letter (`a` to `p`), so that they have a fixed width, survive any JSON encoder unchanged, and
//! decode eight letters at a time.

use memchr::memmem;

/// Size of an event's data, as JSON.
pub const DATA_BYTES: usize = 256;

const MAGIC: &[u8; 8] = b"~bench~:";
const OPENING: &[u8; 6] = b"{\"p\":\"";
const CLOSING: &[u8; 2] = b"\"}";
const NUMBERS: usize = 32;

/// One published event: the `sequence`-th of its `room`, sent at `sent_ns` of the generator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub room: u32,
    pub sequence: u32,
    pub sent_ns: u64,
}

impl Stamp {
    /// The event's data as JSON.
    pub fn data(self) -> String {
        let mut data = Vec::with_capacity(DATA_BYTES);
        data.extend_from_slice(OPENING);
        data.extend_from_slice(MAGIC);
        data.extend_from_slice(&letters(self.room));
        data.extend_from_slice(&letters(self.sequence));
        data.extend_from_slice(&letters((self.sent_ns >> 32) as u32));
        data.extend_from_slice(&letters(self.sent_ns as u32));
        data.resize(DATA_BYTES - CLOSING.len(), b'x');
        data.extend_from_slice(CLOSING);
        data.into_iter().map(char::from).collect()
    }
}

fn letters(number: u32) -> [u8; 8] {
    std::array::from_fn(|place| b'a' + ((number >> (28 - 4 * place)) & 15) as u8)
}

fn number(letters: [u8; 8]) -> Option<u32> {
    let nibbles = u64::from_be_bytes(letters).wrapping_sub(0x6161_6161_6161_6161);
    if nibbles & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    Some((halves | halves >> 16) as u32)
}

/// Finds stamps in frames. It looks first where the last one was: a connection's events mostly have the same shape.
#[derive(Default)]
pub struct Scanner {
    hint: usize,
}

impl Scanner {
    /// The stamp in `text`, if it carries one.
    #[inline]
    pub fn find(&mut self, text: &[u8]) -> Option<Stamp> {
        let hinted = text.get(self.hint..self.hint + MAGIC.len()) == Some(MAGIC);
        if !hinted {
            self.hint = memmem::find(text, MAGIC)?;
        }
        let start = self.hint + MAGIC.len();
        let numbers = text.get(start..start + NUMBERS)?;
        let part = |from: usize| number(numbers[from..from + 8].try_into().ok()?);
        let sent_ns = u64::from(part(16)?) << 32 | u64::from(part(24)?);
        Some(Stamp {
            room: part(0)?,
            sequence: part(8)?,
            sent_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_is_found_again_wherever_it_stands(
            room: u32, sequence: u32, sent_ns: u64, before in "[ -z]{0,90}", hint in 0_usize..300,
        ) {
            let stamp = Stamp { room, sequence, sent_ns };
            let text = format!("{before}{}", stamp.data());
            let mut scanner = Scanner { hint };
            prop_assert_eq!(scanner.find(text.as_bytes()), Some(stamp));
            prop_assert_eq!(scanner.find(text.as_bytes()), Some(stamp));
        }

        #[test]
        fn no_text_without_a_stamp_yields_one(text in "[ -}]{0,400}") {
            prop_assert_eq!(Scanner::default().find(text.as_bytes()), None);
        }
    }

    #[test]
    fn data_is_json_of_the_promised_size() {
        let data = Stamp {
            room: 7,
            sequence: u32::MAX,
            sent_ns: u64::MAX,
        }
        .data();
        assert_eq!(data.len(), DATA_BYTES);
        assert!(serde_json::from_str::<serde_json::Value>(&data).expect("valid JSON")["p"].is_string());
    }

    #[test]
    fn a_cut_or_spoilt_stamp_is_none() {
        let data = Stamp {
            room: 1,
            sequence: 2,
            sent_ns: 3,
        }
        .data();
        assert_eq!(Scanner::default().find(&data.as_bytes()[..40]), None);
        let spoilt = data.replace("aaaaaaab", "aaaaaaaz");
        assert_eq!(Scanner::default().find(spoilt.as_bytes()), None);
    }
}
