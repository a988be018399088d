//! Tokens that hold, and every way to forge one.

use super::tokens::Signer;
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_actors::logic::access::Claims;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

use crate::config::{Secret, sections::AuthMode};

const NOW_MS: i64 = 1_700_000_000_000;
const SECRET: &str = "a secret of thirty-two bytes, or a few more";

/// Makes a pair of keys: PEM of the private and of the public one.
fn pair(folder: &Path, name: &str, kind: &[&str]) -> (String, String) {
    let path = |end: &str| folder.join(format!("{name}.{end}"));
    let openssl = |arguments: &[&str], rest: &[&Path]| {
        let mut command = Command::new("openssl");
        command.args(arguments);
        command.args(rest);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let (private, public) = (path("pem"), path("pub"));
    openssl(&[&["genpkey"], kind, &["-out"]].concat(), &[&private]);
    openssl(
        &["pkey", "-pubout", "-in"],
        &[&private, Path::new("-out"), &public],
    );
    (
        fs::read_to_string(private).unwrap(),
        fs::read_to_string(public).unwrap(),
    )
}

const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const EC: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const ED: &[&str] = &["-algorithm", "ED25519"];

fn jwk(public: &str, name: Option<&str>) -> Value {
    let pem = public.as_bytes();
    let key = DecodingKey::from_rsa_pem(pem)
        .or_else(|_| DecodingKey::from_ec_pem(pem))
        .or_else(|_| DecodingKey::from_ed_pem(pem));
    let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&key.unwrap(), None).unwrap()).unwrap();
    if let Some(name) = name {
        jwk["kid"] = name.into();
    }
    jwk
}

fn write(folder: &Path, name: &str, text: &str) -> Option<String> {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    Some(path.to_str().unwrap().to_owned())
}

fn open(config: Auth) -> Authority {
    let config = Auth {
        mode: AuthMode::Token,
        ..config
    };
    Authority::open(&config, Arc::new(|| NOW_MS)).unwrap_or_else(|error| panic!("{error}"))
}

fn with_secret() -> Auth {
    Auth {
        jwt_secret: Some(Secret::new(SECRET)),
        ..Auth::default()
    }
}

fn claims() -> Claims {
    serde_json::from_value(json!({"sub": "ada", "exp": NOW_MS / 1_000 + 60, "rooms": {"join": ["a"]}}))
        .unwrap()
}

fn sign(pem: &str, name: Option<&str>) -> String {
    let (text, name) = (pem.to_owned(), name.map(str::to_owned));
    Signer::Pem { text, name }.sign(&claims()).unwrap()
}

fn reason(authority: &Authority, token: &str) -> String {
    match authority.admit(Some(token), NOW_MS) {
        Ok(_) => "admitted".to_owned(),
        Err(fault) => fault.details.unwrap()["reason"].as_str().unwrap().to_owned(),
    }
}

/// A token of these parts, signed as HS256 with this secret.
fn forge(head: &Value, body: &str, secret: &[u8]) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(&head.to_string()), part(body));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn body() -> String {
    serde_json::to_string(&claims()).unwrap()
}

#[test]
fn a_token_of_each_kind_of_key_is_known_by_its_file() {
    let folder = TempDir::new().unwrap();
    for (name, kind) in [("rsa", RSA), ("ec", EC), ("ed", ED)] {
        let (private, public) = pair(folder.path(), name, kind);
        let (other, _) = pair(folder.path(), "other", kind);
        let authority = open(Auth {
            jwt_public_key_file: write(folder.path(), "key", &public),
            ..Auth::default()
        });
        let grant = authority.admit(Some(&sign(&private, None)), NOW_MS).unwrap();
        assert_eq!(grant.subject.as_deref(), Some("ada"));
        assert_eq!(
            reason(&authority, &sign(&private, Some("any"))),
            "admitted",
            "the name means nothing here"
        );
        assert_eq!(reason(&authority, &sign(&other, None)), "signature", "{name}");
    }
}

#[test]
fn what_a_public_key_file_must_not_hold_is_told() {
    let folder = TempDir::new().unwrap();
    let (private, public) = pair(folder.path(), "ec", EC);
    let small = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
    let (_, small) = pair(folder.path(), "small", &small);
    let mut jwk = jwk(&public, Some("k"));
    let set = |keys: &[&Value]| json!({"keys": keys}).to_string();
    let twice = set(&[&jwk, &jwk]);
    jwk["alg"] = "HS256".into();
    let oct = json!({"kty": "oct", "k": "c2VjcmV0"});
    let table = [
        ("pem", private, "private"),
        ("pem", small, "2,048"),
        ("pem", "nonsense".to_owned(), "PEM"),
        ("set", "{}".to_owned(), "no JWK set"),
        ("set", set(&[]), "no key"),
        ("set", set(&[&oct]), "auth.jwt_secret"),
        ("set", set(&[&jwk]), "alg"),
        ("set", twice, "twice"),
    ];
    for (kind, text, wanted) in table {
        let path = write(folder.path(), "key", &text);
        let config = match kind {
            "pem" => Auth {
                jwt_public_key_file: path,
                ..Auth::default()
            },
            _ => Auth {
                jwks_file: path,
                ..Auth::default()
            },
        };
        let error = Authority::open(&config, Arc::new(|| 0))
            .err()
            .map(|error| error.to_string());
        assert!(
            error.as_deref().is_some_and(|error| error.contains(wanted)),
            "{wanted}: {error:?}"
        );
    }
}

