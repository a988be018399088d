//! The list of those who are let in no more, although their tokens or keys would still hold.

use super::{Credential, Grant};
use std::collections::BTreeSet;

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    tokens: BTreeSet<String>,
    keys: BTreeSet<String>,
    subjects: BTreeSet<String>,
}

impl DenyList {
    /// Reads a file: `jti:`, `key:` or `subject:` and what is denied, a line each; empty lines and those that begin with
    /// `#` are passed over. Errors name the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        for (number, line) in lines(text) {
            let (kind, name) = line.split_once(':').unwrap_or_default();
            let names = match kind {
                "jti" => &mut list.tokens,
                "key" => &mut list.keys,
                "subject" => &mut list.subjects,
                _ => return Err(format!("line {number}: begins with jti:, key: or subject:")),
            };
            let name = name.trim();
            if name.is_empty() {
                return Err(format!("line {number}: {kind}: of what?"));
            }
            names.insert(name.to_owned());
        }
        Ok(list)
    }

    /// Whether it names this one.
    pub fn denies(&self, grant: &Grant) -> bool {
        let credential = match &grant.credential {
            Credential::None => false,
            Credential::Token(id) => id.as_deref().is_some_and(|id| self.tokens.contains(id)),
            Credential::Key(id) => self.keys.contains(&**id),
        };
        credential
            || grant
                .subject
                .as_deref()
                .is_some_and(|subject| self.subjects.contains(subject))
    }

    /// How many lines it has.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.keys.len() + self.subjects.len()
    }

    /// Whether it denies nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The lines of a file that say something, numbered from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate();
    let trimmed = numbered.map(|(at, line)| (at + 1, line.trim()));
    trimmed.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(subject: &str, credential: Credential) -> Grant {
        Grant {
            subject: Some(subject.into()),
            credential,
            ..Grant::everything()
        }
    }

    #[test]
    fn tokens_keys_and_subjects_are_denied_each_by_its_own_name() {
        let list = DenyList::parse("# stolen\njti:t1\n key: ci\nsubject:urn:user:eve\n").unwrap();
        assert_eq!(list.len(), 3);
        let token = |id: &str| Credential::Token(Some(id.into()));
        let key = |id: &str| Credential::Key(id.into());
        // (subject, credential, denied)
        let table = [
            ("ada", token("t1"), true),
            ("ada", token("ci"), false),
            ("ada", Credential::Token(None), false),
            ("ada", key("ci"), true),
            ("ada", key("t1"), false),
            ("urn:user:eve", token("t2"), true),
            ("urn:user:eve", key("k"), true),
            ("eve", token("t2"), false),
        ];
        for (subject, credential, denied) in table {
            let grant = grant(subject, credential);
            assert_eq!(list.denies(&grant), denied, "{grant:?}");
        }
        assert!(!list.denies(&Grant::everything()));
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for (text, line) in [
            ("eve", "line 1"),
            ("\n#\nsub:eve", "line 3"),
            ("jti:", "line 1"),
            ("JTI:x", "line 1"),
        ] {
            let error = DenyList::parse(text).unwrap_err();
            assert!(error.starts_with(line), "{error}");
        }
    }
}
