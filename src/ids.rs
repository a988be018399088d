//! Ids that the node gives out: ULIDs, so that they sort by time.

use greenroom_actors::logic::event::{EventId, NodeTag};
use greenroom_actors::logic::js_cluster::Uid;
use greenroom_actors::logic::position::Life;
use greenroom_actors::logic::presence::{Secret, SessionId};
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

/// A new id of a session of Engine.IO: 20 characters that nobody guesses.
pub fn engine_sid() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = random_bits();
    (0..20)
        .map(|i| char::from(LETTERS[(bits >> (6 * i)) as usize & 63]))
        .collect()
}

/// A new client's id, and the secret with which it may come back.
pub fn client_ids() -> (SessionId, Secret) {
    (session_id(), Secret(random_bits()))
}

/// Random bits that nobody guesses: the operating system's.
fn random_bits() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap_or_else(|error| unreachable!("no random bits: {error}"));
    u128::from_ne_bytes(bytes)
}

/// A new life of a bus.
pub fn life() -> Life {
    Life::from_random(Ulid::generate().0 as u64)
}

/// A tag for a life of this process.
pub fn node_tag() -> NodeTag {
    NodeTag::from_random(random_bits() as u64)
}

/// A node's id among JavaScript servers, for a life of this process.
pub fn js_uid() -> Uid {
    Uid::from_random(random_bits() as u64)
}

/// A name for a node that was given none.
pub fn node_name() -> String {
    format!("node-{}", &Ulid::generate().to_string()[18..].to_lowercase())
}
