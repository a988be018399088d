//! What nodes say to each other, by way of the broker.

use crate::logic::presence::SessionId;
use serde::{Deserialize, Serialize};

/// What one node says to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Told {
    /// A client has come back, on some node: an earlier generation of it is to be closed.
    TakenOver {
        /// Its id, hexadecimal.
        id: String,
        /// The generation it is now.
        generation: u32,
    },
}

impl Told {
    /// A client has come back.
    pub fn taken_over(id: SessionId, generation: u32) -> Self {
        let id = format!("{:x}", { id.0 });
        Self::TakenOver { id, generation }
    }

    /// As it is said.
    pub fn write(&self) -> String {
        // Texts and numbers are always serialisable.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What was said; `None` where it is something that this version does not know.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The id in a [`Told::TakenOver`].
pub fn session_id(hex: &str) -> Option<SessionId> {
    u128::from_str_radix(hex, 16).ok().map(SessionId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_nonsense_passed_over() {
        let told = Told::taken_over(SessionId(u128::MAX), 3);
        assert_eq!(Told::read(&told.write()), Some(told.clone()));
        let Told::TakenOver { id, .. } = told;
        assert_eq!(session_id(&id), Some(SessionId(u128::MAX)));
        for text in ["", "{}", "{\"type\":\"later\"}"] {
            assert_eq!(Told::read(text), None);
        }
    }
}
