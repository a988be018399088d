//! The composition root: the one module that knows every adapter and every actor, and in which order they start and end.

mod leaving;
mod listening;
mod parts;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix::{Addr, Recipient};
use actix_rt::Arbiter;
use actix_server::ServerHandle;
use greenroom_actors::cache::CacheActor;
use greenroom_actors::logic::access::Grant;
use greenroom_actors::logic::publication;
use greenroom_actors::messages::{Publish, Unwatch, Watch};
use greenroom_actors::ports::{Bus, WallClock};
use greenroom_actors::supervise::Supervisor;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adapters::tls::{self, Certificates, LoadError};
use crate::auth::{FileError, Guard};
use crate::buses;
use crate::config::{Config, Problems, sections};
use crate::extensions::Extensions;
use crate::http::{Forward, Stage, Stages};
use crate::ids;
use crate::js_cluster::JsCluster;
use crate::rooms::Rooms;
use crate::settings::policy;
use crate::shards::Shards;
use listening::{listener, serve};
use parts::{site, start_bridge, thread_parts};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not hold.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A file of keys or of those who are denied cannot be used.
    #[error(transparent)]
    Auth(#[from] FileError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not know this congestion control, or does not allow it.
    #[error("the kernel refuses tcp_congestion = {name:?}: {source}")]
    Congestion {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] LoadError),
    /// A thread of the node did not begin.
    #[error("a thread of the node did not begin: {0}")]
    Thread(String),
    /// The address of Redis is none, or whom to trust cannot be read.
    #[error("Redis cannot be used: {0}")]
    Redis(String),
    /// Other nodes cannot be asked.
    #[error("other nodes cannot be asked: {0}")]
    Forward(String),
}

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and has drained.
    Stopped,
    /// A vital worker was given up: whoever runs the process should start it anew.
    GaveUp(String),
}

/// A running node. To be started within an actix system.
pub struct Node {
    address: SocketAddr,
    name: Arc<str>,
    supervisor: Supervisor,
    bus: Arc<dyn Bus>,
    shards: Shards,
    tls: Option<Arc<Certificates>>,
    stage: watch::Sender<Stage>,
    publish_limits: publication::Limits,
    shutdown: sections::Shutdown,
    server: ServerHandle,
    served: JoinHandle<io::Result<()>>,
    bridge_thread: Arbiter,
    js_cluster: Option<JsCluster>,
    guard: Guard,
    cache: Addr<CacheActor>,
}

impl Node {
    /// Starts a node with a bus of its own. Errors: the configuration does not hold, or the address is taken.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut config = config;
        config.validate()?;
        config.node_id.get_or_insert_with(ids::node_name);
        let bus = buses::bus(&config)?;
        Self::start_on(config, bus).await
    }

    /// Starts a node on a bus that it may share with other nodes of this process.
    pub async fn start_on(config: Config, bus: Arc<dyn Bus>) -> Result<Self, StartError> {
        Self::start_with(config, bus, Extensions::default()).await
    }

    /// Starts a node with more on its Socket.IO surface than its rooms.
    pub async fn start_with(
        config: Config,
        bus: Arc<dyn Bus>,
        extensions: Extensions,
    ) -> Result<Self, StartError> {
        config.validate()?;
        tls::provide();
        let tls = Certificates::load(&config.tls)?;
        let (listener, address) = listener(&config)?;
        let supervisor = Supervisor::new();
        let policy = policy(&config);
        let bridge_thread = Arbiter::new();
        let bridge = start_bridge(&bridge_thread, &supervisor, policy.clone(), bus.clone()).await?;
        let cache = crate::cache::start(&config, &bridge_thread, &supervisor).await?;
        // So that the first clients meet a bus that is there, if there is one to be had.
        bus.tried().await;
        let name: Arc<str> = config.node_id.clone().unwrap_or_else(ids::node_name).into();
        let shards = Shards::default();
        let guard = Guard::start(&config, &bridge_thread, &supervisor, &policy, &shards).await?;
        let stage = watch::Sender::new(Stage::Serving);
        let mut parts = thread_parts(&config, &name, &supervisor, policy, &bus, bridge, &shards);
        parts.gate = guard.gate();
        parts.extensions = extensions;
        let forward = Forward::new(&config, &bus).map_err(|error| StartError::Forward(error.to_string()))?;
        let (stages, forward) = (Stages::of(&stage), forward.map(Arc::new));
        let site = site(
            &config,
            parts,
            tls.clone(),
            guard.clone(),
            stages,
            forward,
            cache.clone(),
        );
        let (server, served) = serve(&config, site, (listener, address), &shards, &supervisor).await?;
        let js_cluster = JsCluster::join(&config, &name, &supervisor, &shards, &bus).await?;
        Ok(Self {
            address,
            name,
            supervisor,
            bus,
            shards,
            tls,
            stage,
            publish_limits: publish_limits(&config),
            shutdown: config.shutdown,
            server,
            served,
            bridge_thread,
            js_cluster,
            guard,
            cache,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its supervisor: the actors of an embedding program are started here too.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Its bus: history and presence.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Its shards.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Its certificate, if it has one: to be looked at when whoever runs the process says so.
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.tls.as_ref()
    }

    /// The address to give to clients.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The rooms, for actors of the embedding program.
    pub fn rooms(&self) -> Rooms {
        let door = self.door();
        Rooms {
            publish: door.publish,
            watch: door.watch,
            unwatch: door.unwatch,
            publisher: None,
            grant: Arc::new(Grant::everything()),
            limits: self.publish_limits.clone(),
            clock: wall_clock(),
        }
    }

    /// Where to send events to be published, checked by [`greenroom_actors::logic::publication`].
    pub fn publish(&self) -> Recipient<Publish> {
        self.door().publish
    }

    /// Where to ask for events of rooms.
    pub fn watch(&self) -> Recipient<Watch> {
        self.door().watch
    }

    /// Where to say that they are no longer wanted.
    pub fn unwatch(&self) -> Recipient<Unwatch> {
        self.door().unwatch
    }

    fn door(&self) -> crate::shards::ShardDoor {
        // `start_on` returns only when every shard has begun, and none is ever taken away.
        self.shards.all().swap_remove(0)
    }

    /// What was expensive to compute: see [`greenroom_actors::cache`].
    pub fn cache(&self) -> &Addr<CacheActor> {
        &self.cache
    }

    /// What keeps strangers out.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Serves until `stop` resolves or a vital worker is given up; then drains.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let ended = tokio::select! {
            () = stop => Ended::Stopped,
            name = self.supervisor.gave_up() => Ended::GaveUp(name),
            never = watch_certificates(self.tls.clone()) => match never {},
        };
        self.stop().await;
        ended
    }
}

/// Takes new certificates over as they come.
async fn watch_certificates(tls: Option<Arc<Certificates>>) -> Infallible {
    match tls {
        Some(certificates) => certificates.watch().await,
        None => std::future::pending().await,
    }
}

/// The machine's wall clock.
pub fn wall_clock() -> WallClock {
    Arc::new(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    })
}

/// What a publication of an embedding program is checked against.
pub fn publish_limits(config: &Config) -> publication::Limits {
    publication::Limits {
        name_chars: config.rooms.name_chars,
        rooms: config.limits.rooms_per_event,
        event_bytes: config.limits.event_bytes,
    }
}

/// HTTP worker threads: as configured, or one a core.
pub fn workers(config: &Config) -> usize {
    match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}
