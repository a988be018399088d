//! Clients that are not who they say they are, or want what they may not, on a node that asks for tokens.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Error;

use super::{MIB, ROOM, Scene};
use crate::auth::{SECRET, now, token};
use crate::kit::http::send;
use crate::kit::{Http, Polling, Process, Sio, Ws};

/// Who may everything: the witness, and who looks at the node.
fn root() -> String {
    token(claims(
        json!({"sub": "root", "rooms": {"join": ["*"], "publish": ["*"]}, "scopes": ["admin"]}),
    ))
}

/// Whose tokens the node takes, and which it denies.
struct Guarded {
    scene: Scene,
    folder: TempDir,
}

impl Guarded {
    async fn set() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("denied"), "").unwrap();
        let denied = folder.path().join("denied").display().to_string();
        let settings = [
            "auth.mode=token".to_owned(),
            format!("auth.jwt_secret={SECRET}"),
            "auth.issuer=idp".into(),
            "auth.audience=greenroom".into(),
            "auth.leeway_seconds=0".into(),
            format!("auth.deny_file={denied}"),
            "socketio.connect_timeout_ms=1000".into(),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let scene = Scene::guarded(&settings, &root()).await;
        Self { scene, folder }
    }
}

/// Claims of a token for this node, but for these.
fn claims(changes: Value) -> Value {
    let mut all =
        json!({"sub": "eve", "iss": "idp", "aud": "greenroom", "rooms": {"join": ["*"], "publish": ["*"]}});
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

/// A token of this head and this signature of the honest one.
fn with_head(head: &Value, signature: &str) -> String {
    let honest = token(claims(json!({})));
    let body = honest.split('.').nth(1).unwrap();
    format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode(head.to_string()))
}

/// The same, signed by a secret that is not the node's.
fn signed_by_another(head: &Value) -> String {
    let unsigned = with_head(head, "");
    let message = unsigned.trim_end_matches('.');
    let key = EncodingKey::from_secret(b"the public key of somebody, or nothing");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// Tokens that do not hold, each for a reason of its own.
fn forged() -> Vec<String> {
    let honest = token(claims(json!({})));
    let (unsigned, signature) = honest.rsplit_once('.').unwrap();
    let mut all = vec![
        "nonsense".to_owned(),
        "..".to_owned(),
        format!("{unsigned}."),
        format!("{unsigned}.{}", signature.chars().rev().collect::<String>()),
        format!("{honest}{}", "x".repeat(20_000)),
        token(claims(json!({"exp": now() - 1}))),
        token(claims(json!({"exp": 0}))),
        token(claims(json!({"nbf": now() + 600}))),
        token(claims(json!({"iss": "another"}))),
        token(claims(json!({"aud": ["another"]}))),
        token(claims(json!({"sub": ""}))),
    ];
    for algorithm in [
        "none", "None", "NONE", "nOnE", "", "HS1", "RS256", "ES256", "EdDSA",
    ] {
        all.push(with_head(&json!({"alg": algorithm, "typ": "JWT"}), ""));
        all.push(with_head(&json!({"alg": algorithm}), signature));
    }
    let brought =
        json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("the public key of somebody, or nothing")});
    for head in [
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "kid": "../../../../dev/null"}),
        json!({"alg": "HS256", "kid": "' OR 1=1 --"}),
        json!({"alg": "HS256", "kid": "x".repeat(2_000)}),
        json!({"alg": "HS256", "jku": "http://127.0.0.1:1/jwks", "x5u": "file:///etc/passwd"}),
        json!({"alg": "HS256", "jwk": brought}),
        json!({"alg": "HS256", "crit": ["exp"], "exp": 0}),
    ] {
        all.push(signed_by_another(&head));
    }
    all
}

/// Shows a token at every door. Each refuses it.
async fn is_refused_everywhere(node: &Process, token: &str) {
    let strange = Http::without_keep_alive(node.address, Some(token));
    strange.get("/v1/rooms").await.error(401, "unauthenticated");
    let event = json!({"event": "note"});
    let answer = strange.post(&format!("/v1/rooms/{ROOM}/events"), &event).await;
    answer.error(401, "unauthenticated");
    let nobody = Http::without_keep_alive(node.address, None);
    let stream = format!("/v1/rooms/{ROOM}/stream?token={token}");
    nobody.get(&stream).await.error(401, "unauthenticated");
    for (query, head) in [(String::new(), Some(token)), (format!("?token={token}"), None)] {
        match Ws::knock(node.address, &query, head).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 401),
            other => panic!("{token}: {:?}", other.err()),
        }
    }
    let enter = format!("40{}", json!({"token": token}));
    let mut sio = Sio::open(node.address).await;
    sio.send(&enter).await;
    let refused = sio.packet().await;
    assert!(
        refused.starts_with("44{") && refused.contains("unauthenticated"),
        "{refused}"
    );
    // What it asks all the same ends it.
    sio.send(&format!("420[\"join\",\"{ROOM}\"]")).await;
    sio.ended().await;
    let polling = Polling::open(&nobody).await;
    polling.say(&enter).await;
    let refused = polling.get().await.text;
    assert!(
        refused.starts_with("44{") && refused.contains("unauthenticated"),
        "{refused}"
    );
    polling.say("1").await;
}

