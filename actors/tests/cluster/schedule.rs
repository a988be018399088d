//! What may happen to a cluster, as data: proptest makes it, shrinks it and prints the shortest that fails.

use greenroom_actors::testing::memory_broker::{Has, Mood};
use proptest::{prelude::*, sample::select};

/// The rooms there are.
pub const ROOMS: [&str; 3] = ["agent:1", "lobby", "task:1"];
/// Clients that speak greenroom.v1, and clients of Socket.IO.
pub const PLAYERS: usize = 3;
/// See [`PLAYERS`].
pub const GUESTS: usize = 2;
/// How many nodes.
pub const NODES: usize = 3;
/// How many shards each node has.
pub const SHARDS: usize = 2;

/// Some of the rooms, one bit each; never none.
pub type Rooms = u8;
/// A shard of a node: `node * SHARDS + shard`.
pub type Place = usize;

/// The names of some rooms.
pub fn names(rooms: Rooms) -> Vec<&'static str> {
    let has = |i: usize| rooms & (1 << i) != 0;
    (0..ROOMS.len()).filter(|i| has(*i)).map(|i| ROOMS[i]).collect()
}

/// What a cluster is like in which a schedule is played.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Events a room keeps.
    pub history_events: usize,
    /// Messages that fit a worker's mailbox.
    pub mailbox: usize,
    /// Throttled events a second; 0 is no throttle.
    pub per_second: u32,
    /// Bytes of a client's outbox.
    pub outbox_bytes: usize,
    /// Bytes that a connection holds for a client that does not read.
    pub window: usize,
    /// How long the broker takes to answer, milliseconds.
    pub answers_after_ms: u64,
    /// Bytes that may wait in a node's outbox.
    pub relay_bytes: usize,
    /// Whether nodes refuse what is published while the broker is away.
    pub refuses: bool,
    /// Whether the broker is there when the nodes start.
    pub begins_away: bool,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not throttled.
    Chat,
    /// `agent-thought` of agent 1 or 2.
    Thought(u8),
    /// `task-update` of task 1 or 2.
    Update(u8),
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client connects to a shard, if it is not connected; it resumes if it has a position.
    Connect { player: usize, place: Place },
    /// It joins rooms.
    Join { player: usize, rooms: Rooms },
    /// It leaves rooms.
    Leave { player: usize, rooms: Rooms },
    /// It publishes, `count` times in one go.
    Say {
        player: usize,
        rooms: Rooms,
        kind: Kind,
        count: usize,
    },
    /// It reads all there is, or stops reading until it reads again.
    Read { player: usize },
    /// It no longer reads.
    Stall { player: usize },
    /// It has read so many bytes more, and then its connection is cut; half-open: the node does not notice.
    Cut {
        player: usize,
        bytes: usize,
        half_open: bool,
    },
    /// A client of Socket.IO opens a new session and comes back, whatever became of the old one.
    Back {
        guest: usize,
        place: Place,
        polls: bool,
        half_open: bool,
    },
    /// It joins a room, or leaves it.
    Ask { guest: usize, room: usize, joins: bool },
    /// It publishes.
    Emit { guest: usize, rooms: Rooms },
    /// It hears what there is, or so many bytes of it.
    Hear { guest: usize, bytes: Option<u16> },
    /// Somebody publishes through a node, perhaps each event twice.
    Publish {
        place: Place,
        rooms: Rooms,
        kind: Kind,
        count: usize,
        bytes: usize,
        twice: bool,
    },
    /// A worker of a node panics: 0 and 1 are its shards, 2 is its bridge.
    Crash { node: usize, worker: usize },
    /// A shard panics half-way through a fan-out, after so many members.
    FailHalfWay { place: Place, members: u32 },
    /// A node is killed, and another one started in its place.
    Kill { node: usize },
    /// The broker is like this from now on.
    Become(Mood),
    /// All links end.
    CutAll,
    /// The links of one node end.
    CutOff { node: usize },
    /// The broker writes down what it has.
    Save,
    /// Another broker takes its place.
    Restart(Has),
    /// Everybody who is due gets so many turns; no time passes.
    Turns(u8),
    /// Time passes.
    Wait { ms: u64 },
}

/// A whole schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Where.
    pub setup: Setup,
    /// What.
    pub steps: Vec<Step>,
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        select(vec![1_000, 1_000, 1_000, 12]),
        select(vec![16, 16, 2, 1, 1_000]),
        select(vec![0, 0, 3]),
        select(vec![1 << 20, 1 << 20, 12_000]),
        select(vec![64 << 10, 700]),
        select(vec![0, 1, 1, 30]),
        select(vec![1 << 20, 1 << 20, 6_000]),
        select(vec![false, false, false, true]),
        select(vec![false, false, false, true]),
    )
        .prop_map(
            |(
                history_events,
                mailbox,
                per_second,
                outbox_bytes,
                window,
                answers_after_ms,
                relay_bytes,
                refuses,
                begins_away,
            )| Setup {
                history_events,
                mailbox,
                per_second,
                outbox_bytes,
                window,
                answers_after_ms,
                relay_bytes,
                refuses,
                begins_away,
            },
        )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Chat),
        2 => (1..3u8).prop_map(Kind::Thought),
        2 => (1..3u8).prop_map(Kind::Update),
    ]
}

