//! Rooms: who hears what, how fast, and what becomes of it when a connection is lost.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::kit::{Sse, TestNode, Ws, numbers, thoughts_of};

fn thought(agent: &str, text: &str) -> Value {
    json!({"agentId": agent, "thought": text, "timestamp": "2026-01-31T12:00:00.000Z"})
}

#[tokio::test]
async fn broadcasts_to_agent_room() {
    let node = TestNode::start().await;
    let mut members = Vec::new();
    for _ in 0..8 {
        members.push(node.joined(&["agent:42"]).await);
    }
    let mut stream = node.sse("agent:42").await;
    let mut other_agent = node.joined(&["agent:7", "project:42"]).await;
    let mut nowhere = node.ws().await;
    let answer = node
        .http
        .post("/v1/agents/42/thoughts", &thought("42", "I think"))
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    for member in &mut members {
        let event = member.event().await;
        assert_eq!(
            (&event["event"], &event["room"], &event["data"]["thought"]),
            (&json!("agent-thought"), &json!("agent:42"), &json!("I think"))
        );
        member.hears_nothing().await;
    }
    assert_eq!(stream.event().await["data"]["thought"], "I think");
    other_agent.hears_nothing().await;
    nowhere.hears_nothing().await;
}

#[tokio::test]
async fn broadcasts_to_project_room() {
    let node = TestNode::start().await;
    let mut project = node.joined(&["project:7"]).await;
    let mut task = node.joined(&["task:3"]).await;
    let mut both = node.joined(&["project:7", "task:3"]).await;
    let mut other = node.joined(&["project:8", "agent:7"]).await;
    let update = json!({"status": "in_progress", "progress": 50, "projectId": "7"});
    let answer = node.http.post("/v1/tasks/3/updates", &update).await;
    assert_eq!(answer.json()["rooms"], json!({"task:3": 1, "project:7": 1}));
    for hears in [&mut project, &mut task, &mut both] {
        let event = hears.event().await;
        assert_eq!(
            (&event["event"], &event["data"]["progress"], &event["rooms"]),
            (&json!("task-update"), &json!(50), &json!(["task:3", "project:7"]))
        );
        hears.hears_nothing().await;
    }
    node.http
        .post("/v1/projects/7/events", &json!({"event": "deployed"}))
        .await;
    for hears in [&mut project, &mut both] {
        assert_eq!(hears.event().await["data"]["event"], "deployed");
    }
    task.hears_nothing().await;
    other.hears_nothing().await;
}

/// Ten in any window of one second are at most ten times the seconds begun between the first publish and the last
/// frame, whoever is slow: the node's sends all lie in between.
#[tokio::test]
async fn throttles_to_ten_a_second() {
    const THOUGHTS: usize = 200;
    let node = TestNode::start().await;
    let mut member = node.joined(&["agent:42"]).await;
    let mut second = node.joined(&["agent:42"]).await;
    let mut publisher = node.ws().await;
    let since = Instant::now();
    for number in 0..THOUGHTS {
        let data = thought("42", &number.to_string());
        publisher.publish("agent:42", "agent-thought", data).await;
    }
    for hears in [&mut member, &mut second] {
        let mut texts: Vec<String> = Vec::new();
        let mut frames = 0;
        while texts.len() < THOUGHTS {
            let event = hears.event().await;
            frames += 1;
            texts.extend(thoughts_of(&event["data"]));
            assert_eq!(event["offset"], texts.len(), "the newest one's offset");
        }
        let most = 10 * (since.elapsed().as_secs() as usize + 1);
        assert!(frames <= most, "{frames} frames, {most} were allowed");
        let expected: Vec<String> = (0..THOUGHTS).map(|number| number.to_string()).collect();
        assert_eq!(texts, expected, "every thought, in order, up to the last");
        hears.hears_nothing().await;
    }
}

