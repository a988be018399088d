//! The node's shards: one a HTTP worker thread, and the board on which they are found.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Addr, Recipient};
use greenroom_actors::hub::Hub;
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::logic::{publication, ws};
use greenroom_actors::messages::{Announce, Drain, ListSessions, Publish, Unwatch, Watch};
use greenroom_actors::ports::{Bus, ShardId, WallClock};
use greenroom_actors::redis_bridge::RedisBridge;
use greenroom_actors::room_registry::{Neighbours, RoomRegistry, Settings};
use greenroom_actors::session::Desk;
use greenroom_actors::stats::ShardStats;
use greenroom_actors::supervise::Supervisor;
use tokio::sync::watch;

use crate::adapters::tcp_wire::TcpWire;
use crate::ids;

/// Shards of a process are numbered over all of its nodes, because nodes may share an embedded bus.
static NEXT_SHARD: AtomicU32 = AtomicU32::new(0);

/// How to reach a shard from any thread.
#[derive(Clone)]
pub struct ShardDoor {
    /// Which shard.
    pub shard: ShardId,
    /// Publish an event.
    pub publish: Recipient<Publish>,
    /// Hear rooms.
    pub watch: Recipient<Watch>,
    /// Hear them no longer.
    pub unwatch: Recipient<Unwatch>,
    /// Say something to every connection.
    pub announce: Recipient<Announce>,
    /// Close every connection.
    pub drain: Recipient<Drain>,
    /// What is connected.
    pub sessions: Recipient<ListSessions>,
    /// Its counters.
    pub stats: Arc<ShardStats>,
}

/// The doors of a node's shards, in the order in which they began.
#[derive(Clone)]
pub struct Shards {
    named: Arc<AtomicU32>,
    doors: Arc<Mutex<BTreeMap<ShardId, ShardDoor>>>,
    count: watch::Sender<usize>,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            named: Arc::default(),
            doors: Arc::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Shards {
    /// Every shard's door.
    pub fn all(&self) -> Vec<ShardDoor> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.values().cloned().collect()
    }

    /// Resolves when that many shards have begun.
    pub async fn begun(&self, count: usize) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|begun| *begun >= count).await;
    }

    /// Connections on all shards.
    pub fn connections(&self) -> u64 {
        self.all().iter().map(|door| door.stats.connections.get()).sum()
    }

    /// A name for one more shard's worker; threads begin at the same time.
    fn name(&self) -> String {
        format!("rooms-{}", self.named.fetch_add(1, Ordering::Relaxed))
    }

    fn add(&self, shard: ShardId, door: ShardDoor) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.insert(shard, door);
        self.count.send_replace(doors.len());
    }
}

/// What every thread of a node is given.
#[derive(Clone)]
pub struct ThreadParts {
    /// Restarts the shard.
    pub supervisor: Supervisor,
    /// How often.
    pub policy: Policy,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The bridge to it.
    pub bridge: Addr<RedisBridge>,
    /// The shard's settings.
    pub settings: Settings,
    /// What may be published.
    pub publish: publication::Limits,
    /// How large frames may be.
    pub frames: ws::Limits,
    /// How long a closing client has to answer, milliseconds.
    pub close_ms: u64,
    /// Unanswered commands of a connection.
    pub commands_in_flight: usize,
    /// The wall clock.
    pub clock: WallClock,
    /// Where the shard is to be found.
    pub shards: Shards,
}

/// One HTTP worker thread of a node.
pub struct Thread {
    /// What its sessions share.
    pub desk: Rc<Desk<TcpWire>>,
    /// The shard's settings.
    pub settings: Rc<Settings>,
}

impl Thread {
    /// Starts the shard of the current thread.
    pub fn start(parts: &ThreadParts) -> Rc<Self> {
        let shard = ShardId(NEXT_SHARD.fetch_add(1, Ordering::Relaxed));
        let stats = Arc::<ShardStats>::default();
        let hub = Hub::new(stats.clone(), parts.close_ms);
        let settings = Rc::new(parts.settings.clone());
        let neighbours = Neighbours {
            bus: parts.bus.clone(),
            attach: parts.bridge.clone().recipient(),
            interest: parts.bridge.clone().recipient(),
        };
        let name = parts.shards.name();
        let registry = parts.supervisor.start(&name, parts.policy.clone(), |_| {
            RoomRegistry::new(shard, hub.clone(), settings.clone(), neighbours)
        });
        let door = ShardDoor {
            shard,
            publish: registry.clone().recipient(),
            watch: registry.clone().recipient(),
            unwatch: registry.clone().recipient(),
            announce: registry.clone().recipient(),
            drain: registry.clone().recipient(),
            sessions: registry.clone().recipient(),
            stats,
        };
        parts.shards.add(shard, door);
        let desk = Desk {
            hub,
            registry,
            bus: parts.bus.clone(),
            publish: parts.publish.clone(),
            frames: parts.frames,
            commands_in_flight: parts.commands_in_flight,
            clock: parts.clock.clone(),
            new_event_id: ids::event_id,
        };
        Rc::new(Self {
            desk: Rc::new(desk),
            settings,
        })
    }
}
