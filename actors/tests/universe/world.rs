//! Plays a schedule, heals everything, and checks every client against the truth.

use crate::{
    player::Player,
    schedule::{CLIENTS, Kind, NODES, ROOMS, SHARDS, Schedule, Setup, Step, names},
    schedules::{Outcome, Reached, count_shards, publication, thought, update},
    truth::Truth,
};
use greenroom_actors::{
    logic::{
        access::Grant,
        bus_log::Limits,
        protocol::Notice,
        room_name::RoomName,
        throttle::{Merge, Rule, Rules},
    },
    messages::Announce,
    peer::Line,
    ports::Bus,
    reply::poll_once,
    room_registry::faults,
    testing::{
        on_virtual_time,
        tokens::Tokens,
        universe::{Plan, Shard, Universe},
        wire::Client,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{task::yield_now, time::sleep};

/// How long everything may take to heal, seconds of virtual time.
const HEALED_WITHIN: u32 = 400;

/// The token of a subject, and its name.
const ADA: &str = "ada";
/// The token of nobody in particular.
const NOBODY: &str = "nobody";

struct World {
    universe: Universe,
    truth: Truth,
    players: Vec<Player>,
    /// Connections of which the node does not know that nobody is there.
    half_open: Vec<Client>,
    window: usize,
    of_one_subject: usize,
    events: u64,
}

/// Plays a schedule; panics where something is not as promised.
pub fn play(schedule: &Schedule) -> Outcome {
    faults::forget_all();
    on_virtual_time(async {
        let mut world = World::new(&schedule.setup);
        for step in &schedule.steps {
            world.step(step).await;
        }
        world.heal().await;
        world.check().await;
        world.outcome()
    })
}

/// Whoever shows these may do everything, and has a subject, or none.
fn tokens() -> Tokens {
    let tokens = Tokens::default();
    let subject = Some(ADA.into());
    tokens.grant(NOBODY, Grant::everything());
    tokens.grant(
        ADA,
        Grant {
            subject,
            ..Grant::everything()
        },
    );
    tokens
}

fn rules(setup: &Setup) -> Rules {
    let mut rules = Rules {
        per_second: setup.per_second,
        // What waits has to fit an outbox when it goes out as one: the configuration sees to it.
        wait_bytes: setup.wait_bytes.min(setup.outbox_bytes / 4),
        ..Rules::default()
    };
    let log = Rule {
        merge: Merge::None,
        priority: 1,
        per_second: None,
    };
    rules.by_name.insert("log".into(), log);
    rules
}

impl World {
    fn new(setup: &Setup) -> Self {
        let mut plan = Plan::new(NODES, SHARDS);
        plan.mailbox = setup.mailbox;
        plan.answers_after = Duration::from_millis(setup.answers_after_ms);
        plan.limits = Limits {
            history_events: setup.history_events,
            // So that only the number limits it, which the truth can count.
            history_ms: i64::from(u32::MAX),
            ..Limits::default()
        };
        plan.gate = Arc::new(tokens());
        plan.settings.rules = rules(setup);
        plan.settings.outbox_bytes = setup.outbox_bytes;
        Self {
            universe: Universe::planned(plan),
            truth: Truth::new(setup.per_second > 0, setup.history_events),
            players: (0..CLIENTS).map(|_| Player::default()).collect(),
            half_open: Vec::new(),
            window: setup.window,
            of_one_subject: setup.of_one_subject,
            events: 0,
        }
    }

    fn shard(&self, shard: usize) -> &Shard {
        &self.universe.nodes[shard / SHARDS as usize].shards[shard % SHARDS as usize]
    }

    async fn step(&mut self, step: &Step) {
        self.truth.listen(&self.universe.seen);
        match step {
            Step::Connect { client, shard } => self.connect(*client, *shard),
            Step::Join { client, rooms } => self.players[*client].client.join(&names(*rooms)),
            Step::Leave { client, rooms } => self.players[*client].leave(&names(*rooms), &self.truth),
            Step::Say {
                client,
                rooms,
                kind,
                count,
            } => {
                for _ in 0..*count {
                    let (id, frame) = self.event(*kind, 0, &names(*rooms));
                    self.players[*client].client.say(frame, id);
                }
            }
            Step::Publish {
                shard,
                rooms,
                kind,
                count,
                bytes,
                twice,
            } => {
                for _ in 0..*count {
                    let (_, frame) = self.event(*kind, *bytes, &names(*rooms));
                    (0..=u8::from(*twice)).for_each(|_| self.publish(*shard, &frame));
                }
            }
            Step::Read { client } => {
                self.players[*client].client.stalled = false;
                self.players[*client].read(usize::MAX, &self.truth);
            }
            Step::Stall { client } => self.players[*client].client.stalled = true,
            Step::Cut {
                client,
                bytes,
                half_open,
            } => {
                let left = self.players[*client].cut(*bytes, *half_open, &self.truth);
                self.half_open.extend(left);
            }
            Step::Turns(turns) => {
                for _ in 0..*turns {
                    yield_now().await;
                }
            }
            Step::Wait { ms } => self.wait(*ms).await,
            fault => self.fault(fault).await,
        }
    }

    async fn fault(&mut self, step: &Step) {
        match step {
            Step::Crash { node, worker } => {
                let name = ["rooms-0", "rooms-1", "bridge"][*worker];
                assert!(self.universe.nodes[*node].supervisor.crash(name));
            }
            Step::FailHalfWay { shard, members } => {
                faults::fail_half_way(self.shard(*shard).id, *members);
            }
            Step::Announce { node } => {
                let notice = Notice {
                    r#type: "degraded",
                    message: "as the schedule says".into(),
                    retry_in_ms: None,
                };
                for shard in &self.universe.nodes[*node].shards {
                    // A shard that is too busy to say it does not say it.
                    let _ = shard.desk.registry.try_send(Announce(notice.clone()));
                }
            }
            Step::Away { ms } => {
                self.universe.seen.set_away(true);
                self.wait(*ms).await;
                self.universe.seen.set_away(false);
                // What a bridge does when its bus is back: it begins anew.
                for node in &self.universe.nodes {
                    node.supervisor.crash("bridge");
                }
            }
            other => unreachable!("{other:?} is no fault"),
        }
    }

    fn connect(&mut self, client: usize, shard: usize) {
        if !self.players[client].client.is_connected() {
            let token = if client < self.of_one_subject { ADA } else { NOBODY };
            let connection = self.shard(shard).connect_as(Some(token), self.window);
            self.players[client].connect(connection, shard);
        }
    }

    /// The next event, with an id of its own.
    fn event(&mut self, kind: Kind, bytes: usize, rooms: &[&str]) -> (String, Value) {
        self.events += 1;
        let id = format!("x{}", self.events);
        let text = format!("{id}{}", "x".repeat(bytes));
        let (name, data) = match kind {
            Kind::Chat => ("chat", json!(text)),
            Kind::Log => ("log", json!(text)),
            Kind::Thought(agent) => ("agent-thought", thought(&agent.to_string(), &text)),
            Kind::Update(task) => ("task-update", update(&task.to_string(), &text)),
        };
        let frame = json!({"rooms": rooms, "event": name, "data": data, "id": id});
        (id, frame)
    }

    /// As an agent of this process would.
    fn publish(&mut self, shard: usize, frame: &Value) {
        let desk = &self.shard(shard).desk;
        let draft = desk
            .draft(publication(frame), None)
            .expect("a publication that holds");
        drop(desk.bus.publish(draft));
        self.truth.listen(&self.universe.seen);
    }

    /// Time passes, and whoever reads reads.
    async fn wait(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let some = left.min(200);
            sleep(Duration::from_millis(some)).await;
            left -= some;
            self.truth.listen(&self.universe.seen);
            for player in self.players.iter_mut().filter(|player| !player.client.stalled) {
                player.read(usize::MAX, &self.truth);
            }
        }
    }

    /// Everybody comes back and reads until nothing more comes.
    async fn heal(&mut self) {
        faults::forget_all();
        for room in 0..ROOMS.len() {
            // The last word, so that a gap at the end is one in the middle.
            let (_, frame) = self.event(Kind::Chat, 0, &names(1 << room));
            self.publish(0, &frame);
        }
        let mut quiet = 0;
        for second in 0..HEALED_WITHIN {
            for client in 0..CLIENTS {
                self.players[client].client.stalled = false;
                if self.players[client].client.is_away() {
                    self.connect(client, (client + second as usize) % (NODES * SHARDS) as usize);
                    quiet = 0;
                }
            }
            let before = self.noticed();
            self.wait(1_000).await;
            quiet = if before == self.noticed() { quiet + 1 } else { 0 };
            // Longer than a half-open connection lives.
            if quiet > 60 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn noticed(&self) -> usize {
        let diaries = self.players.iter().map(|player| player.client.diary.len());
        diaries.sum()
    }

    async fn check(&mut self) {
        for (i, player) in self.players.iter_mut().enumerate() {
            if let Some(broken) = player.broken(&self.truth) {
                panic!("client {i}: {broken}\n{:#?}", player.client.diary);
            }
        }
        if self.truth.is_whole() {
            let gaps: usize = self.players.iter().map(|player| player.client.gaps).sum();
            assert_eq!(gaps, 0, "told of a gap, though every history has everything");
        }
        let connected = self
            .players
            .iter()
            .filter(|player| player.client.is_connected())
            .count();
        let shards = || self.universe.nodes.iter().flat_map(|node| &node.shards);
        let live: usize = shards().map(|shard| shard.desk.hub.len()).sum();
        assert_eq!(
            live, connected,
            "connections that the node knows, and those that there are"
        );
        for name in ROOMS {
            let room = RoomName::parse(name, 200).expect("a name");
            let members = poll_once(self.universe.bus.members(&room)).ok().expect("at once");
            let present: BTreeSet<String> = members.expect("a bus").into_iter().map(|one| one.id).collect();
            let peers = shards().flat_map(|shard| shard.desk.hub.all());
            let inside = peers.filter(|peer| {
                matches!(peer.line, Line::Socket(_))
                    && peer.rooms.borrow().iter().any(|(has, _)| *has == room)
            });
            let inside: BTreeSet<String> = inside.map(|peer| peer.card().id.to_string()).collect();
            assert_eq!(present, inside, "presence in {name}");
            let expected = self
                .players
                .iter()
                .filter(|player| player.client.is_in(name))
                .count();
            assert_eq!(inside.len(), expected, "clients that believe they are in {name}");
        }
    }

    fn outcome(self) -> Outcome {
        let mut reached = Reached::new();
        count_shards(&self.universe.nodes, &mut reached);
        for code in self.players.iter().flat_map(|player| &player.closes) {
            *reached.entry(format!("closed {code}")).or_default() += 1;
        }
        Outcome {
            diaries: self
                .players
                .into_iter()
                .map(|player| player.client.diary)
                .collect(),
            reached,
        }
    }
}
