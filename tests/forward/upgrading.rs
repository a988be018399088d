//! A WebSocket for a session of another node.

use serde_json::json;

use crate::gone::process;
use crate::kit::raw::Raw;
use crate::kit::sio::{Sio, handshake};
use crate::kit::{Authority, Polling, Redis, eventually};
use crate::polling::session;
use crate::{node_with, nodes};

/// A poll that the upgrade ends, and then the WebSocket, probed and taken.
async fn upgraded(session: &Polling, node: &crate::kit::TestNode) -> Sio {
    let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
    let mut socket = Sio::attach(node.address, &query).await;
    socket.send("2probe").await;
    assert_eq!(socket.packet().await, "3probe");
    socket.send("5").await;
    socket
}

#[tokio::test]
async fn a_session_is_upgraded_by_whichever_node() {
    let (_redis, nodes) = nodes::<3>().await;
    for node in &nodes {
        let session = session(&nodes[0], "lobby").await;
        let mut socket = upgraded(&session, node).await;
        for number in 0..50 {
            nodes[number % 3].publish("lobby", "n", number).await;
        }
        assert_eq!(socket.numbers(50).await, (0..50).collect::<Vec<_>>());
        let answer = socket
            .ask(
                "publish",
                &json!({"room": "lobby", "event": "n", "data": "x".repeat(100_000)}),
            )
            .await;
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(socket.event().await[1].as_str().unwrap().len(), 100_000);
        socket.reset();
        nodes[0].until_members("lobby", 0).await;
    }
}

#[tokio::test]
async fn a_socket_ends_with_either_of_the_two_nodes() {
    for which in 0..2 {
        let (_redis, mut nodes) = nodes::<2>().await;
        let session = session(&nodes[0], "lobby").await;
        let mut socket = upgraded(&session, &nodes[1]).await;
        nodes[0].publish("lobby", "n", 0).await;
        assert_eq!(socket.numbers(1).await, [0]);
        nodes[which].tell_to_stop();
        let (_, code) = socket.ended().await;
        // Its own node says farewell; the one in between just goes.
        assert!(
            code.is_none_or(|code| code == 1_000 || code == 1_001 || code == 1_005),
            "{code:?}"
        );
        nodes[which].ended().await;
    }
}

#[tokio::test]
async fn what_is_no_handshake_or_no_session_is_refused_as_anywhere() {
    let (_redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
    for (request, answer) in [
        (
            handshake(&query).replace("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            "Bad request",
        ),
        (handshake(&query.replace("websocket", "polling")), "Bad request"),
        (
            handshake(&format!("{}{}", &query[..query.len() - 4], "none")),
            "Session ID unknown",
        ),
    ] {
        let mut raw = Raw::connect(two.address).await;
        raw.send(request.as_bytes()).await;
        let text = String::from_utf8_lossy(&raw.read_to_the_end().await).into_owned();
        assert!(
            text.starts_with("HTTP/1.1 400 ") && text.contains(answer),
            "{text}"
        );
    }
    session.by(&two.http).say("3").await;
}

#[tokio::test]
async fn sockets_that_are_carried_count_as_their_clients() {
    let redis = crate::kit::Redis::start();
    let one = node_with(&redis, |_| {}).await;
    let two = node_with(&redis, |config| config.limits.connections_per_address = 4).await;
    let mut sockets = Vec::new();
    let mut refused = 0;
    for _ in 0..6 {
        let session = Polling::open(&one.http).await;
        let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
        let mut raw = Raw::connect(two.address).await;
        raw.send(handshake(&query).as_bytes()).await;
        match raw.head().await.split(' ').nth(1) {
            Some("101") => sockets.push(raw),
            Some("429") => refused += 1,
            status => panic!("{status:?}"),
        }
    }
    assert!(sockets.len() <= 4 && refused >= 2, "{} {refused}", sockets.len());
    drop(sockets);
    eventually("places to be free again", || async {
        let session = Polling::open(&one.http).await;
        let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
        let mut raw = Raw::connect(two.address).await;
        raw.send(handshake(&query).as_bytes()).await;
        raw.head().await.starts_with("HTTP/1.1 101 ")
    })
    .await;
}

#[tokio::test]
async fn a_node_that_speaks_tls_is_asked_by_tls() {
    let (redis, authority) = (Redis::start(), Authority::new());
    let mut address = None;
    let mut one = node_with(&redis, |config| {
        authority.apply(config);
        address = Some(config.listen);
        config.cluster.advertise = Some(format!("https://{}", config.listen));
    })
    .await;
    one.http = authority.http(address.unwrap());
    let root = authority.root_file();
    let two = process(&redis, &[("SSL_CERT_FILE", root.to_str().unwrap())]);
    let session = session(&one, "lobby").await;
    let by_two = session.by(&two.http);
    one.publish("lobby", "n", 0).await;
    assert!(by_two.packets().await[0].starts_with("42[\"n\",0,"));
    let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
    let mut socket = Sio::attach(two.address, &query).await;
    socket.send("2probe").await;
    assert_eq!(socket.packet().await, "3probe");
    socket.send("5").await;
    for number in 1..=50 {
        one.publish("lobby", "n", number).await;
    }
    assert_eq!(socket.numbers(50).await, (1..=50).collect::<Vec<_>>());
    // Somebody who does not trust it does not ask it.
    let stranger = process(&redis, &[]);
    let another = crate::polling::session(&one, "lobby").await;
    another.by(&stranger.http).is_over().await;
}
