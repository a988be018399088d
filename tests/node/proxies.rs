//! Who a client is where proxies stand in front of the node.

use reqwest::Method;
use serde_json::Value;

use crate::kit::http::send;
use crate::kit::raw::HANDSHAKE;
use crate::kit::{Polling, Raw, TestNode};

/// The handshake with more headers.
fn handshake(headers: &str) -> String {
    HANDSHAKE.replace("host: test\r\n", &format!("host: test\r\n{headers}"))
}

/// A WebSocket that was opened with these headers.
async fn websocket(node: &TestNode, headers: &str) -> Raw {
    let mut raw = Raw::connect(node.address).await;
    raw.send(handshake(headers).as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    raw
}

/// The addresses of what is connected.
async fn addresses(node: &TestNode) -> Vec<Value> {
    let sessions = node.http.get("/v1/sessions").await.ok()["sessions"].clone();
    let mut found: Vec<Value> = sessions
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["address"].clone())
        .collect();
    found.sort_by_key(Value::to_string);
    found
}

#[tokio::test]
async fn nobody_is_believed_who_is_not_trusted() {
    let node = TestNode::start().await;
    let _ws = websocket(
        &node,
        "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.2\r\n",
    )
    .await;
    assert_eq!(addresses(&node).await, ["127.0.0.1"]);
}

#[tokio::test]
async fn a_trusted_proxy_tells_the_address_on_every_surface() {
    let node = TestNode::with(|config| config.http.trusted_proxies = "127.0.0.0/8, 10.0.0.0/8".into()).await;
    let _ws = websocket(&node, "x-forwarded-for: 6.6.6.6, 192.0.2.1, 10.0.0.1\r\n").await;
    let mut sse = Raw::connect(node.address).await;
    sse.send(b"GET /v1/rooms/a/stream HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 2001:db8:1:2:3::4\r\n\r\n")
        .await;
    assert!(sse.head().await.starts_with("HTTP/1.1 200 "));
    let mut socket_io = Raw::connect(node.address).await;
    let upgrade = handshake("x-forwarded-for: 192.0.2.3\r\n")
        .replace("/v1/ws", "/socket.io/?EIO=4&transport=websocket");
    socket_io.send(upgrade.as_bytes()).await;
    assert!(socket_io.head().await.starts_with("HTTP/1.1 101 "));
    let opening = node
        .http
        .request(Method::GET, "/socket.io/?EIO=4&transport=polling");
    assert_eq!(
        send(opening.header("x-forwarded-for", "192.0.2.4")).await.status,
        200
    );
    let (_polling, _) = Polling::enter(&node.http).await;
    assert_eq!(
        addresses(&node).await,
        [
            "127.0.0.1",
            "192.0.2.1",
            "192.0.2.3",
            "192.0.2.4",
            "2001:db8:1:2::/64"
        ]
    );
}

#[tokio::test]
async fn the_standard_header_is_read_where_it_is_the_one() {
    let node = TestNode::with(|config| {
        config.http.trusted_proxies = "127.0.0.1".into();
        config.http.forwarded_header = greenroom::config::sections::ForwardedHeader::Forwarded;
    })
    .await;
    let _ws = websocket(
        &node,
        "x-forwarded-for: 6.6.6.6\r\nforwarded: for=\"192.0.2.5:4711\";proto=https\r\n",
    )
    .await;
    assert_eq!(addresses(&node).await, ["192.0.2.5"]);
}

#[tokio::test]
async fn a_page_without_tls_may_not_use_a_node_that_is_asked_by_tls() {
    let node = TestNode::with(|config| config.http.trusted_proxies = "127.0.0.1".into()).await;
    let ask = |origin: &str, proto: &str| {
        let request = node.http.request(Method::GET, "/v1/rooms");
        let request = request
            .header("host", "node.example.com")
            .header("origin", origin);
        send(request.header("x-forwarded-proto", proto))
    };
    assert_eq!(ask("https://node.example.com", "https").await.status, 200);
    assert_eq!(ask("http://node.example.com", "http").await.status, 200);
    ask("http://node.example.com", "https")
        .await
        .error(403, "origin_forbidden");
}
