//! The sections of the configuration: every key with its default, its unit in its name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Secret;

pub use super::doors::*;
pub use super::sharing::*;

/// `[rooms]`: rooms and what they remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// Events a room keeps for clients that come back.
    pub history_events: usize,
    /// Seconds an event is kept for clients that come back.
    pub history_seconds: u64,
    /// Bytes that the histories of all rooms together may take; the least recently used room is forgotten
    /// first.
    pub history_bytes: usize,
    /// Rooms whose last position is remembered when their history is gone.
    pub remembered_rooms: usize,
    /// Bytes that may wait for one connection; past it the client is cut off, to come back and resume.
    pub outbox_bytes: usize,
    /// Characters a room's name may have.
    pub name_chars: usize,
    /// Milliseconds after which the node gives up a room that none of its clients is in any more, so that clients
    /// that come and go cost nothing.
    pub linger_ms: u64,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            history_events: 1_000,
            history_seconds: 600,
            history_bytes: 268_435_456,
            remembered_rooms: 100_000,
            outbox_bytes: 1_048_576,
            name_chars: 200,
            linger_ms: 5_000,
        }
    }
}

/// `[throttle]`: how fast events reach a user, and how those that wait are merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Throttled events that reach a user in any one second: a subject with all its connections to the node, or a
    /// connection without one. 0: no throttle.
    pub events_per_second: u32,
    /// Bytes that may wait for one user; past it the rule for slow clients holds. At most a quarter of
    /// `rooms.outbox_bytes`: what waits may go out as one event.
    pub wait_bytes: usize,
    /// The throttled events, by name; an event that is not here is never delayed.
    pub kinds: BTreeMap<String, Kind>,
}

impl Default for Throttle {
    fn default() -> Self {
        let kind = |merge, priority| Kind {
            merge,
            priority,
            events_per_second: None,
        };
        let kinds = [
            ("agent-status", kind(Merge::Latest, 7)),
            ("agent-thought", kind(Merge::Append, 5)),
            ("index-progress", kind(Merge::Latest, 3)),
            ("task-update", kind(Merge::Latest, 6)),
        ];
        Self {
            events_per_second: 10,
            wait_bytes: 262_144,
            kinds: kinds.map(|(name, kind)| (name.to_owned(), kind)).into(),
        }
    }
}

/// `[throttle.kinds.NAME]`: one throttled event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kind {
    /// What becomes of those that wait.
    pub merge: Merge,
    /// Which kind goes first when several wait: 0 (last) to 10 (first).
    pub priority: u8,
    /// Events of this kind in any one second, within `throttle.events_per_second`. Unset: no limit of its
    /// own. 0: this kind is not throttled.
    pub events_per_second: Option<u32>,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            merge: Merge::None,
            priority: 5,
            events_per_second: None,
        }
    }
}

/// What becomes of events of one kind that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// They go out as one event with all their texts.
    Append,
    /// Only the newest waits.
    Latest,
    /// Each goes out by itself, in order.
    None,
}

