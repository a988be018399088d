//! What one client address and the node may have: reached, refused with a word, and nobody else minds.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::http::{Answer, send};
use crate::kit::raw::HANDSHAKE;
use crate::kit::{Authority, Polling, Raw, Sio, Sse, TestNode, Ws, eventually, numbers};

const ROOM: &str = "agent:1";

/// A request of a client behind the proxy that the test plays.
async fn ask(node: &TestNode, path: &str, client: &str) -> Answer {
    let request = node.http.request(Method::GET, path);
    send(request.header("x-forwarded-for", client)).await
}

/// A WebSocket of a client behind the proxy: the connection, and how the answer began.
async fn websocket(node: &TestNode, client: &str) -> (Raw, String) {
    let mut raw = Raw::connect(node.address).await;
    let head = format!("host: test\r\nx-forwarded-for: {client}\r\n");
    raw.send(HANDSHAKE.replace("host: test\r\n", &head).as_bytes())
        .await;
    let status = raw.head().await.split(' ').nth(1).unwrap().to_owned();
    (raw, status)
}

/// What a connection is answered that is refused before it has said anything.
async fn refused(node: &TestNode) -> (String, Value) {
    let mut raw = Raw::connect(node.address).await;
    let head = raw.head().await;
    let body = raw.read_to_the_end().await;
    (head, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn connections_of_an_address_are_counted_at_the_door() {
    let node = TestNode::with(|config| config.limits.connections_per_address = 3).await;
    let mut ws = node.joined(&[ROOM]).await;
    // The keep-alive connection of the test's own requests is one more.
    node.members(ROOM).await;
    let mut idle = Raw::connect(node.address).await;
    // Another thread may accept it: it is counted for certain when it is answered.
    idle.send(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await;
    idle.head().await;
    let (head, body) = refused(&node).await;
    assert!(
        head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nretry-after: 1\r\n"),
        "{head}"
    );
    assert_eq!(body["error"]["code"], "rate_limited");
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("limits.connections_per_address")
    );
    // What is connected goes on.
    node.publish(ROOM, "note", 1).await;
    assert_eq!(ws.event().await["data"], 1);
    assert_eq!(node.http.metric("greenroom_refused_total").await, 1);
    drop(idle);
    eventually("a place to be free", || async {
        Ws::try_connect(node.address).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn over_tls_a_connection_too_many_is_ended_before_the_handshake() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |config| config.limits.connections_per_address = 1).await;
    let _first = authority.connect(node.address).await;
    let mut second = Raw::connect(node.address).await;
    assert_eq!(second.read_to_the_end().await, b"");
}

#[tokio::test]
async fn connections_that_come_too_fast_are_refused() {
    let node = TestNode::with(|config| config.limits.handshakes_per_second = 1).await;
    // Ten seconds' worth at once, and as many more as the seconds that this takes.
    let mut open = 0;
    let refusal = loop {
        let mut raw = Raw::connect(node.address).await;
        raw.send(b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await;
        let head = raw.head().await;
        if !head.starts_with("HTTP/1.1 200 ") {
            break (head, raw.read_to_the_end().await);
        }
        open += 1;
        assert!(open < 1_000, "none is refused");
    };
    assert!(open >= 10, "{open}");
    assert!(refusal.0.starts_with("HTTP/1.1 429 "), "{}", refusal.0);
    let body: Value = serde_json::from_slice(&refusal.1).unwrap();
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("limits.handshakes_per_second")
    );
    eventually("it to be let in again", || async {
        let mut raw = Raw::connect(node.address).await;
        raw.try_send(b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await;
        raw.read_to_the_end().await.starts_with(b"HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_full_of_sockets_refuses_and_goes_on() {
    let node = TestNode::with(|config| config.limits.sockets = 2).await;
    let mut ws = node.joined(&[ROOM]).await;
    node.members(ROOM).await;
    let (head, body) = refused(&node).await;
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1\r\n"),
        "{head}"
    );
    assert_eq!(body["error"]["code"], "overloaded");
    node.publish(ROOM, "note", 1).await;
    assert_eq!(ws.event().await["data"], 1);
}

#[tokio::test]
async fn a_node_that_is_full_of_sessions_refuses_on_every_surface_and_goes_on() {
    let node = TestNode::with(|config| config.limits.connections = 2).await;
    let mut ws = node.joined(&[ROOM]).await;
    let (polling, _) = Polling::enter(&node.http).await;
    for path in ["/v1/rooms/a/stream", "/socket.io/?EIO=4&transport=polling"] {
        node.http.get(path).await.error(503, "overloaded");
    }
    assert_eq!(websocket(&node, "192.0.2.1").await.1, "503");
    let mut socket_io = Raw::connect(node.address).await;
    let upgrade = HANDSHAKE.replace("/v1/ws", "/socket.io/?EIO=4&transport=websocket");
    socket_io.send(upgrade.as_bytes()).await;
    assert!(socket_io.head().await.contains("\r\nretry-after: 1\r\n"));
    assert_eq!(node.http.metric("greenroom_refused_total").await, 4);
    // Requests are answered, and the session that polls may take its WebSocket still.
    node.publish(ROOM, "note", 1).await;
    assert_eq!(ws.event().await["data"], 1);
    let query = format!("EIO=4&transport=websocket&sid={}", polling.sid);
    let mut upgraded = Sio::attach(node.address, &query).await;
    upgraded.send("2probe").await;
    assert_eq!(upgraded.packet().await, "3probe");
}

#[tokio::test]
async fn behind_a_proxy_sessions_are_counted_by_the_clients_address() {
    let node = TestNode::with(|config| {
        config.http.trusted_proxies = "127.0.0.1".into();
        config.limits.connections_per_address = 2;
    })
    .await;
    let (_one, status) = websocket(&node, "2001:db8::1").await;
    assert_eq!(status, "101");
    // Of the same /64, over another surface.
    let opening = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(ask(&node, opening, "2001:db8::2").await.status, 200);
    ask(&node, opening, "2001:db8::3")
        .await
        .error(429, "rate_limited");
    assert_eq!(websocket(&node, "2001:db8::3").await.1, "429");
    ask(&node, "/v1/rooms/a/stream", "2001:db8::3")
        .await
        .error(429, "rate_limited");
    let (other, status) = websocket(&node, "2001:db8:0:1::1").await;
    assert_eq!(status, "101");
    drop(other);
}

#[tokio::test]
async fn streams_and_polls_of_an_address_are_counted_while_they_wait() {
    let node = TestNode::with(|config| config.limits.streams_per_address = 1).await;
    let (polling, _) = Polling::enter(&node.http).await;
    let stream = node.sse(ROOM).await;
    node.http
        .get("/v1/rooms/a/stream")
        .await
        .error(429, "rate_limited");
    let poll = format!("/socket.io/?EIO=4&transport=polling&sid={}", polling.sid);
    node.http.get(&poll).await.error(429, "rate_limited");
    drop(stream);
    eventually("the stream to be over", || async {
        node.members(ROOM).await == 0
    })
    .await;
    let _again: Sse = node.sse(ROOM).await;
}

#[tokio::test]
async fn requests_of_an_address_that_come_too_fast_are_refused() {
    let node = TestNode::with(|config| {
        config.http.trusted_proxies = "127.0.0.1".into();
        config.limits.requests_per_second = 5;
    })
    .await;
    let mut answered = 0;
    let refusal = loop {
        let answer = ask(&node, "/livez", "192.0.2.1").await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        assert!(answered < 1_000, "none is refused");
    };
    refusal.error(429, "rate_limited");
    assert!(answered >= 5, "{answered}");
    assert_eq!(
        ask(&node, "/livez", "192.0.2.2").await.status,
        200,
        "another address"
    );
    eventually("it to be let in again", || async {
        ask(&node, "/livez", "192.0.2.1").await.status == 200
    })
    .await;
}

/// Three megabytes of history, of which two and a half may be read at once, and a quarter a second.
#[tokio::test]
async fn who_reads_too_much_history_waits_or_is_refused() {
    const EVENTS: u64 = 60;
    let node = TestNode::with(|config| {
        config.http.trusted_proxies = "127.0.0.1".into();
        config.limits.replay_bytes_per_second = 256 << 10;
        // How often who waits is looked at: each time a quarter of this has passed.
        config.sse.comment_ms = 400;
    })
    .await;
    let mut ws = node.ws().await;
    let oldest = ws.join(&[ROOM], None).await["position"].clone();
    let filler = "x".repeat(50 << 10);
    for number in 0..EVENTS {
        node.publish(ROOM, "note", json!({"n": number, "filler": filler}))
            .await;
    }
    let mut back = node.ws().await;
    back.join(&[ROOM], oldest.as_str()).await;
    assert!(
        numbers(&back.events(EVENTS as usize).await)
            .into_iter()
            .eq(0..EVENTS)
    );
    assert!(node.http.metric("greenroom_replays_delayed_total").await > 0);
    let path = format!("/v1/rooms/{ROOM}/events?limit=1");
    let mut pages = 0;
    let refused = loop {
        let page = node.http.get(&path).await;
        if page.status != 200 {
            break page.error(429, "rate_limited");
        }
        pages += 1;
        assert!(pages < 10_000, "none is refused");
    };
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("limits.replay_bytes_per_second"), "{message}");
    let page = ask(&node, &path, "192.0.2.2").await.ok();
    assert_eq!(numbers(page["events"].as_array().unwrap()), [0]);
    node.publish(ROOM, "note", EVENTS).await;
    assert_eq!(numbers(&[back.event().await]), [EVENTS]);
    eventually("it to be let in again", || async {
        node.http.get(&path).await.status == 200
    })
    .await;
}

/// The first page is given whatever it comes to, and what is owed for it takes minutes.
#[tokio::test]
async fn what_an_address_may_not_read_yet_is_not_given() {
    let node = TestNode::with(|config| {
        config.http.trusted_proxies = "127.0.0.1".into();
        config.limits.replay_bytes_per_second = 1 << 10;
    })
    .await;
    let mut ws = node.ws().await;
    let oldest = ws.join(&[ROOM], None).await["position"].clone();
    let filler = "x".repeat(50 << 10);
    for _ in 0..12 {
        node.publish(ROOM, "note", json!({"filler": filler})).await;
    }
    let mut back = node.ws().await;
    back.join(&[ROOM], oldest.as_str()).await;
    back.send(&json!({"type": "ping"})).await;
    let mut given = 0;
    while back.frame().await["type"] == "event" {
        given += 1;
    }
    assert!((1..12).contains(&given), "{given}");
    back.hears_nothing().await;
    let path = format!("/v1/rooms/{ROOM}/events");
    let page = ask(&node, &path, "192.0.2.2").await.ok();
    assert_eq!(page["events"].as_array().unwrap().len(), 12);
    ask(&node, &path, "192.0.2.2").await.error(429, "rate_limited");
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_and_the_connection_goes_on() {
    let node = TestNode::with(|config| config.limits.head_bytes = 2_000).await;
    let mut raw = Raw::connect(node.address).await;
    // The address, and "host: test\r\n" and "x: \r\n" beside the filler, are 23 bytes.
    for (filler, status) in [(1_977, "200"), (1_978, "431"), (0, "200")] {
        let fields = format!("host: test\r\nx: {}", "y".repeat(filler));
        let request = format!("GET /livez HTTP/1.1\r\n{fields}\r\n\r\n");
        raw.send(request.as_bytes()).await;
        let head = raw.head().await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{filler}: {head}");
        let length = head.split_once("content-length: ").unwrap().1;
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let body = raw.take(length).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["error"]["code"] == "head_too_large",
            status == "431",
            "{body}"
        );
    }
    let long = format!("/v1/rooms?prefix={}", "x".repeat(2_000));
    node.http.get(&long).await.error(431, "head_too_large");
    let mut raw = Raw::connect(node.address).await;
    let field = format!("host: test\r\nx: {}\r\n", "y".repeat(2_000));
    raw.send(HANDSHAKE.replace("host: test\r\n", &field).as_bytes())
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 431 "));
}
