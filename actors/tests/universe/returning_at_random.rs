//! Any schedule of cuts, half-open connections, crashes and events; and after it every client of Socket.IO has every event
//! of its rooms once and in order, or was told that it is new and is then in no room.

use crate::{
    scene::{publish, shard, thought, wait},
    schedules::{Reached, count_shards, search},
};
use greenroom_actors::{
    logic::{bus_log::Limits, throttle::Rules},
    ports::Bus,
    testing::{
        on_virtual_time,
        socket_io::{SocketIo, Stock, numbers_of},
        universe::{Plan, Shard, Universe},
    },
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Schedules a run of the tests plays.
const SCHEDULES: u32 = 200;

const CLIENTS: usize = 3;
const ROOMS: [&str; 3] = ["agent:0", "agent:1", "agent:2"];

#[derive(Clone, Debug)]
enum Step {
    /// This many events, thoughts or not.
    Say {
        room: usize,
        count: u8,
        is_thought: bool,
    },
    Join {
        client: usize,
        room: usize,
    },
    Leave {
        client: usize,
        room: usize,
    },
    /// The client takes what is there; of a socket so many bytes.
    Hear {
        client: usize,
        bytes: Option<u16>,
    },
    /// Back on this shard, by polling or not; the node has seen the end of the connection before, or not.
    Back {
        client: usize,
        shard: usize,
        polls: bool,
        half_open: bool,
    },
    Crash {
        shard: usize,
    },
    Wait {
        ms: u16,
    },
}

#[derive(Clone, Debug)]
struct Scenario {
    throttled: bool,
    history_events: usize,
    outbox_bytes: usize,
    answers_after_ms: u64,
    steps: Vec<Step>,
}

fn step() -> impl Strategy<Value = Step> {
    let (client, room, place) = (0..CLIENTS, 0..ROOMS.len(), 0..4_usize);
    prop_oneof![
        6 => (room.clone(), 1..40_u8, any::<bool>())
            .prop_map(|(room, count, is_thought)| Step::Say { room, count, is_thought }),
        3 => (client.clone(), room.clone()).prop_map(|(client, room)| Step::Join { client, room }),
        1 => (client.clone(), room).prop_map(|(client, room)| Step::Leave { client, room }),
        4 => (client.clone(), proptest::option::of(0..400_u16)).prop_map(|(client, bytes)| Step::Hear { client, bytes }),
        3 => (client, place.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(client, shard, polls, half_open)| Step::Back { client, shard, polls, half_open }),
        1 => place.prop_map(|shard| Step::Crash { shard }),
        2 => (0..700_u16).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let history = prop_oneof![3 => Just(1_000_usize), 1 => Just(8_usize)];
    let outbox = prop_oneof![3 => Just(1_usize << 20), 1 => Just(6_000_usize)];
    let answers = prop_oneof![2 => Just(0_u64), 1 => Just(120_u64)];
    (any::<bool>(), history, outbox, answers, vec(step(), 1..80)).prop_map(
        |(throttled, history_events, outbox_bytes, answers_after_ms, steps)| Scenario {
            throttled,
            history_events,
            outbox_bytes,
            answers_after_ms,
            steps,
        },
    )
}

/// A client with what it was promised.
#[derive(Default)]
struct Guest {
    stock: Stock,
    /// Its rooms, each with the sequence after which all is its own.
    rooms: BTreeMap<&'static str, u64>,
    /// Rooms that it may be in: it has asked, in this life.
    asked: BTreeSet<&'static str>,
    /// What it has asked and waits to hear: a room, and whether it joins it.
    waits: BTreeMap<u64, (&'static str, bool)>,
    lives: u32,
    /// Sessions that it has given up.
    old: Vec<SocketIo>,
}

impl Guest {
    fn hear(&mut self, bytes: usize) {
        self.stock.listen_to(bytes);
        if self.stock.lives != self.lives {
            self.lives = self.stock.lives;
            self.rooms.clear();
            self.asked.clear();
        }
        let Some(now) = &mut self.stock.now else { return };
        for (id, answer) in std::mem::take(&mut now.answers) {
            let Some((room, joins)) = self.waits.remove(&id) else {
                continue;
            };
            assert_eq!(answer["ok"], true, "{answer}");
            if joins {
                self.rooms.entry(room).or_insert_with(|| seq_of(&answer));
            }
        }
    }

    fn ask(&mut self, room: &'static str, joins: bool) {
        if self.stock.recovered.is_none() || self.stock.now().is_over() {
            return;
        }
        if joins {
            self.asked.insert(room);
        } else {
            // From here on it is promised nothing of it.
            self.rooms.remove(room);
            self.waits.retain(|_, (other, _)| *other != room);
        }
        let id = self
            .stock
            .now()
            .emit(if joins { "join" } else { "leave" }, &json!(room));
        self.waits.insert(id, (room, joins));
    }

    fn back(&mut self, at: &Shard, polls: bool, half_open: bool) {
        let session = if polls {
            at.socket_io_polling()
        } else {
            at.socket_io()
        };
        self.waits.clear();
        if let Some(mut old) = self.stock.enter(session) {
            if !half_open {
                old.hang_up();
            }
            self.old.push(old);
        }
    }
}

fn seq_of(answer: &Value) -> u64 {
    let position = answer["position"].as_str().expect("a position");
    let (_, rest) = position.split_once('-').expect("a life");
    let (seq, _) = rest.split_once('~').unwrap_or((rest, ""));
    u64::from_str_radix(seq, 36).expect("a number")
}

/// Everything that was published: the number is the sequence.
#[derive(Default)]
struct Truth(Vec<(u64, &'static str, bool)>);

impl Truth {
    fn say(&mut self, universe: &Universe, room: &'static str, is_thought: bool) {
        let number = universe.bus.gauges().head + 1;
        match is_thought {
            true => {
                let agent = room.trim_start_matches("agent:");
                publish(
                    universe,
                    &[room],
                    "agent-thought",
                    thought(agent, &number.to_string()),
                );
            }
            false => publish(universe, &[room], "e", json!(number)),
        }
        self.0.push((number, room, is_thought));
    }

    /// What a client has heard holds, and nothing of what it was promised is missing.
    fn check(&self, guest: &Guest, scenario: &Scenario) {
        let all: BTreeMap<u64, (&str, bool)> = self
            .0
            .iter()
            .map(|(n, room, kind)| (*n, (*room, *kind)))
            .collect();
        let mut heard = BTreeSet::new();
        let mut last: BTreeMap<(&str, bool), u64> = BTreeMap::new();
        for number in guest.stock.events.iter().flat_map(|event| numbers_of(event)) {
            let (room, is_thought) = all[&number];
            assert!(heard.insert(number), "{number} came twice");
            assert!(
                guest.asked.contains(room),
                "{number} of {room}, which it is not in"
            );
            // What is throttled may be overtaken by what is not, and by other agents' thoughts.
            let order = if is_thought && scenario.throttled {
                (room, true)
            } else {
                ("", false)
            };
            let before = last.insert(order, number);
            assert!(before < Some(number), "{number} after {before:?}");
        }
        for (number, room, _) in &self.0 {
            let is_due = guest.rooms.get(room).is_some_and(|joined_at| number > joined_at);
            assert!(
                !is_due || heard.contains(number),
                "{number} of {room} is missing: {heard:?}"
            );
        }
    }
}

fn at(universe: &Universe, place: usize) -> &Shard {
    shard(universe, place / 2, place % 2)
}

fn plan(scenario: &Scenario) -> Plan {
    let mut plan = Plan::new(2, 2);
    plan.limits = Limits {
        history_events: scenario.history_events,
        ..Limits::default()
    };
    plan.answers_after = Duration::from_millis(scenario.answers_after_ms);
    plan.settings.outbox_bytes = scenario.outbox_bytes;
    plan.settings.rules = Rules {
        per_second: if scenario.throttled { 3 } else { 0 },
        // What waits is merged into one event, which has to fit.
        wait_bytes: scenario.outbox_bytes / 6,
        ..Rules::default()
    };
    plan
}

async fn play(scenario: &Scenario) -> Reached {
    let universe = Universe::planned(plan(scenario));
    wait(1.0).await;
    let mut guests: Vec<Guest> = (0..CLIENTS).map(|_| Guest::default()).collect();
    for (place, guest) in guests.iter_mut().enumerate() {
        guest.back(at(&universe, place), false, true);
    }
    wait(1.0).await;
    for (room, guest) in ROOMS.iter().zip(&mut guests) {
        guest.hear(usize::MAX);
        guest.ask(room, true);
    }
    wait(1.0).await;
    let mut truth = Truth::default();
    for step in &scenario.steps {
        take(step, &universe, &mut guests, &mut truth).await;
    }
    for round in 0..60 {
        for (place, guest) in guests.iter_mut().enumerate() {
            guest.hear(usize::MAX);
            if guest.stock.now().is_over() {
                guest.back(at(&universe, place), round % 2 == 0, false);
            }
        }
        wait(1.0).await;
    }
    for guest in &mut guests {
        for _ in 0..50 {
            guest.hear(usize::MAX);
            universe.settle().await;
        }
        truth.check(guest, scenario);
        for old in &mut guest.old {
            old.listen();
            assert!(old.is_over(), "an old connection lives on");
        }
    }
    let mut reached = Reached::new();
    count_shards(&universe.nodes, &mut reached);
    reached
}

async fn take(step: &Step, universe: &Universe, guests: &mut [Guest], truth: &mut Truth) {
    match *step {
        Step::Say {
            room,
            count,
            is_thought,
        } => (0..count).for_each(|_| truth.say(universe, ROOMS[room], is_thought)),
        Step::Join { client, room } => guests[client].ask(ROOMS[room], true),
        Step::Leave { client, room } => guests[client].ask(ROOMS[room], false),
        Step::Hear { client, bytes } => {
            universe.settle().await;
            guests[client].hear(bytes.map_or(usize::MAX, usize::from));
        }
        Step::Back {
            client,
            shard,
            polls,
            half_open,
        } => guests[client].back(at(universe, shard), polls, half_open),
        Step::Crash { shard } => {
            universe.nodes[shard / 2]
                .supervisor
                .crash(&format!("rooms-{}", shard % 2));
        }
        Step::Wait { ms } => wait(f64::from(ms) / 1_000.0).await,
    }
}

#[test]
fn after_any_schedule_a_client_has_everything_or_is_new_and_knows_it() {
    let reached = search(&scenario(), SCHEDULES, |scenario| on_virtual_time(play(scenario)));
    let incomplete = reached["resumes_incomplete"];
    assert!(reached["resumes"] > incomplete + 200 && incomplete > 20);
}