#[test]
fn a_token_names_its_key_where_there_is_a_set_of_them() {
    let folder = TempDir::new().unwrap();
    let (one, one_public) = pair(folder.path(), "one", EC);
    let (two, two_public) = pair(folder.path(), "two", RSA);
    let encrypts = json!({"kty": "RSA", "use": "enc", "kid": "e", "n": "AQAB", "e": "AQAB"});
    let set = json!({"keys": [jwk(&one_public, Some("one")), jwk(&two_public, Some("two")), encrypts]});
    let authority = open(Auth {
        jwks_file: write(folder.path(), "set", &set.to_string()),
        ..with_secret()
    });
    let table = [
        (sign(&one, Some("one")), "admitted"),
        (sign(&two, Some("two")), "admitted"),
        (sign(&one, Some("two")), "algorithm"),
        (sign(&one, None), "algorithm"),
        (sign(&one, Some("three")), "unknown_key"),
        (sign(&one, Some("e")), "unknown_key"),
        (sign(&one, Some("")), "unknown_key"),
        (sign(&one, Some("../../../../dev/null")), "unknown_key"),
        (sign(&one, Some("one' OR '1'='1")), "unknown_key"),
        (Signer::Secret(SECRET.into()).sign(&claims()).unwrap(), "admitted"),
        (
            forge(&json!({"alg": "HS256", "kid": "one"}), &body(), SECRET.as_bytes()),
            "algorithm",
        ),
    ];
    for (token, wanted) in table {
        assert_eq!(reason(&authority, &token), wanted, "{token}");
    }
}

#[test]
fn the_public_key_is_no_secret_to_sign_with() {
    let folder = TempDir::new().unwrap();
    for (name, kind) in [("rsa", RSA), ("ec", EC), ("ed", ED)] {
        let (_, public) = pair(folder.path(), name, kind);
        let authority = open(Auth {
            jwt_public_key_file: write(folder.path(), "key", &public),
            ..Auth::default()
        });
        for secret in [public.as_str(), public.trim_end(), ""] {
            let token = forge(&json!({"alg": "HS256", "typ": "JWT"}), &body(), secret.as_bytes());
            assert_eq!(reason(&authority, &token), "algorithm", "{name}");
        }
    }
}

fn b64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn what_is_not_signed_or_not_as_the_key_is_for_is_refused() {
    let authority = open(with_secret());
    let good = Signer::Secret(SECRET.into()).sign(&claims()).unwrap();
    assert_eq!(reason(&authority, &good), "admitted");
    let parts: Vec<&str> = good.split('.').collect();
    let [head, middle, signature] = parts[..] else {
        panic!("{good}")
    };
    let none = |alg: &str| format!("{}.{middle}.", b64(&json!({"alg": alg}).to_string()));
    let sign_as = |alg: &str| forge(&json!({"alg": alg}), &body(), SECRET.as_bytes());
    let eve = b64(&body().replace("ada", "eve"));
    let table = [
        (none("none"), "malformed"),
        (none("None"), "malformed"),
        (none("NONE"), "malformed"),
        (format!("{}{signature}", none("none")), "malformed"),
        (none("HS256"), "signature"),
        (sign_as("HS512"), "algorithm"),
        (sign_as("RS256"), "algorithm"),
        (sign_as("ES256"), "algorithm"),
        (sign_as("EdDSA"), "algorithm"),
        (format!("{head}.{eve}.{signature}"), "signature"),
        (
            format!("{head}.{middle}.{}", &signature[..signature.len() - 4]),
            "signature",
        ),
        (format!("{head}.{middle}.{signature}AAAA"), "signature"),
        (format!("{head}.{middle}."), "signature"),
        (format!("{head}.{middle}"), "malformed"),
        (format!("{good}."), "malformed"),
        (format!("{good}.{signature}"), "malformed"),
        (format!(" {good}"), "malformed"),
        (String::new(), "malformed"),
        ("..".into(), "malformed"),
        ("x".repeat(9_000), "malformed"),
    ];
    for (token, wanted) in table {
        assert_eq!(reason(&authority, &token), wanted, "{token}");
    }
}