/// `[limits]`: what a client may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections of this node.
    pub connections: usize,
    /// Bytes that histories and what waits for connections may take together; past it the node takes nothing new. At
    /// least twice `rooms.history_bytes`. 0: no limit.
    pub memory_bytes: usize,
    /// Accepted TCP connections of this node, whatever is on them.
    pub sockets: usize,
    /// Accepted TCP connections of one client address, and beside them its WebSockets, streams and sessions of
    /// Socket.IO. An IPv6 address counts by its first 64 bits. 0: no limit.
    pub connections_per_address: usize,
    /// WebSockets, streams and clients of Socket.IO of one subject. 0: no limit.
    pub connections_per_subject: usize,
    /// Streams and polls of one client address that wait for something. 0: no limit.
    pub streams_per_address: usize,
    /// Connections that one client address may open a second, ten seconds' worth of them at once. 0: no limit.
    pub handshakes_per_second: u64,
    /// HTTP requests of one client address a second, handshakes of WebSockets among them. 0: no limit.
    pub requests_per_second: u64,
    /// Bytes of history that one client address may be given a second, ten seconds' worth of them at once; each page
    /// counts as 4 KiB and each of its rooms as 1 KiB more. 0: no limit.
    pub replay_bytes_per_second: u64,
    /// Messages of one connection a second. 0: no limit.
    pub messages_per_second: u64,
    /// Bytes of one connection a second. 0: no limit.
    pub inbound_bytes_per_second: u64,
    /// Bytes in one inbound WebSocket frame.
    pub frame_bytes: usize,
    /// Bytes in one inbound WebSocket message, all its frames together.
    pub message_bytes: usize,
    /// Bytes in one event; at most a quarter of `rooms.outbox_bytes`.
    pub event_bytes: usize,
    /// Bytes in the head of an HTTP request: its address and its fields.
    pub head_bytes: usize,
    /// Bytes in the body of an HTTP request.
    pub body_bytes: usize,
    /// Rooms one connection may be in.
    pub rooms_per_connection: usize,
    /// Rooms one event may name.
    pub rooms_per_event: usize,
    /// Commands of one connection that wait for their answer.
    pub commands_in_flight: usize,
    /// Answers of one client of Socket.IO, in one namespace, that an embedding program waits for.
    pub acks_in_flight: usize,
    /// Messages that may wait for one actor.
    pub mailbox: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            // Full histories and a thousand clients that are a whole outbox behind, and room for as much again: far more
            // than a node needs that can keep up, and what a small machine has.
            memory_bytes: 1_073_741_824,
            sockets: 40_000,
            connections_per_address: 10_000,
            connections_per_subject: 1_000,
            streams_per_address: 5_000,
            handshakes_per_second: 2_000,
            requests_per_second: 10_000,
            replay_bytes_per_second: 67_108_864,
            messages_per_second: 10_000,
            inbound_bytes_per_second: 67_108_864,
            frame_bytes: 262_144,
            message_bytes: 262_144,
            event_bytes: 262_144,
            // As long as an address can be: a stream may name hundreds of rooms.
            head_bytes: 65_536,
            body_bytes: 1_048_576,
            rooms_per_connection: 256,
            rooms_per_event: 16,
            commands_in_flight: 256,
            acks_in_flight: 1_024,
            mailbox: 4_096,
        }
    }
}

/// `[shutdown]`: draining before the process ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Milliseconds that draining may take.
    pub limit_ms: u64,
    /// Milliseconds over which clients are told to come back, each at its own moment.
    pub retry_ms: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            limit_ms: 10_000,
            retry_ms: 3_000,
        }
    }
}

/// `[supervision]`: how often a worker that panics is started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Supervision {
    /// Panics within the window after which a worker is started again; one more and it is given up.
    pub restarts: u32,
    /// Milliseconds of that sliding window.
    pub window_ms: u64,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restarts: 3,
            window_ms: 10_000,
        }
    }
}

/// `[log]`: logging, to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,greenroom=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Pretty,
            level: "info,actix_server=warn".to_owned(),
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line, for log collectors.
    Json,
}

/// `[openai]`: reserved; read and checked, without effect in this version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAi {
    /// Key of the API.
    pub api_key: Option<Secret>,
    /// Address of the API, or of a service that speaks it.
    pub base_url: String,
}

impl Default for OpenAi {
    fn default() -> Self {
        Self {
            api_key: None,
            base_url: "https://api.openai.com/v1".to_owned(),
        }
    }
}

/// `[pinecone]`: reserved; read and checked, without effect in this version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pinecone {
    /// Key of the API.
    pub api_key: Option<Secret>,
    /// Host of the index.
    pub host: Option<String>,
}

/// `[cache]`: what is kept of what was expensive to compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Seconds that fingerprints and vectors live: 30 days.
    pub ttl_long_seconds: u64,
    /// Seconds that sessions live: 24 hours.
    pub ttl_session_seconds: u64,
    /// Seconds that results of executions live: 1 hour.
    pub ttl_execution_seconds: u64,
    /// What the process may keep, bytes.
    pub near_bytes: usize,
    /// The largest value, bytes.
    pub value_bytes: usize,
    /// Milliseconds that anybody waits for Redis.
    pub budget_ms: u64,
    /// Projects that a node loads when it begins, those that were indexed last; 0: none.
    pub warm_projects: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl_long_seconds: 2_592_000,
            ttl_session_seconds: 86_400,
            ttl_execution_seconds: 3_600,
            near_bytes: 64 << 20,
            value_bytes: 8 << 20,
            budget_ms: 50,
            warm_projects: 100,
        }
    }
}

/// `[sandbox]`: reserved; read and checked, without effect in this version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Address of the Docker daemon. Unset: the local socket.
    pub docker_host: Option<String>,
    /// Milliseconds a run may take.
    pub timeout_ms: u64,
    /// Mebibytes of memory a run may take.
    pub memory_mb: u64,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            docker_host: None,
            timeout_ms: 30_000,
            memory_mb: 512,
        }
    }
}