#[tokio::test]
async fn tracks_new_connection() {
    let node = TestNode::start().await;
    let _ws = node.joined(&["agent:42", "project:7"]).await;
    let _sse = node.sse("agent:42").await;
    let sessions = node.http.get("/v1/sessions").await.ok();
    assert_eq!(sessions["node"], node.name);
    let rows = sessions["sessions"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{sessions}");
    let of = |transport: &str| rows.iter().find(|row| row["transport"] == transport).unwrap();
    let [ws, sse] = ["websocket", "sse"].map(of);
    assert_eq!(ws["rooms"], json!(["agent:42", "project:7"]));
    assert_eq!(sse["rooms"], json!(["agent:42"]));
    assert!(
        ws["connectedAt"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{ws}"
    );
    let room = node.http.get("/v1/rooms/agent:42").await.ok();
    let members = room["members"].as_array().unwrap();
    let ids: BTreeSet<&str> = members.iter().map(id_of).collect();
    assert_eq!(
        (room["count"].as_u64(), ids),
        (Some(2), BTreeSet::from([ws, sse].map(id_of)))
    );
}

fn id_of(row: &Value) -> &str {
    row["id"].as_str().expect("an id")
}

#[tokio::test]
async fn cleans_up_disconnection() {
    let node = TestNode::start().await;
    let mut closes = node.joined(&["agent:42"]).await;
    let position = closes.join(&["agent:42"], None).await["position"].clone();
    let cut = node.joined(&["agent:42"]).await;
    let reset = node.joined(&["agent:42"]).await;
    let stream = node.sse("agent:42").await;
    node.until_members("agent:42", 4).await;
    closes
        .send_raw(tokio_tungstenite::tungstenite::Message::Close(None))
        .await;
    closes.read_to_the_end().await;
    cut.cut();
    reset.reset();
    let last_event_id = stream.cut();
    node.until_members("agent:42", 0).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
    assert_eq!(node.http.get("/v1/rooms").await.ok()["rooms"], json!([]));

    node.publish("agent:42", "note", 1).await;
    let mut back = node.ws().await;
    let joined = back.join(&["agent:42"], position.as_str()).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(numbers(&back.events(1).await), [1]);
    let mut back = Sse::open(
        node.address,
        "/v1/rooms/agent:42/stream",
        last_event_id.as_deref(),
    )
    .await;
    assert_eq!(back.joined().await["recovered"], true);
    assert_eq!(numbers(&back.events(1).await), [1]);
}

#[tokio::test]
async fn holds_a_hundred_connections() {
    let [one, two] = TestNode::pair().await;
    let nodes = [&one, &two];
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    for number in 0..120 {
        sockets.push(nodes[number % 2].joined(&["agent:42"]).await);
        if number % 6 == 0 {
            streams.push(nodes[number / 6 % 2].sse("agent:42").await);
        }
    }
    one.until_members("agent:42", 140).await;
    for number in 0..10 {
        nodes[number % 2].publish("agent:42", "note", number).await;
    }
    let expected: Vec<u64> = (0..10).collect();
    for heard in join_all(sockets.iter_mut().map(|socket| socket.events(10))).await {
        assert_eq!(numbers(&heard), expected);
    }
    for heard in join_all(streams.iter_mut().map(|stream| stream.events(10))).await {
        assert_eq!(numbers(&heard), expected);
    }
}

/// `users` connections over both shards hear every one of `events` events, in order.
async fn users_hear_everything(users: usize, events: usize) {
    let node = TestNode::start().await;
    let mut hear: Vec<Ws> = Vec::with_capacity(users);
    for _ in 0..users {
        hear.push(node.joined(&["project:7"]).await);
    }
    let mut publisher = node.ws().await;
    for number in 0..events {
        publisher.publish("project:7", "note", number).await;
    }
    let expected: Vec<u64> = (0..events as u64).collect();
    for heard in join_all(hear.iter_mut().map(|user| user.events(events))).await {
        assert_eq!(numbers(&heard), expected);
    }
    for user in &mut hear {
        user.hears_nothing().await;
    }
}

#[tokio::test]
async fn two_hundred_users_hear_everything() {
    users_hear_everything(200, 100).await;
}

#[tokio::test]
async fn a_thousand_users_hear_everything() {
    users_hear_everything(1_000, 20).await;
}

/// A thousand events, published as fast as they are taken: pipelined by one client, one by one by another, over HTTP
/// by a third.
#[tokio::test]
async fn a_thousand_events_are_all_delivered() {
    let node = TestNode::start().await;
    let mut hear = Vec::new();
    for _ in 0..20 {
        hear.push(node.joined(&["project:7"]).await);
    }
    let [mut pipelines, mut waits] = [node.ws().await, node.ws().await];
    let pipelined = async {
        for number in 0..600 {
            let command =
                json!({"type": "publish", "room": "project:7", "event": "pipelined", "data": number});
            pipelines.send(&command).await;
        }
        for _ in 0..600 {
            assert_eq!(pipelines.frame().await["type"], "published");
        }
    };
    let one_by_one = async {
        for number in 0..200 {
            waits.publish("project:7", "awaited", number).await;
        }
    };
    let over_http = async {
        for number in 0..200 {
            node.publish("project:7", "http", number).await;
        }
    };
    tokio::join!(pipelined, one_by_one, over_http);
    let heard = join_all(hear.iter_mut().map(|user| user.events(1_000))).await;
    for (publisher, events) in [("pipelined", 600), ("awaited", 200), ("http", 200)] {
        let of_it = heard[0]
            .iter()
            .filter(|event| event["event"] == publisher)
            .cloned();
        let expected: Vec<u64> = (0..events).collect();
        assert_eq!(numbers(&of_it.collect::<Vec<_>>()), expected, "{publisher}");
    }
    let offsets: Vec<u64> = heard[0]
        .iter()
        .map(|event| event["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, (1..=1_000).collect::<Vec<u64>>());
    assert!(
        heard.iter().all(|one| *one == heard[0]),
        "everybody hears the same"
    );
}