#[test]
fn what_is_signed_and_says_what_does_not_hold_is_refused() {
    let authority = open(with_secret());
    let with = |head: Value| forge(&head, &body(), SECRET.as_bytes());
    let said = |body: &str| forge(&json!({"alg": "HS256"}), body, SECRET.as_bytes());
    let other = b"another secret of thirty-two bytes or more";
    let table = [
        (forge(&json!({"alg": "HS256"}), &body(), other), "signature"),
        (
            with(json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
            "malformed",
        ),
        (with(json!({"alg": ["HS256", "none"]})), "malformed"),
        (said(&body().replacen('{', r#"{"sub":"eve","#, 1)), "malformed"),
        (said(r#"{"sub":"ada","exp":1,"exp":99999999999}"#), "malformed"),
        (said("[]"), "malformed"),
        (said("null"), "malformed"),
        (said(r#"{"sub":"ada"}"#), "malformed"),
    ];
    for (token, wanted) in table {
        assert_eq!(reason(&authority, &token), wanted, "{token}");
    }
    let unknown = format!("grk_{}", b64(&"x".repeat(32)));
    assert_eq!(reason(&authority, &unknown), "unknown_key");
    let missing = authority.admit(None, NOW_MS).unwrap_err();
    assert_eq!(missing.details.unwrap()["reason"], "missing");
}

#[test]
fn a_key_brought_along_in_the_head_is_not_looked_at() {
    let folder = TempDir::new().unwrap();
    let (_, public) = pair(folder.path(), "ours", EC);
    let (theirs, their_public) = pair(folder.path(), "theirs", EC);
    let authority = open(Auth {
        jwt_public_key_file: write(folder.path(), "key", &public),
        ..Auth::default()
    });
    let jwk: Jwk = serde_json::from_value(jwk(&their_public, None)).unwrap();
    let head = Header {
        jwk: Some(jwk),
        jku: Some("https://evil.example.com/keys".into()),
        x5u: Some("file:///dev/null".into()),
        ..Header::new(Algorithm::ES256)
    };
    let key = EncodingKey::from_ec_pem(theirs.as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&head, &claims(), &key).unwrap();
    assert_eq!(reason(&authority, &token), "signature");
}

#[test]
fn keys_and_those_denied_are_read_again_and_what_does_not_hold_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let key = keys::new_key();
    let line = |join: &str| {
        let sha256 = keys::hex(&keys::hash(&key));
        json!({"id": "k1", "sha256": sha256, "sub": "ci", "rooms": {"join": [join]}}).to_string()
    };
    let authority = open(Auth {
        keys_file: write(folder.path(), "keys", &line("a")),
        deny_file: write(folder.path(), "deny", ""),
        ..Auth::default()
    });
    let grant = authority.admit(Some(&key), NOW_MS).unwrap();
    assert_eq!(
        (grant.subject.as_deref(), authority.holds(&grant)),
        (Some("ci"), true)
    );
    assert_eq!(reason(&authority, &format!("{key}A")), "unknown_key");
    assert_eq!(authority.reload(), Ok(false));
    write(folder.path(), "deny", "subject:ci");
    assert_eq!((authority.reload(), authority.holds(&grant)), (Ok(true), false));
    assert_eq!(reason(&authority, &key), "revoked");
    write(folder.path(), "deny", "who:ci");
    let error = authority.reload().unwrap_err().to_string();
    assert!(
        error.contains("`auth.deny_file`") && error.contains("line 1"),
        "{error}"
    );
    assert_eq!(
        reason(&authority, &key),
        "revoked",
        "what was read before is in force"
    );
    write(folder.path(), "deny", "");
    write(folder.path(), "keys", &line("b"));
    assert_eq!(
        (authority.reload(), authority.holds(&grant)),
        (Ok(true), false),
        "it grants something else now"
    );
    write(folder.path(), "keys", "");
    assert_eq!(authority.reload(), Ok(true));
    assert_eq!(reason(&authority, &key), "unknown_key");
}

#[test]
fn a_key_expires_and_is_made_of_chance() {
    let folder = TempDir::new().unwrap();
    let key = keys::new_key();
    assert!(keys::is_key(&key) && key.len() == 47 && key != keys::new_key());
    let sha256 = keys::hex(&keys::hash(&key));
    let line = json!({"id": "k", "sha256": sha256, "sub": "ci", "exp": NOW_MS / 1_000});
    let authority = open(Auth {
        keys_file: write(folder.path(), "keys", &line.to_string()),
        ..Auth::default()
    });
    assert!(authority.admit(Some(&key), NOW_MS - 1).is_ok());
    assert_eq!(reason(&authority, &key), "expired");
}
