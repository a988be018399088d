//! A node that holds as much as it may: refused is what is new, what is connected goes on, and it opens again.

use futures_util::future::join_all;
use greenroom::config::Config;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::kit::http::Answer;
use crate::kit::raw::text;
use crate::kit::{Polling, Raw, Sio, TestNode, Ws, eventually, numbers};

const KIB: usize = 1 << 10;
const LIMIT: usize = 8 << 20;
/// Clients that do not read. Together their outboxes hold twice the limit.
const STALLED: usize = 16;

/// A node of 8 MiB, which is weighed a hundred times a second. Nobody is put out for anything else while it is filled.
fn small(config: &mut Config) {
    config.websocket.ping_interval_ms = 300_000;
    config.http.send_timeout_ms = 300_000;
    config.limits.memory_bytes = LIMIT;
    config.rooms.history_bytes = LIMIT / 4;
    config.sse.comment_ms = 40;
}

/// A client that reads nothing by itself, in a room.
async fn stalled(node: &TestNode, room: &str) -> Raw {
    let mut raw = Raw::connect_narrow(node.address).await;
    raw.shake_hands().await;
    let join = json!({"type": "join", "room": room}).to_string();
    raw.send(&text(&join)).await;
    assert_eq!(raw.json().await["type"], "joined");
    raw
}

async fn publish(node: &TestNode, room: &str, number: usize, bytes: usize) -> Answer {
    let data = json!({"n": number, "filler": "x".repeat(bytes)});
    let body = json!({"event": "note", "data": data});
    node.http.post(&format!("/v1/rooms/{room}/events"), &body).await
}

/// Publishes into the room of each until the node is full, or has been and has put them out. Returns how many events each
/// room has, and the refusal.
async fn fill(node: &TestNode, rooms: &[String]) -> (Vec<usize>, Option<Answer>) {
    let mut published = vec![0; rooms.len()];
    for number in 0..10_000 {
        for (at, room) in rooms.iter().enumerate() {
            let answer = publish(node, room, number, 32 * KIB).await;
            if answer.status != 202 {
                return (published, Some(answer));
            }
            published[at] += 1;
        }
        if node.members(&rooms[1]).await == 0 {
            return (published, None);
        }
    }
    panic!("the node takes everything");
}

async fn full(rooms: usize, change: impl FnOnce(&mut Config)) -> (TestNode, Vec<String>, Vec<Raw>) {
    let node = TestNode::with(|config| {
        small(config);
        change(config);
    })
    .await;
    let rooms: Vec<String> = (0..rooms).map(|room| format!("room:{room}")).collect();
    let stalled = join_all(rooms.iter().map(|room| stalled(&node, room))).await;
    (node, rooms, stalled)
}

#[tokio::test]
async fn a_node_that_holds_too_much_refuses_what_is_new_and_goes_on() {
    let (node, rooms, mut stalled) = full(STALLED, |_| {}).await;
    let mut ws = node.joined(&["lobby"]).await;
    let mut sio = Sio::joined(node.address, &["lobby"]).await;
    node.publish("lobby", "note", 0).await;
    let mut witness = stalled.swap_remove(0);
    let (published, refusal) = fill(&node, &rooms).await;
    let error = refusal.expect("a refusal").error(503, "overloaded");
    assert_eq!(error["details"], json!({"retryInMs": 1_000}));
    assert!(
        error["message"].as_str().unwrap().contains("limits.memory_bytes"),
        "{error}"
    );
    // Who was connected: its publications are refused with the same word, all else goes on.
    let command = json!({"type": "publish", "room": "lobby", "event": "note"});
    let answer = ws.ask(command).await;
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!("overloaded"))
    );
    assert_eq!(answer["details"], json!({"retryInMs": 1_000}));
    let answer = sio
        .ask("publish", &json!({"room": "lobby", "event": "note"}))
        .await;
    assert_eq!(answer["error"]["code"], "overloaded", "{answer}");
    assert_eq!(ws.event().await["data"], 0);
    ws.join(&["another"], None).await;
    let left = ws.ask(json!({"type": "leave", "room": "another"})).await;
    assert_eq!(left["type"], "left");
    assert_eq!(node.members("lobby").await, 2);
    is_closed_to_newcomers(&node).await;
    // One that begins to read hears all that was published before.
    for number in 0..published[0] {
        assert_eq!(witness.json().await["data"]["n"], number);
    }
    drop(stalled);
    opens_again(&node).await;
    node.publish("lobby", "note", 1).await;
    assert_eq!(ws.event().await["data"], 1);
    node.joined(&["lobby"]).await;
}

