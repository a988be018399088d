//! What the node's threads and its HTTP surface are made of.

use std::sync::Arc;

use actix::Addr;
use actix_rt::Arbiter;
use greenroom_actors::cache::CacheActor;
use greenroom_actors::callers::Callers;
use greenroom_actors::gate::OpenGate;
use greenroom_actors::logic::rate::{self, Rate};
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::logic::ws;
use greenroom_actors::memory::Memory;
use greenroom_actors::ports::Bus;
use greenroom_actors::redis_bridge::RedisBridge;
use greenroom_actors::room_registry::Settings;
use greenroom_actors::subjects::Subjects;
use greenroom_actors::supervise::Supervisor;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{StartError, publish_limits, wall_clock};
use crate::adapters::tls::Certificates;
use crate::auth::Guard;
use crate::config::Config;
use crate::extensions::Extensions;
use crate::http::{self, Clients, Forward, Proxies, Site, Stages};
use crate::ids;
use crate::settings::{caller_limits, count, rules, socket_io_parts};
use crate::shards::{EngineSessions, Shards, ThreadParts};

/// The bridge has a thread of its own, so that a busy worker thread delays no other shard's subscriptions.
pub(super) async fn start_bridge(
    thread: &Arbiter,
    supervisor: &Supervisor,
    policy: Policy,
    bus: Arc<dyn Bus>,
) -> Result<Addr<RedisBridge>, StartError> {
    let (told, started) = oneshot::channel();
    let supervisor = supervisor.clone();
    thread.spawn_fn(move || {
        let _ = told.send(supervisor.start("bridge", policy, |_| RedisBridge::new(bus)));
    });
    started.await.map_err(|_| StartError::Thread("the bridge".into()))
}

pub(super) fn site(
    config: &Config,
    parts: ThreadParts,
    tls: Option<Arc<Certificates>>,
    guard: Guard,
    stages: Stages,
    forward: Option<Arc<Forward>>,
    cache: Addr<CacheActor>,
) -> Site {
    let clients = Clients {
        proxies: Proxies::parse(&config.http.trusted_proxies, config.http.forwarded_header),
        callers: Arc::new(Callers::new(caller_limits(&config.limits))),
        tls: tls.is_some(),
        key: forward.as_ref().map(|forward| forward.key().clone()),
    };
    Site {
        node: parts.settings.node.clone(),
        parts,
        dead_ms: config.cluster.dead_ms,
        head_bytes: config.limits.head_bytes,
        body_bytes: config.limits.body_bytes,
        connections: config.limits.connections as u64,
        tls,
        times: http::Times::from(config),
        origins: http::Origins::parse(&config.http.origins, clients.clone()),
        clients,
        open_metrics: config.auth.open_metrics,
        guard,
        max_payload: config.socketio.max_payload_bytes,
        cookie: config.socketio.cookie.as_deref().map(Arc::from),
        forward,
        cache,
        stages,
        began: Instant::now(),
    }
}

pub(super) fn thread_parts(
    config: &Config,
    name: &Arc<str>,
    supervisor: &Supervisor,
    policy: Policy,
    bus: &Arc<dyn Bus>,
    bridge: Addr<RedisBridge>,
    shards: &Shards,
) -> ThreadParts {
    ThreadParts {
        supervisor: supervisor.clone(),
        policy,
        bus: bus.clone(),
        gate: Arc::new(OpenGate::default()),
        memory: Memory::new(config.limits.memory_bytes as u64),
        subjects: Subjects::new(count(config.limits.connections_per_subject)),
        bridge,
        settings: Settings {
            node: name.clone(),
            rules: rules(&config.throttle),
            outbox_bytes: config.rooms.outbox_bytes,
            rooms_per_connection: config.limits.rooms_per_connection,
            ping_interval_ms: config.websocket.ping_interval_ms,
            ping_timeout_ms: config.websocket.ping_timeout_ms,
            engine_ping_ms: config
                .socketio
                .ping_interval_ms
                .min(config.socketio.ping_timeout_ms),
            comment_ms: config.sse.comment_ms,
            behind_ms: config.http.send_timeout_ms,
            expiring_ms: config.auth.expiring_seconds as i64 * 1_000,
            linger_ms: config.rooms.linger_ms,
            new_session_id: ids::session_id,
        },
        publish: publish_limits(config),
        frames: ws::Limits {
            frame_bytes: u32::try_from(config.limits.frame_bytes).unwrap_or(u32::MAX),
            message_bytes: u32::try_from(config.limits.message_bytes).unwrap_or(u32::MAX),
        },
        close_ms: config.websocket.close_timeout_ms,
        pace: rate::Limits {
            messages: Rate::new(config.limits.messages_per_second, 1),
            bytes: Rate::new(config.limits.inbound_bytes_per_second, 1),
        },
        commands_in_flight: config.limits.commands_in_flight,
        clock: wall_clock(),
        socket_io: socket_io_parts(config),
        engine_sessions: EngineSessions::default(),
        beside_javascript: config.bus.socketio_compat,
        extensions: Extensions::default(),
        shards: shards.clone(),
    }
}
