//! Plays a schedule on a cluster.

use crate::{
    guest::Guest,
    player::Player,
    schedule::{GUESTS, Kind, NODES, PLAYERS, Place, ROOMS, SHARDS, Schedule, Setup, Step, names},
    schedules::{Outcome, Reached, publication, thought, update},
    truth::{Answer, Truth},
};
use greenroom_actors::{
    cluster_bus::OnOutage,
    logic::{bus_log::Limits, event::Receipt, throttle::Rules},
    ports::{BusError, PortFuture},
    reply::poll_once,
    room_registry::faults,
    testing::{
        cluster::Cluster,
        memory_broker::{Has, Mood},
        on_virtual_time,
        universe::{Plan, Shard},
        wire::Client,
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{task::yield_now, time::sleep};

/// A cluster, everybody who is connected to it, and what is true.
pub struct World {
    pub cluster: Cluster,
    pub truth: Truth,
    pub players: Vec<Player>,
    pub guests: Vec<Guest>,
    pub setup: Setup,
    /// Connections of which the node does not know that nobody is there.
    half_open: Vec<Client>,
    /// Publishers that wait for their answers.
    waiting: Vec<(String, PortFuture<Result<Receipt, BusError>>)>,
    /// How often each node was started anew.
    pub started: [u32; NODES],
    events: u64,
    pub reached: Reached,
}

/// Plays a schedule; panics where something is not as promised.
pub fn play(schedule: &Schedule) -> Outcome {
    faults::forget_all();
    on_virtual_time(async {
        let mut world = World::new(&schedule.setup);
        // A node lets nobody in before it has tried to reach the broker.
        world.wait(200).await;
        for step in &schedule.steps {
            world.step(step).await;
        }
        world.heal().await;
        world.check().await;
        world.outcome()
    })
}

fn plan(setup: &Setup) -> Plan {
    let mut plan = Plan::new(NODES as u32, SHARDS as u32);
    plan.mailbox = setup.mailbox;
    plan.answers_after = Duration::from_millis(setup.answers_after_ms);
    plan.limits = Limits {
        history_events: setup.history_events,
        ..Limits::default()
    };
    plan.settings.outbox_bytes = setup.outbox_bytes;
    plan.settings.rules = Rules {
        per_second: setup.per_second,
        // What waits has to fit an outbox when it goes out as one: the configuration sees to it.
        wait_bytes: (256 << 10).min(setup.outbox_bytes / 4),
        ..Rules::default()
    };
    plan
}

impl World {
    fn new(setup: &Setup) -> Self {
        let on_outage = match setup.refuses {
            true => OnOutage::Refuse,
            false => OnOutage::Local,
        };
        let cluster = Cluster::with_outbox(plan(setup), on_outage, setup.relay_bytes);
        if setup.begins_away {
            cluster.broker.set(Mood::Away);
        }
        Self {
            cluster,
            truth: Truth::new(setup.per_second > 0),
            players: (0..PLAYERS).map(|_| Player::default()).collect(),
            guests: (0..GUESTS).map(|_| Guest::default()).collect(),
            setup: setup.clone(),
            half_open: Vec::new(),
            waiting: Vec::new(),
            started: [0; NODES],
            events: 0,
            reached: Reached::new(),
        }
    }

    pub fn count(&mut self, what: &str) {
        *self.reached.entry(what.to_owned()).or_default() += 1;
    }

    fn shard(&self, place: Place) -> &Shard {
        self.cluster.shard(place / SHARDS, place % SHARDS)
    }

    fn node_of(&self, place: Place) -> (usize, u32) {
        let node = place / SHARDS;
        (node, self.started[node])
    }

    async fn step(&mut self, step: &Step) {
        self.listen();
        match step {
            Step::Connect { player, place } => self.connect(*player, *place),
            Step::Join { player, rooms } => self.players[*player].client.join(&names(*rooms)),
            Step::Leave { player, rooms } => self.players[*player].client.leave(&names(*rooms)),
            Step::Say {
                player,
                rooms,
                kind,
                count,
            } => {
                for _ in 0..*count {
                    self.say(*player, *rooms, *kind);
                }
            }
            Step::Read { player } => {
                self.players[*player].client.stalled = false;
                self.players[*player].read(usize::MAX, &mut self.truth);
            }
            Step::Stall { player } => self.players[*player].client.stalled = true,
            Step::Cut {
                player,
                bytes,
                half_open,
            } => {
                let left = self.players[*player].cut(*bytes, *half_open, &mut self.truth);
                self.half_open.extend(left);
            }
            Step::Publish {
                place,
                rooms,
                kind,
                count,
                bytes,
                twice,
            } => {
                for _ in 0..*count {
                    self.publish(*place, *rooms, *kind, *bytes, *twice);
                }
            }
            Step::Turns(turns) => {
                for _ in 0..*turns {
                    yield_now().await;
                }
            }
            Step::Wait { ms } => self.wait(*ms).await,
            Step::Back { .. } | Step::Ask { .. } | Step::Emit { .. } | Step::Hear { .. } => {
                self.of_guest(step)
            }
            fault => self.fault(fault),
        }
    }

    fn of_guest(&mut self, step: &Step) {
        match *step {
            Step::Back {
                guest,
                place,
                polls,
                half_open,
            } => self.back(guest, place, polls, half_open),
            Step::Ask { guest, room, joins } => {
                self.guests[guest].ask(ROOMS[room], joins);
            }
            Step::Emit { guest, rooms } => {
                let (id, frame) = self.event(Kind::Chat, 0, &names(rooms));
                if self.guests[guest].say(&frame, &id) {
                    let node = self.guests[guest].node;
                    self.truth.publish(&id, &frame, &format!("guest {guest}"), node);
                }
            }
            Step::Hear { guest, bytes } => self.hear(guest, bytes.map_or(usize::MAX, usize::from)),
            _ => unreachable!("{step:?} is of nobody"),
        }
    }

    fn fault(&mut self, step: &Step) {
        let broker = self.cluster.broker.clone();
        match *step {
            Step::Crash { node, worker } => {
                let name = ["rooms-0", "rooms-1", "bridge"][worker];
                assert!(self.cluster.nodes[node].supervisor.crash(name));
            }
            Step::FailHalfWay { place, members } => faults::fail_half_way(self.shard(place).id, members),
            Step::Kill { node } => {
                // What it has told the broker by now, the broker has.
                self.cluster.kill(node);
                self.listen();
                self.started[node] += 1;
                self.count("killed");
            }
            Step::Become(mood) => broker.set(mood),
            Step::CutAll => broker.cut(),
            Step::CutOff { node } => broker.cut_off(self.cluster.buses[node].tag()),
            Step::Save => {
                broker.save();
                self.truth.save();
            }
            Step::Restart(has) => {
                broker.restart(has);
                self.truth.restart(has);
                if has != Has::All {
                    self.count("restarted with less");
                }
            }
            _ => unreachable!("{step:?} is no fault"),
        }
    }

    pub fn connect(&mut self, player: usize, place: Place) {
        if !self.players[player].client.is_connected() {
            let connection = self.shard(place).connect_with(self.setup.window);
            let node = self.node_of(place);
            self.players[player].connect(connection, node, place % SHARDS);
        }
    }

    pub fn back(&mut self, guest: usize, place: Place, polls: bool, half_open: bool) {
        let at = self.shard(place);
        let session = if polls {
            at.socket_io_polling()
        } else {
            at.socket_io()
        };
        let node = self.node_of(place);
        self.guests[guest].back(session, node, half_open);
    }

    pub fn hear(&mut self, guest: usize, bytes: usize) {
        self.guests[guest].hear(bytes, &mut self.truth);
    }

    /// The next event, with an id of its own.
    fn event(&mut self, kind: Kind, bytes: usize, rooms: &[&str]) -> (String, Value) {
        self.events += 1;
        let id = format!("x{}", self.events);
        let text = format!("{id} {}", "x".repeat(bytes));
        let (name, data) = match kind {
            Kind::Chat => ("chat", json!(text)),
            Kind::Thought(agent) => ("agent-thought", thought(&agent.to_string(), &text)),
            Kind::Update(task) => ("task-update", update(&task.to_string(), &text)),
        };
        let frame = json!({"rooms": rooms, "event": name, "data": data, "id": id});
        (id, frame)
    }

    fn say(&mut self, player: usize, rooms: u8, kind: Kind) {
        if self.players[player].client.is_connected() {
            let (id, frame) = self.event(kind, 0, &names(rooms));
            let node = self.players[player].node;
            self.truth.publish(&id, &frame, &format!("player {player}"), node);
            self.players[player].client.say(frame, id);
        }
    }

    /// As an agent of this process would. Returns the event's id.
    pub fn publish(&mut self, place: Place, rooms: u8, kind: Kind, bytes: usize, twice: bool) -> String {
        let (id, frame) = self.event(kind, bytes, &names(rooms));
        let node = self.node_of(place);
        self.truth.publish(&id, &frame, "agent", node);
        for _ in 0..=u8::from(twice) {
            let desk = &self.shard(place).desk;
            let draft = desk
                .draft(publication(&frame), None)
                .expect("a publication that holds");
            let answer = desk.bus.publish(draft);
            self.waiting.push((id.clone(), answer));
        }
        self.listen();
        id
    }

    /// Looks at what the broker has accepted, and at what publishers were told.
    pub fn listen(&mut self) {
        self.truth.listen(&self.cluster.broker);
        for (id, answer) in std::mem::take(&mut self.waiting) {
            match poll_once(answer) {
                Ok(answer) => self.truth.answered(&id, Answer::of(&answer)),
                Err(answer) => self.waiting.push((id, answer)),
            }
        }
    }

    /// How many publishers wait still.
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// Time passes, and whoever reads reads.
    pub async fn wait(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let some = left.min(200);
            sleep(Duration::from_millis(some)).await;
            left -= some;
            self.listen();
            for player in self.players.iter_mut().filter(|player| !player.client.stalled) {
                player.read(usize::MAX, &mut self.truth);
            }
            for guest in 0..GUESTS {
                self.hear(guest, usize::MAX);
            }
        }
    }
}
