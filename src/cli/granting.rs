//! What `token` and `key` share: what is to be granted, and until when.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use ulid::Ulid;

use crate::actors::logic::access::{RoomsClaim, Scope};

/// What is to be granted.
#[derive(clap::Args)]
pub struct Granting {
    /// Who shows it: a user, an agent, a service
    #[arg(long)]
    pub sub: String,
    /// Rooms that may be joined: a name, or a beginning such as agent:*; may be repeated
    #[arg(long, value_name = "PATTERN")]
    join: Vec<String>,
    /// Rooms that may be published into; may be repeated
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// What else may be done: index, sandbox or admin; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Its id, by which it can be denied [default: made up]
    #[arg(long)]
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Granting {
    /// The rooms.
    pub fn rooms(&self) -> RoomsClaim {
        RoomsClaim {
            join: self.join.clone(),
            publish: self.publish.clone(),
        }
    }

    /// The scopes. Errors: one of them means nothing to a node.
    pub fn scopes(&self) -> anyhow::Result<Vec<String>> {
        if let Some(unknown) = self.scopes.iter().find(|name| Scope::named(name).is_none()) {
            let known = Scope::ALL.map(Scope::name).join(", ");
            bail!("there is no scope {unknown:?}; there are {known}");
        }
        Ok(self.scopes.clone())
    }

    /// The id.
    pub fn id(&self) -> String {
        self.id.clone().unwrap_or_else(|| Ulid::generate().to_string())
    }
}

/// Seconds since 1970, so many seconds from now.
pub fn seconds_from_now(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs()).saturating_add(seconds)
}
