//! Nodes in one thread on virtual time: the real actors over the embedded bus and connections in memory.

use super::{
    slow_bus::SlowBus,
    wire::{Client, MemoryWire, WINDOW, connection},
};
use crate::{
    embedded_bus::EmbeddedBus,
    gate::{OpenGate, Standing},
    hub::Hub,
    logic::{
        bus_log,
        event::EventId,
        position::Life,
        presence::{Card, Secret, SessionId},
        protocol::Protocol,
        publication, rate,
        restarts::Policy,
        ws,
    },
    memory::Memory,
    messages::FromBus,
    peer::{Line, Peer},
    ports::{Bus, Gate, Inlet, ShardId, WallClock},
    redis_bridge::RedisBridge,
    room_registry::{Neighbours, RoomRegistry, Settings},
    session::{Desk, SessionActor},
    stats::ShardStats,
    subjects::Subjects,
    supervise::Supervisor,
    testing::{Heard, probe},
};
use actix::{Actor, Addr};
use bytes::BytesMut;
use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Several nodes on one embedded bus.
pub struct Universe {
    /// The bus.
    pub bus: Arc<EmbeddedBus>,
    /// The same as the nodes see it: its answers may take their time, and it may be away.
    pub seen: Arc<SlowBus>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Everything the bus handed over, whoever wanted it.
    pub witness: Heard<FromBus>,
}

/// One node.
pub struct Node {
    /// Its supervisor; workers are called `bridge` and `rooms-{n}`.
    pub supervisor: Supervisor,
    /// Its bridge.
    pub bridge: Addr<RedisBridge>,
    /// Its shards.
    pub shards: Vec<Shard>,
}

/// One shard, as a thread of a node would have it.
pub struct Shard {
    /// Which.
    pub id: ShardId,
    /// What its sessions share.
    pub desk: Rc<Desk<MemoryWire>>,
    pub(super) settings: Rc<Settings>,
}

/// Ids in the order in which they are asked for: a test can repeat them.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A session id, one after the other.
pub fn next_session_id() -> SessionId {
    SessionId(u128::from(next_id()))
}

/// A client's id and its secret.
pub(super) fn next_client_ids() -> (SessionId, Secret) {
    (next_session_id(), Secret(u128::from(next_id()) << 64 | 7))
}

fn next_event_id() -> EventId {
    EventId::parse(&format!("e{}", next_id())).unwrap_or_else(|_| unreachable!("letters and digits"))
}

/// Settings as a test would have them: everything small, so that limits are met.
pub fn settings(name: &str) -> Settings {
    Settings {
        node: name.into(),
        rules: crate::logic::throttle::Rules {
            per_second: 0,
            ..Default::default()
        },
        outbox_bytes: 1 << 20,
        rooms_per_connection: 256,
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        engine_ping_ms: 20_000,
        comment_ms: 15_000,
        behind_ms: 10_000,
        expiring_ms: 30_000,
        linger_ms: 1_000,
        new_session_id: next_session_id,
    }
}

/// The wall clock of virtual time: begins at a fixed moment.
pub fn virtual_clock() -> WallClock {
    let began = Instant::now();
    Arc::new(move || 1_700_000_000_000 + began.elapsed().as_millis() as i64)
}

/// Restarts that a schedule full of crashes does not exhaust.
pub fn patient() -> Policy {
    Policy {
        max_restarts: u32::MAX,
        ..Policy::default()
    }
}

/// What a universe is like.
pub struct Plan {
    /// How many nodes.
    pub nodes: u32,
    /// How many shards each of them has.
    pub shards: u32,
    /// What the bus keeps.
    pub limits: bus_log::Limits,
    /// How long the bus takes to answer.
    pub answers_after: Duration,
    /// How many messages fit the mailbox of a worker.
    pub mailbox: usize,
    /// How many commands of a connection may be unanswered.
    pub commands_in_flight: usize,
    /// What each node may hold, bytes; 0: no limit.
    pub memory_bytes: u64,
    /// Who is let in.
    pub gate: Arc<dyn Gate>,
    /// How many connections a subject may have; 0: any number.
    pub connections_per_subject: u32,
    /// What the shards are told.
    pub settings: Settings,
}

impl Plan {
    /// A universe like the embedded node.
    pub fn new(nodes: u32, shards: u32) -> Self {
        Self {
            nodes,
            shards,
            limits: bus_log::Limits::default(),
            answers_after: Duration::ZERO,
            mailbox: patient().mailbox,
            commands_in_flight: 256,
            memory_bytes: 0,
            gate: Arc::new(OpenGate::default()),
            connections_per_subject: 0,
            settings: settings("node"),
        }
    }
}

impl Plan {
    fn policy(&self) -> Policy {
        Policy {
            mailbox: self.mailbox,
            ..patient()
        }
    }
}

impl Universe {
    /// `nodes` nodes of `shards` shards each. To be called on virtual time.
    pub fn new(nodes: usize, shards: u32, limits: bus_log::Limits, change: impl Fn(&mut Settings)) -> Self {
        let mut plan = Plan::new(nodes as u32, shards);
        plan.limits = limits;
        change(&mut plan.settings);
        Self::planned(plan)
    }

