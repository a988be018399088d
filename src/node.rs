//! The composition root: the one file that knows every adapter and every actor, and in which order they start and end.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::{Addr, Recipient};
use actix_rt::Arbiter;
use actix_server::ServerHandle;
use greenroom_actors::cache::CacheActor;
use greenroom_actors::callers::Callers;
use greenroom_actors::gate::OpenGate;
use greenroom_actors::logic::access::Grant;
use greenroom_actors::logic::rate::{self, Rate};
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::logic::{publication, ws};
use greenroom_actors::memory::Memory;
use greenroom_actors::messages::{Drain, Publish, Unwatch, Watch};
use greenroom_actors::ports::{Bus, BusState, WallClock};
use greenroom_actors::redis_bridge::RedisBridge;
use greenroom_actors::room_registry::Settings;
use greenroom_actors::subjects::Subjects;
use greenroom_actors::supervise::{Phase, Supervisor, Workers};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::adapters::tls::{self, Certificates, LoadError};
use crate::auth::{FileError, Guard};
use crate::buses;
use crate::config::{Config, Problems, sections};
use crate::extensions::Extensions;
use crate::http::{self, Clients, Forward, Proxies, Site, Stage, Stages};
use crate::ids;
use crate::js_cluster::JsCluster;
use crate::rooms::Rooms;
use crate::settings::{caller_limits, count, policy, rules, socket_io_parts};
use crate::shards::{EngineSessions, Shards, ThreadParts};

/// How often draining looks whether everybody has gone.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// How long the node's threads may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

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

    /// Drains: lets nobody into a room any more, tells every client to come back elsewhere, waits until the broker has what
    /// was accepted and for what is in flight, within the configured limit.
    pub async fn stop(self) {
        let began = Instant::now();
        let limit = Duration::from_millis(self.shutdown.limit_ms);
        self.stage.send_replace(Stage::Draining);
        tracing::info!(connections = self.shards.connections(), "draining");
        for door in self.shards.all() {
            // A shard that cannot hear this is broken, and its connections end with the process.
            let _ = timeout(
                limit,
                door.drain.send(Drain {
                    spread_ms: self.shutdown.retry_ms,
                }),
            )
            .await;
        }
        while self.shards.connections() > 0 && began.elapsed() < limit {
            sleep(DRAIN_LOOK).await;
        }
        let left = || {
            let left = limit.saturating_sub(began.elapsed());
            left.max(Duration::from_millis(100))
        };
        // While that takes long, requests are answered still.
        let _ = timeout(left(), relayed(&*self.bus)).await;
        self.stage.send_replace(Stage::Ending);
        if timeout(left(), self.server.stop(true)).await.is_err() {
            tracing::warn!("requests were still in flight when the time was up");
        }
        let _ = timeout(Duration::from_secs(1), self.served).await;
        part(&*self.bus, left()).await;
        self.js_cluster.into_iter().for_each(JsCluster::leave);
        self.bridge_thread.stop();
        tracing::info!(took_ms = began.elapsed().as_millis() as u64, "stopped");
    }
}

/// Listens: when this resolves, every part of the node works. Errors: the address is taken, or a thread did not begin.
async fn serve(
    config: &Config,
    site: Site,
    (listener, address): (TcpListener, SocketAddr),
    shards: &Shards,
    supervisor: &Supervisor,
) -> Result<(ServerHandle, JoinHandle<io::Result<()>>), StartError> {
    let workers = workers(config);
    let limit = Duration::from_millis(config.shutdown.limit_ms);
    let server = http::serve(site, listener, workers, limit)
        .map_err(|source| StartError::Listen { address, source })?;
    let handle = server.handle();
    #[expect(
        clippy::disallowed_methods,
        reason = "the accepting server: its end is awaited by `run`"
    )]
    let served = actix_rt::spawn(server);
    let begun = async {
        shards.begun(workers).await;
        // So that whoever hears where it listens finds it ready.
        all_running(supervisor).await;
    };
    match timeout(BEGIN_WITHIN, begun).await {
        Ok(()) => Ok((handle, served)),
        Err(_) => Err(StartError::Thread("an HTTP worker".into())),
    }
}

/// Waits until each vital worker runs.
async fn all_running(supervisor: &Supervisor) {
    let run = |workers: &Workers| {
        let mut vital = workers.values().filter(|status| status.vital);
        vital.all(|status| status.phase == Phase::Running)
    };
    // The board is there for as long as the supervisor is.
    let _ = supervisor.workers().wait_for(run).await;
}

/// Waits until the broker has what this node has accepted.
async fn relayed(bus: &dyn Bus) {
    let BusState { up, waiting, .. } = bus.state();
    if !up && waiting > 0 {
        tracing::warn!(waiting, "events wait for the broker, which is away");
    }
    bus.relayed().await;
}

/// Takes leave of the other nodes, when nothing is accepted any more.
async fn part(bus: &dyn Bus, limit: Duration) {
    let parts = async {
        bus.relayed().await;
        bus.leave().await;
    };
    if timeout(limit, parts).await.is_err() {
        match bus.state().waiting {
            0 => tracing::info!("the broker does not answer: the other nodes find out by themselves"),
            lost => tracing::error!(
                lost,
                "events that the broker has not taken are lost with this node"
            ),
        }
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

/// The bridge has a thread of its own, so that a busy worker thread delays no other shard's subscriptions.
async fn start_bridge(
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

fn site(
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

fn thread_parts(
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

/// The listening socket as configured, and its address.
fn listener(config: &Config) -> Result<(TcpListener, SocketAddr), StartError> {
    let fails = |source| StartError::Listen {
        address: config.listen,
        source,
    };
    let listener = listen(config.listen).map_err(fails)?;
    if let Some(name) = &config.tcp_congestion {
        // Connections that are accepted have it from the listener.
        let set = socket2::SockRef::from(&listener).set_tcp_congestion(name.as_bytes());
        set.map_err(|source| StartError::Congestion {
            name: name.clone(),
            source,
        })?;
    }
    let address = listener.local_addr().map_err(fails)?;
    Ok((listener, address))
}

/// Listens with an address that may be used again at once after a restart, and a backlog for a storm of clients.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}
