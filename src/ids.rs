//! Ids that the node gives out: ULIDs, so that they sort by time.

use greenroom_actors::logic::event::EventId;
use greenroom_actors::logic::position::Life;
use greenroom_actors::logic::presence::SessionId;
use ulid::Ulid;

/// A new event id.
pub fn event_id() -> EventId {
    let text = Ulid::generate().to_string();
    EventId::parse(&text).unwrap_or_else(|_| unreachable!("a ULID is letters and digits"))
}

/// A new session id.
pub fn session_id() -> SessionId {
    SessionId(Ulid::generate().0)
}

/// A new life of a bus.
pub fn life() -> Life {
    Life::from_random(Ulid::generate().0 as u64)
}

/// A name for a node that was given none.
pub fn node_name() -> String {
    format!("node-{}", &Ulid::generate().to_string()[18..].to_lowercase())
}
