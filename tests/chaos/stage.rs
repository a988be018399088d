//! Three nodes as processes of their own, each with a network of its own to the one Redis; and what may happen to them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::kit::{Fault, Http, Process, Proxy, Redis, eventually};
use crate::publisher::Publisher;
use crate::stock::StockFollowers;

/// How many nodes.
pub const NODES: usize = 3;
/// How long an outage lasts.
const OUTAGE: Duration = Duration::from_millis(1_200);

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A node is killed, and started anew.
    KillNode(usize),
    /// A node's connections to Redis are reset.
    CutOff(usize),
    /// What a node and Redis say to each other does not arrive for a while.
    Stall(usize),
    /// Redis does nothing for a while.
    StallRedis,
    /// Redis is killed, and started anew with its data.
    RestartRedis,
}

impl Act {
    /// Any of them.
    pub fn choose(random: &mut fastrand::Rng) -> Self {
        let node = random.usize(..NODES);
        match random.usize(..10) {
            0..=2 => Self::KillNode(node),
            3..=4 => Self::CutOff(node),
            5..=6 => Self::Stall(node),
            7 => Self::StallRedis,
            _ => Self::RestartRedis,
        }
    }
}

/// Where the nodes are that are alive.
pub type Addresses = Arc<Mutex<Vec<Option<SocketAddr>>>>;

/// See the module's description.
pub struct Stage {
    redis: Redis,
    networks: Vec<Proxy>,
    nodes: Vec<Option<Process>>,
    /// Where clients find a node.
    pub addresses: Addresses,
}

fn start(network: &Proxy, number: usize) -> Process {
    let settings = [
        format!("redis.url=redis://{}", network.address),
        format!("node_id=node-{number}"),
        "redis.timeout_ms=700".to_owned(),
        "workers=1".to_owned(),
        "throttle.events_per_second=0".to_owned(),
        "rooms.history_events=20000".to_owned(),
        "limits.connections_per_address=0".to_owned(),
        "limits.handshakes_per_second=0".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Process::start(&settings)
}

impl Stage {
    pub async fn set() -> Self {
        let redis = Redis::start();
        let (mut networks, mut nodes) = (Vec::new(), Vec::new());
        for number in 0..NODES {
            let network = Proxy::to(redis.address).await;
            nodes.push(Some(start(&network, number)));
            networks.push(network);
        }
        let addresses = nodes
            .iter()
            .map(|node| node.as_ref().map(|node| node.address))
            .collect();
        let stage = Self {
            redis,
            networks,
            nodes,
            addresses: Arc::new(Mutex::new(addresses)),
        };
        stage.all_up().await;
        stage
    }

    /// Waits until every node that lives reaches Redis, and has told it everything.
    async fn all_up(&self) {
        let alive: Vec<SocketAddr> = self.addresses.lock().unwrap().iter().flatten().copied().collect();
        for address in alive {
            let http = Http::new(address);
            eventually("the buses to be up", || async {
                let metrics = http.get("/metrics").await.text;
                metrics.contains("greenroom_bus_up 1\n")
                    && metrics.contains("greenroom_bus_waiting_events 0\n")
            })
            .await;
        }
    }

    /// Plays an act. Stock clients are followed meanwhile: their reports do not wait.
    pub async fn play(&mut self, act: Act, publisher: &Publisher, stock: &mut StockFollowers) {
        match act {
            Act::KillNode(node) => {
                // What a node has accepted by itself is not promised to survive it.
                stock.follow_while(self.all_up()).await;
                publisher.hold().await;
                stock.follow_while(self.all_up()).await;
                self.addresses.lock().unwrap()[node] = None;
                drop(self.nodes[node].take());
                publisher.go_on();
                stock.move_away(node, &self.addresses);
                stock.follow_for(OUTAGE).await;
                let process = start(&self.networks[node], node);
                self.addresses.lock().unwrap()[node] = Some(process.address);
                self.nodes[node] = Some(process);
            }
            Act::CutOff(node) => self.networks[node].strike(Fault::Reset),
            Act::Stall(node) => {
                self.networks[node].stall();
                stock.follow_for(OUTAGE).await;
                self.networks[node].flow();
            }
            Act::StallRedis => {
                self.redis.stall();
                stock.follow_for(OUTAGE).await;
                self.redis.go_on();
            }
            Act::RestartRedis => {
                self.redis.kill();
                stock.follow_for(OUTAGE).await;
                self.redis.begin();
            }
        }
    }

    /// A node is told to stop, drains, and is started anew, as an operator would. Answers how long that took.
    pub async fn roll(&mut self, node: usize) -> Duration {
        let began = Instant::now();
        let mut process = self.nodes[node].take().unwrap();
        process.signal("TERM");
        let status = process.ended().await;
        assert!(status.success(), "{status}");
        let process = start(&self.networks[node], node);
        self.addresses.lock().unwrap()[node] = Some(process.address);
        self.nodes[node] = Some(process);
        self.all_up().await;
        began.elapsed()
    }

    /// Waits until all is well again.
    pub async fn heal(&self, stock: &mut StockFollowers) {
        stock.follow_while(self.all_up()).await;
    }
}
