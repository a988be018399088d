//! The upgrade from polling to a WebSocket: as the stock client does it, and as nobody should.

use serde_json::json;

use super::{ROOM, Witness, impatient};
use crate::kit::raw::{self, TEXT};
use crate::kit::sio::{Next, fault, handshake};
use crate::kit::{Polling, Raw, Sio, TestNode};

/// A WebSocket with the id of this session.
async fn socket_of(node: &TestNode, polling: &Polling) -> Sio {
    let query = format!("EIO=4&transport=websocket&sid={}", polling.sid);
    Sio::attach(node.address, &query).await
}

/// The same, which has been probed.
async fn probed(node: &TestNode, polling: &Polling) -> Sio {
    let mut socket = socket_of(node, polling).await;
    socket.send("2probe").await;
    assert_eq!(socket.packet().await, "3probe");
    socket
}

/// Polls until nothing more comes but the noop that ends the last poll.
async fn drained(polling: &Polling) -> Vec<String> {
    let mut packets = Vec::new();
    loop {
        match polling.packets().await {
            last if last == ["6"] => return packets,
            more => packets.extend(more),
        }
    }
}

/// A session that polls and is in the room.
async fn joined(node: &TestNode) -> Polling {
    let (polling, _) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    assert!(polling.packets().await[0].starts_with("430[{\"ok\":true"));
    polling
}

#[tokio::test]
async fn an_upgrade_takes_everything_along_in_order() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    let mut socket = probed(&node, &polling).await;
    assert_eq!(drained(&polling).await, [""; 0]);
    for number in 0..3 {
        node.publish(ROOM, "note", number).await;
    }
    socket.send("5").await;
    assert_eq!(
        socket.numbers(3).await,
        [0, 1, 2],
        "what came between the transports"
    );
    node.publish(ROOM, "note", 3).await;
    assert_eq!(socket.numbers(1).await, [3]);
    socket.hears_nothing().await;
    fault(&polling.get().await, 3, "Bad request");
    fault(&polling.post("3").await, 3, "Bad request");
    socket.hears_nothing().await;
    let sessions = node.http.get("/v1/sessions").await.ok();
    assert_eq!(sessions["sessions"][0]["transport"], "websocket");
}

#[tokio::test]
async fn what_is_asked_while_the_transport_changes_is_answered() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    let mut socket = probed(&node, &polling).await;
    assert_eq!(drained(&polling).await, [""; 0]);
    polling.say(r#"428["presence","lobby"]"#).await;
    let both = [raw::text("5"), raw::text(r#"429["presence","lobby"]"#)].concat();
    socket.send_raw(&both).await;
    assert!(socket.packet().await.starts_with("438[{\"ok\":true"));
    assert!(socket.packet().await.starts_with("439[{\"ok\":true"));
}

#[tokio::test]
async fn a_second_socket_is_sent_away_before_and_after_the_upgrade() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let polling = joined(&node).await;
    let mut socket = probed(&node, &polling).await;
    let mut second = socket_of(&node, &polling).await;
    assert_eq!(second.ended().await, (vec![], Some(1005)));
    assert_eq!(drained(&polling).await, [""; 0]);
    socket.send("5").await;
    socket.hears_nothing().await;
    let mut third = socket_of(&node, &polling).await;
    third.try_send("2probe").await;
    assert_eq!(third.ended().await, (vec![], Some(1005)));
    socket.hears_nothing().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn a_socket_that_does_not_do_its_part_is_sent_away_and_polling_goes_on() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let polling = joined(&node).await;
    let wrong = [
        raw::text("2"),
        raw::text("abc"),
        raw::text("42[\"join\",\"x\"]"),
        raw::text("3probe"),
        raw::text("1"),
        raw::frame(true, raw::BINARY, b"bytes"),
        raw::frame(true, TEXT, b"\xff"),
        raw::frame(true, raw::CLOSE, b""),
        raw::frame(true, 3, b""),
    ];
    for bytes in wrong {
        let mut socket = socket_of(&node, &polling).await;
        socket.send_raw(&bytes).await;
        let (packets, code) = socket.ended().await;
        assert!(
            packets.is_empty() && code == Some(1005),
            "{bytes:?}: {packets:?} {code:?}"
        );
    }
    let socket = probed(&node, &polling).await;
    socket.reset();
    polling.say(r#"421["presence","lobby"]"#).await;
    let packets = loop {
        match polling.packets().await {
            noop if noop == ["6"] => {}
            packets => break packets,
        }
    };
    assert!(packets[0].starts_with("431[{\"ok\":true"), "{packets:?}");
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn an_upgrade_that_stalls_is_given_up_and_polling_goes_on() {
    let node = impatient().await;
    let mut witness = Witness::of(&node).await;
    let polling = joined(&node).await;
    let mut stalls = socket_of(&node, &polling).await;
    assert_eq!(stalls.ended().await, (vec![], Some(1005)));
    let mut stalls = probed(&node, &polling).await;
    assert_eq!(drained(&polling).await, [""; 0]);
    assert_eq!(stalls.ended().await, (vec![], Some(1005)));
    polling.say(r#"421["presence","lobby"]"#).await;
    assert!(polling.packets().await[0].starts_with("431[{\"ok\":true"));
    let mut socket = probed(&node, &polling).await;
    assert_eq!(drained(&polling).await, [""; 0]);
    socket.send("5").await;
    socket.hears_nothing().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn an_upgrade_from_elsewhere_needs_a_session_that_polls() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for sid in ["", "x", "AAAAAAAAAAAAAAAAAAAA", "../../etc/passwd", "%00"] {
        let mut raw = Raw::connect(node.address).await;
        let query = format!("EIO=3&transport=websocket&sid={sid}");
        raw.send(handshake(&query).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{sid}: {head}");
    }
    // The public id is not the secret one.
    let (_, greeting) = Polling::enter(&node.http).await;
    let query = format!(
        "EIO=4&transport=websocket&sid={}",
        greeting["sid"].as_str().unwrap()
    );
    let mut raw = Raw::connect(node.address).await;
    raw.send(handshake(&query).as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 400 "));
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn a_session_that_ends_while_it_is_upgraded_takes_both_along() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    let mut socket = probed(&node, &polling).await;
    polling.say("1").await;
    assert!(matches!(socket.next().await, Next::End(_)));
    // The poll that may have been on its way before is answered as if it had waited.
    assert_eq!(polling.get().await.text, "6");
    polling.is_over().await;
    node.until_members(ROOM, 0).await;
}

#[tokio::test]
async fn who_upgrades_can_come_back_to_where_it_was() {
    let node = TestNode::start().await;
    let (polling, greeting) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    polling.packets().await;
    let mut socket = probed(&node, &polling).await;
    assert_eq!(drained(&polling).await, [""; 0]);
    socket.send("5").await;
    node.publish(ROOM, "note", 0).await;
    assert_eq!(socket.numbers(1).await, [0]);
    let offset = socket.offset.clone();
    socket.reset();
    node.publish(ROOM, "note", 1).await;
    let pid = greeting["pid"].as_str().unwrap();
    let (mut back, recovered) = Sio::back(node.address, pid, offset.as_deref()).await;
    assert!(recovered && back.sid == greeting["sid"]);
    assert_eq!(back.event().await, [json!("note"), json!(1)]);
}
