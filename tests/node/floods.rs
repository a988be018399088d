//! Clients that send or ask for too much are cut off or refused, with a word.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use greenroom::actors::logic::engine_io::Reason;
use greenroom::actors::ports::Wire;
use greenroom::actors::socket_io::{Asked, EmitError, Handler, Socket, Work};
use greenroom::buses;
use greenroom::extensions::{Extensions, HandlerOf};
use serde_json::json;
use serde_json::value::RawValue;

use crate::kit::raw::{self, PING, PONG};
use crate::kit::{Polling, Raw, Sio, TestNode, config, eventually, sio};

const ROOM: &str = "agent:1";

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
    assert_eq!(node.http.metric("greenroom_rate_limited_total").await, 3);
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
    assert_eq!(node.http.metric("greenroom_rate_limited_total").await, 3);
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
        let limited = node.http.metric("greenroom_rate_limited_total").await;
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
    assert_eq!(node.http.metric("greenroom_rate_limited_total").await, 1);
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
    assert_eq!(node.http.metric("greenroom_rate_limited_total").await, 1);
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
