//! Long-polling: payloads, requests that overlap, break off or are too large, and the end of a session.

use futures_util::future::join;
use serde_json::json;

use super::{ROOM, Witness};
use crate::kit::sio::fault;
use crate::kit::{Polling, Raw, Sio, TestNode, eventually, within};

/// A session that polls and is in the witness's room.
async fn joined(node: &TestNode) -> Polling {
    let (polling, _) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    let packets = polling.packets().await;
    assert!(packets[0].starts_with("430[{\"ok\":true"), "{packets:?}");
    polling
}

/// A GET of which the node is known to have heard.
async fn waiting(node: &TestNode, polling: &Polling) -> Raw {
    let mut raw = Raw::connect(node.address).await;
    raw.send(format!("GET {} HTTP/1.1\r\n{EXPECT}\r\n", polling.path()).as_bytes())
        .await;
    is_read(&mut raw).await;
    raw
}

/// Asks to be told when the head of a request has been read.
const EXPECT: &str = "host: test\r\nexpect: 100-continue\r\n";

/// The node says so in the same turn in which the request reaches the session.
async fn is_read(raw: &mut Raw) {
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
}

#[tokio::test]
async fn what_a_client_posts_is_heard_and_what_waits_for_it_comes_in_one_payload() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    let asks = [
        "421[\"join\",\"a\"]",
        "422[\"join\",\"b\"]",
        "423[\"leave\",\"a\"]",
    ];
    polling.say(&asks.join("\u{1e}")).await;
    let mut answers = Vec::new();
    while answers.len() < 3 {
        answers.extend(polling.packets().await);
    }
    for (id, answer) in (1..).zip(&answers) {
        assert!(
            answer.starts_with(&format!("43{id}[{{\"ok\":true")),
            "{answers:?}"
        );
    }
    node.publish("b", "note", json!({"$binary": "AQIDBA=="})).await;
    node.publish("b", "note", 2).await;
    let mut events = polling.packets().await;
    while events.len() < 3 {
        events.extend(polling.packets().await);
    }
    assert!(
        events[0].starts_with("451-[\"note\",{\"_placeholder\":true,\"num\":0},"),
        "{events:?}"
    );
    assert_eq!(events[1], "bAQIDBA==", "bytes are base64");
    assert!(events[2].starts_with("42[\"note\",2,"), "{events:?}");
}

#[tokio::test]
async fn bytes_are_posted_as_base64() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    let publish = json!({"room": ROOM, "event": "note", "data": {"_placeholder": true, "num": 0}});
    let answer = join(
        polling.post(format!("451-7[\"publish\",{publish}]\u{1e}bAQIDBA==")),
        polling.packets(),
    )
    .await;
    assert_eq!(answer.0.text, "ok");
    let mut packets = answer.1;
    while packets.len() < 3 {
        packets.extend(polling.packets().await);
    }
    assert!(packets.contains(&"bAQIDBA==".to_owned()), "{packets:?}");
    assert!(
        packets
            .iter()
            .any(|packet| packet.starts_with("437[{\"ok\":true")),
        "{packets:?}"
    );
}

