//! What a token says, once its signature holds: from claims to a grant.

use super::{Credential, Grant, Pattern, Scope, unauthenticated};
use crate::logic::fault::Fault;
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeSet, sync::Arc};

/// Patterns of one kind in a grant, at most: each is looked at for each room.
const PATTERNS_MAX: usize = 256;
/// Bytes of a subject or of an id, at most.
const NAME_BYTES_MAX: usize = 256;

/// The claims of a token (RFC 7519) as far as they mean something here. A claim that is there twice is refused.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Claims {
    /// Who it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// From then on it means nothing, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub exp: Option<f64>,
    /// Before that it means nothing, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_seconds")]
    pub nbf: Option<f64>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// For whom it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Which rooms.
    #[serde(default)]
    pub rooms: RoomsClaim,
    /// What else. Those that mean nothing here are passed over: an issuer has scopes of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// For whom a token is: one name or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Which rooms a token or key is for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsClaim {
    /// Patterns of rooms that may be joined.
    pub join: Vec<String>,
    /// Patterns of rooms that may be published into.
    pub publish: Vec<String>,
}

/// What a node expects of every token.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The issuer; `None`: any.
    pub issuer: Option<String>,
    /// One of its audiences; `None`: any.
    pub audience: Option<String>,
    /// How far the clocks of issuer and node may be apart, milliseconds.
    pub leeway_ms: i64,
}

impl Claims {
    /// What the token grants at `now_ms`, milliseconds since 1970. Errors: `unauthenticated`, with the reason.
    pub fn grant(self, expected: &Expected, now_ms: i64) -> Result<Grant, Fault> {
        let malformed = |message: String| unauthenticated("malformed", message);
        let subject = checked_name("sub", self.sub).map_err(malformed)?;
        let subject = subject.ok_or_else(|| malformed("the token has no subject (claim sub)".into()))?;
        let exp = self
            .exp
            .ok_or_else(|| malformed("the token does not expire (claim exp)".into()))?;
        let expires_ms = millis("exp", exp)
            .map_err(malformed)?
            .saturating_add(expected.leeway_ms);
        if expires_ms <= now_ms {
            return Err(unauthenticated("expired", "the token has expired"));
        }
        let begins_ms = self
            .nbf
            .map(|nbf| millis("nbf", nbf))
            .transpose()
            .map_err(malformed)?;
        if begins_ms.is_some_and(|begins_ms| begins_ms.saturating_sub(expected.leeway_ms) > now_ms) {
            return Err(unauthenticated(
                "not_yet",
                "the token does not hold yet (claim nbf)",
            ));
        }
        if expected.issuer.is_some() && self.iss != expected.issuer {
            return Err(unauthenticated(
                "issuer",
                "the token is of another issuer (claim iss)",
            ));
        }
        if !expected
            .audience
            .as_deref()
            .is_none_or(|name| is_for(self.aud.as_ref(), name))
        {
            return Err(unauthenticated(
                "audience",
                "the token is for somebody else (claim aud)",
            ));
        }
        let id = checked_name("jti", self.jti).map_err(malformed)?;
        Ok(Grant {
            subject: Some(subject),
            join: patterns("join", &self.rooms.join).map_err(malformed)?,
            publish: patterns("publish", &self.rooms.publish).map_err(malformed)?,
            scopes: scopes(&self.scopes),
            expires_ms: Some(expires_ms),
            credential: Credential::Token(id),
        })
    }
}

/// Writes a time without a fraction: some readers of tokens take no other.
pub(super) fn whole_seconds<S: Serializer>(seconds: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    seconds.map(|seconds| seconds as i64).serialize(to)
}

fn is_for(audience: Option<&Audience>, name: &str) -> bool {
    match audience {
        Some(Audience::One(one)) => one == name,
        Some(Audience::Many(many)) => many.iter().any(|one| one == name),
        None => false,
    }
}

/// The scopes that mean something here.
fn scopes(names: &[String]) -> BTreeSet<Scope> {
    names.iter().filter_map(|name| Scope::named(name)).collect()
}

/// A subject or an id, where there is one.
pub(super) fn checked_name(field: &str, name: Option<String>) -> Result<Option<Arc<str>>, String> {
    let is_fine = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
    match name {
        Some(name) if !is_fine(&name) => Err(format!(
            "{field} has 1 to {NAME_BYTES_MAX} bytes and no control characters"
        )),
        name => Ok(name.map(Into::into)),
    }
}

/// The patterns of a list, and which is none.
pub(super) fn patterns(list: &str, texts: &[String]) -> Result<Vec<Pattern>, String> {
    if texts.len() > PATTERNS_MAX {
        return Err(format!("rooms.{list} has at most {PATTERNS_MAX} patterns"));
    }
    let parse = |text: &String| text.parse().map_err(|error| format!("rooms.{list}: {error}"));
    texts.iter().map(parse).collect()
}

