//! API keys: 256 random bits each, of which the node keeps a hash.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_actors::logic::access::KeyHash;
use sha2::{Digest, Sha256};

/// How a key begins: what tells it from a token, and what a scanner for leaked secrets goes by.
const BEGINNING: &str = "grk_";

/// Whether this is meant as a key.
pub fn is_key(token: &str) -> bool {
    token.starts_with(BEGINNING)
}

/// A new key. Nobody guesses it.
pub fn new_key() -> String {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).unwrap_or_else(|error| unreachable!("no random bits: {error}"));
    format!("{BEGINNING}{}", URL_SAFE_NO_PAD.encode(bits))
}

/// What is kept of a key. Why a plain hash is enough: [`KeyHash`].
pub fn hash(key: &str) -> KeyHash {
    Sha256::digest(key).into()
}

/// A hash in hexadecimal digits.
pub fn hex(hash: &KeyHash) -> String {
    let mut text = String::with_capacity(64);
    for byte in hash {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