#[tokio::test]
async fn of_overlapping_polls_both_are_told_and_the_session_is_over() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let (polling, _) = Polling::enter(&node.http).await;
    let (one, other) = join(polling.get(), polling.get()).await;
    let (first, second) = if one.status == 200 {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!((first.status, first.text.as_str()), (200, "1"));
    fault(&second, 3, "Bad request");
    polling.is_over().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn of_overlapping_posts_both_are_refused_and_the_session_is_over() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let polling = joined(&node).await;
    let mut raw = Raw::connect(node.address).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n42",
        polling.path()
    );
    raw.send(head.as_bytes()).await;
    // The first one is under way when it is refused together with a second one.
    let mut refused = polling.post("3").await;
    while refused.status == 200 {
        refused = polling.post("3").await;
    }
    fault(&refused, 3, "Bad request");
    assert!(raw.head().await.starts_with("HTTP/1.1 400 "));
    polling.is_over().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn a_poll_that_breaks_off_ends_the_session() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    let mut witness = Witness::of(&node).await;
    node.until_members(ROOM, 2).await;
    let raw = waiting(&node, &polling).await;
    drop(raw);
    node.until_members(ROOM, 1).await;
    polling.is_over().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn a_post_that_breaks_off_ends_the_session() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    let polling = joined(&node).await;
    let mut raw = Raw::connect(node.address).await;
    let head = format!(
        "POST {} HTTP/1.1\r\n{EXPECT}content-length: 10\r\n\r\n42",
        polling.path()
    );
    raw.send(head.as_bytes()).await;
    is_read(&mut raw).await;
    drop(raw);
    node.until_members(ROOM, 1).await;
    polling.is_over().await;
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_the_session_goes_on() {
    let node = TestNode::with(|config| config.socketio.max_payload_bytes = 10_000).await;
    let mut witness = Witness::of(&node).await;
    let polling = joined(&node).await;
    assert_eq!(polling.open["maxPayload"], 10_000);
    assert_eq!(polling.post("4".repeat(10_001)).await.status, 413);
    polling.say(r#"428["presence","lobby"]"#).await;
    assert!(polling.packets().await[0].starts_with("438[{\"ok\":true"));
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn what_is_no_payload_ends_the_session() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for body in [
        &b""[..],
        b"abc",
        b"7",
        b"4\xff\xfe",
        b"b###",
        b"3\x1e",
        b"3\x1e\x1e3",
        b"2",
        b"2probe",
        b"42[]",
        b"42[\"note\"",
    ] {
        let polling = joined(&node).await;
        let answer = polling.post(body.to_vec()).await;
        let is_socket_io = body.starts_with(b"42");
        assert_eq!(
            answer.status,
            if is_socket_io { 200 } else { 400 },
            "{body:?}: {answer:?}"
        );
        if is_socket_io {
            // The packet was one of Engine.IO; the end comes with the next poll.
            assert_eq!(polling.get().await.text, "1");
        }
        polling.is_over().await;
        witness.is_undisturbed(&node).await;
    }
    let polling = joined(&node).await;
    let answer = polling.post_as("application/octet-stream", "3").await;
    fault(&answer, 3, "Bad request");
    polling.is_over().await;
}

#[tokio::test]
async fn a_client_that_ends_its_session_has_its_waiting_poll_answered() {
    let node = TestNode::start().await;
    let (polling, _) = Polling::enter(&node.http).await;
    let (told, taken) = join(polling.get(), polling.post("1")).await;
    assert_eq!((told.text.as_str(), taken.text.as_str()), ("6", "ok"));
    polling.is_over().await;
}

#[tokio::test]
async fn methods_that_make_no_sense_are_refused_and_cost_nothing() {
    let node = TestNode::start().await;
    let polling = joined(&node).await;
    for method in [
        reqwest::Method::PUT,
        reqwest::Method::DELETE,
        reqwest::Method::PATCH,
    ] {
        let answer = crate::kit::http::send(node.http.request(method, &polling.path())).await;
        fault(&answer, 3, "Bad request");
    }
    let path = polling.path().replace("polling", "websocket");
    fault(&node.http.get(&path).await, 3, "Bad request");
    polling.say("3").await;
}

#[tokio::test]
async fn a_node_that_shuts_down_says_so_to_who_polls_and_who_does_not() {
    let mut node = TestNode::start().await;
    let polling = joined(&node).await;
    let mut socket = Sio::joined(node.address, &[ROOM]).await;
    let mut raw = waiting(&node, &polling).await;
    node.tell_to_stop();
    let head = within("the last answer", raw.head()).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let body = String::from_utf8(raw.read_to_the_end().await).unwrap();
    let (notice, end) = body.rsplit_once('\u{1e}').unwrap_or_else(|| panic!("{body}"));
    assert!(
        notice.ends_with(']') && notice.contains("[\"greenroom\",{\"type\":\"draining\""),
        "{body}"
    );
    assert_eq!(end, "1");
    assert_eq!(socket.event().await[1]["type"], "draining");
    assert_eq!(socket.ended().await, (vec![], Some(1005)));
    node.ended().await;
}

#[tokio::test]
async fn who_opens_a_session_and_never_polls_is_forgotten() {
    let node = TestNode::with(|config| {
        config.socketio.ping_interval_ms = 50;
        config.socketio.ping_timeout_ms = 50;
    })
    .await;
    let polling = Polling::open(&node.http).await;
    let connections = || async {
        let sessions = node.http.get("/v1/sessions").await.ok();
        sessions["sessions"].as_array().unwrap().len()
    };
    eventually("it to be gone", || async { connections().await == 0 }).await;
    polling.is_over().await;
}
