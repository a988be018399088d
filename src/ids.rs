//! Ids that the node gives out: ULIDs, so that they sort by time.

use greenroom_actors::broker::NodeKey;
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

/// What a random id is written in: six bits a character.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How the ids of a node's sessions of Engine.IO begin where others may be asked for them: 24 bits of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeMark([u8; 4]);

impl NodeMark {
    /// Of this life of a node.
    pub fn of(tag: NodeTag) -> Self {
        Self([0, 1, 2, 3].map(|i| LETTERS[(tag.0 >> (6 * i)) as usize & 63]))
    }

    /// That an id begins with, if it is as long as one of a session.
    pub fn in_sid(sid: &str) -> Option<Self> {
        let mark = sid.as_bytes().first_chunk::<4>()?;
        (sid.len() == SID_CHARACTERS).then_some(Self(*mark))
    }
}

/// Characters of the id of a session of Engine.IO.
const SID_CHARACTERS: usize = 20;

/// A new id of a session of Engine.IO: 20 characters, of which nobody guesses at least 16, and so 96 bits. Those of a node
/// that is not alone begin with its mark.
pub fn engine_sid(mark: Option<NodeMark>) -> String {
    let bits = random_bits();
    let marked = mark.map_or_else(Vec::new, |NodeMark(mark)| mark.to_vec());
    let random = (marked.len()..SID_CHARACTERS).map(|i| LETTERS[(bits >> (6 * i)) as usize & 63]);
    let characters = marked.iter().copied().chain(random);
    characters.map(char::from).collect()
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

/// A secret for a life of this process.
pub fn node_key() -> NodeKey {
    NodeKey(format!("{:032x}", random_bits()))
}

/// A name for a node that was given none.
pub fn node_name() -> String {
    format!("node-{}", &Ulid::generate().to_string()[18..].to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_id_of_a_session_is_secret_beyond_its_mark() {
        let mark = NodeMark::of(node_tag());
        for (mark, random) in [(Some(mark), 16), (None, 20)] {
            let sids: Vec<String> = (0..2_000).map(|_| engine_sid(mark)).collect();
            assert!(sids.iter().all(|sid| sid.len() == 20));
            for at in 0..20 {
                let different: BTreeSet<u8> = sids.iter().map(|sid| sid.as_bytes()[at]).collect();
                // All 64 are met in 2,000, but for a chance of 1 in 10^11.
                let expected = if at < 20 - random { 1 } else { 64 };
                assert_eq!(different.len(), expected, "character {at}");
            }
            if mark.is_some() {
                assert!(sids.iter().all(|sid| NodeMark::in_sid(sid) == mark));
            }
        }
    }

    #[test]
    fn what_is_no_id_has_no_mark() {
        for sid in [
            "",
            "abc",
            "abcdabcdabcdabcdabc",
            "abcdabcdabcdabcdabcda",
            "üüüüüüüüüüü",
        ] {
            assert_eq!(NodeMark::in_sid(sid), None, "{sid}");
        }
    }
}
