//! The sections for nodes that share something: the bus, the cluster, Redis.

use serde::{Deserialize, Serialize};

use super::Secret;

/// `[bus]`: the bus that numbers events and keeps their history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bus {
    /// Seconds during which an event id is accepted once and answered alike.
    pub idempotency_seconds: u64,
    /// Event ids remembered for that; in Redis as many as come.
    pub idempotency_entries: usize,
    /// What happens to what is published while Redis is away.
    pub on_outage: OnOutage,
    /// Bytes of events that may wait for Redis; past it nothing more is accepted.
    pub outbox_bytes: usize,
    /// Whether the node takes part in a cluster of JavaScript servers that use `@socket.io/redis-adapter` on the same Redis.
    pub socketio_compat: bool,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            idempotency_seconds: 600,
            idempotency_entries: 100_000,
            on_outage: OnOutage::Local,
            outbox_bytes: 67_108_864,
            socketio_compat: false,
        }
    }
}

/// What happens to what is published while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// The node gives it to its own clients, and relays it later.
    Local,
    /// It is refused: `unavailable`.
    Refuse,
}

/// `[cluster]`: several nodes that share one Redis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The address at which other nodes reach this one. Unset: they cannot hand requests on to it.
    pub advertise: Option<String>,
    /// Milliseconds after which a node that says nothing is taken for dead: its members are no longer shown.
    pub dead_ms: u64,
    /// Milliseconds that another node may take to accept a request that is handed on to it, and for its answer beyond
    /// the time for which a poll waits.
    pub forward_timeout_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            advertise: None,
            dead_ms: 15_000,
            forward_timeout_ms: 2_000,
        }
    }
}

/// `[redis]`: the Redis server that nodes share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// Address of the Redis server, which may hold a password. Unset: the bus is embedded.
    pub url: Option<Secret>,
    /// A PEM file with whom to trust for `rediss://`. Unset: whom the system trusts.
    pub ca_file: Option<String>,
    /// What every key and channel in Redis begins with, in braces. Empty: `greenroom`.
    pub prefix: String,
    /// Milliseconds after which a server that does not answer is away.
    pub timeout_ms: u64,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            prefix: String::new(),
            timeout_ms: 3_000,
        }
    }
}
