//! The names of keys and channels. All begin with the prefix in braces, so that a Redis Cluster keeps them in one slot.

use greenroom_actors::logic::{cache::Name, event::NodeTag, room_name::RoomName};
use sha2::{Digest, Sha256};

/// The prefix where the configuration names none.
const PREFIX: &str = "greenroom";

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    tag: String,
    prefix: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { PREFIX } else { prefix };
        Self {
            tag: prefix.to_owned(),
            prefix: format!("{{{prefix}}}:"),
        }
    }

    /// The hash tag of all keys.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// A name with the prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Life, numbers, eras.
    pub fn meta(&self) -> String {
        self.key("meta")
    }

    /// The last number and offset of each room.
    pub fn rooms(&self) -> String {
        self.key("rooms")
    }

    /// The last event that was accepted from each node: its count and number.
    pub fn origins(&self) -> String {
        self.key("origins")
    }

    /// The nodes.
    pub fn nodes(&self) -> String {
        self.key("nodes")
    }

    /// Which number there was how long ago.
    pub fn clock(&self) -> String {
        self.key("clock")
    }

    /// Who keeps house.
    pub fn tending(&self) -> String {
        self.key("tending")
    }

    /// What depends on something.
    pub fn dependents(&self, on: &Name) -> String {
        self.key(&format!("dependents:{on}"))
    }

    /// The projects that were indexed last.
    pub fn projects(&self) -> String {
        self.key("projects")
    }

    /// A room's history.
    pub fn history(&self, room: &RoomName) -> String {
        self.key(&format!("history:{room}"))
    }

    /// What a publisher's own id came to. Publishers may have any name, so it is hashed.
    pub fn id(&self, publisher: Option<&str>, id: &str) -> String {
        let publisher = publisher.map_or_else(|| "-".to_owned(), |name| format!("+{name}"));
        self.key(&format!("id:{}:{id}", digest(publisher.as_bytes())))
    }

    /// A client's record. Its secret is not in Redis.
    pub fn session(&self, secret: &str) -> String {
        self.key(&format!("session:{}", digest(secret.as_bytes())))
    }

    /// What the keys of each node begin with.
    pub fn at(&self) -> String {
        self.key("at:")
    }

    /// The rooms of a node that have members there.
    pub fn node_rooms(&self, node: NodeTag) -> String {
        format!("{}{node}", self.at())
    }

    /// What the members of a node's rooms begin with.
    pub fn node_members(&self, node: NodeTag) -> String {
        format!("{}{node}:", self.at())
    }

    /// The channel of a room's events.
    pub fn room_channel(&self, room: &RoomName) -> String {
        self.key(&format!("room:{room}"))
    }

    /// The channel of a node's marks.
    pub fn node_channel(&self, node: NodeTag) -> String {
        self.key(&format!("node:{node}"))
    }

    /// The channel of all nodes.
    pub fn all_channel(&self) -> String {
        self.key("all")
    }
}

/// 128 bits of SHA-256, in hexadecimal.
fn digest(text: &[u8]) -> String {
    let hash = Sha256::digest(text);
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
