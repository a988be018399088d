//! A node within the test's own process, on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use actix::Addr;
use actix_rt::System;
use greenroom::actors::cache::CacheActor;
use greenroom::actors::ports::{Bus, ShardId};
use greenroom::actors::supervise::{Phase, Supervisor};
use greenroom::buses;
use greenroom::config::Config;
use greenroom::extensions::Extensions;
use greenroom::node::{Ended, Node};
use greenroom::open_files;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Authority, Http, Sse, Ws, eventually, within};

/// The configuration of a node under test: a free port, two shards, and no waiting at the end.
pub fn config() -> Config {
    let mut config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: 2,
        ..Config::default()
    };
    config.shutdown.limit_ms = 2_000;
    config
}

/// A running node. Dropping it stops it.
pub struct TestNode {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name.
    pub name: String,
    /// Its supervisor, with the switch that makes workers panic.
    pub supervisor: Supervisor,
    /// Its shards, by their numbers within this process.
    pub shards: Vec<ShardId>,
    /// Its cache, for typed messages.
    pub cache: Addr<CacheActor>,
    /// Its requests.
    pub http: Http,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Ended>>,
}

impl TestNode {
    /// A node with the configuration of [`config`].
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A node with a configuration that differs from [`config`].
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        config.node_id.get_or_insert_with(greenroom::ids::node_name);
        let bus = buses::bus(&config).unwrap();
        Self::on(config, bus).await
    }

    /// A node on a bus that it may share.
    pub async fn on(config: Config, bus: Arc<dyn Bus>) -> Self {
        Self::extended(config, bus, Extensions::default()).await
    }

    /// A node to which a program adds something.
    pub async fn extended(config: Config, bus: Arc<dyn Bus>, extensions: Extensions) -> Self {
        // Both ends of every connection are this process's.
        open_files::raise_limit().unwrap();
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let node = Node::start_with(config, bus, extensions).await.unwrap();
                let name = node.name().to_owned();
                let shards = node.shards().all().iter().map(|door| door.shard).collect();
                let (supervisor, cache) = (node.supervisor().clone(), node.cache().clone());
                let _ = tell.send((node.address(), name, supervisor, shards, cache));
                // A test that has ended counts as one that wants the node stopped.
                node.run(async move { drop(stopped.await) }).await
            })
        });
        let (address, name, supervisor, shards, cache) = within("a node to start", told).await.unwrap();
        Self {
            address,
            name,
            supervisor,
            shards,
            cache,
            http: Http::new(address),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A node with TLS, whose requests trust the authority.
    pub async fn with_tls(authority: &Authority, change: impl FnOnce(&mut Config)) -> Self {
        let mut node = Self::with(|config| {
            authority.apply(config);
            change(config);
        })
        .await;
        node.http = authority.http(node.address);
        node
    }

    /// Two nodes on one embedded bus.
    pub async fn pair() -> [Self; 2] {
        let bus = buses::embedded(&config());
        [
            Self::on(config(), bus.clone()).await,
            Self::on(config(), bus).await,
        ]
    }

    /// A WebSocket client.
    pub async fn ws(&self) -> Ws {
        Ws::connect(self.address).await
    }

    /// A WebSocket client that has joined these rooms.
    pub async fn joined(&self, rooms: &[&str]) -> Ws {
        let mut ws = self.ws().await;
        ws.join(rooms, None).await;
        ws
    }

    /// A stream that has joined this room.
    pub async fn sse(&self, room: &str) -> Sse {
        let mut sse = Sse::open(self.address, &format!("/v1/rooms/{room}/stream"), None).await;
        sse.joined().await;
        sse
    }

    /// Publishes over HTTP.
    pub async fn publish(&self, room: &str, event: &str, data: impl Into<Value>) -> Value {
        self.http.publish(room, event, data).await
    }

    /// Who is in a room, as any node tells.
    pub async fn members(&self, room: &str) -> u64 {
        let answer = self.http.get(&format!("/v1/rooms/{room}")).await;
        answer.ok()["count"].as_u64().unwrap()
    }

    /// Awaits that a room has this many members.
    pub async fn until_members(&self, room: &str, members: u64) {
        eventually(&format!("{members} members in {room}"), || async {
            self.members(room).await == members
        })
        .await;
    }

    /// The names of its workers.
    pub async fn worker_names(&self) -> Vec<String> {
        let answer = self.http.get("/v1/workers").await;
        let workers = answer.ok()["workers"].as_array().unwrap().clone();
        let name = |worker: &Value| worker["name"].as_str().unwrap().to_owned();
        workers.iter().map(name).collect()
    }

    /// Makes a worker panic and awaits that it runs again.
    pub async fn crash(&self, worker: &str) {
        let before = self.panics(worker);
        assert!(self.supervisor.crash(worker), "there is no worker {worker}");
        self.until_restarted(worker, before).await;
    }

    /// Awaits that a worker runs again after more panics than `before`.
    pub async fn until_restarted(&self, worker: &str, before: u32) {
        eventually(&format!("{worker} to run again"), || async {
            let board = self.supervisor.workers().borrow().clone();
            self.panics(worker) > before && board[worker].phase == Phase::Running
        })
        .await;
    }

    /// How often a worker was restarted after a panic.
    pub fn panics(&self, worker: &str) -> u32 {
        self.supervisor.workers().borrow()[worker].restarts.panics
    }

    /// Begins to stop.
    pub fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops, or awaits an end that comes by itself, and says how it ended.
    pub async fn ended(&mut self) -> Ended {
        let thread = self.thread.take().unwrap();
        eventually("a node to end", || async { thread.is_finished() }).await;
        thread.join().unwrap()
    }
}
