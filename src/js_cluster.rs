//! A node's part in a cluster of JavaScript Socket.IO servers (`bus.socketio_compat`): put together here, where
//! [`JsBridge`] is started.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_rt::Arbiter;
use greenroom_actors::js_bridge::{JsBridge, Settings, Shard};
use greenroom_actors::logic::js_cluster::Options;
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::ports::Bus;
use greenroom_actors::supervise::Supervisor;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::adapters::redis::RedisRadio;
use crate::buses::trusted_root;
use crate::config::Config;
use crate::ids;
use crate::node::{StartError, wall_clock};
use crate::shards::Shards;

/// It says something to itself so often, to know that the link lives.
const BEAT_MS: u64 = 1_000;
/// The longest wait before it is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The thread on which the bridge is: what other servers say, however much that is, does not hold up the bus.
pub(crate) struct JsCluster(Arbiter);

impl JsCluster {
    /// Takes part, if the configuration says so: when this resolves, it has been tried once. Errors: the address of Redis is
    /// none, or a thread did not begin.
    pub(crate) async fn join(
        config: &Config,
        name: &Arc<str>,
        supervisor: &Supervisor,
        shards: &Shards,
        bus: &Arc<dyn Bus>,
    ) -> Result<Option<Self>, StartError> {
        let Some(url) = config.redis.url.as_ref().filter(|_| config.bus.socketio_compat) else {
            return Ok(None);
        };
        let limit = Duration::from_millis(config.redis.timeout_ms);
        let radio = RedisRadio::new(url.expose(), trusted_root(config)?, limit)
            // What is said of it may hold the password.
            .map_err(|failed| StartError::Redis(format!("redis.url: {}", failed.category())))?;
        let radio = Arc::new(radio);
        let (settings, policy) = (settings(config, name), policy(config));
        let doors = doors(shards);
        let tried = watch::Sender::new(false);
        let mut is_tried = tried.subscribe();
        let thread = Arbiter::new();
        let (told, started) = oneshot::channel::<Addr<JsBridge>>();
        let supervisor = supervisor.clone();
        thread.spawn_fn(move || {
            let _ = told.send(supervisor.start("js-bridge", policy, |lifeline| {
                JsBridge::new(radio, doors, settings, lifeline, tried)
            }));
        });
        let bridge = started
            .await
            .map_err(|_| StartError::Thread("the bridge to JavaScript servers".into()))?;
        bus.tell_accepted(bridge.recipient());
        // So that a cluster that is there counts this node when whoever started it goes on.
        let _ = timeout(limit, is_tried.wait_for(|tried| *tried)).await;
        Ok(Some(Self(thread)))
    }

    /// Takes part no longer.
    pub(crate) fn leave(self) {
        self.0.stop();
    }
}

fn doors(shards: &Shards) -> Vec<Shard> {
    let all = shards.all().into_iter();
    all.map(|door| Shard {
        overhears: door.overhears,
        carries_out: door.carries_out,
    })
    .collect()
}

fn settings(config: &Config, name: &Arc<str>) -> Settings {
    let timeout_ms = config.redis.timeout_ms;
    Settings {
        uid: ids::js_uid(),
        options: Options::default(),
        waiting_bytes: config.bus.outbox_bytes,
        beat_every: Duration::from_millis(BEAT_MS.min(timeout_ms / 2)),
        silent_max: Duration::from_millis(timeout_ms),
        name_chars: config.rooms.name_chars,
        secure: config.tls.cert_file.is_some(),
        node: name.clone(),
        clock: wall_clock(),
    }
}

/// The node does without it, if it has to.
fn policy(config: &Config) -> Policy {
    Policy {
        vital: false,
        backoff_max: BACKOFF_MAX,
        ..crate::settings::policy(config)
    }
}
