//! The configuration of a node: typed, checked, and put together from layers.
//!
//! From weakest to strongest: built-in defaults, a TOML file, the environment names that users of such
//! systems already have (`REDIS_URL`, `OPENAI_API_KEY`, ...), `GREENROOM_...` variables, flags. The layers
//! are merged as TOML tables, each value remembering where it came from, so that an error names the key, its
//! source, and what is allowed.
//!
//! - [`Config`] and [`sections`]: every key, its default and what it means;
//! - `rules`: what each key may hold, and how keys depend on each other;
//! - `load`: the layers; `environment`: variable names; `key`: key paths and suggestions.

mod doors;
mod environment;
mod forms;
mod key;
mod load;
mod problem;
mod relations;
mod rules;
mod secret;
pub mod sections;
mod sharing;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use load::{Flag, Inputs, Loaded, load};
pub use problem::{Problem, Problems, Source};
pub use secret::Secret;

use sections::{
    Auth, Bus, Cache, Cluster, Http, Limits, Log, OpenAi, Pinecone, Redis, Rooms, Sandbox, Shutdown,
    SocketIo, Sse, Supervision, Throttle, Tls, Websocket,
};

/// Everything that can be configured. `config/greenroom.toml` holds the same keys, with comments for
/// operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// This node's name, unique among its cluster. Unset: the node makes one up at each start.
    pub node_id: Option<String>,
    /// HTTP worker threads, each with its own shard of the rooms. 0: one per processor core.
    pub workers: usize,
    /// TCP congestion control of clients' connections, by its name in the kernel. Unset: the kernel's default.
    pub tcp_congestion: Option<String>,
    /// Rooms and what they remember.
    pub rooms: Rooms,
    /// How fast events reach a user, and how those that wait are merged.
    pub throttle: Throttle,
    /// What a client may ask for.
    pub limits: Limits,
    /// How long a client of the HTTP server may take.
    pub http: Http,
    /// TLS on the address that the node listens on.
    pub tls: Tls,
    /// Plain WebSocket connections.
    pub websocket: Websocket,
    /// Socket.IO connections.
    pub socketio: SocketIo,
    /// Server-sent event streams.
    pub sse: Sse,
    /// The bus that numbers events and keeps their history.
    pub bus: Bus,
    /// Several nodes that share one Redis.
    pub cluster: Cluster,
    /// The Redis server that they share.
    pub redis: Redis,
    /// Draining before the process ends.
    pub shutdown: Shutdown,
    /// Who may do what.
    pub auth: Auth,
    /// How often a worker that panics is started again.
    pub supervision: Supervision,
    /// Logging.
    pub log: Log,
    /// Reserved: OpenAI.
    pub openai: OpenAi,
    /// Reserved: Pinecone.
    pub pinecone: Pinecone,
    /// Reserved: the cache.
    pub cache: Cache,
    /// Reserved: the sandbox.
    pub sandbox: Sandbox,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7420)),
            node_id: None,
            workers: 0,
            tcp_congestion: None,
            rooms: Rooms::default(),
            throttle: Throttle::default(),
            limits: Limits::default(),
            http: Http::default(),
            tls: Tls::default(),
            websocket: Websocket::default(),
            socketio: SocketIo::default(),
            sse: Sse::default(),
            bus: Bus::default(),
            cluster: Cluster::default(),
            redis: Redis::default(),
            shutdown: Shutdown::default(),
            auth: Auth::default(),
            supervision: Supervision::default(),
            log: Log::default(),
            openai: OpenAi::default(),
            pinecone: Pinecone::default(),
            cache: Cache::default(),
            sandbox: Sandbox::default(),
        }
    }
}

impl Config {
    /// Checks every range and relation, for a program that filled in a `Config` itself; [`load`] has done it
    /// already.
    ///
    /// What it cannot see is whether `auth.mode` was chosen on purpose: a program that listens on an address
    /// others can reach has to know what it does.
    pub fn validate(&self) -> Result<(), Problems> {
        let table = toml::Table::try_from(self).map_err(|error| Problem::Internal(error.to_string()))?;
        let given = BTreeMap::new();
        let mut problems = rules::check_values(&table, &given);
        let broken = problems
            .iter()
            .filter_map(Problem::key)
            .map(str::to_owned)
            .collect();
        problems.extend(relations::check_whole(self, &given, &broken));
        Problems::none_or(problems)
    }

    /// Whether other machines can reach the address this node listens on.
    pub fn is_exposed(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback()
    }
}

#[cfg(test)]
mod tests;
