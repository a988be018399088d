//! The node's rooms as a Socket.IO client uses them.

use serde_json::{Value, json};

use super::{ROOM, Witness};
use crate::kit::sio::Next;
use crate::kit::{Sio, TestNode};

#[tokio::test]
async fn rooms_are_joined_left_and_heard() {
    let node = TestNode::start().await;
    let mut sio = Sio::enter(node.address).await;
    let joined = sio.join("lobby").await;
    assert!(
        joined["position"].is_string() && joined["recovered"] == true,
        "{joined}"
    );
    node.publish("lobby", "note", json!({"n": 1})).await;
    assert_eq!(sio.event().await, [json!("note"), json!({"n": 1})]);
    let answer = sio.ask("leave", &json!("lobby")).await;
    assert_eq!(answer, json!({"ok": true, "room": "lobby"}));
    node.publish("lobby", "note", 2).await;
    sio.hears_nothing().await;
}

#[tokio::test]
async fn subscribing_is_joining_the_room_of_a_kind() {
    let node = TestNode::start().await;
    let mut sio = Sio::enter(node.address).await;
    for (ask, argument, room) in [
        ("subscribe-agent", json!("42"), "agent:42"),
        ("subscribe:agent", json!("43"), "agent:43"),
        ("subscribe-project", json!(7), "project:7"),
        ("subscribe-task", json!("t"), "task:t"),
        ("subscribe:run", json!("r"), "run:r"),
        ("subscribe-user", json!("u"), "user:u"),
    ] {
        let answer = sio.ask(ask, &argument).await;
        assert_eq!(
            (&answer["ok"], &answer["room"]),
            (&json!(true), &json!(room)),
            "{ask}"
        );
        assert_eq!(node.members(room).await, 1);
        let answer = sio.ask(&format!("un{ask}"), &argument).await;
        assert_eq!(
            (&answer["ok"], &answer["room"]),
            (&json!(true), &json!(room)),
            "un{ask}"
        );
        assert_eq!(node.members(room).await, 0);
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_answered_and_costs_nothing() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    for (name, argument, code) in [
        ("join", json!("no spaces"), "room_name_invalid"),
        ("join", json!(""), "room_name_invalid"),
        ("join", json!("x".repeat(201)), "room_name_invalid"),
        ("join", json!({"room": "a"}), "bad_request"),
        ("join", json!(["a"]), "bad_request"),
        ("join", Value::Null, "bad_request"),
        ("join", json!(1.5), "bad_request"),
        ("leave", json!(true), "bad_request"),
        ("subscribe-agent", json!({}), "bad_request"),
        ("subscribe-nothing", json!("a"), "bad_request"),
        ("unjoin", json!("a"), "bad_request"),
        ("presence", json!("no spaces"), "room_name_invalid"),
        ("publish", json!({}), "bad_request"),
        ("publish", json!("a"), "bad_request"),
        ("publish", json!({"room": "a"}), "bad_request"),
        ("publish", json!({"event": "e", "data": 1}), "bad_request"),
        (
            "publish",
            json!({"room": "a", "event": "e", "colour": 1}),
            "bad_request",
        ),
        (
            "publish",
            json!({"room": "a", "event": "connect"}),
            "event_name_invalid",
        ),
        (
            "publish",
            json!({"room": "a b", "event": "e"}),
            "room_name_invalid",
        ),
        (
            "publish",
            json!({"room": "task:1", "event": "task-update", "data": {}}),
            "payload_invalid",
        ),
        ("greenroom", json!({}), "bad_request"),
    ] {
        let answer = sio.ask(name, &argument).await;
        assert_eq!(answer["ok"], false, "{name} {argument}");
        assert_eq!(answer["error"]["code"], code, "{name} {argument}: {answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    for packet in ["420[\"join\"]", "421[\"publish\"]"] {
        let mut other = Sio::enter(node.address).await;
        other.send(packet).await;
        let answer = other.packet().await;
        assert!(answer.contains("\"code\":\"bad_request\""), "{answer}");
    }
    sio.hears_nothing().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn events_go_out_with_their_arguments_and_come_once_to_who_is_in_several_rooms() {
    let node = TestNode::start().await;
    let mut sio = Sio::joined(node.address, &["a", "b"]).await;
    let mut other = Sio::joined(node.address, &["b"]).await;
    let answer = sio
        .ask(
            "publish",
            &json!({"rooms": ["a", "b"], "event": "note", "args": [1, {"x": [2]}, "text"]}),
        )
        .await;
    assert_eq!(
        (&answer["ok"], &answer["rooms"]),
        (&json!(true), &json!({"a": 1, "b": 1})),
        "{answer}"
    );
    for client in [&mut sio, &mut other] {
        assert_eq!(
            client.event().await,
            [json!("note"), json!(1), json!({"x": [2]}), json!("text")]
        );
        client.hears_nothing().await;
    }
    let again = json!({"room": "a", "event": "note", "id": "chosen"});
    let first = sio.ask("publish", &again).await;
    assert_eq!(first["id"], "chosen", "{first}");
    assert_eq!(sio.ask("publish", &again).await["rooms"], first["rooms"]);
    assert_eq!(sio.event().await, [json!("note"), Value::Null]);
    sio.hears_nothing().await;
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_base64_elsewhere() {
    let node = TestNode::start().await;
    let mut sio = Sio::joined(node.address, &["a"]).await;
    let mut plain = node.joined(&["a"]).await;
    let publish = r#"452-9["publish",{"room":"a","event":"note","args":[{"_placeholder":true,"num":1},{"in":{"_placeholder":true,"num":0}}]}]"#;
    sio.send(publish).await;
    sio.send_bytes(b"first").await;
    sio.send_bytes(b"second").await;
    let mut answered = false;
    let mut attachments = Vec::new();
    while !answered || attachments.len() < 2 {
        match sio.next().await {
            Next::Packet(packet) if packet.starts_with("439[{\"ok\":true") => answered = true,
            Next::Packet(packet) => {
                let start = "452-[\"note\",{\"_placeholder\":true,\"num\":0},{\"in\":{\"_placeholder\":true,\"num\":1}},\"";
                assert!(packet.starts_with(start), "{packet}");
            }
            Next::Bytes(bytes) => attachments.push(bytes),
            end => panic!("{end:?}"),
        }
    }
    assert_eq!(
        attachments,
        [b"second".to_vec(), b"first".to_vec()],
        "in the order of their places"
    );
    let event = plain.event().await;
    assert_eq!(
        event["args"],
        json!([{"$binary": "c2Vjb25k"}, {"in": {"$binary": "Zmlyc3Q="}}])
    );
}

#[tokio::test]
async fn presence_says_who_is_there_by_the_ids_that_the_clients_know() {
    let node = TestNode::start().await;
    let mut sio = Sio::joined(node.address, &["lobby"]).await;
    let other = Sio::joined(node.address, &["lobby"]).await;
    let answer = sio.ask("presence", &json!("lobby")).await;
    assert_eq!(answer["count"], 2, "{answer}");
    let ids: Vec<&str> = answer["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["id"].as_str().unwrap())
        .collect();
    assert!(
        ids.contains(&sio.sid.as_str()) && ids.contains(&other.sid.as_str()),
        "{answer}"
    );
}

#[tokio::test]
async fn what_asks_for_no_answer_gets_none() {
    let node = TestNode::start().await;
    let mut sio = Sio::enter(node.address).await;
    for packet in [
        "42[\"join\",\"lobby\"]",
        "42[\"join\",\"no spaces\"]",
        "42[\"publish\",{}]",
        "42[\"leave\",\"x\"]",
    ] {
        sio.send(packet).await;
    }
    sio.hears_nothing().await;
    node.publish("lobby", "note", 1).await;
    assert_eq!(sio.numbers(1).await, [1]);
}

#[tokio::test]
async fn clients_of_every_kind_hear_the_same() {
    let node = TestNode::start().await;
    let mut sio = Sio::joined(node.address, &["lobby"]).await;
    let mut plain = node.joined(&["lobby"]).await;
    let mut stream = node.sse("lobby").await;
    for number in 0..20_u64 {
        match number % 2 {
            0 => drop(node.publish("lobby", "note", number).await),
            _ => {
                let publish = json!({"room": "lobby", "event": "note", "data": number});
                assert_eq!(sio.ask("publish", &publish).await["ok"], true);
            }
        }
    }
    let all: Vec<u64> = (0..20).collect();
    assert_eq!(sio.numbers(20).await, all);
    assert_eq!(crate::kit::numbers(&plain.events(20).await), all);
    assert_eq!(crate::kit::numbers(&stream.events(20).await), all);
    let position = plain.join(&["lobby"], None).await["position"].clone();
    assert_eq!(json!(sio.offset), position, "an offset is a position");
}
