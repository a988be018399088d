//! Clients that come back, to whichever node.

use crate::kit::{Process, Redis, Sio, Ws, eventually, numbers};
use crate::{node, pair};

#[tokio::test]
async fn a_position_holds_on_every_node() {
    let (_redis, [one, two]) = pair().await;
    let mut client = one.joined(&["agent:1", "agent:2"]).await;
    one.publish("agent:1", "note", 1).await;
    let position = client.event().await["position"].as_str().unwrap().to_owned();
    drop(client);
    for (room, number) in [("agent:2", 2), ("agent:1", 3), ("agent:2", 4)] {
        one.publish(room, "note", number).await;
    }
    let mut back = Ws::connect(two.address).await;
    let joined = back.join(&["agent:1", "agent:2"], Some(&position)).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!(numbers(&back.events(3).await), [2, 3, 4]);
    one.publish("agent:1", "note", 5).await;
    assert_eq!(back.event().await["data"], 5);
}

#[tokio::test]
async fn a_stream_resumes_on_another_node() {
    let (_redis, [one, two]) = pair().await;
    let mut stream = one.sse("agent:1").await;
    one.publish("agent:1", "note", 1).await;
    stream.event().await;
    let last = stream.cut();
    two.publish("agent:1", "note", 2).await;
    let mut stream = crate::kit::Sse::open(two.address, "/v1/rooms/agent:1/stream", last.as_deref()).await;
    assert_eq!(stream.joined().await["recovered"], true);
    assert_eq!(stream.event().await["data"], 2);
}

#[tokio::test]
async fn a_client_of_socketio_is_recovered_on_another_node() {
    let (_redis, [one, two]) = pair().await;
    let mut client = Sio::joined(one.address, &["agent:1", "task:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.numbers(1).await, [1]);
    let (pid, offset, sid) = (
        client.pid.clone().unwrap(),
        client.offset.clone(),
        client.sid.clone(),
    );
    client.reset();
    one.publish("task:1", "note", 2).await;
    let (mut back, recovered) = Sio::back(two.address, &pid, offset.as_deref()).await;
    assert!(recovered);
    assert_eq!(back.sid, sid, "it is the same one");
    one.publish("agent:1", "note", 3).await;
    assert_eq!(back.numbers(2).await, [2, 3]);
}

#[tokio::test]
async fn a_client_takes_its_place_over_from_a_connection_on_another_node() {
    let (_redis, [one, two]) = pair().await;
    let mut old = Sio::joined(one.address, &["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(old.numbers(1).await, [1]);
    let (pid, offset) = (old.pid.clone().unwrap(), old.offset.clone());
    let (mut back, recovered) = Sio::back(two.address, &pid, offset.as_deref()).await;
    assert!(recovered, "though the old connection looks alive");
    let (_, code) = old.ended().await;
    assert_eq!(code, None, "it is cut, and not told that it should not come back");
    two.publish("agent:1", "note", 2).await;
    assert_eq!(back.numbers(1).await, [2]);
    eventually("one member", || async { one.members("agent:1").await == 1 }).await;
}

#[tokio::test]
async fn nobody_is_lost_with_a_node_that_is_killed() {
    let redis = Redis::start();
    let survivor = node(&redis.url()).await;
    let url = format!("redis.url={}", redis.url());
    let doomed = Process::start(&[&url, "redis.timeout_ms=500"]);
    let mut clients = Vec::new();
    for client in 0..20 {
        let mut sio = Sio::joined(doomed.address, &["agent:1"]).await;
        // Right after the answer: what it was told is written down.
        sio.join(&format!("task:{client}")).await;
        clients.push(sio);
    }
    survivor.publish("agent:1", "note", 1).await;
    for client in &mut clients {
        assert_eq!(client.numbers(1).await, [1]);
    }
    drop(doomed);
    survivor.publish("agent:1", "note", 2).await;
    for (number, client) in clients.into_iter().enumerate() {
        let pid = client.pid.clone().unwrap();
        let (mut back, recovered) = Sio::back(survivor.address, &pid, client.offset.as_deref()).await;
        assert!(recovered);
        survivor.publish(&format!("task:{number}"), "note", 3).await;
        assert_eq!(back.numbers(2).await, [2, 3]);
    }
}

#[tokio::test]
async fn a_history_that_does_not_reach_back_is_told() {
    let redis = Redis::start();
    let few = |config: &mut greenroom::config::Config| config.rooms.history_events = 3;
    let one = crate::node_with(&redis.url(), few).await;
    let two = crate::node_with(&redis.url(), few).await;
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 0).await;
    let position = client.event().await["position"].as_str().unwrap().to_owned();
    drop(client);
    for number in 1..=5 {
        one.publish("agent:1", "note", number).await;
    }
    let mut back = Ws::connect(two.address).await;
    let joined = back.join(&["agent:1"], Some(&position)).await;
    assert_eq!(joined["recovered"], false, "{joined}");
    assert_eq!(numbers(&back.events(3).await), [3, 4, 5], "what there still is");
    let path = format!("/v1/rooms/agent:1/events?since={position}");
    two.http.get(&path).await.error(410, "history_gone");
}
