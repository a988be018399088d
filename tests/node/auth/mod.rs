//! Who may do what, on each surface: with no token, a bad one, one without the right, one with it; and its end.

mod endings;
mod operators;
mod rights;
mod subjects;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use greenroom::auth::tokens::Signer;
use greenroom::buses;
use greenroom::config::{Config, Secret, sections::AuthMode};
use greenroom::extensions::Extensions;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::http::send;
use crate::kit::{Answer, TestNode, config};

pub const SECRET: &str = "a secret of thirty-two bytes, or a few more";

/// A node that asks for tokens, and its files.
struct Guarded {
    node: TestNode,
    folder: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        Self::changed(|_| {}).await
    }

    /// One that looks at its files after so many seconds.
    async fn looking_every(seconds: u64) -> Self {
        Self::that_is(Extensions::default(), |config| {
            config.auth.reload_seconds = seconds
        })
        .await
    }

    /// One to which a program adds something.
    async fn with(extensions: Extensions) -> Self {
        Self::that_is(extensions, |_| {}).await
    }

    /// One whose configuration differs.
    async fn changed(change: impl FnOnce(&mut Config)) -> Self {
        Self::that_is(Extensions::default(), change).await
    }

    async fn that_is(extensions: Extensions, change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            Some(path.to_str().unwrap().to_owned())
        };
        let (keys, denied) = (path("keys"), path("denied"));
        let mut config = config();
        config.auth.mode = AuthMode::Token;
        config.auth.jwt_secret = Some(Secret::new(SECRET));
        config.auth.leeway_seconds = 0;
        config.auth.reload_seconds = 3_600;
        (config.auth.keys_file, config.auth.deny_file) = (keys, denied);
        change(&mut config);
        let bus = buses::embedded(&config);
        let node = TestNode::extended(config, bus, extensions).await;
        Self { node, folder }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        send(self.node.http.request(Method::GET, path).bearer_auth(token)).await
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        let request = self.node.http.request(Method::POST, path);
        send(request.bearer_auth(token).json(body)).await
    }

    /// Has the files read again, by an operator.
    async fn reload(&self) -> Answer {
        self.post("/v1/auth/reload", &admin(), &json!({})).await
    }
}

/// A token with these claims, and, unless they say otherwise, for an hour.
pub fn token(claims: Value) -> String {
    let mut all = json!({"exp": now() + 3_600});
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    Signer::Secret(SECRET.into())
        .sign(&serde_json::from_value(all).unwrap())
        .unwrap()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Ada: may be in room `a` and agents' rooms, and publish into `a`.
fn ada() -> String {
    token(json!({"sub": "ada", "jti": "t1", "rooms": {"join": ["a", "agent:*"], "publish": ["a"]}}))
}

fn admin() -> String {
    token(json!({"sub": "root", "scopes": ["admin"]}))
}

/// Tokens that do not hold.
fn bad() -> Vec<String> {
    let other = Signer::Secret("another secret of thirty-two bytes".into());
    let claims = json!({"sub": "ada", "exp": now() + 60, "rooms": {"join": ["*"]}});
    vec![
        String::new(),
        "nonsense".into(),
        other.sign(&serde_json::from_value(claims).unwrap()).unwrap(),
        token(json!({"sub": "ada", "exp": now() - 1})),
        token(json!({"sub": "ada", "nbf": now() + 60})),
        format!("grk_{}", "x".repeat(43)),
    ]
}
