//! The files of keys and of those who are denied, as they were read last.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use greenroom_actors::logic::access::{DenyList, Grant, KeyHash, parse_keys, unauthenticated};
use greenroom_actors::logic::fault::Fault;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::keys::hash;
use super::verifiers::Verifiers;
use crate::config::sections::Auth;

/// Bytes of a file, at most: what is larger is some other file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{key}` = {path:?} {problem}")]
pub struct FileError {
    key: &'static str,
    path: String,
    problem: String,
}

/// See the module's description.
pub(super) struct Known {
    pub(super) verifiers: Verifiers,
    pub(super) keys: HashMap<KeyHash, Arc<Grant>>,
    pub(super) denied: DenyList,
    /// A hash over all that was read: the same files give the same one.
    pub(super) print: KeyHash,
}

impl Known {
    /// Reads all files.
    pub(super) fn read(config: &Auth) -> Result<Self, FileError> {
        let mut print = Sha256::new();
        let mut verifiers = Verifiers::default();
        if let Some(secret) = &config.jwt_secret {
            verifiers.add_secret(secret.expose());
        }
        let pem = |text: &str| verifiers.add_pem(text);
        read(
            "auth.jwt_public_key_file",
            &config.jwt_public_key_file,
            &mut print,
            pem,
        )?;
        let set = |text: &str| verifiers.add_set(text);
        read("auth.jwks_file", &config.jwks_file, &mut print, set)?;
        let keys = read("auth.keys_file", &config.keys_file, &mut print, parse_keys)?;
        let denied = read("auth.deny_file", &config.deny_file, &mut print, DenyList::parse)?;
        let keys = keys.unwrap_or_default().into_iter();
        Ok(Self {
            verifiers,
            keys: keys.map(|(hash, grant)| (hash, Arc::new(grant))).collect(),
            denied: denied.unwrap_or_default(),
            print: print.finalize().into(),
        })
    }

    /// What whoever shows this key may do. It is found by its hash: how long that takes says nothing about a key.
    pub(super) fn key(&self, key: &str, now_ms: i64) -> Result<Arc<Grant>, Fault> {
        let found = self.keys.get(&hash(key));
        let grant =
            found.ok_or_else(|| unauthenticated("unknown_key", "this node does not know this key"))?;
        match grant.expires_ms {
            Some(expires_ms) if expires_ms <= now_ms => {
                Err(unauthenticated("expired", "the key has expired"))
            }
            _ => Ok(grant.clone()),
        }
    }
}

/// Reads one file, if one is named.
fn read<T>(
    key: &'static str,
    path: &Option<String>,
    print: &mut Sha256,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, FileError> {
    let Some(path) = path else { return Ok(None) };
    let wrong = |problem: String| FileError {
        key,
        path: path.clone(),
        problem,
    };
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let is_file = fs::metadata(path).map_err(unreadable)?;
    if !is_file.is_file() || is_file.len() > FILE_BYTES_MAX {
        return Err(wrong("is no file of a sensible size".into()));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    print.update(Sha256::digest(&text));
    parse(&text).map(Some).map_err(wrong)
}
