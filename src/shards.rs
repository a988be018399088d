//! The node's shards: one a HTTP worker thread, and the board on which they are found.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Addr, Recipient};
use greenroom_actors::engine::EngineDesk;
use greenroom_actors::hub::Hub;
use greenroom_actors::logic::engine_io::{Timing, payload};
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::logic::{publication, rate, socket_io, ws};
use greenroom_actors::memory::Memory;
use greenroom_actors::messages::{
    Announce, CarryOut, Drain, EndSession, ListSessions, Overheard, Publish, Recheck, Unwatch, Watch,
};
use greenroom_actors::ports::{Bus, Gate, ShardId, WallClock};
use greenroom_actors::redis_bridge::RedisBridge;
use greenroom_actors::room_registry::{Neighbours, RoomRegistry, Settings};
use greenroom_actors::session::Desk;
use greenroom_actors::socket_io::{Handler, Namespaces, rooms::RoomsHandler};
use greenroom_actors::stats::ShardStats;
use greenroom_actors::subjects::Subjects;
use greenroom_actors::supervise::Supervisor;
use tokio::sync::watch;

use crate::adapters::tcp_wire::TcpWire;
use crate::extensions::Extensions;
use crate::http::socketio::Session;
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
    /// End one of them.
    pub end_session: Recipient<EndSession>,
    /// End those whose grants were taken back.
    pub recheck: Recipient<Recheck>,
    /// Something was said by JavaScript servers that may be for connections there.
    pub overhears: Recipient<Overheard>,
    /// JavaScript servers want something done with connections there.
    pub carries_out: Recipient<CarryOut>,
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

/// The sessions of Engine.IO that began by polling, by their ids: their requests come to any thread.
#[derive(Clone, Default)]
pub struct EngineSessions(Arc<Mutex<HashMap<String, Session>>>);

impl EngineSessions {
    /// The session of this id.
    pub fn find(&self, sid: &str) -> Option<Session> {
        self.lock().get(sid).cloned()
    }

    /// A session has begun.
    pub fn add(&self, sid: &str, session: Session) {
        self.lock().insert(sid.to_owned(), session);
    }

    /// A session is over.
    pub fn remove(&self, sid: &str) {
        self.lock().remove(sid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every thread of a node is told about Socket.IO.
#[derive(Clone, Copy)]
pub struct SocketIoParts {
    /// Heartbeat and upgrade.
    pub timing: Timing,
    /// How much a client may put into one POST or frame.
    pub payload: payload::Limits,
    /// What it may put into one packet.
    pub packets: socket_io::Limits,
    /// How long it may take to enter a namespace, milliseconds.
    pub connect_timeout_ms: u64,
    /// Whether clients may come back to where they were.
    pub recovery: bool,
    /// Answers of one client that may be waited for.
    pub acks: usize,
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
    /// Who is let in.
    pub gate: Arc<dyn Gate>,
    /// What the node holds.
    pub memory: Arc<Memory>,
    /// The subjects that have connections.
    pub subjects: Arc<Subjects>,
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
    /// How fast a connection may send.
    pub pace: rate::Limits,
    /// Unanswered commands of a connection.
    pub commands_in_flight: usize,
    /// The wall clock.
    pub clock: WallClock,
    /// Socket.IO.
    pub socket_io: SocketIoParts,
    /// Its sessions that poll.
    pub engine_sessions: EngineSessions,
    /// Whether JavaScript servers ask for its sockets.
    pub beside_javascript: bool,
    /// What an embedding program adds.
    pub extensions: Extensions,
    /// Where the shard is to be found.
    pub shards: Shards,
}

/// One HTTP worker thread of a node.
pub struct Thread {
    /// What its sessions share.
    pub desk: Rc<Desk<TcpWire>>,
    /// The shard's settings.
    pub settings: Rc<Settings>,
    /// What its sessions of Engine.IO share.
    pub engine: Rc<EngineDesk<TcpWire>>,
    /// What happens in the namespaces of Socket.IO.
    pub namespaces: Rc<Namespaces<TcpWire>>,
}

impl Thread {
    /// Starts the shard of the current thread.
    pub fn start(parts: &ThreadParts) -> Rc<Self> {
        let shard = ShardId(NEXT_SHARD.fetch_add(1, Ordering::Relaxed));
        let stats = Arc::<ShardStats>::default();
        let hub = Hub::new(stats.clone(), parts.close_ms, parts.subjects.clone());
        if parts.beside_javascript {
            hub.know_sockets();
        }
        let settings = Rc::new(parts.settings.clone());
        let neighbours = Neighbours {
            bus: parts.bus.clone(),
            gate: parts.gate.clone(),
            memory: parts.memory.clone(),
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
            end_session: registry.clone().recipient(),
            recheck: registry.clone().recipient(),
            overhears: registry.clone().recipient(),
            carries_out: registry.clone().recipient(),
            stats,
        };
        parts.shards.add(shard, door);
        let desk = Desk {
            hub,
            registry,
            bus: parts.bus.clone(),
            gate: parts.gate.clone(),
            publish: parts.publish.clone(),
            frames: parts.frames,
            pace: parts.pace,
            commands_in_flight: parts.commands_in_flight,
            clock: parts.clock.clone(),
            new_event_id: ids::event_id,
        };
        let desk = Rc::new(desk);
        Rc::new(Self {
            engine: engine_desk(parts, &desk),
            namespaces: namespaces(parts, &desk),
            desk,
            settings,
        })
    }
}

fn engine_desk(parts: &ThreadParts, desk: &Desk<TcpWire>) -> Rc<EngineDesk<TcpWire>> {
    let SocketIoParts { timing, payload, .. } = parts.socket_io;
    let bytes = u32::try_from(payload.bytes).unwrap_or(u32::MAX);
    let frames = ws::Limits {
        frame_bytes: bytes,
        message_bytes: bytes,
    };
    Rc::new(EngineDesk {
        hub: desk.hub.clone(),
        timing,
        frames,
        payload,
        pace: parts.pace,
        in_flight: parts.commands_in_flight,
    })
}

fn namespaces(parts: &ThreadParts, desk: &Rc<Desk<TcpWire>>) -> Rc<Namespaces<TcpWire>> {
    let SocketIoParts {
        packets,
        connect_timeout_ms,
        recovery,
        acks,
        ..
    } = parts.socket_io;
    let rooms: Rc<dyn Handler<TcpWire>> = Rc::new(RoomsHandler {
        desk: desk.clone(),
        recovery,
        new_ids: ids::client_ids,
    });
    let mut handlers: BTreeMap<String, Rc<dyn Handler<TcpWire>>> = [("/".to_owned(), rooms)].into();
    for (name, handler) in &parts.extensions.namespaces {
        handlers.insert(name.clone(), handler(desk));
    }
    Rc::new(Namespaces {
        handlers,
        gate: desk.gate.clone(),
        clock: desk.clock.clone(),
        expiring_ms: parts.settings.expiring_ms,
        limits: packets,
        connect_timeout_ms,
        acks,
    })
}
