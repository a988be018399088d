//! Commands and their answers.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::JOIN;
use crate::kit::raw::{self, CLOSE};
use crate::kit::{Raw, TestNode, numbers};

#[tokio::test]
async fn pipelined_commands_are_answered_each_with_its_ref() {
    let node = TestNode::with(|config| config.limits.commands_in_flight = 4).await;
    let mut raw = Raw::websocket(node.address).await;
    raw.send(&raw::text(JOIN)).await;
    assert_eq!(raw.json().await["type"], "joined");
    let mut all = Vec::new();
    for number in 0..500 {
        let command =
            json!({"type": "publish", "room": "lobby", "event": "note", "data": number, "ref": number});
        all.extend(raw::text(&command.to_string()));
    }
    raw.send(&all).await;
    let (mut answered, mut heard) = (Vec::new(), Vec::new());
    while answered.len() < 500 || heard.len() < 500 {
        let frame = raw.json().await;
        match frame["type"].as_str() {
            Some("published") => answered.push(frame["ref"].as_u64().unwrap()),
            _ => heard.push(frame),
        }
    }
    let expected: Vec<u64> = (0..500).collect();
    // That is what a `ref` is for: answers need not come in the order of their commands.
    answered.sort_unstable();
    assert_eq!(answered, expected);
    assert_eq!(numbers(&heard), expected);
}

/// A shard's mailbox that is full makes its senders wait, each at its place.
#[tokio::test]
async fn commands_keep_their_order_when_the_shard_is_busy() {
    let node = TestNode::with(|config| {
        config.limits.mailbox = 1;
        config.workers = 1;
    })
    .await;
    let mut member = node.joined(&["lobby"]).await;
    let mut raw = Raw::websocket(node.address).await;
    let mut all = Vec::new();
    for number in 0..200 {
        let command = json!({"type": "publish", "room": "lobby", "event": "note", "data": number});
        all.extend(raw::text(&command.to_string()));
    }
    raw.send(&all).await;
    let expected: Vec<u64> = (0..200).collect();
    assert_eq!(numbers(&member.events(200).await), expected);
}

#[tokio::test]
async fn every_command_is_answered() {
    let node = TestNode::start().await;
    let mut ws = node.ws().await;
    let joined = ws.ask(json!({"type": "join", "room": "lobby"})).await;
    assert_eq!(
        (&joined["type"], &joined["room"], &joined["recovered"]),
        (&json!("joined"), &json!("lobby"), &json!(true))
    );
    let joined = ws.ask(json!({"type": "join", "rooms": ["a", "b"]})).await;
    assert_eq!(joined["rooms"], json!(["a", "b"]));
    let presence = ws.ask(json!({"type": "presence", "room": "lobby"})).await;
    assert_eq!(
        (&presence["type"], &presence["count"]),
        (&json!("presence"), &json!(1))
    );
    assert_eq!(presence["members"][0]["node"], node.name);
    let published = ws.publish("c", "note", 1).await;
    assert_eq!(published["rooms"], json!({"c": 1}));
    let left = ws.ask(json!({"type": "leave", "room": "lobby"})).await;
    assert_eq!((&left["type"], &left["room"]), (&json!("left"), &json!("lobby")));
    assert_eq!(node.members("lobby").await, 0);
    let left = ws
        .ask(json!({"type": "leave", "rooms": ["a", "never-joined"]}))
        .await;
    assert_eq!(left["rooms"], json!(["a", "never-joined"]));
    for room in ["lobby", "a"] {
        node.publish(room, "note", 2).await;
    }
    ws.hears_nothing().await;
    node.publish("b", "note", 3).await;
    assert_eq!(numbers(&ws.events(1).await), [3]);
}

#[tokio::test]
async fn a_ref_is_handed_back_as_it_was_given() {
    let node = TestNode::start().await;
    let mut ws = node.ws().await;
    for reference in [
        json!(1),
        json!(-1.5),
        json!("x"),
        json!("\u{1F600}\"\\"),
        json!(""),
    ] {
        ws.send(&json!({"type": "ping", "ref": reference})).await;
        assert_eq!(ws.frame().await, json!({"type": "pong", "ref": reference}));
        ws.send(&json!({"type": "dance", "ref": reference})).await;
        assert_eq!(ws.frame().await["ref"], reference);
    }
    ws.send(&json!({"type": "ping"})).await;
    assert_eq!(ws.frame().await, json!({"type": "pong"}));
    for reference in [
        json!(null),
        json!(true),
        json!([1]),
        json!({}),
        json!("x".repeat(300)),
    ] {
        ws.send(&json!({"type": "ping", "ref": reference})).await;
        let frame = ws.frame().await;
        // `null` may count as no ref at all; nothing else that is no ref may be handed back.
        assert!(
            frame["type"] == "error" || reference.is_null(),
            "{reference}: {frame}"
        );
        assert!(frame.get("ref").is_none(), "{frame}");
    }
}

