//! What a connection may do, and how it ends when it may nothing any more.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::access::{Credential, Grant, Pattern},
    messages::{EndSession, Recheck},
    testing::{
        on_virtual_time,
        socket_io::SocketIo,
        tokens::Tokens,
        universe::{Plan, Shard, Universe, virtual_clock},
        wire::{Client, WINDOW},
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Ada's grant: room `a`, to be heard and published into, for some seconds.
fn ada(seconds: Option<i64>) -> Grant {
    let now_ms = virtual_clock()();
    Grant {
        subject: Some("ada".into()),
        join: vec![Pattern::room("a")],
        publish: vec![Pattern::room("a")],
        scopes: BTreeSet::new(),
        expires_ms: seconds.map(|seconds| now_ms + seconds * 1_000),
        credential: Credential::Token(Some("t1".into())),
    }
}

fn universe() -> (Universe, Arc<Tokens>) {
    hush();
    let tokens = Arc::new(Tokens::default());
    let mut plan = Plan::new(1, 1);
    plan.gate = tokens.clone();
    (Universe::planned(plan), tokens)
}

/// A client with the token, in room `a`.
async fn member(universe: &Universe, token: &str) -> Client {
    let mut client = shard(universe, 0, 0).connect_as(Some(token), WINDOW);
    client.send(&json!({"type": "join", "room": "a"}));
    universe.settle().await;
    assert_eq!(types(&client.read()), ["joined"]);
    client
}

/// A client of Socket.IO that has shown this.
async fn entered(universe: &Universe, shard: &Shard, auth: &Value, polls: bool) -> SocketIo {
    let mut client = if polls {
        shard.socket_io_polling()
    } else {
        shard.socket_io()
    };
    client.send(&format!("40{auth}"));
    client.listen();
    universe.settle().await;
    client.listen();
    client
}

fn notices(frames: &[Value]) -> Vec<&str> {
    let notices = frames.iter().filter(|frame| frame["event"] == "greenroom");
    notices
        .map(|frame| frame["data"]["type"].as_str().expect("a type"))
        .collect()
}

#[test]
fn what_is_not_granted_is_refused_and_the_connection_stays() {
    on_virtual_time(async {
        let (universe, tokens) = universe();
        tokens.grant("t", ada(None));
        let mut client = member(&universe, "t").await;
        client.send(&json!({"type": "join", "rooms": ["a", "b"], "ref": 1}));
        client.send(&json!({"type": "publish", "rooms": ["a", "b"], "event": "e", "ref": 2}));
        client.send(&json!({"type": "presence", "room": "b", "ref": 3}));
        client.send(&json!({"type": "publish", "room": "a", "event": "e", "data": 7, "ref": 4}));
        universe.settle().await;
        let frames = client.read();
        let errors: Vec<_> = frames.iter().filter(|frame| frame["type"] == "error").collect();
        for (error, reference) in errors.iter().zip(1..) {
            assert_eq!(
                (&error["code"], &error["ref"]),
                (&json!("forbidden"), &json!(reference))
            );
            assert_eq!(error["details"]["room"], "b");
        }
        assert_eq!((errors.len(), numbers(&frames)), (3, vec![7]));
        assert_eq!(tokens.take_refused(), ["websocket forbidden"; 3]);
    });
}

#[test]
fn a_token_that_expires_is_announced_and_then_ends_its_connection() {
    on_virtual_time(async {
        let (universe, tokens) = universe();
        tokens.grant("t", ada(Some(60)));
        let mut client = member(&universe, "t").await;
        tokens.grant("forever", ada(None));
        let mut forever = member(&universe, "forever").await;
        wait(29.0).await;
        assert_eq!(notices(&client.read()), [""; 0]);
        wait(2.0).await;
        assert_eq!(notices(&client.read()), ["expiring"], "once");
        assert_eq!(notices(&forever.read()), [""; 0]);
        wait(27.0).await;
        assert_eq!((notices(&client.read()), client.is_over()), (vec![], false));
        wait(3.0).await;
        assert_eq!(notices(&client.read()), ["expired"]);
        assert_eq!(client.closed.as_ref().map(|(code, _)| *code), Some(4501));
        wait(3.0).await;
        let members = universe.nodes[0].shards[0]
            .desk
            .bus
            .members(&room("a"))
            .await
            .expect("members");
        assert_eq!(members.len(), 1);
        assert_eq!(
            (notices(&forever.read()), forever.closed.as_ref()),
            (vec![], None)
        );
    });
}

#[test]
fn what_is_taken_back_ends_the_connections_that_it_let_in_and_no_others() {
    on_virtual_time(async {
        let (universe, tokens) = universe();
        let eve = Grant {
            subject: Some("eve".into()),
            ..ada(None)
        };
        tokens.grant("ada", ada(None));
        tokens.grant("eve", eve);
        let (mut ada, mut eve) = (member(&universe, "ada").await, member(&universe, "eve").await);
        tokens.revoke("eve");
        let registry = &universe.nodes[0].shards[0].desk.registry;
        assert_eq!(registry.send(Recheck).await.expect("a shard"), 1);
        count(&universe, "a", 0..1);
        universe.settle().await;
        assert_eq!(notices(&eve.read()), ["revoked"]);
        assert_eq!(eve.closed.as_ref().map(|(code, _)| *code), Some(4502));
        assert_eq!((numbers(&ada.read()), ada.closed.as_ref()), (vec![0], None));
        assert_eq!(
            registry.send(Recheck).await.expect("a shard"),
            0,
            "it is over already"
        );
    });
}

#[test]
fn what_is_taken_back_on_the_way_in_lets_nobody_in() {
    on_virtual_time(async {
        let (universe, tokens) = universe();
        let at = shard(&universe, 0, 0);
        tokens.grant("ada", ada(None));
        let admitted = || {
            at.desk
                .gate
                .admit(Some("ada"), virtual_clock()())
                .map_err(Box::new)
        };
        let (early, late) = (admitted(), admitted());
        let mut early = at.connect_standing(early, WINDOW);
        // Whoever is there is looked at now, and the other one is not there yet.
        tokens.revoke("ada");
        let mut late = at.connect_standing(late, WINDOW);
        universe.settle().await;
        late.read();
        early.read();
        let code = |client: &Client| client.closed.as_ref().map(|(code, _)| *code);
        assert_eq!((code(&early), code(&late)), (None, Some(4502)));
    });
}

#[test]
fn an_operator_ends_a_session_by_its_id() {
    on_virtual_time(async {
        let (universe, tokens) = universe();
        tokens.grant("t", ada(None));
        let shard = shard(&universe, 0, 0);
        let mut client = entered(&universe, shard, &json!({"token": "t"}), false).await;
        let greeting = client.greeting.clone().expect("a greeting");
        let (sid, pid) = (greeting["sid"].as_str().expect("an id"), greeting["pid"].clone());
        client.emit("join", &json!("a"));
        let end = |id: &str| shard.desk.registry.send(EndSession(id.to_owned()));
        assert!(!end("AAAAAAAAAAAAAAAAAAAA").await.expect("a shard"));
        assert!(end(sid).await.expect("a shard"));
        universe.settle().await;
        client.listen();
        assert_eq!(
            (client.others.as_slice(), client.is_over()),
            (&["41".to_owned()][..], false)
        );
        // It hears nothing more, may ask for nothing, and is cut off if it does not go by itself.
        count(&universe, "a", 0..1);
        wait(1.0).await;
        client.listen();
        assert_eq!(client.events.len(), 1, "what became of it: {:?}", client.events);
        client.emit("join", &json!("a"));
        universe.settle().await;
        client.listen();
        assert!(client.is_over());
        let back = entered(&universe, shard, &json!({"token": "t", "pid": pid}), false).await;
        assert_ne!(
            back.greeting.expect("a greeting")["pid"],
            pid,
            "its place was taken away"
        );
    });
}

#[test]
fn a_client_of_socket_io_is_let_in_by_its_token_and_put_out_with_it() {
    for polls in [false, true] {
        on_virtual_time(async {
            let (universe, tokens) = universe();
            tokens.grant("t", ada(Some(60)));
            let shard = shard(&universe, 0, 0);
            for auth in [
                json!({}),
                json!({"token": "x"}),
                json!({"token": 7}),
                json!({"token": null}),
            ] {
                let client = entered(&universe, shard, &auth, polls).await;
                assert_eq!(client.greeting, None);
                let error = client.others.join("");
                assert!(
                    error.starts_with("44{") && error.contains(r#""code":"unauthenticated""#),
                    "{error}"
                );
            }
            assert_eq!(tokens.take_refused(), ["socketio unauthenticated"; 4]);
            let mut client = entered(&universe, shard, &json!({"token": "t"}), polls).await;
            let refused = client.emit("join", &json!("b"));
            let granted = client.emit("join", &json!("a"));
            for _ in 0..3 {
                client.listen();
                universe.settle().await;
            }
            assert_eq!(client.answers[&refused]["error"]["code"], "forbidden");
            assert_eq!(client.answers[&granted]["ok"], true);
            for _ in 0..70 {
                wait(1.0).await;
                client.listen();
            }
            let notices: Vec<_> = client
                .events
                .iter()
                .map(|event| event[1]["type"].clone())
                .collect();
            assert_eq!(notices, ["expiring", "expired"]);
            assert_eq!(client.others.first().map(String::as_str), Some("41"));
            assert!(client.is_over(), "{:?}", client.others);
        });
    }
}

#[test]
fn a_fresh_token_takes_the_place_of_one_that_has_expired() {
    on_virtual_time(async {
        let (universe, tokens) = universe();
        tokens.grant("old", ada(Some(10)));
        let shard = shard(&universe, 0, 0);
        let mut client = entered(&universe, shard, &json!({"token": "old"}), false).await;
        client.emit("join", &json!("a"));
        universe.settle().await;
        let pid = client.greeting.as_ref().expect("a greeting")["pid"].clone();
        count(&universe, "a", 0..1);
        universe.settle().await;
        client.listen();
        let offset = client.events[0].last().expect("an offset").clone();
        wait(12.0).await;
        count(&universe, "a", 1..2);
        let auth = |token: &str| json!({"token": token, "pid": pid, "offset": offset});
        tokens.grant(
            "narrow",
            Grant {
                join: Vec::new(),
                ..ada(None)
            },
        );
        let narrow = entered(&universe, shard, &auth("narrow"), false).await;
        assert_ne!(
            narrow.greeting.expect("a greeting")["pid"],
            pid,
            "not where it may not be any more"
        );
        tokens.grant(
            "eve",
            Grant {
                subject: Some("eve".into()),
                ..ada(None)
            },
        );
        let eve = entered(&universe, shard, &auth("eve"), false).await;
        assert_ne!(
            eve.greeting.expect("a greeting")["pid"],
            pid,
            "the place is ada's"
        );
        tokens.grant("fresh", ada(None));
        let back = entered(&universe, shard, &auth("fresh"), false).await;
        assert_eq!(back.greeting.expect("a greeting")["pid"], pid);
        assert_eq!(back.events[0][1], json!(1), "what it missed");
    });
}
