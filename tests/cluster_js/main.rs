//! Nodes in a cluster of JavaScript servers: the real packages on a real redis-server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../kit/mod.rs"]
mod kit;

mod events;
mod operations;
mod outages;
mod server;

use greenroom::config::{Config, Secret};
use kit::{Fault, KINDS, Redis, Stock, StockClient, TestNode, Transport, Version};
use server::Server;

/// How clients of these tests connect, where it does not matter.
pub const KIND: (Version, Transport) = KINDS[0];

/// A node that takes part in the cluster on this Redis.
pub async fn node(redis: &Redis) -> TestNode {
    node_with(redis, |_| {}).await
}

/// The same, configured a little differently. It notices soon that Redis does not answer.
pub async fn node_with(redis: &Redis, change: impl FnOnce(&mut Config)) -> TestNode {
    TestNode::with(|config| {
        config.redis.url = Some(Secret::new(redis.url()));
        config.redis.timeout_ms = 500;
        config.bus.socketio_compat = true;
        change(config);
    })
    .await
}

/// A JavaScript server, and nodes that it counts.
pub struct Mixed {
    /// Clients of all.
    pub stock: Stock,
    /// The JavaScript server.
    pub server: Server,
    /// The nodes.
    pub nodes: Vec<TestNode>,
    /// What they share.
    pub redis: Redis,
}

impl Mixed {
    /// With so many nodes.
    pub async fn start(nodes: usize) -> Self {
        let redis = Redis::start();
        let mut mixed = Self {
            stock: Stock::start(),
            server: Server::start(&redis.url()).await,
            nodes: Vec::new(),
            redis,
        };
        for _ in 0..nodes {
            mixed.nodes.push(node(&mixed.redis).await);
        }
        mixed.server.until_servers(nodes + 1).await;
        mixed
    }

    /// A client of the first node.
    pub async fn client(&self) -> StockClient {
        self.client_at(0).await
    }

    /// A client of a node.
    pub async fn client_at(&self, node: usize) -> StockClient {
        self.stock.connected(self.nodes[node].address, KIND).await
    }

    /// A client of a node that has joined a room.
    pub async fn member(&self, node: usize, room: &str) -> StockClient {
        let mut client = self.client_at(node).await;
        client.join(room).await;
        client
    }

    /// A client of the JavaScript server.
    pub async fn theirs(&self) -> StockClient {
        self.stock.connected(self.server.address, KIND).await
    }

    /// A client of the JavaScript server that has joined a room.
    pub async fn their_member(&self, room: &str) -> StockClient {
        let mut client = self.theirs().await;
        client.join(room).await;
        client
    }
}

/// A client's id.
pub async fn id_of(client: &mut StockClient) -> String {
    client.status().await["id"].as_str().unwrap().to_owned()
}
