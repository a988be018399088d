//! Nodes in one thread on virtual time that share a broker, each with a bus of its own.

use super::{
    memory_broker::{Door, MemoryBroker, RECORD_MS},
    universe::{Node, Plan, Shard, next_id, virtual_clock},
};
use crate::{
    broker::{NodeCard, NodeKey},
    cluster_bus::{ClusterBus, OnOutage, Settings},
    logic::{event::NodeTag, position::Life, sessions},
    ports::WallClock,
};
use std::{sync::Arc, time::Duration};

/// Several nodes on one broker.
pub struct Cluster {
    /// The broker.
    pub broker: Arc<MemoryBroker>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The bus of each.
    pub buses: Vec<Arc<ClusterBus>>,
    plan: Plan,
    on_outage: OnOutage,
    outbox_bytes: usize,
    clock: WallClock,
    /// Nodes that were killed: nobody hears them, but their tasks run on in this thread.
    buried: Vec<Node>,
}

impl Cluster {
    /// Nodes as planned; the broker takes `answers_after` for an answer. To be called on virtual time.
    pub fn new(plan: Plan, on_outage: OnOutage) -> Self {
        Self::with_outbox(plan, on_outage, 1 << 20)
    }

    /// The same, where so many bytes may wait in each node's outbox.
    pub fn with_outbox(plan: Plan, on_outage: OnOutage, outbox_bytes: usize) -> Self {
        let clock = virtual_clock();
        let kept = sessions::Limits::default();
        let broker = MemoryBroker::new(plan.limits.clone(), kept, plan.answers_after, clock.clone());
        let mut cluster = Self {
            broker,
            nodes: Vec::new(),
            buses: Vec::new(),
            plan,
            on_outage,
            outbox_bytes,
            clock,
            buried: Vec::new(),
        };
        for n in 0..cluster.plan.nodes {
            let (bus, node) = cluster.node(n);
            cluster.buses.push(bus);
            cluster.nodes.push(node);
        }
        cluster
    }

    fn node(&self, n: u32) -> (Arc<ClusterBus>, Node) {
        let settings = Settings {
            // All of the same length, whatever ran before.
            tag: NodeTag::from_random(1 << 39 | next_id()),
            fresh: Life::from_random(1 << 39 | next_id()),
            card: NodeCard {
                name: format!("node-{n}"),
                advertise: None,
                version: String::new(),
                started_ms: (self.clock)(),
                connections: 0,
                key: NodeKey::default(),
            },
            sessions: sessions::Limits::default(),
            on_outage: self.on_outage,
            outbox_bytes: self.outbox_bytes,
            renew_every: Duration::from_millis(RECORD_MS.unsigned_abs() / 3),
            mark_every: Duration::from_secs(1),
            silent_max: Duration::from_secs(3),
            beat_every: Duration::from_secs(3),
        };
        let bus = ClusterBus::new(Arc::new(Door(self.broker.clone())), settings, self.clock.clone());
        let node = Node::new(n, &self.plan, bus.clone(), &self.clock);
        (bus, node)
    }

    /// A shard of a node.
    pub fn shard(&self, node: usize, shard: usize) -> &Shard {
        &self.nodes[node].shards[shard]
    }

    /// A node is killed, and started anew with nothing: its clients hear that their connections are over.
    pub fn kill(&mut self, n: usize) {
        self.broker.bury(self.buses[n].tag());
        let (bus, node) = self.node(u32::try_from(n).unwrap_or(0));
        let (dead, _) = (
            std::mem::replace(&mut self.nodes[n], node),
            std::mem::replace(&mut self.buses[n], bus),
        );
        for shard in &dead.shards {
            shard.desk.hub.all().iter().for_each(|peer| peer.kill());
        }
        self.buried.push(dead);
    }
}