async fn is_closed_to_newcomers(node: &TestNode) {
    match Ws::try_connect(node.address).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["retry-after"], "1");
        }
        other => panic!("it was let in, or not refused: {:?}", other.err()),
    }
    for path in [
        "/v1/rooms/lobby/stream",
        "/v1/rooms/lobby/events",
        "/socket.io/?EIO=4&transport=polling",
    ] {
        node.http.get(path).await.error(503, "overloaded");
    }
    let ready = node.http.get("/readyz").await.ok();
    assert_eq!(ready["status"], "degraded");
    let memory = ready["dependencies"].as_array().unwrap().iter();
    let memory: Vec<&Value> = memory.filter(|row| row["name"] == "memory").collect();
    assert_eq!(memory[0]["state"], "degraded", "{ready}");
    assert_eq!(node.http.metric("greenroom_memory_full").await, 1);
    assert!(node.http.metric("greenroom_memory_bytes").await > LIMIT as u64 / 10 * 9);
    assert!(node.http.metric("greenroom_refused_total").await >= 7);
}

async fn opens_again(node: &TestNode) {
    eventually("the node to take publications again", || async {
        publish(node, "elsewhere", 0, 1).await.status == 202
    })
    .await;
    assert_eq!(node.http.metric("greenroom_memory_full").await, 0);
    assert_eq!(node.http.get("/readyz").await.ok()["status"], "ready");
}

/// They could keep it full for as long as they like: so whoever is behind without a break is cut off, and the node opens
/// by itself. Who reads stays.
#[tokio::test]
async fn a_full_node_puts_out_who_does_not_read() {
    let (node, rooms, mut stalled) = full(STALLED, |config| config.http.send_timeout_ms = 300).await;
    let mut reader = node.joined(&[&rooms[0]]).await;
    // They may be gone before the publisher is refused.
    let (published, _) = fill(&node, &rooms).await;
    let heard = numbers(&reader.events(published[0]).await);
    assert!(heard.into_iter().eq(0..published[0] as u64));
    opens_again(&node).await;
    // Not all of them need be: once it holds less, nobody more is put out.
    let members = || join_all(rooms[1..].iter().map(|room| node.members(room)));
    eventually("somebody to be gone", || async { members().await.contains(&0) }).await;
    for (stalled, members) in stalled[1..].iter_mut().zip(members().await) {
        if members == 0 {
            // It may have been cut off in the middle of a frame.
            let code = stalled.close_code().await;
            assert!(matches!(code, Some(4000) | None), "{code:?}");
        }
    }
    reader.hears_nothing().await;
}

/// What waits for all members of a room is the same, and is held once.
#[tokio::test]
async fn a_crowd_that_is_behind_in_one_room_does_not_fill_a_node() {
    let (node, rooms, mut stalled) = full(1, |_| {}).await;
    for _ in 1..STALLED {
        stalled.push(self::stalled(&node, &rooms[0]).await);
    }
    let waiting = async || {
        let sessions = node.http.get("/v1/sessions").await.ok();
        let rows = sessions["sessions"].as_array().unwrap().clone();
        let waits = rows.iter().map(|row| row["bytesWaiting"].as_u64().unwrap());
        waits.sum::<u64>()
    };
    let mut number = 0;
    while waiting().await <= LIMIT as u64 {
        let answer = publish(&node, &rooms[0], number, 32 * KIB).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        number += 1;
    }
    eventually("all of it to be weighed", || async {
        let shards = node.http.metric("greenroom_waiting_bytes").await;
        (512 << 10..LIMIT as u64 / 2).contains(&shards)
    })
    .await;
    assert_eq!(node.http.metric("greenroom_memory_full").await, 0);
    node.publish("lobby", "note", 1).await;
}

/// An answer that nobody takes is held too.
#[tokio::test]
async fn pages_of_history_that_nobody_reads_count() {
    let node = TestNode::with(small).await;
    let events = 12;
    for number in 0..events {
        assert_eq!(publish(&node, "a", number, 48 * KIB).await.status, 202);
    }
    let mut readers = Vec::new();
    let refusal = loop {
        assert!(readers.len() < 1_000, "the node gives everything");
        let answer = publish(&node, "b", 0, 1).await;
        if answer.status != 202 {
            break answer;
        }
        let mut raw = Raw::connect_narrow(node.address).await;
        // The kernel holds the first few.
        let request = "GET /v1/rooms/a/events HTTP/1.1\r\nhost: test\r\n\r\n";
        raw.send(request.repeat(10).as_bytes()).await;
        raw.head().await;
        readers.push(raw);
    };
    refusal.error(503, "overloaded");
    assert!(readers.len() >= 4, "{}", readers.len());
    drop(readers);
    opens_again(&node).await;
    let page = node.http.get("/v1/rooms/a/events").await.ok();
    assert_eq!(numbers(page["events"].as_array().unwrap()).len(), events);
    let (_polling, _) = Polling::enter(&node.http).await;
}
