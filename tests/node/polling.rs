//! Long-polling as HTTP has it: what the answers look like to browsers and proxies.

use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::Method;
use reqwest::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap,
    ORIGIN, SET_COOKIE,
};
use serde_json::{Value, json};

use crate::kit::TestNode;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

async fn get(node: &TestNode, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = node.http.request(Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

/// Opens a session, connects, and joins a room; returns the path of its requests.
async fn joined(node: &TestNode, room: &str) -> String {
    let (_, _, body) = get(node, OPEN, &[]).await;
    let open: Value = serde_json::from_slice(&body[1..]).unwrap();
    let path = format!("{OPEN}&sid={}", open["sid"].as_str().unwrap());
    for packets in ["40".to_owned(), format!("421[\"join\",\"{room}\"]")] {
        let answer = node.http.post_text(&path, "text/plain", packets).await;
        assert_eq!(answer.status, 200);
        let (_, _, heard) = get(node, &path, &[]).await;
        assert!(heard.starts_with(b"4"), "{}", String::from_utf8_lossy(&heard));
    }
    path
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let node = TestNode::start().await;
    let path = joined(&node, "lobby").await;
    let text = "thought ".repeat(500);
    for (accepts, compressed) in [
        ("gzip, deflate, br", true),
        ("identity", false),
        ("gzip;q=0", false),
    ] {
        node.publish("lobby", "note", json!(text)).await;
        let (status, headers, body) = get(&node, &path, &[(ACCEPT_ENCODING.as_str(), accepts)]).await;
        assert_eq!(status, 200);
        assert_eq!(headers.contains_key(CONTENT_ENCODING), compressed, "{accepts}");
        let mut whole = String::new();
        if compressed {
            assert!(body.len() < text.len() / 4);
            GzDecoder::new(&body[..]).read_to_string(&mut whole).unwrap();
        } else {
            whole = String::from_utf8(body).unwrap();
        }
        assert!(whole.starts_with("42[\"note\",\"thought thought "), "{accepts}");
    }
    node.publish("lobby", "note", 1).await;
    let (_, headers, _) = get(&node, &path, &[(ACCEPT_ENCODING.as_str(), "gzip")]).await;
    assert!(!headers.contains_key(CONTENT_ENCODING), "a small one");
    assert_eq!(headers[CACHE_CONTROL], "no-store");
    assert_eq!(headers[CONTENT_TYPE], "text/plain; charset=UTF-8");
}

#[tokio::test]
async fn a_cookie_keeps_a_polling_client_on_its_node() {
    let node = TestNode::with(|config| config.socketio.cookie = Some("io".into())).await;
    let (_, headers, body) = get(&node, OPEN, &[]).await;
    let open: Value = serde_json::from_slice(&body[1..]).unwrap();
    let cookie = headers[SET_COOKIE].to_str().unwrap();
    let sid = open["sid"].as_str().unwrap();
    assert!(cookie.starts_with(&format!("io={sid};")), "{cookie}");
    let plain = TestNode::start().await;
    let (_, headers, _) = get(&plain, OPEN, &[]).await;
    assert!(!headers.contains_key(SET_COOKIE));
}

#[tokio::test]
async fn pages_of_other_origins_are_told_whether_they_may() {
    let node =
        TestNode::with(|config| config.http.origins = "loopback, https://app.example.com".into()).await;
    for origin in ["http://localhost:5173", "https://app.example.com"] {
        let (status, headers, _) = get(&node, OPEN, &[(ORIGIN.as_str(), origin)]).await;
        assert_eq!(
            (status, headers[ACCESS_CONTROL_ALLOW_ORIGIN].to_str().unwrap()),
            (200, origin)
        );
        let ask = [
            (ORIGIN.as_str(), origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        let mut request = node.http.request(Method::OPTIONS, "/v1/rooms/lobby/events");
        for (name, value) in ask {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], origin);
    }
    for path in [OPEN, "/v1/rooms", "/v1/ws"] {
        let foreign = [(ORIGIN.as_str(), "https://evil.example.com")];
        let (status, headers, body) = get(&node, path, &foreign).await;
        assert_eq!(status, 403, "{path}");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "origin_forbidden", "{path}");
    }
}
