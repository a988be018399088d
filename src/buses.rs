//! Which bus a node has: its own, or one that it shares with others by way of Redis.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::broker::NodeCard;
use greenroom_actors::cluster_bus::{self, ClusterBus};
use greenroom_actors::embedded_bus::EmbeddedBus;
use greenroom_actors::logic::{bus_log, sessions};
use greenroom_actors::ports::Bus;

use crate::adapters::redis::{self, RedisBroker};
use crate::adapters::tls;
use crate::config::{Config, sections::OnOutage};
use crate::ids;
use crate::node::{StartError, wall_clock};

/// A node says so often that it is there. Three times within the time after which it is taken for dead, at least.
const BEAT_MS: u64 = 3_000;
/// The link is asked for a sign of life so often.
const MARK_MS: u64 = 1_000;

/// The bus that the configuration asks for. Errors: the address of Redis is none.
pub fn bus(config: &Config) -> Result<Arc<dyn Bus>, StartError> {
    let Some(url) = &config.redis.url else {
        return Ok(embedded(config));
    };
    tls::provide();
    let settings = redis::Settings {
        root: trusted_root(config)?,
        ..redis_settings(config)
    };
    let broker = RedisBroker::new(url.expose(), settings)
        // What is said of it may hold the password.
        .map_err(|failed| StartError::Redis(format!("redis.url: {}", failed.category())))?;
    let settings = cluster_settings(config);
    Ok(ClusterBus::new(Arc::new(broker), settings, wall_clock()))
}

/// The authority that is trusted for TLS to Redis, if one is named. Errors: its file cannot be read.
pub(crate) fn trusted_root(config: &Config) -> Result<Option<Vec<u8>>, StartError> {
    let root = config.redis.ca_file.as_ref().map(|path| {
        let read = std::fs::read(path);
        read.map_err(|failed| StartError::Redis(format!("redis.ca_file {path:?}: {failed}")))
    });
    root.transpose()
}

/// The bus of a node without Redis.
pub fn embedded(config: &Config) -> Arc<dyn Bus> {
    let limits = bus_log::Limits {
        history_events: config.rooms.history_events,
        history_ms: config.rooms.history_seconds as i64 * 1_000,
        history_bytes: config.rooms.history_bytes,
        remembered_rooms: config.rooms.remembered_rooms,
        ids_ms: config.bus.idempotency_seconds as i64 * 1_000,
        ids_max: config.bus.idempotency_entries,
    };
    Arc::new(EmbeddedBus::new(
        ids::life(),
        limits,
        session_limits(config),
        wall_clock(),
    ))
}

fn session_limits(config: &Config) -> sessions::Limits {
    sessions::Limits {
        kept_ms: config.socketio.recovery_seconds as i64 * 1_000,
        ..sessions::Limits::default()
    }
}

fn redis_settings(config: &Config) -> redis::Settings {
    redis::Settings {
        prefix: config.redis.prefix.clone(),
        root: None,
        timeout: Duration::from_millis(config.redis.timeout_ms),
        history_events: config.rooms.history_events,
        history_ms: config.rooms.history_seconds.saturating_mul(1_000),
        ids_ms: config.bus.idempotency_seconds.saturating_mul(1_000),
        gone_ms: config.socketio.recovery_seconds.saturating_mul(1_000),
        session_ms: config.cache.ttl_session_seconds * 1_000,
        dead_ms: config.cluster.dead_ms,
    }
}

fn cluster_settings(config: &Config) -> cluster_bus::Settings {
    let name = config.node_id.clone().unwrap_or_else(ids::node_name);
    let timeout_ms = config.redis.timeout_ms;
    cluster_bus::Settings {
        tag: ids::node_tag(),
        fresh: ids::life(),
        card: NodeCard {
            name,
            advertise: config.cluster.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: (wall_clock())(),
            connections: 0,
            key: ids::node_key(),
        },
        sessions: session_limits(config),
        on_outage: match config.bus.on_outage {
            OnOutage::Local => cluster_bus::OnOutage::Local,
            OnOutage::Refuse => cluster_bus::OnOutage::Refuse,
        },
        outbox_bytes: config.bus.outbox_bytes,
        mark_every: Duration::from_millis(MARK_MS.min(timeout_ms / 2)),
        silent_max: Duration::from_millis(timeout_ms),
        // The record of a client that stays connected is written again well before its time is up.
        renew_every: Duration::from_secs(config.cache.ttl_session_seconds) / 3,
        beat_every: Duration::from_millis(BEAT_MS.min(config.cluster.dead_ms / 4)),
    }
}
