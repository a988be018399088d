//! UTF-8 (RFC 3629) checked while it arrives: text cut anywhere, an error on the first byte that no text can
//! contain.

use thiserror::Error;

/// A byte at which no UTF-8 text (RFC 3629 section 4) can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not UTF-8")]
pub struct NotUtf8;

/// Checks a text that comes in chunks, cut anywhere, also within a character.
///
/// It keeps at most the three bytes of an unfinished character, in place: no heap, four bytes in all. A chunk
/// is looked at once, by [`std::str::from_utf8`], which is fast on ASCII.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8Check {
    /// The first bytes of a character that is not finished yet.
    open: [u8; 3],
    /// How many of `open` count, or [`FAILED`].
    len: u8,
}

/// In the place of a length: an invalid byte has been seen.
const FAILED: u8 = u8::MAX;

impl Utf8Check {
    /// Takes the next chunk of the text.
    ///
    /// # Errors
    ///
    /// As soon as a byte cannot follow what came before it: `F4 90` fails at its second byte, since nothing
    /// above U+10FFFF is a character. From then on every chunk fails.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), NotUtf8> {
        let rest = self.close_open_character(chunk)?;
        match std::str::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => self.fail(),
            Err(error) => {
                let open = &rest[error.valid_up_to()..];
                self.open[..open.len()].copy_from_slice(open);
                self.len = open.len() as u8;
                Ok(())
            }
        }
    }

    /// Whether the text may end here: every character is finished and no byte was invalid.
    pub fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Goes on with the unfinished character, byte by byte, and returns what of the chunk lies behind it.
    fn close_open_character<'a>(&mut self, mut chunk: &'a [u8]) -> Result<&'a [u8], NotUtf8> {
        if self.len == FAILED {
            return Err(NotUtf8);
        }
        while let (1.., Some((&next, rest))) = (self.len, chunk.split_first()) {
            let len = usize::from(self.len);
            let mut character = [0; 4];
            character[..len].copy_from_slice(&self.open[..len]);
            character[len] = next;
            match std::str::from_utf8(&character[..=len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => self.fail()?,
                // Four bytes are a character or an error: only up to three can be unfinished.
                Err(_) => {
                    self.open[len] = next;
                    self.len += 1;
                }
            }
            chunk = rest;
        }
        Ok(chunk)
    }

    fn fail(&mut self) -> Result<(), NotUtf8> {
        self.len = FAILED;
        Err(NotUtf8)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// How many bytes go in, one at a time, before one is refused.
    fn accepted(bytes: &[u8]) -> usize {
        let mut check = Utf8Check::default();
        bytes
            .iter()
            .take_while(|&&byte| check.feed(&[byte]).is_ok())
            .count()
    }

    /// Every proper prefix of every character, from the characters themselves: needs no validator to be
    /// right.
    fn beginnings() -> HashSet<Vec<u8>> {
        let mut beginnings = HashSet::new();
        for character in '\u{80}'..=char::MAX {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer).as_bytes();
            for len in 1..encoded.len() {
                if !beginnings.contains(&encoded[..len]) {
                    beginnings.insert(encoded[..len].to_vec());
                }
            }
        }
        beginnings
    }

    /// Bytes that are nearly text, so that a case gets deep into it before it fails, if it does.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let spoilt =
            (any::<String>(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                let mut bytes = text.into_bytes();
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                bytes
            });
        prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            spoilt,
            vec(any::<u8>(), 0..40)
        ]
    }

    #[test]
    fn it_takes_four_bytes() {
        assert_eq!(size_of::<Utf8Check>(), 4);
    }

    #[test]
    fn every_byte_is_refused_as_early_as_no_character_begins_so() {
        let beginnings = beginnings();
        let open = |prefix: &[u8]| beginnings.contains(prefix);
        let mut check_all = vec![vec![]];
        while let Some(prefix) = check_all.pop() {
            for byte in 0..=u8::MAX {
                let mut longer = prefix.clone();
                longer.push(byte);
                let valid = std::str::from_utf8(&longer).is_ok() || open(&longer);
                let count = longer.len() - usize::from(!valid);
                assert_eq!(accepted(&longer), count, "{longer:x?}");
                if open(&longer) && longer.len() < 3 {
                    check_all.push(longer);
                }
            }
        }
    }

    #[test]
    fn the_first_invalid_byte_is_the_one_that_fails() {
        let cases: [(&[u8], usize); 12] = [
            (b"\x80", 0),
            (b"\xc0\x80", 0),
            (b"\xc1\xbf", 0),
            (b"\xe0\x9f\x80", 1),
            (b"\xed\xa0\x80", 1),
            (b"\xf0\x8f\xbf\xbf", 1),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xf5\x80", 0),
            (b"\xff", 0),
            (b"a\xc3(", 2),
            (b"\xe2\x82(", 2),
            (b"\xf0\x9f\x98(", 3),
        ];
        for (bytes, count) in cases {
            assert_eq!(accepted(bytes), count, "{bytes:x?}");
        }
    }

    #[test]
    fn after_a_failure_every_chunk_fails() {
        let mut check = Utf8Check::default();
        assert_eq!(check.feed(b"ok \xf4\x90"), Err(NotUtf8));
        assert_eq!(check.feed(b"ok"), Err(NotUtf8));
        assert_eq!(check.feed(b""), Err(NotUtf8));
        assert!(!check.is_complete());
    }

    proptest! {
        #[test]
        fn at_every_split_it_says_what_the_standard_library_says(bytes in nearly_text()) {
            let whole = std::str::from_utf8(&bytes);
            for split in 0..=bytes.len() {
                let mut check = Utf8Check::default();
                let fed = check.feed(&bytes[..split]).and_then(|()| check.feed(&bytes[split..]));
                let only_unfinished = whole.is_err_and(|error| error.error_len().is_none());
                prop_assert_eq!(fed.is_ok(), whole.is_ok() || only_unfinished);
                prop_assert_eq!(check.is_complete(), whole.is_ok());
            }
        }

        #[test]
        fn byte_by_byte_it_fails_where_the_standard_library_fails(bytes in nearly_text()) {
            let fails = |end| std::str::from_utf8(&bytes[..end]).is_err_and(|error| error.error_len().is_some());
            let first_bad = (0..bytes.len()).find(|at| fails(at + 1));
            prop_assert_eq!(accepted(&bytes), first_bad.unwrap_or(bytes.len()));
        }
    }
}
