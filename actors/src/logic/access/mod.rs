//! Who may do what: what somebody was granted, what he wants to do, and the one decision, for every surface alike.

mod claims;
mod deny;
mod keys;
mod pattern;
mod refusals;

pub use claims::{Audience, Claims, Expected, RoomsClaim};
pub use deny::DenyList;
pub use keys::{KeyHash, KeyLine, parse_keys};
pub use pattern::{Pattern, PatternError};
pub use refusals::Refusals;

use super::{
    fault::{Code, Fault},
    room_name::RoomName,
};
use serde_json::json;
use std::{collections::BTreeSet, fmt, sync::Arc};

/// What every subject may join besides what its patterns name: `user:` and the subject.
const OWN_ROOM: &str = "user:";

/// A right that is not about a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Registering, indexing and searching repositories.
    Index,
    /// Running code.
    Sandbox,
    /// What operators do: see and end sessions, see workers, read the files of keys again.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Index, Self::Sandbox, Self::Admin];

    /// Its name in a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Sandbox => "sandbox",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// With what somebody has proved who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// With nothing: the node asks nobody, or it is a part of its own process.
    None,
    /// With a token, and its id where it has one.
    Token(Option<Arc<str>>),
    /// With an API key of this id.
    Key(Arc<str>),
}

/// What somebody may do, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who he is.
    pub subject: Option<Arc<str>>,
    /// Rooms he may join, read, and see the members of.
    pub join: Vec<Pattern>,
    /// Rooms he may publish into.
    pub publish: Vec<Pattern>,
    /// What else he may do.
    pub scopes: BTreeSet<Scope>,
    /// From then on nothing, milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// With what he has proved it.
    pub credential: Credential,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Be in a room.
    Join(&'a RoomName),
    /// Read its history, or hear it as a stream.
    Read(&'a RoomName),
    /// See who is in it.
    Presence(&'a RoomName),
    /// Publish into it.
    Publish(&'a RoomName),
    /// Something that is not about a room.
    Use(Scope),
}

impl Grant {
    /// That of everybody where the node asks nobody, and of the actors of its own process.
    pub fn everything() -> Self {
        Self {
            subject: None,
            join: vec![Pattern::all()],
            publish: vec![Pattern::all()],
            scopes: Scope::ALL.into(),
            expires_ms: None,
            credential: Credential::None,
        }
    }

    /// The rooms whose names begin with `prefix` and that may be joined, as patterns of which none covers a room of
    /// another, in the order of their names: what a list of rooms is made of.
    pub fn joinable_within(&self, prefix: &str) -> Vec<Pattern> {
        let own = self.own_room().map(|room| Pattern::room(&room));
        let all = self.join.iter().chain(&own);
        let mut found: Vec<Pattern> = all.filter_map(|pattern| pattern.within(prefix)).collect();
        found.sort_unstable();
        found.dedup_by(|later, kept| later == kept || (!kept.is_exact() && kept.covers(later.text())));
        found
    }

    fn own_room(&self) -> Option<String> {
        self.subject
            .as_ref()
            .map(|subject| format!("{OWN_ROOM}{subject}"))
    }

    fn may_join(&self, room: &str) -> bool {
        let is_own = || {
            room.strip_prefix(OWN_ROOM)
                .is_some_and(|name| self.subject.as_deref() == Some(name))
        };
        self.join.iter().any(|pattern| pattern.covers(room)) || is_own()
    }
}

/// The decision. Errors: `unauthenticated` once the grant has expired, `forbidden` without the right.
pub fn decide(grant: &Grant, action: &Action<'_>, now_ms: i64) -> Result<(), Fault> {
    if grant.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return Err(unauthenticated("expired", "the token has expired"));
    }
    let may = match action {
        Action::Join(room) | Action::Read(room) | Action::Presence(room) => grant.may_join(room.as_str()),
        Action::Publish(room) => grant.publish.iter().any(|pattern| pattern.covers(room.as_str())),
        Action::Use(scope) => grant.scopes.contains(scope),
    };
    if may { Ok(()) } else { Err(forbidden(action)) }
}

/// The fault of somebody who has not shown who he is; `reason` is one word for a program.
pub fn unauthenticated(reason: &str, message: impl Into<String>) -> Fault {
    Fault::new(Code::Unauthenticated, message).with(json!({"reason": reason}))
}

fn forbidden(action: &Action<'_>) -> Fault {
    let details = match action.room() {
        Some(room) => json!({"action": action.name(), "room": room}),
        None => json!({"scope": action.name()}),
    };
    Fault::new(Code::Forbidden, format!("this token gives no right to {action}")).with(details)
}

impl Action<'_> {
    /// Its name, for programs and the log; of what is not about a room, the scope's.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Read(_) => "read",
            Self::Presence(_) => "presence",
            Self::Publish(_) => "publish",
            Self::Use(scope) => scope.name(),
        }
    }

    /// The room it is about.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Join(room) | Self::Read(room) | Self::Presence(room) | Self::Publish(room) => Some(room),
            Self::Use(_) => None,
        }
    }
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(room) => write!(f, "join {room}"),
            Self::Read(room) => write!(f, "read {room} (that is the right to join it)"),
            Self::Presence(room) => write!(f, "see the members of {room} (that is the right to join it)"),
            Self::Publish(room) => write!(f, "publish into {room}"),
            Self::Use(scope) => write!(f, "do this: it asks for the scope {}", scope.name()),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
