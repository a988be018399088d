//! API keys as they are kept: a line each, with the hash of the key and what it grants.

use super::{Credential, Grant, RoomsClaim, Scope, claims};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// The SHA-256 of a key. A plain hash is enough: a key is 256 random bits, of which nobody can try a part worth naming,
/// so there is nothing for a slow hash or a salt to protect.
pub type KeyHash = [u8; 32];

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLine {
    /// The key's name, by which it is denied and logged.
    pub id: String,
    /// Its hash: 64 hexadecimal digits.
    pub sha256: String,
    /// Who shows it.
    pub sub: String,
    /// Which rooms.
    #[serde(default)]
    pub rooms: RoomsClaim,
    /// What else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// From then on it means nothing, seconds since 1970.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "claims::whole_seconds"
    )]
    pub exp: Option<f64>,
}

impl KeyLine {
    /// The hash and what the key grants; or what is wrong.
    pub fn read(self) -> Result<(KeyHash, Grant), String> {
        let missing = |name: &str| format!("{name} is empty");
        let id = claims::checked_name("id", Some(self.id))?.ok_or_else(|| missing("id"))?;
        let subject = claims::checked_name("sub", Some(self.sub))?.ok_or_else(|| missing("sub"))?;
        let scope = |name: &String| Scope::named(name).ok_or_else(|| format!("there is no scope {name:?}"));
        let scopes: Result<BTreeSet<Scope>, String> = self.scopes.iter().map(scope).collect();
        let grant = Grant {
            subject: Some(subject),
            join: claims::patterns("join", &self.rooms.join)?,
            publish: claims::patterns("publish", &self.rooms.publish)?,
            scopes: scopes?,
            expires_ms: self.exp.map(|exp| claims::millis("exp", exp)).transpose()?,
            credential: Credential::Key(id),
        };
        let hash = parse_hash(&self.sha256).ok_or("sha256 has 64 hexadecimal digits")?;
        Ok((hash, grant))
    }
}

fn parse_hash(text: &str) -> Option<KeyHash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = KeyHash::default();
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Reads a file of keys: a JSON object a line; empty lines and those that begin with `#` are passed over. Errors name
/// the line.
pub fn parse_keys(text: &str) -> Result<HashMap<KeyHash, Grant>, String> {
    let mut keys = HashMap::new();
    let mut ids = BTreeSet::new();
    for (number, line) in super::deny::lines(text) {
        let wrong = |error: String| format!("line {number}: {error}");
        let line: KeyLine = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let is_new = ids.insert(line.id.clone());
        let (hash, grant) = line.read().map_err(wrong)?;
        if !is_new || keys.insert(hash, grant).is_some() {
            return Err(wrong("a key of this id or hash is there already".into()));
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, digit: char) -> String {
        let hash: String = [digit; 64].iter().collect();
        format!(
            r#"{{"id":"{id}","sha256":"{hash}","sub":"ci","rooms":{{"publish":["agent:*"]}},"scopes":["admin"]}}"#
        )
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let text = format!("# for the build\n\n{}\n  {}\n", line("k1", '0'), line("k2", 'f'));
        let keys = parse_keys(&text).unwrap();
        assert_eq!(keys.len(), 2);
        let grant = &keys[&[0xff; 32]];
        assert_eq!(grant.credential, Credential::Key("k2".into()));
        assert_eq!((grant.subject.as_deref(), grant.expires_ms), (Some("ci"), None));
        assert!(grant.join.is_empty() && grant.scopes.contains(&Scope::Admin));
    }

    #[test]
    fn a_line_that_does_not_hold_is_named() {
        let good = line("k1", '0');
        let table = [
            ("nonsense".to_owned(), "expected"),
            (good.clone(), "already"),
            (line("k2", '0'), "already"),
            (line("k1", '1'), "already"),
            (line("", '1'), "id has"),
            (line("k2", 'g'), "sha256"),
            (good.replace("k1", "k2").replace("admin", "root"), "\"root\""),
            (good.replace("k1", "k2").replace("agent:*", "a*b"), "a*b"),
            (good.replace("\"sub\"", "\"subject\""), "subject"),
        ];
        for (second, wanted) in table {
            let error = parse_keys(&format!("{good}\n{second}")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(wanted), "{error}");
        }
    }
}
