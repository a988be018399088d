//! How what a token has opened ends with it.

use serde_json::{Value, json};

use super::{Guarded, ada, now, token};
use crate::kit::ws::Next;
use crate::kit::{Polling, Sio, Sse, Ws, eventually};

/// One client on each surface, all in room `a`.
struct Everywhere {
    ws: Ws,
    sse: Sse,
    sio: Sio,
    polling: Polling,
}

impl Everywhere {
    async fn open(guarded: &Guarded, token: &str) -> Self {
        let node = &guarded.node;
        let mut ws = Ws::knock(node.address, "", Some(token)).await.unwrap();
        ws.join(&["a"], None).await;
        let mut sse = Sse::open(node.address, &format!("/v1/rooms/a/stream?token={token}"), None).await;
        sse.joined().await;
        let mut sio = Sio::open(node.address).await;
        sio.greet(&json!({"token": token})).await;
        sio.join("a").await;
        let polling = Polling::open(&node.http).await;
        polling.say(&format!("40{}", json!({"token": token}))).await;
        assert!(polling.get().await.text.starts_with("40{"));
        Self {
            ws,
            sse,
            sio,
            polling,
        }
    }

    /// Hears to the end what the node says, which has to be this.
    async fn hears(mut self, types: &[&str], code: u16) {
        // Those first that are cut off when they do not go by themselves.
        let mut packets = Vec::new();
        while packets.last().is_none_or(|packet| packet != "41") {
            packets.extend(self.polling.packets().await);
        }
        ends_in_a_disconnect(&packets, types);
        let mut packets = vec![self.sio.packet().await];
        while packets.last().is_some_and(|packet| packet != "41") {
            packets.push(self.sio.packet().await);
        }
        ends_in_a_disconnect(&packets, types);
        let mut told = Vec::new();
        let closed = loop {
            match self.ws.next().await {
                Next::Frame(frame) => told.push(frame["data"]["type"].clone()),
                Next::Closed(code, _) => break Some(code),
                Next::Cut => break None,
            }
        };
        assert_eq!((told, closed), (values(types), Some(code)));
        let mut told = Vec::new();
        while let Some(message) = self.sse.next().await {
            assert_eq!((message.event.as_str(), message.retry), ("greenroom", None));
            told.push(message.data["type"].clone());
        }
        assert_eq!(told, values(types));
    }
}

fn values(types: &[&str]) -> Vec<Value> {
    types.iter().map(|name| json!(name)).collect()
}

/// The notices, and then the packet after which the stock client stays away.
fn ends_in_a_disconnect(packets: &[String], types: &[&str]) {
    let (last, notices) = packets.split_last().expect("packets");
    assert_eq!(last, "41", "{packets:?}");
    let wanted: Vec<String> = types.iter().map(|name| format!("\"type\":\"{name}\"")).collect();
    assert_eq!(notices.len(), wanted.len(), "{packets:?}");
    assert!(
        notices
            .iter()
            .zip(&wanted)
            .all(|(notice, wanted)| notice.contains(wanted)),
        "{packets:?}"
    );
}

#[actix_rt::test]
async fn a_token_that_expires_ends_what_it_has_opened() {
    let guarded = Guarded::start().await;
    let short = token(json!({"sub": "ada", "exp": now() + 10, "rooms": {"join": ["a"]}}));
    let (lasting, ending) = (ada(), Everywhere::open(&guarded, &short).await);
    let mut lasting = Ws::knock(guarded.node.address, "", Some(&lasting)).await.unwrap();
    lasting.join(&["a"], None).await;
    ending.hears(&["expiring", "expired"], 4501).await;
    guarded
        .get("/v1/rooms/a", &short)
        .await
        .error(401, "unauthenticated");
    lasting.hears_nothing().await;
}

#[actix_rt::test]
async fn who_is_denied_is_put_out_and_stays_out() {
    for line in ["jti:t1", "subject:ada"] {
        let guarded = Guarded::start().await;
        let ending = Everywhere::open(&guarded, &ada()).await;
        let other = token(json!({"sub": "eve", "jti": "t2", "rooms": {"join": ["a"]}}));
        let mut other = Ws::knock(guarded.node.address, "", Some(&other)).await.unwrap();
        other.join(&["a"], None).await;
        guarded.write("denied", line);
        let answer = guarded.reload().await.ok();
        assert_eq!(
            answer,
            json!({"verifiers": 1, "keys": 0, "denied": 1, "ended": 4})
        );
        ending.hears(&["revoked"], 4502).await;
        other.hears_nothing().await;
        let refused = guarded
            .get("/v1/rooms/a", &ada())
            .await
            .error(401, "unauthenticated");
        assert_eq!(refused["details"]["reason"], "revoked");
        assert!(Ws::knock(guarded.node.address, "", Some(&ada())).await.is_err());
    }
}

#[actix_rt::test]
async fn a_file_that_changes_is_read_without_being_told() {
    let guarded = Guarded::looking_every(1).await;
    let mut ws = Ws::knock(guarded.node.address, "", Some(&ada())).await.unwrap();
    guarded.write("denied", "jti:t1");
    let (_, closed) = ws.read_to_the_end().await;
    assert_eq!(closed.map(|(code, _)| code), Some(4502));
    guarded.write("denied", "");
    eventually("the token to be good again", || async {
        guarded.get("/v1/rooms/a", &ada()).await.status == 200
    })
    .await;
}

#[actix_rt::test]
async fn a_file_that_does_not_hold_leaves_the_one_before_in_force() {
    let guarded = Guarded::start().await;
    guarded.write("denied", "jti:t1");
    guarded.reload().await.ok();
    guarded.write("denied", "ada");
    let error = guarded.reload().await.error(409, "reload_failed");
    assert!(error["message"].as_str().unwrap().contains("line 1"), "{error}");
    guarded
        .get("/v1/rooms/a", &ada())
        .await
        .error(401, "unauthenticated");
    guarded
        .post("/v1/auth/reload", &token(json!({"sub": "eve"})), &json!({}))
        .await
        .error(403, "forbidden");
}

#[actix_rt::test]
async fn a_worker_that_keeps_the_keys_goes_on_after_a_panic() {
    let guarded = Guarded::start().await;
    guarded.node.crash("auth").await;
    guarded.write("denied", "jti:t1");
    assert_eq!(guarded.reload().await.ok()["denied"], 1);
}
