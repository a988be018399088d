//! Several nodes that share a real redis-server, and what becomes of them when it fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../kit/mod.rs"]
mod kit;

mod caching;
mod coming_back;
mod faults;
mod kinds;
mod leaving;
mod losing;
mod presence;
mod sharing;

use greenroom::config::Secret;
use kit::{Redis, TestNode, eventually};
use serde_json::Value;

/// A node on this Redis.
pub async fn node(url: &str) -> TestNode {
    node_with(url, |_| {}).await
}

/// The same, configured a little differently. It notices soon that Redis does not answer.
pub async fn node_with(url: &str, change: impl FnOnce(&mut greenroom::config::Config)) -> TestNode {
    let url = url.to_owned();
    TestNode::with(|config| {
        config.redis.url = Some(Secret::new(url));
        config.redis.timeout_ms = 500;
        config.cluster.dead_ms = 5_000;
        change(config);
    })
    .await
}

/// Two nodes on a Redis of their own.
pub async fn pair() -> (Redis, [TestNode; 2]) {
    let redis = Redis::start();
    let nodes = [node(&redis.url()).await, node(&redis.url()).await];
    (redis, nodes)
}

/// What a node says of its bus.
pub async fn bus(node: &TestNode) -> Value {
    let readiness = node.http.get("/readyz").await.json();
    let dependencies = readiness["dependencies"].as_array().unwrap();
    dependencies
        .iter()
        .find(|row| row["name"] == "bus")
        .unwrap()
        .clone()
}

/// Waits until a node's bus is `up` or `down`, and nothing waits in it.
pub async fn until(node: &TestNode, state: &str) {
    eventually(&format!("the bus to be {state}"), || async {
        let bus = bus(node).await;
        bus["state"] == state && (state == "down" || !bus["means"].as_str().unwrap().contains("on their way"))
    })
    .await;
}
