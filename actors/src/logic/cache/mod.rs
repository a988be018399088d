//! What the cache keeps, under which names, for how long and in which form.

pub mod circuit;
pub mod flight;
pub mod meter;
pub mod vector;

use super::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, sync::Arc};

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The state of a project's repository as it was indexed.
    Fingerprint,
    /// What was indexed of a project. A hint: the index's own store has the truth.
    Manifest,
    /// What was made of one file of a project.
    File,
    /// The vector of a chunk of text, by a model. It belongs to whoever has that text, not to a project.
    Embedding,
    /// Where a client is that may come back. The bus writes it; here it is looked up and counted.
    Session,
    /// What running some code came to.
    Execution,
}

/// How long entries live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// `cache.ttl_long_seconds`: 30 days.
    Long,
    /// `cache.ttl_session_seconds`: 24 hours.
    Session,
    /// `cache.ttl_execution_seconds`: 1 hour.
    Execution,
}

/// What holds for a kind of entries.
#[derive(Clone, Copy, Debug)]
pub struct KindRow {
    /// Which.
    pub kind: Kind,
    /// Its name in metrics.
    pub name: &'static str,
    /// Its key, behind the prefix.
    pub key: &'static str,
    /// How long an entry lives.
    pub life: Life,
    /// Whether using it has it live as long again.
    pub is_renewed: bool,
    /// Whether an entry never changes: its key is made of all that it depends on. Such a one may be given out while nobody
    /// can say whether it was invalidated.
    pub is_constant: bool,
    /// Whether the process keeps it too.
    pub is_near: bool,
    /// Its form.
    pub encoding: &'static str,
}

/// All kinds, in the order of [`Kind`].
pub const KINDS: [KindRow; 6] = [
    KindRow {
        kind: Kind::Fingerprint,
        name: "fingerprint",
        key: "project:{id}:fingerprint",
        life: Life::Long,
        is_renewed: false,
        is_constant: false,
        is_near: true,
        encoding: "text",
    },
    KindRow {
        kind: Kind::Manifest,
        name: "manifest",
        key: "project:{id}:manifest",
        life: Life::Long,
        is_renewed: false,
        is_constant: false,
        is_near: true,
        encoding: "bytes of the index",
    },
    KindRow {
        kind: Kind::File,
        name: "file",
        key: "project:{id}:files, a hash with a field for each path",
        life: Life::Long,
        is_renewed: false,
        is_constant: false,
        // A whole hash is invalidated at once; what is in it is read when a project is loaded, and then not again.
        is_near: false,
        encoding: "bytes of the index",
    },
    KindRow {
        kind: Kind::Embedding,
        name: "embedding",
        key: "embedding:{model}:{hash of the chunk}",
        life: Life::Long,
        is_renewed: true,
        is_constant: true,
        is_near: true,
        encoding: "version, scale, int8 for each dimension",
    },
    KindRow {
        kind: Kind::Session,
        name: "session",
        key: "session:{hash of the secret}",
        life: Life::Session,
        is_renewed: false,
        is_constant: false,
        is_near: false,
        encoding: "hash of the bus",
    },
    KindRow {
        kind: Kind::Execution,
        name: "execution",
        key: "exec:{hash of code, language, image, limits, files}",
        life: Life::Execution,
        is_renewed: false,
        is_constant: true,
        is_near: true,
        encoding: "JSON",
    },
];

impl Kind {
    /// What holds for it.
    pub fn row(self) -> &'static KindRow {
        &KINDS[self as usize]
    }
}

/// The longest name of a project or a model, bytes.
pub const NAME_BYTES: usize = 128;

/// A name that cannot be part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {NAME_BYTES} of the characters A-Z, a-z, 0-9, '.', '_' and '-'")]
pub struct NameError;

/// The name of a project or a model, which fits into a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks a name. Errors: it is empty, too long, or has other characters than those of names.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(is_ours);
        is_name.then(|| Self(text.into())).ok_or(NameError)
    }

    /// As it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name, behind the prefix.
    pub text: Arc<str>,
    /// Which field of it, where it is a hash.
    pub field: Option<Arc<str>>,
}