    /// A universe as planned. To be called on virtual time.
    pub fn planned(plan: Plan) -> Self {
        let clock = virtual_clock();
        let life = Life::from_random(next_id());
        let bus = Arc::new(EmbeddedBus::new(
            life,
            plan.limits.clone(),
            crate::logic::sessions::Limits::default(),
            clock.clone(),
        ));
        let (mailbox, witness) = probe();
        let inlet = Inlet {
            shard: ShardId(u32::MAX),
            attachment: 0,
            mailbox,
            behind: Arc::default(),
        };
        drop(bus.attach(inlet, Vec::new()));
        let seen = Arc::new(SlowBus::new(bus.clone(), plan.answers_after));
        let nodes = (0..plan.nodes)
            .map(|n| Node::new(n, &plan, seen.clone(), &clock))
            .collect();
        Self {
            bus,
            seen,
            nodes,
            witness,
        }
    }

    /// Makes the witness hear these rooms.
    pub fn watch(&self, rooms: &[crate::logic::room_name::RoomName]) {
        self.bus.subscribe(ShardId(u32::MAX), rooms);
    }

    /// Lets everything that is under way come to rest.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Node {
    pub(super) fn new(n: u32, plan: &Plan, port: Arc<dyn Bus>, clock: &WallClock) -> Self {
        let supervisor = Supervisor::seeded(u64::from(n));
        let bridge = supervisor.start("bridge", plan.policy(), |_| RedisBridge::new(port.clone()));
        let settings = Rc::new(Settings {
            node: format!("node-{n}").into(),
            ..plan.settings.clone()
        });
        let memory = Memory::new(plan.memory_bytes);
        let subjects = Subjects::new(plan.connections_per_subject);
        let shard = |s| {
            let id = ShardId(n * 100 + s);
            let neighbours = Neighbours {
                bus: port.clone(),
                gate: plan.gate.clone(),
                memory: memory.clone(),
                attach: bridge.clone().recipient(),
                interest: bridge.clone().recipient(),
            };
            let hub = Hub::new(Arc::new(ShardStats::default()), 2_000, subjects.clone());
            Shard::new(id, plan, &supervisor, hub, &settings, neighbours, clock)
        };
        let shards = (0..plan.shards).map(shard).collect();
        Self {
            supervisor,
            bridge,
            shards,
        }
    }
}

impl Shard {
    fn new(
        id: ShardId,
        plan: &Plan,
        supervisor: &Supervisor,
        hub: Rc<Hub<MemoryWire>>,
        settings: &Rc<Settings>,
        neighbours: Neighbours,
        clock: &WallClock,
    ) -> Self {
        let name = format!("rooms-{}", id.0 % 100);
        let (bus, gate) = (neighbours.bus.clone(), neighbours.gate.clone());
        let registry = supervisor.start(&name, plan.policy(), |_| {
            RoomRegistry::new(id, hub.clone(), settings.clone(), neighbours)
        });
        let desk = Desk {
            hub,
            registry,
            bus,
            gate,
            publish: publication::Limits::default(),
            frames: ws::Limits {
                frame_bytes: 256 << 10,
                message_bytes: 256 << 10,
            },
            pace: rate::Limits::default(),
            commands_in_flight: plan.commands_in_flight,
            clock: clock.clone(),
            new_event_id: next_event_id,
        };
        Self {
            id,
            desk: Rc::new(desk),
            settings: settings.clone(),
        }
    }

    /// A client connects by WebSocket.
    pub fn connect(&self) -> Client {
        self.connect_with(WINDOW)
    }

    /// A client connects whose connection holds `window` bytes that it has not read.
    pub fn connect_with(&self, window: usize) -> Client {
        self.connect_as(None, window)
    }

    /// The same with a token; one that does not hold may do nothing.
    pub fn connect_as(&self, token: Option<&str>, window: usize) -> Client {
        let standing = self.desk.gate.admit(token, (self.desk.clock)()).map_err(Box::new);
        self.connect_standing(standing, window)
    }

    /// The same by what the gate has said before.
    pub fn connect_standing(&self, standing: Standing, window: usize) -> Client {
        let (wire, client) = connection(window);
        let peer = self.peer(Protocol::GreenroomV1, Line::Socket(wire));
        if let Some(subject) = standing.as_ref().ok().and_then(|grant| grant.subject.clone()) {
            // Who is one too many is refused at the door, and a test of that asks there.
            *peer.subject.borrow_mut() = self.desk.hub.subjects.take(&subject).ok();
            peer.set_card(Arc::new(Card {
                subject: Some(subject),
                node: self.settings.node.clone(),
                ..*peer.card()
            }));
        }
        peer.stand(standing, self.settings.expiring_ms);
        let peer = self.desk.welcome(peer);
        SessionActor::new(peer, self.desk.clone(), BytesMut::new()).start();
        client
    }

    /// A connection that is not in the hub yet.
    pub(super) fn peer(&self, protocol: Protocol, line: Line<MemoryWire>) -> Peer<MemoryWire> {
        let card = Card {
            id: next_session_id(),
            generation: 0,
            subject: None,
            node: self.settings.node.clone(),
            connected_ms: (self.desk.clock)(),
        };
        Peer::new(Arc::new(card), protocol, line, self.settings.outbox_bytes)
    }
}
