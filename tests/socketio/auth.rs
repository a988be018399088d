//! Tokens, as the stock client and its application meet them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use greenroom::auth::tokens::Signer;
use greenroom::config::{Secret, sections::AuthMode};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::kit::http::send;
use crate::kit::{KINDS, Stock, TestNode};

const SECRET: &str = "a secret of thirty-two bytes, or a few more";

/// A node that asks for tokens, with that deny list.
async fn guarded(denied: &NamedTempFile) -> TestNode {
    let path = denied.path().to_str().unwrap().to_owned();
    TestNode::with(|config| {
        config.auth.mode = AuthMode::Token;
        config.auth.jwt_secret = Some(Secret::new(SECRET));
        config.auth.leeway_seconds = 0;
        config.auth.deny_file = Some(path);
    })
    .await
}

fn token(claims: &Value) -> String {
    let claims = serde_json::from_value(claims.clone()).unwrap();
    Signer::Secret(SECRET.into()).sign(&claims).unwrap()
}

/// Ada's token for so many seconds.
fn ada(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let rooms = json!({"join": ["a"], "publish": ["a"]});
    token(&json!({"sub": "ada", "jti": "t1", "exp": now + seconds, "rooms": rooms}))
}

#[tokio::test]
async fn a_client_that_shows_nothing_good_is_told_so_and_comes_in_with_a_good_token() {
    let denied = NamedTempFile::new().unwrap();
    let (node, stock) = (guarded(&denied).await, Stock::start());
    for kind in KINDS {
        let mut client = stock.client(node.address, kind);
        let (message, data) = client.refused().await;
        assert_eq!(message, "this node asks for a token", "{kind:?}");
        assert_eq!(
            data,
            json!({"code": "unauthenticated", "details": {"reason": "missing"}})
        );
        client.set_auth(json!({"token": "nonsense"}));
        client.open();
        assert_eq!(
            client.refused().await.1["details"]["reason"],
            "malformed",
            "{kind:?}"
        );
        client.set_auth(json!({"token": ada(60)}));
        client.open();
        client.connect().await;
        client.join("a").await;
        assert_eq!(
            client.ask_refused("join", json!(["b"])).await,
            "forbidden",
            "{kind:?}"
        );
        client
            .ask_ok("publish", json!([{"room": "a", "event": "e", "data": 1}]))
            .await;
        assert_eq!(client.event().await.args[0], 1, "{kind:?}: it is there still");
    }
}

#[tokio::test]
async fn a_token_in_the_handshake_is_good_enough() {
    let denied = NamedTempFile::new().unwrap();
    let (node, stock) = (guarded(&denied).await, Stock::start());
    for kind in KINDS {
        for place in ["query", "extraHeaders"] {
            let mut options = kind.1.options();
            options[place] = match place {
                "query" => json!({"token": ada(60)}),
                _ => json!({"authorization": format!("Bearer {}", ada(60))}),
            };
            let mut client = stock.client_of(&format!("http://{}", node.address), kind.0, options);
            client.connect().await;
            client.join("a").await;
        }
    }
}

#[tokio::test]
async fn who_is_denied_stays_away() {
    for kind in KINDS {
        let denied = NamedTempFile::new().unwrap();
        let (node, stock) = (guarded(&denied).await, Stock::start());
        let mut options = kind.1.options();
        options["auth"] = json!({"token": ada(60)});
        let mut client = stock.client_of(&format!("http://{}", node.address), kind.0, options);
        client.connect().await;
        client.join("a").await;
        fs::write(denied.path(), "subject:ada").unwrap();
        let admin = token(&json!({"sub": "root", "exp": 99_999_999_999u64, "scopes": ["admin"]}));
        let reload = node
            .http
            .request(Method::POST, "/v1/auth/reload")
            .bearer_auth(admin);
        assert_eq!(send(reload).await.ok()["ended"], 1, "{kind:?}");
        assert_eq!(client.event().await.args[0]["type"], "revoked", "{kind:?}");
        assert_eq!(client.disconnected().await, "io server disconnect", "{kind:?}");
        assert_eq!(
            client.status().await["active"],
            false,
            "{kind:?}: it does not come back by itself"
        );
        client.open();
        assert_eq!(
            client.refused().await.1["details"]["reason"],
            "revoked",
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_fresh_token_brings_a_client_back_to_where_it_was() {
    let denied = NamedTempFile::new().unwrap();
    let (node, stock) = (guarded(&denied).await, Stock::start());
    let mut clients = Vec::new();
    for kind in KINDS {
        let mut options = kind.1.options();
        options["auth"] = json!({"token": ada(5)});
        let mut client = stock.client_of(&format!("http://{}", node.address), kind.0, options);
        let id = client.connect().await["id"].clone();
        client.join("a").await;
        client
            .ask_ok("publish", json!([{"room": "a", "event": "e", "data": id}]))
            .await;
        while client.event().await.args[0] != id {}
        clients.push((kind, id, client));
    }
    for (kind, id, client) in &mut clients {
        assert_eq!(client.disconnected().await, "io server disconnect", "{kind:?}");
        client.set_auth(json!({"token": ada(60)}));
        client.open();
        let back = client.connect().await;
        assert_eq!(
            (&back["recovered"], &back["id"]),
            (&json!(true), &*id),
            "{kind:?}"
        );
    }
}