/// Seconds since 1970, perhaps with a fraction, as milliseconds.
pub(super) fn millis(field: &str, seconds: f64) -> Result<i64, String> {
    // Below 2^53 a float holds every millisecond; that is the year 287,396.
    const MS_MAX: f64 = 9_007_199_254_740_992.0;
    let ms = seconds * 1_000.0;
    if (0.0..=MS_MAX).contains(&ms) {
        Ok(ms as i64)
    } else {
        Err(format!("{field} is no time in seconds since 1970"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW_MS: i64 = 1_000_000;

    fn expected() -> Expected {
        Expected {
            issuer: Some("idp".into()),
            audience: Some("greenroom".into()),
            leeway_ms: 5_000,
        }
    }

    /// Claims that hold, with these changes; `null` takes one away.
    fn claims(changes: Value) -> Claims {
        let mut all = json!({
            "sub": "ada", "exp": 1_100, "nbf": 900, "iss": "idp", "aud": "greenroom", "jti": "t1",
            "rooms": {"join": ["agent:*"], "publish": ["agent:42"]}, "scopes": ["index", "openid"], "name": "Ada",
        });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        serde_json::from_value(all).unwrap()
    }

    fn reason(changes: Value) -> String {
        let fault = claims(changes).grant(&expected(), NOW_MS).unwrap_err();
        fault.details.unwrap()["reason"].as_str().unwrap().to_owned()
    }

    #[test]
    fn claims_that_hold_are_a_grant() {
        let grant = claims(json!({})).grant(&expected(), NOW_MS).unwrap();
        let wanted = Grant {
            subject: Some("ada".into()),
            join: vec![Pattern::beginning("agent:")],
            publish: vec![Pattern::room("agent:42")],
            scopes: [Scope::Index].into(),
            expires_ms: Some(1_105_000),
            credential: Credential::Token(Some("t1".into())),
        };
        assert_eq!(grant, wanted);
    }

    #[test]
    fn each_claim_that_does_not_hold_has_its_reason() {
        let table = [
            (json!({"sub": null}), "malformed"),
            (json!({"sub": ""}), "malformed"),
            (json!({"sub": "a\nb"}), "malformed"),
            (json!({"sub": "x".repeat(257)}), "malformed"),
            (json!({"jti": ""}), "malformed"),
            (json!({"exp": null}), "malformed"),
            (json!({"exp": -1}), "malformed"),
            (json!({"exp": 1e300}), "malformed"),
            (json!({"exp": 995}), "expired"),
            (json!({"nbf": 1_006}), "not_yet"),
            (json!({"iss": "other"}), "issuer"),
            (json!({"iss": null}), "issuer"),
            (json!({"aud": "other"}), "audience"),
            (json!({"aud": ["other", "another"]}), "audience"),
            (json!({"aud": null}), "audience"),
            (json!({"rooms": {"join": ["a*b"]}}), "malformed"),
            (json!({"rooms": {"publish": [""]}}), "malformed"),
            (json!({"rooms": {"join": vec!["a"; 257]}}), "malformed"),
        ];
        for (changes, wanted) in table {
            assert_eq!(reason(changes.clone()), wanted, "{changes}");
        }
    }

    #[test]
    fn clocks_may_be_apart_by_the_leeway_and_no_more() {
        for changes in [
            json!({"exp": 995.001}),
            json!({"nbf": 1_005}),
            json!({"nbf": null}),
        ] {
            assert!(
                claims(changes.clone()).grant(&expected(), NOW_MS).is_ok(),
                "{changes}"
            );
        }
    }

    #[test]
    fn an_audience_may_be_one_of_several_and_nothing_is_expected_by_default() {
        let several = claims(json!({"aud": ["other", "greenroom"]}));
        assert!(several.grant(&expected(), NOW_MS).is_ok());
        let bare = claims(json!({"aud": null, "iss": null, "rooms": null, "scopes": null}));
        let grant = bare.grant(&Expected::default(), NOW_MS).unwrap();
        assert!(grant.join.is_empty() && grant.publish.is_empty() && grant.scopes.is_empty());
    }

    #[test]
    fn what_is_there_twice_or_of_another_type_is_no_claims() {
        for text in [
            r#"{"sub":"ada","sub":"eve"}"#,
            r#"{"exp":1,"exp":2}"#,
            r#"{"rooms":{"join":["a"]},"rooms":{"join":["*"]}}"#,
            r#"{"rooms":{"join":[],"join":["*"]}}"#,
            r#"{"exp":"1100"}"#,
            r#"{"sub":7}"#,
            r#"{"rooms":{"read":["*"]}}"#,
            r#"{"rooms":["*"]}"#,
            r#"{"scopes":"admin"}"#,
        ] {
            assert!(serde_json::from_str::<Claims>(text).is_err(), "{text}");
        }
    }
}
