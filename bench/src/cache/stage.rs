//! A Redis, and the ways to it: the node's adapter with its actor, and bare commands.

use actix::Addr;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use greenroom::adapters::redis::RedisFar;
use greenroom_actors::cache::{CacheActor, CacheReport, Lives, Report, Settings};
use greenroom_actors::far_cache::FarCache as _;
use greenroom_actors::logic::cache::{Key, Name};
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::supervise::Supervisor;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::process::Cores;
use crate::redis::Redis;

/// What a node's keys begin with by default.
const PREFIX: &str = "{greenroom}:";
/// How long an answer may take: a node's `redis.timeout_ms`.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Until a cache hears what changes.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Entries written in one go when a Redis is filled.
const IN_ONE_GO: usize = 2_000;
/// Of a node.
const MAILBOX: usize = 4_096;

/// A vector of 256 dimensions as it is kept, bytes.
pub const VECTOR_BYTES: usize = 261;
/// What is kept of a file of usual size, bytes: ten hashes of chunks.
pub const FILE_BYTES: usize = 320;

/// The model whose vectors are kept: a local one, since those of services have more dimensions.
pub fn model() -> Name {
    Name::parse("local-1").expect("a name")
}

/// A vector's key, of many.
pub fn vector(number: u64) -> Key {
    let mut hash = [0; 32];
    // Spread over all of it, as those of texts are.
    for (place, part) in hash.chunks_exact_mut(8).enumerate() {
        let spread = (number + 1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(place as u32 * 17);
        part.copy_from_slice(&spread.to_le_bytes());
    }
    Key::embedding(&model(), &hash)
}

/// Its name in Redis.
pub fn name(key: &Key) -> String {
    format!("{PREFIX}{}", key.text)
}

/// A Redis of the run's own, which writes nothing down: a cache need not, and what it writes would be measured too.
pub struct Stage {
    pub redis: Redis,
    supervisor: Supervisor,
}

impl Stage {
    pub fn start(cores: Cores) -> Result<Self> {
        Ok(Self {
            redis: Redis::in_memory(cores)?,
            supervisor: Supervisor::new(),
        })
    }

    /// What starts a cache, on whichever thread that is to be.
    pub fn cache(&self) -> Result<impl FnOnce() -> Addr<CacheActor> + Send + use<>> {
        let (far, supervisor) = (Arc::new(self.far()?), self.supervisor.clone());
        let policy = Policy {
            mailbox: MAILBOX,
            ..Policy::default()
        };
        Ok(move || {
            supervisor.start("cache", policy, |_| {
                CacheActor::new(Settings::default(), Some(far))
            })
        })
    }

    /// A cache on this thread that hears what changes.
    pub async fn heard(&self) -> Result<Addr<CacheActor>> {
        let cache = self.cache()?();
        until_trusted(&cache).await?;
        Ok(cache)
    }

    fn far(&self) -> Result<RedisFar> {
        RedisFar::new(&self.redis.url(), "", None, Lives::default(), TIMEOUT).context("no address of a Redis")
    }

    /// A connection of the kind that the adapter reads by.
    pub async fn bare(&self) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let client = redis::Client::open(self.redis.url())?;
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// Has Redis keep these, written as a node writes them.
    pub async fn fill(&self, entries: impl Iterator<Item = (Key, Bytes)>) -> Result<()> {
        let far = self.far()?;
        let _heard = far.follow().await?;
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            far.put(entries.by_ref().take(IN_ONE_GO).collect()).await?;
        }
        Ok(())
    }
}

/// Waits until a cache hears what changes.
pub async fn until_trusted(cache: &Addr<CacheActor>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let report = report(cache).await?;
        if report.near.trusted && report.far.is_some_and(|far| far.asked) {
            return Ok(());
        }
        ensure!(begin.elapsed() < START_LIMIT, "the cache does not reach Redis");
        tokio::task::yield_now().await;
    }
}

/// What a cache says of itself.
pub async fn report(cache: &Addr<CacheActor>) -> Result<CacheReport> {
    cache
        .send(Report { counts: false })
        .await?
        .context("the cache says nothing")
}