#[tokio::test]
async fn forged_tokens_open_no_door_and_disturb_nobody() {
    let Guarded { mut scene, .. } = Guarded::set().await;
    let attack = async |node: &Process| {
        let all = forged();
        for _ in 0..3 {
            join_all(all.iter().map(|token| is_refused_everywhere(node, token))).await;
        }
    };
    scene.survives(16 * MIB, attack).await;
}

/// Each is let in while its token holds, and put out when that is over; what it shows again is refused.
#[tokio::test]
async fn a_crowd_whose_tokens_expire_is_put_out_and_stays_out() {
    let Guarded { mut scene, .. } = Guarded::set().await;
    let attack = async |node: &Process| {
        let token = &token(claims(json!({"exp": now() + 10})));
        let crowd = (0..100).map(|_| async {
            let mut ws = Ws::knock(node.address, "", Some(token)).await.unwrap();
            ws.join(&["crowd"], None).await;
            ws
        });
        for mut ws in join_all(crowd).await {
            let (_, closed) = ws.read_to_the_end().await;
            assert_eq!(closed.map(|(code, _)| code), Some(4501));
        }
        join_all((0..20).map(|_| is_refused_everywhere(node, token))).await;
    };
    scene.survives(16 * MIB, attack).await;
}

/// A token that was stolen is shown by a hundred. When it is denied, all of them are put out, and it opens nothing more.
#[tokio::test]
async fn a_stolen_token_that_is_denied_is_of_no_more_use() {
    let Guarded { mut scene, folder } = Guarded::set().await;
    let attack = async |node: &Process| {
        let token = &token(claims(json!({"jti": "stolen"})));
        let crowd = (0..100).map(|_| async {
            let mut ws = Ws::knock(node.address, "", Some(token)).await.unwrap();
            ws.join(&["crowd"], None).await;
            ws
        });
        let crowd = join_all(crowd).await;
        fs::write(folder.path().join("denied"), "jti:stolen\n").unwrap();
        let reloaded = send(node.http.request(Method::POST, "/v1/auth/reload"))
            .await
            .ok();
        assert_eq!(reloaded["ended"], 100);
        for mut ws in crowd {
            let (_, closed) = ws.read_to_the_end().await;
            assert_eq!(closed.map(|(code, _)| code), Some(4502));
        }
        join_all((0..20).map(|_| is_refused_everywhere(node, token))).await;
    };
    scene.survives(16 * MIB, attack).await;
}

/// Whoever may only listen says thousands of things on every surface: each is refused, the connection stays, and nobody
/// hears any of it.
#[tokio::test]
async fn publishing_without_the_right_is_answered_and_heard_by_nobody() {
    const TIMES: usize = 1_000;
    let Guarded { mut scene, .. } = Guarded::set().await;
    let attack = async |node: &Process| {
        let token = &token(claims(json!({"rooms": {"join": ["*"]}})));
        let publication = json!({"room": ROOM, "event": "note", "data": 0});
        let by_socket = async {
            let mut ws = Ws::knock(node.address, "", Some(token)).await.unwrap();
            let mut command = publication.clone();
            command["type"] = "publish".into();
            for _ in 0..TIMES {
                let answer = ws.ask(command.clone()).await;
                assert_eq!(answer["code"], "forbidden", "{answer}");
            }
            ws.join(&["elsewhere"], None).await;
        };
        let by_socket_io = async {
            let mut sio = Sio::open(node.address).await;
            sio.greet(&json!({"token": token})).await;
            for _ in 0..TIMES {
                let answer = sio.ask("publish", &publication).await;
                assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
            }
            sio.join("elsewhere").await;
        };
        let by_http = async {
            let http = Http::without_keep_alive(node.address, Some(token));
            let event = json!({"event": "note", "data": 0});
            let thought = json!({"thought": "t"});
            for _ in 0..TIMES / 2 {
                let answer = http.post(&format!("/v1/rooms/{ROOM}/events"), &event).await;
                answer.error(403, "forbidden");
                let answer = http.post("/v1/agents/1/thoughts", &thought).await;
                answer.error(403, "forbidden");
            }
        };
        tokio::join!(by_socket, by_socket_io, by_http);
    };
    scene.survives(8 * MIB, attack).await;
}
