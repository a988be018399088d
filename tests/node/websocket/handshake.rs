//! How a connection becomes a WebSocket.

use std::collections::BTreeSet;

use super::JOIN;
use crate::kit::raw::{self, HANDSHAKE};
use crate::kit::{Raw, TestNode};

#[tokio::test]
async fn the_sub_protocol_is_the_one_that_is_spoken() {
    let node = TestNode::start().await;
    for (offered, chosen) in [
        ("greenroom.v1", Some("greenroom.v1")),
        ("graphql-ws, greenroom.v1", Some("greenroom.v1")),
        ("graphql-ws", None),
    ] {
        let mut raw = Raw::connect(node.address).await;
        let header = format!("sec-websocket-protocol: {offered}\r\n\r\n");
        let request = HANDSHAKE.replace("\r\n\r\n", &format!("\r\n{header}"));
        raw.send(request.as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        let line = chosen.map(|chosen| format!("\r\nsec-websocket-protocol: {chosen}\r\n"));
        match line {
            Some(line) => assert!(head.contains(&line), "{head}"),
            None => assert!(!head.contains("sec-websocket-protocol"), "{head}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_refused() {
    let node = TestNode::start().await;
    node.http.get("/v1/ws").await.error(426, "upgrade_required");
    for (line, without) in [
        ("sec-websocket-version: 13\r\n", "sec-websocket-version: 12\r\n"),
        ("sec-websocket-version: 13\r\n", ""),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
    ] {
        let mut raw = Raw::connect(node.address).await;
        raw.send(HANDSHAKE.replace(line, without).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let body = String::from_utf8(raw.read_to_the_end().await).unwrap();
        assert!(body.contains("\"bad_request\""), "{body}");
    }
}

#[tokio::test]
async fn an_upgrade_to_something_else_is_an_ordinary_request() {
    let node = TestNode::start().await;
    let body = r#"{"event":"note","data":1}"#;
    let mut raw = Raw::connect(node.address).await;
    let request = format!(
        "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\nconnection: Upgrade, HTTP2-Settings\r\n\
         upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    raw.send(request.as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_heard() {
    let node = TestNode::start().await;
    let mut early = HANDSHAKE.as_bytes().to_vec();
    early.extend(raw::text(JOIN));
    early.extend(raw::text(r#"{"type":"ping","ref":2}"#));
    for split in [early.len(), HANDSHAKE.len() + 1, HANDSHAKE.len() - 2, 10] {
        let mut raw = Raw::connect(node.address).await;
        raw.send(&early[..split]).await;
        if split < early.len() {
            raw.send(&early[split..]).await;
        }
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
        let frames = [raw.json().await, raw.json().await];
        let types: BTreeSet<&str> = frames
            .iter()
            .map(|frame| frame["type"].as_str().unwrap())
            .collect();
        assert_eq!(types, BTreeSet::from(["joined", "pong"]));
    }
}

#[tokio::test]
async fn a_handshake_may_follow_another_request_on_its_connection() {
    let node = TestNode::start().await;
    let mut raw = Raw::connect(node.address).await;
    let request = format!("GET /livez HTTP/1.1\r\nhost: test\r\n\r\n{HANDSHAKE}");
    raw.send(request.as_bytes()).await;
    raw.send(&raw::text(JOIN)).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(raw.take(18).await.unwrap(), br#"{"status":"alive"}"#);
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.json().await["type"], "joined");
}
