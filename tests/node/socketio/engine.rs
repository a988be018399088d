//! Engine.IO: handshakes, the heartbeat, and the end of a session over a WebSocket.

use reqwest::Method;
use serde_json::json;

use super::Witness;
use crate::kit::http::send;
use crate::kit::raw::{self, BINARY, CONTINUATION, TEXT};
use crate::kit::sio::{Next, fault, handshake};
use crate::kit::{Polling, Raw, Sio, TestNode, eventually};

#[tokio::test]
async fn a_session_begins_with_what_the_client_has_to_know() {
    let node = TestNode::start().await;
    for path in ["/socket.io/", "/socket.io"] {
        let answer = node
            .http
            .get(&format!("{path}?EIO=4&transport=polling&t=abc"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=UTF-8");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let polling = Polling::open(&node.http).await;
    assert_eq!(
        polling.open,
        json!({
            "sid": polling.sid, "upgrades": ["websocket"], "pingInterval": 25_000, "pingTimeout": 20_000,
            "maxPayload": 1_000_000,
        })
    );
    assert_eq!(polling.sid.len(), 20);
    let mut sio = Sio::attach(node.address, "EIO=4&transport=websocket").await;
    let open = sio.packet().await;
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    assert_eq!(
        (open.as_object().unwrap().len(), &open["upgrades"]),
        (5, &json!([]))
    );
}

#[tokio::test]
async fn a_handshake_that_makes_no_sense_is_refused_in_the_words_of_the_stock_server() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for (method, query, code, message) in [
        (Method::GET, "", 0, "Transport unknown"),
        (Method::GET, "EIO=4", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=abc", 0, "Transport unknown"),
        (
            Method::GET,
            "EIO=4&transport=polling&sid=abc",
            1,
            "Session ID unknown",
        ),
        (
            Method::POST,
            "EIO=4&transport=polling&sid=abc",
            1,
            "Session ID unknown",
        ),
        (Method::POST, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::PUT, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::GET, "EIO=4&transport=websocket", 3, "Bad request"),
        (
            Method::GET,
            "transport=polling",
            5,
            "Unsupported protocol version",
        ),
        (
            Method::GET,
            "EIO=3&transport=polling",
            5,
            "Unsupported protocol version",
        ),
        (
            Method::GET,
            "EIO=abc&transport=polling",
            5,
            "Unsupported protocol version",
        ),
    ] {
        let answer = send(node.http.request(method, &format!("/socket.io/?{query}"))).await;
        fault(&answer, code, message);
    }
    for query in [
        "EIO=4",
        "EIO=4&transport=abc",
        "EIO=3&transport=websocket",
        "transport=websocket",
        "EIO=4&transport=websocket&sid=abc",
        "EIO=4&transport=polling",
    ] {
        let mut raw = Raw::connect(node.address).await;
        raw.send(handshake(query).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{query}: {head}");
        raw.read_to_the_end().await;
    }
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn the_session_of_a_websocket_is_nobody_elses() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let mut sio = Sio::attach(node.address, "EIO=4&transport=websocket").await;
    let open = sio.packet().await;
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let sid = open["sid"].as_str().unwrap();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(node.http.get(&path).await.status, 400);
    assert_eq!(node.http.post_text(&path, "text/plain", "41").await.status, 400);
    let mut raw = Raw::connect(node.address).await;
    raw.send(handshake(&format!("EIO=4&transport=websocket&sid={sid}")).as_bytes())
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 400 "));
    sio.greet(&json!({})).await;
    sio.hears_nothing().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn the_server_pings_and_ends_a_session_that_does_not_answer() {
    let node = TestNode::with(|config| {
        config.socketio.ping_interval_ms = 100;
        config.socketio.ping_timeout_ms = 2_000;
    })
    .await;
    let (polling, _) = Polling::enter(&node.http).await;
    let mut sio = Sio::enter(node.address).await;
    for _ in 0..5 {
        assert_eq!(sio.heard().await, Next::Packet("2".into()));
        sio.send("3").await;
    }
    // Only pongs count: it is sent away while it speaks.
    let mut pings = 0;
    loop {
        match sio.heard().await {
            Next::Packet(packet) if packet == "2" => {
                pings += 1;
                sio.try_send(r#"42["presence","lobby"]"#).await;
            }
            Next::End(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pings, 1);
    eventually("the silent poller to be gone", || async {
        polling.get().await.status == 400
    })
    .await;
}

#[tokio::test]
async fn a_websocket_is_ended_by_what_is_no_packet_and_by_that_alone() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for packet in ["", "7", "abc", "2", "2probe", "1", "b!!"] {
        let mut sio = Sio::joined(node.address, &[super::ROOM]).await;
        sio.send(packet).await;
        let (packets, code) = sio.ended().await;
        assert!(
            packets.is_empty() && code == Some(1005),
            "{packet:?}: {packets:?} {code:?}"
        );
        witness.is_undisturbed(&node).await;
    }
    // What a client has no reason to send, and the stock server passes over.
    let mut sio = Sio::joined(node.address, &[super::ROOM]).await;
    for packet in ["0", "3", "3abc", "5", "6"] {
        sio.send(packet).await;
    }
    sio.hears_nothing().await;
}

#[tokio::test]
async fn what_a_websocket_forbids_ends_it_with_its_code() {
    let node = TestNode::with(|config| config.socketio.max_payload_bytes = 10_000).await;
    let mut witness = Witness::of(&node).await;
    for (bytes, code) in [
        (raw::frame(true, TEXT, b"4\xff\xfe"), 1007),
        (raw::frame(true, 3, b"x"), 1002),
        (raw::frame(true, CONTINUATION, b"x"), 1002),
        (b"\x81\x0242".to_vec(), 1002),
        (raw::head(true, TEXT, 10_001, Some([0; 4])), 1009),
        (raw::head(true, BINARY, 1 << 40, Some([0; 4])), 1009),
    ] {
        let mut sio = Sio::joined(node.address, &[super::ROOM]).await;
        sio.send_raw(&bytes).await;
        assert_eq!(sio.ended().await, (vec![], Some(code)));
        witness.is_undisturbed(&node).await;
    }
    let mut sio = Sio::enter(node.address).await;
    sio.send_raw(&raw::frame(true, raw::PING, b"hello")).await;
    sio.send_raw(&raw::frame(true, raw::CLOSE, &[3, 0xe8])).await;
    assert_eq!(
        sio.ended().await,
        (vec![], Some(1000)),
        "the client's own code goes back"
    );
}

#[tokio::test]
async fn messages_in_fragments_and_many_in_one_write_are_heard() {
    let node = TestNode::start().await;
    let mut sio = Sio::open(node.address).await;
    let bytes = [
        raw::frame(false, TEXT, b"4"),
        raw::frame(false, CONTINUATION, b"0"),
        raw::frame(true, CONTINUATION, b"{}"),
    ];
    sio.send_raw(&bytes.concat()).await;
    assert!(sio.packet().await.starts_with("40{"));
    let joins = (0..50).map(|id| raw::text(&format!(r#"42{id}["join","room:{id}"]"#)));
    sio.send_raw(&joins.collect::<Vec<_>>().concat()).await;
    for id in 0..50 {
        let packet = sio.packet().await;
        assert!(packet.starts_with(&format!("43{id}[{{\"ok\":true")), "{packet}");
    }
}

#[tokio::test]
async fn a_session_that_is_cut_is_forgotten() {
    let node = TestNode::start().await;
    let sio = Sio::joined(node.address, &["lobby"]).await;
    node.until_members("lobby", 1).await;
    sio.reset();
    node.until_members("lobby", 0).await;
    let sio = Sio::joined(node.address, &["lobby"]).await;
    drop(sio);
    node.until_members("lobby", 0).await;
}

#[tokio::test]
async fn sessions_are_listed_with_their_transport_and_rooms() {
    let node = TestNode::start().await;
    let sio = Sio::joined(node.address, &["a", "b"]).await;
    let (polling, greeting) = Polling::enter(&node.http).await;
    let rows = node.http.get("/v1/sessions").await.ok()["sessions"].clone();
    let row = |id: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|row| row["id"] == id)
            .cloned()
            .unwrap()
    };
    let socket = row(&sio.sid);
    assert_eq!(
        (&socket["transport"], &socket["rooms"]),
        (&json!("websocket"), &json!(["a", "b"]))
    );
    let poller = row(greeting["sid"].as_str().unwrap());
    assert_eq!(
        (&poller["transport"], &poller["rooms"]),
        (&json!("polling"), &json!([]))
    );
    polling.say("1").await;
    eventually("the poller to be gone", || async {
        node.http.get("/v1/sessions").await.ok()["sessions"]
            .as_array()
            .unwrap()
            .len()
            == 1
    })
    .await;
}
