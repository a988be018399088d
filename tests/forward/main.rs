//! Requests of Engine.IO that come to a node that does not have their session.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../kit/mod.rs"]
mod kit;

mod gone;
mod polling;
mod stock;
mod trust;
mod upgrading;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use greenroom::config::{Config, Secret};
use kit::{Redis, TestNode};

/// An address that was free a moment ago; whoever takes it meanwhile makes the test fail, and not silently.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .unwrap()
}

/// A node on this Redis that says where it is.
pub async fn node_with(redis: &Redis, change: impl FnOnce(&mut Config)) -> TestNode {
    let (url, address) = (redis.url(), free_address());
    TestNode::with(|config| {
        config.redis.url = Some(Secret::new(url));
        config.redis.timeout_ms = 500;
        config.listen = address;
        config.cluster.advertise = Some(format!("http://{address}"));
        change(config);
    })
    .await
}

/// Nodes on a Redis of their own.
pub async fn nodes<const COUNT: usize>() -> (Redis, [TestNode; COUNT]) {
    let redis = Redis::start();
    let mut nodes = Vec::new();
    for _ in 0..COUNT {
        nodes.push(node_with(&redis, |_| {}).await);
    }
    let Ok(nodes) = nodes.try_into() else {
        panic!("{COUNT} nodes");
    };
    (redis, nodes)
}

/// A counter of a node, over all its shards.
pub async fn counted(node: &TestNode, name: &str) -> u64 {
    let metrics = node.http.get("/metrics").await.text;
    let rows = metrics
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")));
    rows.map(|row| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
