//! The cache of a node: put together here, where [`CacheActor`] is started.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_rt::Arbiter;
use greenroom_actors::cache::{CacheActor, CircuitLimits, Lives, Settings};
use greenroom_actors::far_cache::FarCache;
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::supervise::Supervisor;
use tokio::sync::oneshot;

use crate::adapters::redis::RedisFar;
use crate::buses::trusted_root;
use crate::config::Config;
use crate::node::StartError;
use crate::settings::policy;

/// Starts it on this thread. Errors: the address of Redis is none, or the thread did not begin.
pub(crate) async fn start(
    config: &Config,
    thread: &Arbiter,
    supervisor: &Supervisor,
) -> Result<Addr<CacheActor>, StartError> {
    let (settings, far) = (settings(config), far(config)?);
    let supervisor = supervisor.clone();
    let policy = Policy {
        vital: false,
        ..policy(config)
    };
    let (told, started) = oneshot::channel();
    thread.spawn_fn(move || {
        // Whoever waits for it is there.
        let _ = told.send(supervisor.start("cache", policy, |_| CacheActor::new(settings, far)));
    });
    started.await.map_err(|_| StartError::Thread("the cache".into()))
}

fn far(config: &Config) -> Result<Option<Arc<dyn FarCache>>, StartError> {
    let Some(url) = &config.redis.url else {
        return Ok(None);
    };
    let timeout = Duration::from_millis(config.redis.timeout_ms);
    let root = trusted_root(config)?;
    let far = RedisFar::new(url.expose(), &config.redis.prefix, root, lives(config), timeout)
        // What is said of it may hold the password.
        .map_err(|failed| StartError::Redis(format!("redis.url: {}", failed.category())))?;
    Ok(Some(Arc::new(far)))
}

fn lives(config: &Config) -> Lives {
    let cache = &config.cache;
    Lives {
        long: Duration::from_secs(cache.ttl_long_seconds),
        session: Duration::from_secs(cache.ttl_session_seconds),
        execution: Duration::from_secs(cache.ttl_execution_seconds),
    }
}

fn settings(config: &Config) -> Settings {
    let cache = &config.cache;
    Settings {
        near_bytes: cache.near_bytes as u64,
        value_bytes: cache.value_bytes,
        budget: Duration::from_millis(cache.budget_ms),
        circuit: CircuitLimits::default(),
        lives: lives(config),
        warm_projects: cache.warm_projects,
    }
}
