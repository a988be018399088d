//! Packets of Socket.IO that are malformed, out of place, or never whole.

use serde_json::json;

use super::{ROOM, Witness, impatient};
use crate::kit::{Sio, TestNode};

/// Asserts that these messages end the session of a client that is in the room, without a word, and nobody else's.
async fn ends_the_session(node: &TestNode, witness: &mut Witness, messages: &[&str]) {
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    for message in messages {
        match message.strip_prefix("bytes ") {
            Some(bytes) => sio.send_bytes(bytes.as_bytes()).await,
            None => sio.try_send(message).await,
        }
    }
    assert_eq!(sio.ended().await, (vec![], Some(1005)), "{messages:?}");
    witness.is_undisturbed(node).await;
}

/// What is no packet.
const NO_PACKETS: &[&str] = &[
    // No type, or none that there is.
    "4",
    "47",
    "4a",
    "4\u{e4}",
    "4-1",
    // Events.
    "42",
    "42{}",
    "42\"x\"",
    "42[]",
    "42[",
    "42[\"a\"",
    "42[\"a\",]",
    "42[\"a\"]x",
    "42[null]",
    "42[{}]",
    "42[[\"a\"]]",
    "42[true,1]",
    "42[\"a\" 1]",
    "42['a']",
    "42[\"a\",nope]",
    "42[\"\\ud800x]",
    "42/,",
    "421",
    "421{}",
    "429007199254740993[\"a\"]",
    "4299999999999999999999999[\"a\"]",
    // Acks.
    "43",
    "43{}",
    "431",
    "431{}",
    "431\"x\"",
    "431[",
    "431[1,]",
    // The others.
    "41{}",
    "41[]",
    "41 ",
    "44",
    "44[]",
    "441",
    "44{}",
    "40",
    "40{}",
    "40[]",
    "40\"x\"",
    "401",
    // With attachments.
    "45",
    "45[\"a\"]",
    "451[\"a\"]",
    "45-[\"a\"]",
    "45x-[\"a\"]",
    "451.5-[\"a\"]",
    "45-1-[\"a\"]",
    "451-",
    "451-{}",
    "451-[]",
    "4511-[\"a\"]",
    "45999999999999999999-[\"a\"]",
    "46",
    "461-",
    "461-{}",
    "4611-1[]",
];

#[tokio::test]
async fn what_is_no_packet_ends_the_session() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for packet in NO_PACKETS {
        ends_the_session(&node, &mut witness, &[packet]).await;
    }
}

#[tokio::test]
async fn an_event_with_a_reserved_name_ends_the_session() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        r"\u0063onnect",
    ] {
        ends_the_session(&node, &mut witness, &[&format!("42[\"{name}\"]")]).await;
        ends_the_session(&node, &mut witness, &[&format!("420[\"{name}\",1]")]).await;
        ends_the_session(&node, &mut witness, &[&format!("450-[\"{name}\"]")]).await;
    }
}

#[tokio::test]
async fn attachments_that_do_not_match_end_the_session() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let one = r#"451-["note",{"_placeholder":true,"num":0}]"#;
    for messages in [
        &["bytes unannounced"][..],
        &[one, "42[\"text\"]"],
        &[one, one],
        &[one, "41"],
        &["451-[\"note\",{\"_placeholder\":true,\"num\":1}]", "bytes x"],
        &["451-[\"note\",{\"_placeholder\":true,\"num\":-1}]", "bytes x"],
        &["451-[\"note\",{\"_placeholder\":true,\"num\":\"0\"}]", "bytes x"],
        &["451-[\"note\",{\"_placeholder\":true}]", "bytes x"],
        &[
            "451-[\"note\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":0}]",
            "bytes x",
        ],
        &["450-[\"note\",{\"_placeholder\":true,\"num\":0}]"],
        &["4511-[\"eleven\"]"],
        &["461-0[{\"_placeholder\":true,\"num\":3}]", "bytes x"],
    ] {
        ends_the_session(&node, &mut witness, messages).await;
    }
    // One more than were announced.
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    sio.send("451-[\"note\",{\"_placeholder\":true,\"num\":0}]").await;
    sio.send_bytes(b"one").await;
    sio.hears_nothing().await;
    sio.send_bytes(b"two").await;
    assert_eq!(sio.ended().await, (vec![], Some(1005)));
}

