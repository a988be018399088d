//! Names of rooms, checked once at the edge.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest room name accepted by default, in characters.
pub const NAME_CHARS_DEFAULT: usize = 200;

/// A checked room name: 1 to the configured number of characters of `[A-Za-z0-9_.:/@-]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// Why a text is not a room name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomNameError {
    /// There is nothing.
    #[error("a room name has at least one character")]
    Empty,
    /// More characters than the limit allows.
    #[error("a room name has at most {limit} characters, this one has {chars}")]
    TooLong {
        /// Characters of the text.
        chars: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A character outside the set.
    #[error("a room name consists of A-Z a-z 0-9 _ . : / @ -, not of {0:?}")]
    Character(char),
}

impl RoomName {
    /// Checks `text` against the character set and `limit` (characters).
    pub fn parse(text: &str, limit: usize) -> Result<Self, RoomNameError> {
        if text.is_empty() {
            return Err(RoomNameError::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/@-".contains(c);
        if let Some(c) = text.chars().find(|&c| !allowed(c)) {
            return Err(RoomNameError::Character(c));
        }
        // From here on the text is ASCII: bytes are characters.
        if text.len() > limit {
            return Err(RoomNameError::TooLong {
                chars: text.len(),
                limit,
            });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text, shared.
impl From<&RoomName> for Arc<str> {
    fn from(name: &RoomName) -> Self {
        name.0.clone()
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl serde::Serialize for RoomName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_pass() {
        for name in ["lobby", "agent:42", "chat:7", "a/b@c-d_e.f", "Z"] {
            assert_eq!(RoomName::parse(name, 200).unwrap().as_str(), name);
        }
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(RoomName::parse("", 200), Err(RoomNameError::Empty));
        assert_eq!(RoomName::parse("a b", 200), Err(RoomNameError::Character(' ')));
        assert_eq!(RoomName::parse("räum", 200), Err(RoomNameError::Character('ä')));
        assert_eq!(
            RoomName::parse("abcd", 3),
            Err(RoomNameError::TooLong { chars: 4, limit: 3 })
        );
        assert!(RoomName::parse(&"x".repeat(200), 200).is_ok());
    }

    proptest! {
        #[test]
        fn a_name_passes_exactly_when_each_character_does(text in ".{0,12}") {
            let ok = !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/@-".contains(&b));
            prop_assert_eq!(RoomName::parse(&text, 200).is_ok(), ok);
        }
    }
}
