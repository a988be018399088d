//! What one client address, one connection and the node may have: reached, refused with a word, and nobody else minds.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use greenroom::actors::logic::engine_io::Reason;
use greenroom::actors::ports::Wire;
use greenroom::actors::socket_io::{Asked, EmitError, Handler, Socket, Work};
use greenroom::buses;
use greenroom::extensions::{Extensions, HandlerOf};
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::kit::http::{Answer, send};
use crate::kit::raw::{self, HANDSHAKE, PING, PONG};
use crate::kit::{Authority, Polling, Raw, Sio, Sse, TestNode, Ws, config, eventually, numbers, sio};

const ROOM: &str = "agent:1";

async fn metric(node: &TestNode, name: &str) -> u64 {
    let text = node.http.get("/metrics").await.text;
    let rows = text.lines().filter(|line| line.starts_with(name));
    rows.map(|row| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

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
    assert_eq!(metric(&node, "greenroom_refused_total").await, 1);
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
    assert_eq!(metric(&node, "greenroom_refused_total").await, 4);
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
    assert!(metric(&node, "greenroom_replays_delayed_total").await > 0);
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

#[tokio::test]
async fn a_flood_of_messages_ends_the_connection_that_sends_it() {
    let node = TestNode::with(|config| config.limits.messages_per_second = 20).await;
    let mut witness = node.joined(&[ROOM]).await;
    let frames = [
        raw::text(r#"{"type":"ping"}"#),
        raw::frame(true, PING, b""),
        raw::frame(true, PONG, b""),
    ];
    for frame in frames {
        let mut socket = Raw::websocket(node.address).await;
        flood(&mut socket, &frame).await;
        assert!(matches!(socket.close_code().await, Some(4003) | None));
    }
    assert_eq!(metric(&node, "greenroom_rate_limited_total").await, 3);
    node.publish(ROOM, "note", 1).await;
    assert_eq!(witness.event().await["data"], 1);
}

/// Sends a frame again and again, until the node takes no more.
async fn flood(socket: &mut Raw, frame: &[u8]) {
    let mut sent = 0;
    while sent < 100_000 && socket.try_send(&frame.repeat(10)).await {
        sent += 10;
    }
}

/// Who has not entered a namespace is nobody yet, and counts all the same.
#[tokio::test]
async fn a_flood_before_any_namespace_ends_the_session() {
    let node = TestNode::with(|config| config.limits.messages_per_second = 20).await;
    let handshake = sio::handshake("EIO=4&transport=websocket");
    for frame in [
        raw::text("3"),
        raw::frame(true, PING, b""),
        raw::frame(true, PONG, b""),
    ] {
        let mut socket = Raw::connect(node.address).await;
        socket.send(handshake.as_bytes()).await;
        socket.head().await;
        flood(&mut socket, &frame).await;
        assert!(matches!(socket.close_code().await, Some(1005) | None));
    }
    assert_eq!(metric(&node, "greenroom_rate_limited_total").await, 3);
}

/// A socket that is to take over from polling is ended, and the session goes on without it.
#[tokio::test]
async fn a_flood_on_a_socket_that_is_to_take_over_ends_it() {
    let node = TestNode::with(|config| config.limits.messages_per_second = 20).await;
    let (polling, _) = Polling::enter(&node.http).await;
    let query = format!("EIO=4&transport=websocket&sid={}", polling.sid);
    for (at, frame) in [raw::frame(true, PING, b""), raw::frame(true, PONG, b"")]
        .iter()
        .enumerate()
    {
        let mut socket = Raw::connect(node.address).await;
        socket.send(sio::handshake(&query).as_bytes()).await;
        socket.head().await;
        flood(&mut socket, frame).await;
        assert!(matches!(socket.close_code().await, Some(1005) | None));
        let limited = metric(&node, "greenroom_rate_limited_total").await;
        assert_eq!(limited, at as u64 + 1);
    }
    eventually("it to be let in again", || async {
        polling.post("420[\"join\",\"agent:1\"]").await.status == 200
    })
    .await;
    assert!(polling.packets().await[0].starts_with("430[{\"ok\":true"));
}

#[tokio::test]
async fn a_flood_of_bytes_ends_the_connection_that_sends_it() {
    let node = TestNode::with(|config| config.limits.inbound_bytes_per_second = 10_000).await;
    let mut flood = Raw::websocket(node.address).await;
    let filler = "x".repeat(8_000);
    let command = json!({"type": "publish", "room": ROOM, "event": "note", "data": filler});
    let frame = raw::text(&command.to_string());
    let mut sent = 0;
    while sent < 10_000 && flood.try_send(&frame).await {
        sent += 1;
    }
    assert!(matches!(flood.close_code().await, Some(4003) | None));
    assert_eq!(metric(&node, "greenroom_rate_limited_total").await, 1);
}

#[tokio::test]
async fn whoever_is_cut_off_is_told_why() {
    let node = TestNode::with(|config| config.limits.messages_per_second = 1).await;
    let mut ws = node.ws().await;
    for _ in 0..100 {
        ws.send(&json!({"type": "ping"})).await;
    }
    let (_, closed) = ws.read_to_the_end().await;
    let (code, reason) = closed.unwrap();
    assert_eq!(code, 4003);
    assert!(reason.contains("limits.messages_per_second"), "{reason}");
}

#[tokio::test]
async fn a_client_of_socket_io_that_sends_too_much_is_cut_off_or_refused() {
    let node = TestNode::with(|config| config.limits.messages_per_second = 20).await;
    let mut flood = Sio::enter(node.address).await;
    // Far more than it takes; what comes after the end is for nobody.
    for _ in 0..1_000 {
        flood.try_send("42[\"nothing\"]").await;
    }
    flood.ended().await;
    assert_eq!(metric(&node, "greenroom_rate_limited_total").await, 1);
    // By polling what comes is refused, and the session goes on.
    let (polling, _) = Polling::enter(&node.http).await;
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", polling.sid);
    let packets = vec!["42[\"nothing\"]"; 40].join("\u{1e}");
    let post = || {
        node.http
            .post_text(&path, "text/plain;charset=UTF-8", packets.clone())
    };
    assert_eq!(post().await.status, 200);
    post().await.error(429, "rate_limited");
    eventually("it to be let in again", || async { post().await.status == 200 }).await;
}

/// A namespace that asks its client once for each event, and tells it what became of the questions.
struct Asks;

impl<W: Wire> Handler<W> for Asks {
    fn connect(&self, socket: Rc<Socket<W>>, _: Option<Box<RawValue>>) -> Work {
        socket.accept("me");
        None
    }

    fn event(&self, socket: Rc<Socket<W>>, _: Asked) -> Work {
        // The shard counts from its start: sooner than this nobody hears that there is no answer.
        let answer = socket.emit_with_ack("question", "[]", u64::MAX);
        let tells = async move {
            match answer.await {
                Ok(answer) => socket.emit("answered", answer.get()),
                Err(EmitError::TooMany) => socket.emit("too many", "[]"),
                Err(EmitError::NoAnswer) => {}
            }
        };
        Some(tells.boxed_local())
    }

    fn disconnect(&self, _: &Rc<Socket<W>>, _: Reason) -> Work {
        None
    }
}

#[tokio::test]
async fn a_program_waits_for_no_more_answers_of_a_client_than_may_be() {
    let mut config = config();
    config.limits.acks_in_flight = 2;
    let bus = buses::embedded(&config);
    let asks: HandlerOf = Arc::new(|_| Rc::new(Asks));
    let extensions = Extensions {
        namespaces: vec![("/asks".into(), asks)],
        ..Extensions::default()
    };
    let node = TestNode::extended(config, bus, extensions).await;
    let mut client = Sio::open(node.address).await;
    client.send("40/asks,").await;
    assert_eq!(client.packet().await, "40/asks,{\"sid\":\"me\"}");
    for expected in ["20[\"question\"]", "21[\"question\"]", "2[\"too many\"]"] {
        client.send("42/asks,[\"go\"]").await;
        let packet = client.packet().await;
        assert_eq!(packet.replacen("/asks,", "", 1), format!("4{expected}"));
    }
    client.send("43/asks,1[7]").await;
    assert_eq!(client.packet().await, "42/asks,[\"answered\",7]");
    client.send("42/asks,[\"go\"]").await;
    assert_eq!(client.packet().await, "42/asks,2[\"question\"]");
}