#[tokio::test]
async fn attachments_over_the_limit_end_the_session() {
    let node = TestNode::with(|config| config.socketio.max_payload_bytes = 10_000).await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    sio.send("453-[\"note\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]")
        .await;
    for _ in 0..2 {
        sio.send_bytes(&[7; 6_000]).await;
    }
    assert_eq!(sio.ended().await, (vec![], Some(1005)));
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn attachments_that_never_come_are_not_waited_for_without_end() {
    let node = impatient().await;
    let mut witness = Witness::of(&node).await;
    for sent in [0, 1] {
        let mut sio = Sio::joined(node.address, &[ROOM]).await;
        sio.send("452-[\"note\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]")
            .await;
        for _ in 0..sent {
            sio.send_bytes(b"one").await;
        }
        // It answers pings, and is sent away all the same.
        assert_eq!(sio.ended().await, (vec![], Some(1005)));
    }
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn json_that_is_nested_too_deep_ends_the_session() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let deep = |levels: usize| format!("42[\"note\",{}{}]", "[".repeat(levels), "]".repeat(levels));
    for levels in [100, 1_000, 100_000] {
        ends_the_session(&node, &mut witness, &[&deep(levels)]).await;
    }
    let objects = format!("42[\"note\",{}1{}]", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    ends_the_session(&node, &mut witness, &[&objects]).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    sio.send(&deep(90)).await;
    sio.hears_nothing().await;
}

#[tokio::test]
async fn before_it_is_let_in_a_client_has_nothing_to_say() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for message in [
        "42[\"note\"]",
        "420[\"join\",\"lobby\"]",
        "431[]",
        "41",
        "44{\"message\":\"no\"}",
        "450-[\"note\"]",
        "40[]",
        "40\"x\"",
        "40null",
        "40{\"token\":",
        "42/custom,[\"note\"]",
    ] {
        let mut sio = Sio::open(node.address).await;
        sio.send(message).await;
        assert_eq!(sio.ended().await, (vec![], Some(1005)), "{message}");
    }
    let mut sio = Sio::open(node.address).await;
    sio.send_bytes(b"bytes").await;
    assert_eq!(sio.ended().await, (vec![], Some(1005)));
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn a_client_that_enters_no_namespace_is_sent_away() {
    let node = impatient().await;
    let mut witness = Witness::of(&node).await;
    let mut mute = Sio::open(node.address).await;
    assert_eq!(mute.ended().await, (vec![], Some(1005)));
    let mut lost = Sio::open(node.address).await;
    lost.send("40/random").await;
    assert_eq!(
        lost.packet().await,
        "44/random,{\"message\":\"Invalid namespace\"}"
    );
    assert_eq!(lost.ended().await, (vec![], Some(1005)));
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn an_unknown_namespace_is_refused_and_the_others_go_on() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    for (asked, refused) in [
        ("40/random", "44/random,"),
        ("40/random,", "44/random,"),
        ("40/random,{\"token\":\"x\"}", "44/random,"),
        ("40/a/b?c=d", "44/a/b?c=d,"),
        ("40/\u{e4},{}", "44/\u{e4},"),
    ] {
        sio.send(asked).await;
        assert_eq!(
            sio.packet().await,
            format!("{refused}{{\"message\":\"Invalid namespace\"}}")
        );
    }
    sio.hears_nothing().await;
    witness.is_undisturbed(&node).await;
    for message in [
        "42/random,[\"note\"]",
        "41/random",
        "43/random,1[]",
        "44/random,{}",
        "450-/random,[\"note\"]",
    ] {
        ends_the_session(&node, &mut witness, &[message]).await;
    }
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_passed_over() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    for answer in [
        "430[]",
        "431[{\"ok\":true}]",
        "439007199254740991[1,2,3]",
        "43[]",
        "460-1[]",
    ] {
        sio.send(answer).await;
    }
    sio.send("461-5[{\"_placeholder\":true,\"num\":0}]").await;
    sio.send_bytes(b"bytes").await;
    sio.hears_nothing().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn who_leaves_the_namespace_may_enter_it_again_and_is_in_no_room() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    let (sid, pid) = (sio.sid.clone(), sio.pid.clone());
    sio.send("41").await;
    let greeting = sio.greet(&json!({"pid": pid})).await;
    assert!(greeting["sid"] != *sid && greeting["pid"] != json!(pid));
    witness.is_undisturbed(&node).await;
    sio.hears_nothing().await;
    assert_eq!(node.members(ROOM).await, 1);
    sio.join(ROOM).await;
    witness.is_undisturbed(&node).await;
    assert_eq!(sio.event().await[0], "note");
    sio.send("41").await;
    sio.send("42[\"note\"]").await;
    assert_eq!(
        sio.ended().await,
        (vec![], Some(1005)),
        "who has left has nothing to say"
    );
}

#[tokio::test]
async fn events_that_the_node_does_not_know_are_answered_and_cost_nothing() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::joined(node.address, &[ROOM]).await;
    for packet in [
        "42[\"note\",1]",
        "42[7,1]",
        "42[-1.5]",
        "42[\"\"]",
        "42[\"__proto__\",{}]",
    ] {
        sio.send(packet).await;
    }
    let answer = sio.ask("note", &json!(1)).await;
    assert_eq!(
        (&answer["ok"], &answer["error"]["code"]),
        (&json!(false), &json!("bad_request"))
    );
    witness.is_undisturbed(&node).await;
}
