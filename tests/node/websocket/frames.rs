//! Frames, whole, in pieces and against the protocol; pings.

use serde_json::json;

use super::JOIN;
use crate::kit::raw::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};
use crate::kit::{Raw, TestNode, eventually};

#[tokio::test]
async fn a_ping_frame_gets_its_pong_and_a_silent_client_is_pinged() {
    let node = TestNode::with(|config| config.websocket.ping_interval_ms = 50).await;
    let mut raw = Raw::websocket(node.address).await;
    raw.send(&raw::frame(true, PING, b"there?")).await;
    assert_eq!(raw.frame().await, Some((PONG, b"there?".to_vec())));
    assert_eq!(raw.frame().await.map(|(opcode, _)| opcode), Some(PING));
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_ping_is_closed() {
    let node = TestNode::with(|config| {
        config.websocket.ping_interval_ms = 50;
        config.websocket.ping_timeout_ms = 50;
    })
    .await;
    let mut dead = Raw::websocket(node.address).await;
    dead.send(&raw::text(JOIN)).await;
    assert_eq!(dead.close_code().await, Some(4001));
    node.until_members("lobby", 0).await;
}

#[tokio::test]
async fn a_binary_frame_closes_with_its_code_and_nothing_after_it_is_heard() {
    let node = TestNode::start().await;
    let mut raw = Raw::websocket(node.address).await;
    let mut frames = raw::frame(true, BINARY, b"{}");
    frames.extend(raw::text(r#"{"type":"publish","room":"lobby","event":"late"}"#));
    raw.send(&frames).await;
    assert_eq!(raw.close_code().await, Some(1003));
    let history = node.http.get("/v1/rooms/lobby/events").await.ok();
    assert_eq!(history["events"], json!([]));
}

/// A client that sends this is closed with that code, and leaves nothing behind.
async fn closes(node: &TestNode, code: u16, bytes: &[u8]) {
    let mut raw = Raw::websocket(node.address).await;
    raw.send(bytes).await;
    assert_eq!(raw.close_code().await, Some(code), "{bytes:?}");
    drop(raw);
    eventually("the session to be over", || async {
        node.http.get("/v1/sessions").await.ok()["sessions"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn a_frame_against_the_protocol_closes_with_1002() {
    let node = TestNode::start().await;
    let unmasked = vec![0x81, 0x02, b'{', b'}'];
    let reserved_bit = raw::head(true, TEXT | 0x40, 0, Some([0; 4]));
    let reserved_opcode = raw::frame(true, 3, b"");
    let continuation_of_nothing = raw::frame(true, CONTINUATION, b"x");
    let message_within_another = [raw::frame(false, TEXT, b"x"), raw::text("{}")].concat();
    let control_frame_in_pieces = raw::frame(false, PING, b"x");
    let long_ping = raw::frame(true, PING, &[0; 126]);
    let half_a_close_code = raw::frame(true, CLOSE, &[3]);
    let close_code_that_is_none = raw::frame(true, CLOSE, &[0, 7]);
    for bytes in [
        unmasked,
        reserved_bit,
        reserved_opcode,
        continuation_of_nothing,
        message_within_another,
        control_frame_in_pieces,
        long_ping,
        half_a_close_code,
        close_code_that_is_none,
    ] {
        closes(&node, 1002, &bytes).await;
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let node = TestNode::start().await;
    closes(&node, 1007, &raw::frame(true, TEXT, &[b'"', 0xff, b'"'])).await;
    let half_a_character = &"\u{1F600}".as_bytes()[..3];
    closes(&node, 1007, &raw::frame(true, TEXT, half_a_character)).await;
    // At once, though the message has not ended.
    closes(&node, 1007, &raw::frame(false, TEXT, &[0xff])).await;
    closes(&node, 1007, &raw::frame(true, CLOSE, &[3, 232, 0xff])).await;
}

#[tokio::test]
async fn a_frame_or_a_message_over_the_limit_closes_with_1009() {
    let node = TestNode::with(|config| {
        config.limits.frame_bytes = 1_000;
        config.limits.message_bytes = 1_500;
        config.limits.event_bytes = 1_000;
    })
    .await;
    // Its head is enough.
    closes(&node, 1009, &raw::head(true, TEXT, 1_001, Some([0; 4]))).await;
    let pieces = [
        raw::frame(false, TEXT, &[b'x'; 800]),
        raw::head(true, CONTINUATION, 701, Some([0; 4])),
    ];
    closes(&node, 1009, &pieces.concat()).await;
    let fits = format!("{:1000}", r#"{"type":"ping"}"#);
    let mut raw = Raw::websocket(node.address).await;
    raw.send(&raw::text(&fits)).await;
    assert_eq!(raw.json().await["type"], "pong");
}

#[tokio::test]
async fn a_message_may_come_in_pieces_cut_anywhere() {
    let node = TestNode::start().await;
    let mut raw = Raw::websocket(node.address).await;
    let command = r#"{"type":"ping","ref":"\u{1F600} größer"}"#.replace("\\u{1F600}", "\u{1F600}");
    for piece in 1..command.len() {
        let pieces = command.as_bytes().chunks(piece).collect::<Vec<_>>();
        let mut frames = Vec::new();
        for (number, bytes) in pieces.iter().enumerate() {
            let opcode = if number == 0 { TEXT } else { CONTINUATION };
            frames.extend(raw::frame(number + 1 == pieces.len(), opcode, bytes));
            if number + 1 < pieces.len() {
                frames.extend(raw::frame(true, PONG, b"between"));
            }
        }
        for bytes in frames.chunks(piece) {
            raw.send(bytes).await;
        }
        assert_eq!(raw.json().await["ref"], "\u{1F600} größer");
    }
}