impl Key {
    fn of(kind: Kind, text: String) -> Self {
        Self {
            kind,
            text: text.into(),
            field: None,
        }
    }

    /// The fingerprint of a project.
    pub fn fingerprint(project: &Name) -> Self {
        Self::of(Kind::Fingerprint, format!("project:{project}:fingerprint"))
    }

    /// The manifest of a project.
    pub fn manifest(project: &Name) -> Self {
        Self::of(Kind::Manifest, format!("project:{project}:manifest"))
    }

    /// All that was made of files of a project.
    pub fn files(project: &Name) -> Self {
        Self::of(Kind::File, format!("project:{project}:files"))
    }

    /// What was made of a file of a project.
    pub fn file(project: &Name, path: &str) -> Self {
        Self {
            field: Some(path.into()),
            ..Self::files(project)
        }
    }

    /// The vector of a chunk with this hash, by this model. Half of the hash, 128 bits, is in the key: no two texts share
    /// that either, and an entry takes less in Redis (the benchmark's `cache-storage`).
    pub fn embedding(model: &Name, hash: &[u8; 32]) -> Self {
        let hash = URL_SAFE_NO_PAD.encode(&hash[..16]);
        Self::of(Kind::Embedding, format!("embedding:{model}:{hash}"))
    }

    /// What running something came to, by the hash of all that it depends on.
    pub fn execution(hash: &[u8; 32]) -> Self {
        Self::of(Kind::Execution, format!("exec:{}", URL_SAFE_NO_PAD.encode(hash)))
    }

    /// Everything that belongs to a project.
    pub fn all_of(project: &Name) -> [Self; 3] {
        [
            Self::fingerprint(project),
            Self::manifest(project),
            Self::files(project),
        ]
    }

    /// The key of which the far tier says that it has changed, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = match text.split(':').collect::<Vec<_>>()[..] {
            ["project", _, "fingerprint"] => Kind::Fingerprint,
            ["project", _, "manifest"] => Kind::Manifest,
            ["project", _, "files"] => Kind::File,
            ["embedding", _, _] => Kind::Embedding,
            ["exec", _] => Kind::Execution,
            ["session", _] => Kind::Session,
            _ => return None,
        };
        Some(Self::of(kind, text.to_owned()))
    }

    /// The project that it belongs to, if it is of one.
    pub fn project(&self) -> Option<Name> {
        let (name, _) = self.text.strip_prefix("project:")?.split_once(':')?;
        Name::parse(name).ok()
    }

    /// What its name costs, bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.field.as_ref().map_or(0, |field| field.len())
    }

    /// A number to tell keys apart in logs without naming what they are made of.
    pub fn digest(&self) -> u32 {
        digest::fnv32(self.text.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn the_rows_are_in_the_order_of_the_kinds() {
        for row in &KINDS {
            assert_eq!(row.kind.row().name, row.name);
        }
    }

    #[test]
    fn names_fit_into_keys() {
        for text in ["a", "my-project_1.2", &"x".repeat(NAME_BYTES)] {
            assert_eq!(name(text).as_str(), text);
        }
        for text in ["", "a:b", "a b", "a*", "\u{e4}", &"x".repeat(NAME_BYTES + 1)] {
            assert_eq!(Name::parse(text), Err(NameError), "{text}");
        }
    }

    #[test]
    fn keys_are_read_as_what_they_are() {
        let project = name("p1");
        let keys = [
            Key::fingerprint(&project),
            Key::manifest(&project),
            Key::files(&project),
            Key::embedding(&name("m"), &[7; 32]),
            Key::execution(&[7; 32]),
        ];
        for key in keys {
            let is_of_project = !matches!(key.kind, Kind::Embedding | Kind::Execution);
            assert_eq!(key.project(), is_of_project.then(|| project.clone()));
            assert_eq!(Key::parse(&key.text), Some(key));
        }
        for text in ["", "project:p1", "history:room", "embedding:m"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_belongs_to_a_project_is_of_no_other() {
        let mine: Vec<_> = Key::all_of(&name("p1")).map(|key| key.text).into();
        let other: Vec<_> = Key::all_of(&name("p1.x")).map(|key| key.text).into();
        assert!(mine.iter().all(|key| !other.contains(key)));
    }
}