/// Commands that cannot be carried out, and why.
const BAD: [(&str, &str); 18] = [
    ("bad_request", r#"{"type": "dance"}"#),
    ("bad_request", r#"{"type": "join"}"#),
    ("bad_request", r#"{"type": "join", "room": 7}"#),
    ("bad_request", r#"{"type": "join", "room": "a", "rooms": ["b"]}"#),
    ("bad_request", r#"{"type": "join", "room": "a", "color": 1}"#),
    ("room_name_invalid", r#"{"type": "join", "room": "a b"}"#),
    ("room_name_invalid", r#"{"type": "join", "rooms": []}"#),
    ("too_many_rooms", r#"{"type": "join", "rooms": ["a", "b", "c"]}"#),
    (
        "since_not_first",
        r#"{"type": "join", "room": "a", "since": "0-0"}"#,
    ),
    ("bad_request", r#"{"type": "leave"}"#),
    ("bad_request", r#"{"type": "publish", "room": "a"}"#),
    ("bad_request", r#"{"type": "publish", "event": "e"}"#),
    (
        "event_name_invalid",
        r#"{"type": "publish", "room": "a", "event": "disconnect"}"#,
    ),
    (
        "event_id_invalid",
        r#"{"type": "publish", "room": "a", "event": "e", "id": "a b"}"#,
    ),
    (
        "too_many_rooms",
        r#"{"type": "publish", "rooms": ["a", "b", "c"], "event": "e"}"#,
    ),
    (
        "event_too_large",
        r#"{"type": "publish", "room": "a", "event": "e", "data": "$LONG"}"#,
    ),
    (
        "payload_invalid",
        r#"{"type": "publish", "room": "a", "event": "task-update", "data": {}}"#,
    ),
    ("bad_request", r#"{"type": "presence", "rooms": ["a"]}"#),
];

#[tokio::test]
async fn a_bad_command_is_answered_with_its_error_and_the_connection_stays() {
    let node = TestNode::with(|config| {
        config.limits.rooms_per_connection = 3;
        config.limits.rooms_per_event = 2;
        config.limits.event_bytes = 200;
    })
    .await;
    let mut ws = node.joined(&["lobby"]).await;
    for (code, command) in BAD {
        let command = command.replace("$LONG", &"x".repeat(300));
        let answer = ws.ask(serde_json::from_str(&command).unwrap()).await;
        assert_eq!(answer["type"], "error", "{command}");
        assert_eq!(answer["code"], code, "{command}");
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    // The last is what serde would take for a ping, field by field.
    let fields = r#"["ping",null,null,null,null,null,null,null,null]"#;
    for text in ["", "{", "hello", "[]", "1", "{\"type\":\"ping\"} x", fields] {
        ws.send_raw(Message::text(text)).await;
        let answer = ws.frame().await;
        assert_eq!(answer["type"], "error", "{text}: {answer}");
    }
    ws.publish("lobby", "note", 1).await;
    assert_eq!(numbers(&ws.events(1).await), [1], "it is served as before");
}

#[tokio::test]
async fn a_published_id_is_accepted_once() {
    let node = TestNode::start().await;
    let mut ws = node.joined(&["lobby"]).await;
    let command = json!({"type": "publish", "room": "lobby", "event": "e", "data": 1, "id": "mine"});
    let [mut first, mut again] = [ws.ask(command.clone()).await, ws.ask(command.clone()).await];
    for answer in [&mut first, &mut again] {
        answer.as_object_mut().unwrap().remove("ref");
    }
    assert_eq!(
        first,
        json!({"type": "published", "id": "mine", "rooms": {"lobby": 1}})
    );
    assert_eq!(again, first);
    let over_http = json!({"event": "e", "data": 1, "id": "mine"});
    let over_http = node.http.post("/v1/rooms/lobby/events", &over_http).await;
    assert_eq!(over_http.json()["rooms"], first["rooms"]);
    let other = ws
        .ask(json!({"type": "publish", "room": "lobby", "event": "e", "data": 2, "id": "mine"}))
        .await;
    assert_eq!(other["code"], "id_reused");
    assert_eq!(ws.event().await["id"], "mine");
    ws.hears_nothing().await;
}

#[tokio::test]
async fn an_event_for_several_rooms_is_heard_once() {
    let node = TestNode::start().await;
    let mut ws = node.joined(&["a", "b", "c"]).await;
    let command = json!({"type": "publish", "rooms": ["b", "c", "d"], "event": "note", "data": 1});
    let answer = ws.ask(command).await;
    assert_eq!(answer["rooms"], json!({"b": 1, "c": 1, "d": 1}));
    let event = ws.event().await;
    assert_eq!(
        (&event["room"], &event["rooms"], &event["offset"]),
        (&json!("b"), &json!(["b", "c", "d"]), &json!(1))
    );
    ws.hears_nothing().await;
}

#[tokio::test]
async fn a_command_whose_sender_goes_at_once_is_carried_out() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["lobby"]).await;
    for number in 0..20 {
        let mut raw = Raw::websocket(node.address).await;
        let command = json!({"type": "publish", "room": "lobby", "event": "note", "data": number});
        let mut frames = raw::text(&command.to_string());
        if number % 2 == 0 {
            frames.extend(raw::frame(true, CLOSE, &[3, 232]));
        }
        raw.send(&frames).await;
        raw.half_close().await;
        assert_eq!(numbers(&member.events(1).await), [number]);
    }
}