fn of_players() -> impl Strategy<Value = Step> {
    let player = || 0..PLAYERS;
    let rooms = || 1..8u8;
    prop_oneof![
        6 => (player(), 0..NODES * SHARDS).prop_map(|(player, place)| Step::Connect { player, place }),
        4 => (player(), rooms()).prop_map(|(player, rooms)| Step::Join { player, rooms }),
        2 => (player(), rooms()).prop_map(|(player, rooms)| Step::Leave { player, rooms }),
        4 => (player(), rooms(), kind(), 1..5usize)
            .prop_map(|(player, rooms, kind, count)| Step::Say { player, rooms, kind, count }),
        2 => player().prop_map(|player| Step::Read { player }),
        1 => player().prop_map(|player| Step::Stall { player }),
        5 => (player(), select(vec![0, 100, 500, 2_000, usize::MAX]), any::<bool>())
            .prop_map(|(player, bytes, half_open)| Step::Cut { player, bytes, half_open }),
    ]
}

fn of_guests() -> impl Strategy<Value = Step> {
    let guest = || 0..GUESTS;
    prop_oneof![
        4 => (guest(), 0..NODES * SHARDS, any::<bool>(), any::<bool>())
            .prop_map(|(guest, place, polls, half_open)| Step::Back { guest, place, polls, half_open }),
        3 => (guest(), 0..ROOMS.len(), prop::bool::weighted(0.7))
            .prop_map(|(guest, room, joins)| Step::Ask { guest, room, joins }),
        2 => (guest(), 1..8u8).prop_map(|(guest, rooms)| Step::Emit { guest, rooms }),
        3 => (guest(), proptest::option::of(0..400_u16)).prop_map(|(guest, bytes)| Step::Hear { guest, bytes }),
    ]
}

fn of_nodes() -> impl Strategy<Value = Step> {
    let place = || 0..NODES * SHARDS;
    let node = || 0..NODES;
    prop_oneof![
        16 => (place(), 1..8u8, kind(), 1..12usize, select(vec![0, 0, 300]), any::<bool>())
            .prop_map(|(place, rooms, kind, count, bytes, twice)| Step::Publish { place, rooms, kind, count, bytes, twice }),
        2 => (node(), 0..3usize).prop_map(|(node, worker)| Step::Crash { node, worker }),
        1 => (place(), 0..3u32).prop_map(|(place, members)| Step::FailHalfWay { place, members }),
        1 => node().prop_map(|node| Step::Kill { node }),
        5 => select(vec![Mood::Away, Mood::Deaf, Mood::Full, Mood::Well, Mood::Well]).prop_map(Step::Become),
        2 => Just(Step::CutAll),
        3 => node().prop_map(|node| Step::CutOff { node }),
        1 => Just(Step::Save),
        2 => select(vec![Has::All, Has::All, Has::Saved, Has::Nothing]).prop_map(Step::Restart),
        4 => (1..8u8).prop_map(Step::Turns),
        10 => select(vec![1u64, 10, 60, 300, 1_000, 5_000]).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Any schedule.
pub fn schedule() -> impl Strategy<Value = Schedule> {
    let step = prop_oneof![3 => of_players(), 2 => of_guests(), 4 => of_nodes()];
    let places = proptest::collection::vec((0..NODES * SHARDS, 1..8u8), PLAYERS + GUESTS);
    (setup(), places, proptest::collection::vec(step, 10..60)).prop_map(|(setup, places, rest)| {
        // Most schedules are about clients that are there: they begin with them.
        let mut steps = Vec::new();
        for (client, (place, rooms)) in places.into_iter().enumerate() {
            if client < PLAYERS {
                steps.push(Step::Connect {
                    player: client,
                    place,
                });
                steps.push(Step::Join {
                    player: client,
                    rooms,
                });
            } else {
                let guest = client - PLAYERS;
                let (polls, half_open) = (false, false);
                steps.push(Step::Back {
                    guest,
                    place,
                    polls,
                    half_open,
                });
                steps.push(Step::Wait { ms: 200 });
                let room = usize::from(rooms) % ROOMS.len();
                steps.push(Step::Ask {
                    guest,
                    room,
                    joins: true,
                });
            }
        }
        steps.push(Step::Wait { ms: 200 });
        steps.extend(rest);
        Schedule { setup, steps }
    })
}
