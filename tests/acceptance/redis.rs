//! Rooms of several nodes, over a real redis-server.

use std::collections::BTreeSet;

use greenroom::config::Secret;
use serde_json::{Value, json};

use crate::kit::{Redis, TestNode, eventually, numbers};

/// A node on this Redis, that notices soon when it is away.
pub async fn node(redis: &Redis) -> TestNode {
    let url = redis.url();
    TestNode::with(|config| {
        config.redis.url = Some(Secret::new(url));
        config.redis.timeout_ms = 500;
        // That the machine is busy with other tests is no fault of Redis; faults have tests of their own.
        config.cache.budget_ms = 5_000;
    })
    .await
}

/// What a node says of its bus.
async fn bus(node: &TestNode) -> Value {
    let readiness = node.http.get("/readyz").await.json();
    let dependencies = readiness["dependencies"].as_array().unwrap();
    dependencies
        .iter()
        .find(|row| row["name"] == "bus")
        .unwrap()
        .clone()
}

#[tokio::test]
async fn starts_with_redis_bus() {
    let redis = Redis::start();
    let node = node(&redis).await;
    let bus = bus(&node).await;
    assert_eq!((&bus["kind"], &bus["state"]), (&json!("redis"), &json!("up")));
    let nodes = node.http.get("/v1/nodes").await.ok();
    assert_eq!(
        (&nodes["shared"], &nodes["nodes"][0]["node"]),
        (&json!(true), &json!(node.name))
    );
    node.publish("agent:42", "note", 1).await;
    assert_eq!(redis.cli(&["xlen", "{greenroom}:history:agent:42"]), "1");
}

#[tokio::test]
async fn nodes_share_state() {
    let redis = Redis::start();
    let [one, two] = [node(&redis).await, node(&redis).await];
    let mut here = one.joined(&["agent:42"]).await;
    let mut there = two.joined(&["agent:42"]).await;
    for node in [&one, &two] {
        eventually("both members", || async { node.members("agent:42").await == 2 }).await;
        let room = node.http.get("/v1/rooms/agent:42").await.ok();
        let nodes = room["members"].as_array().unwrap().iter();
        let nodes: BTreeSet<&str> = nodes.map(|member| member["node"].as_str().unwrap()).collect();
        assert_eq!(nodes, BTreeSet::from([&*one.name, &*two.name]));
        let rooms = node.http.get("/v1/rooms").await.ok();
        assert_eq!(rooms["rooms"], json!([{"room": "agent:42", "members": 2}]));
    }
    one.publish("agent:42", "note", 1).await;
    here.publish("agent:42", "note", 2).await;
    there.publish("agent:42", "note", 3).await;
    let heard = here.events(3).await;
    assert_eq!(numbers(&heard), [1, 2, 3]);
    assert_eq!(
        there.events(3).await,
        heard,
        "the same events at the same positions"
    );
    for node in [&one, &two] {
        let history = node.http.get("/v1/rooms/agent:42/events").await.ok();
        assert_eq!(numbers(history["events"].as_array().unwrap()), [1, 2, 3]);
    }
}

#[tokio::test]
async fn survives_redis_failure() {
    let mut redis = Redis::start();
    redis.kill();
    // Away at the start.
    let node = node(&redis).await;
    let away = bus(&node).await;
    assert_eq!(away["state"], "down");
    assert!(
        away["means"].as_str().unwrap().contains("this node goes on"),
        "{away}"
    );
    assert_eq!(node.http.get("/readyz").await.status, 200, "it serves");
    let mut client = node.joined(&["agent:42"]).await;
    node.publish("agent:42", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    redis.begin();
    eventually("the bus to be up", || async { bus(&node).await["state"] == "up" }).await;
    node.publish("agent:42", "note", 2).await;
    assert_eq!(client.heard().await["data"], 2);
    // Away later.
    redis.kill();
    eventually("the bus to be down", || async {
        bus(&node).await["state"] == "down"
    })
    .await;
    node.publish("agent:42", "note", 3).await;
    assert_eq!(client.heard().await["data"], 3);
    redis.begin();
    eventually("everything to be shared", || async {
        let history = node.http.get("/v1/rooms/agent:42/events").await;
        history.status == 200 && numbers(history.json()["events"].as_array().unwrap()) == [1, 2, 3]
    })
    .await;
    node.publish("agent:42", "note", 4).await;
    assert_eq!(client.heard().await["data"], 4, "each once");
}

#[tokio::test]
async fn broadcasts_across_nodes() {
    let redis = Redis::start();
    let [one, two] = [node(&redis).await, node(&redis).await];
    let mut socket = two.joined(&["agent:42"]).await;
    let mut stream = two.sse("agent:42").await;
    let mut other = two.joined(&["agent:7"]).await;
    let thought = json!({"agentId": "42", "thought": "I think"});
    let answer = one.http.post("/v1/agents/42/thoughts", &thought).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(socket.event().await["data"]["thought"], "I think");
    assert_eq!(stream.event().await["data"]["thought"], "I think");
    other.hears_nothing().await;
}

#[tokio::test]
async fn reconciles_on_reconnect() {
    let redis = Redis::start();
    let [one, two] = [node(&redis).await, node(&redis).await];
    let rooms = ["agent:42", "project:7", "task:3"];
    let mut client = one.joined(&rooms).await;
    one.publish("agent:42", "note", 0).await;
    let position = client.event().await["position"].as_str().unwrap().to_owned();
    client.cut();
    let published = ["project:7", "agent:42", "agent:1", "task:3", "project:7"];
    for (number, room) in published.into_iter().enumerate() {
        two.publish(room, "note", number + 1).await;
    }
    let mut back = two.ws().await;
    let joined = back.join(&rooms, Some(&position)).await;
    assert_eq!(
        (&joined["rooms"], &joined["recovered"]),
        (&json!(rooms), &json!(true))
    );
    one.publish("task:3", "note", 6).await;
    let heard = back.events(5).await;
    let expected = [1, 2, 4, 5, 6];
    assert_eq!(
        numbers(&heard),
        expected,
        "what was missed in its rooms, in order, then what came"
    );
    back.hears_nothing().await;
    two.until_members("task:3", 1).await;
}
