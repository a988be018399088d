//! Names of rooms for which somebody has a right: one room, all that begin alike, or all.

use crate::logic::room_name::RoomName;
use std::{fmt, str::FromStr};

/// Characters in a pattern, at most: as many as any room's name may be allowed to have.
const CHARS_MAX: usize = 1_024;

/// See the module's description. The order is that of the texts, and what covers more comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    text: Box<str>,
    exact: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A star that is not the last character.
    #[error("{0:?} is no pattern: a * may only be its last character")]
    Star(String),
    /// What is left without the star is no beginning of a room's name.
    #[error(
        "{0:?} is no pattern: a room such as project:7, a beginning of rooms such as agent:*, or * for all"
    )]
    Name(String),
}

impl Pattern {
    /// All rooms.
    pub fn all() -> Self {
        Self::beginning("")
    }

    /// All rooms that begin so.
    pub fn beginning(text: &str) -> Self {
        let (text, exact) = (text.into(), false);
        Self { text, exact }
    }

    /// One room.
    pub fn room(name: &str) -> Self {
        let (text, exact) = (name.into(), true);
        Self { text, exact }
    }

    /// Whether this room is one of them.
    pub fn covers(&self, room: &str) -> bool {
        match self.exact {
            true => *self.text == *room,
            false => room.starts_with(&*self.text),
        }
    }

    /// The text without the star.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is one room.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Those of its rooms whose names begin so, if any could.
    pub fn within(&self, prefix: &str) -> Option<Self> {
        if self.text.starts_with(prefix) {
            Some(self.clone())
        } else {
            (!self.exact && prefix.starts_with(&*self.text)).then(|| Self::beginning(prefix))
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (name, exact) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, false),
            None => (text, true),
        };
        if name.contains('*') {
            return Err(PatternError::Star(shorten(text)));
        }
        let is_name = RoomName::parse(name, CHARS_MAX).is_ok();
        if !is_name && (exact || !name.is_empty()) {
            return Err(PatternError::Name(shorten(text)));
        }
        let text = name.into();
        Ok(Self { text, exact })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.exact { "" } else { "*" };
        write!(f, "{}{star}", self.text)
    }
}

/// A text as it may stand in an error.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_room_a_beginning_or_everything() {
        // (pattern, rooms it covers, rooms it does not)
        let table: [(&str, &[&str], &[&str]); 5] = [
            (
                "project:7",
                &["project:7"],
                &["project:70", "project:", "project:7/x", "Project:7"],
            ),
            (
                "agent:*",
                &["agent:7", "agent:", "agent:a/b"],
                &["agent", "agents:7", "xagent:7"],
            ),
            ("agent:4*", &["agent:4", "agent:42"], &["agent:5"]),
            ("*", &["lobby", "user:ada"], &[]),
            ("a", &["a"], &["aa", "A"]),
        ];
        for (text, covered, others) in table {
            let pattern: Pattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            assert!(covered.iter().all(|room| pattern.covers(room)), "{text}");
            assert!(!others.iter().any(|room| pattern.covers(room)), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_text() {
        for text in ["", "a b", "agent:*:x", "**", "a*b*", "über", "a\n", "a?", "[a]"] {
            let error = text.parse::<Pattern>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert!("x".repeat(CHARS_MAX + 1).parse::<Pattern>().is_err());
    }

    #[test]
    fn a_pattern_is_narrowed_to_what_begins_so() {
        // (pattern, prefix, what is left)
        let table = [
            ("*", "agent:", Some("agent:*")),
            ("agent:*", "", Some("agent:*")),
            ("agent:*", "agent:4", Some("agent:4*")),
            ("agent:42", "agent:4", Some("agent:42")),
            ("agent:4", "agent:42", None),
            ("agent:*", "task:", None),
        ];
        for (pattern, prefix, left) in table {
            let narrowed = pattern.parse::<Pattern>().unwrap().within(prefix);
            assert_eq!(
                narrowed.map(|left| left.to_string()).as_deref(),
                left,
                "{pattern} {prefix}"
            );
        }
    }
}
