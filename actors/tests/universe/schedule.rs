//! What may happen to a universe, as data: proptest makes it, shrinks it and prints the shortest that fails.

use proptest::{prelude::*, sample::select};

/// The rooms there are.
pub const ROOMS: [&str; 4] = ["agent:1", "project:1", "lobby", "task:1"];
/// How many clients there are.
pub const CLIENTS: usize = 4;
/// How many nodes, and shards of each.
pub const NODES: u32 = 2;
/// How many shards each node has.
pub const SHARDS: u32 = 2;

/// Some of the rooms, one bit each; never none.
pub type Rooms = u8;

/// The names of some rooms.
pub fn names(rooms: Rooms) -> Vec<&'static str> {
    let has = |i: usize| rooms & (1 << i) != 0;
    (0..ROOMS.len()).filter(|i| has(*i)).map(|i| ROOMS[i]).collect()
}

/// What a universe is like in which a schedule is played.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Events a room keeps.
    pub history_events: usize,
    /// Messages that fit a worker's mailbox.
    pub mailbox: usize,
    /// Throttled events a second; 0 is no throttle.
    pub per_second: u32,
    /// Bytes that may wait for the throttle.
    pub wait_bytes: usize,
    /// Bytes of an outbox.
    pub outbox_bytes: usize,
    /// Bytes that a connection holds for a client that does not read.
    pub window: usize,
    /// How long the bus takes to answer, milliseconds.
    pub answers_after_ms: u64,
    /// So many of the clients have tokens of one subject; the others have none.
    pub of_one_subject: usize,
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
    /// Throttled, but not merged.
    Log,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client that is not connected connects to a shard; it resumes if it has a position.
    Connect { client: usize, shard: usize },
    /// It joins rooms.
    Join { client: usize, rooms: Rooms },
    /// It leaves rooms.
    Leave { client: usize, rooms: Rooms },
    /// It publishes, `count` times in one go.
    Say {
        client: usize,
        rooms: Rooms,
        kind: Kind,
        count: usize,
    },
    /// Somebody else publishes through a shard, perhaps each event twice.
    Publish {
        shard: usize,
        rooms: Rooms,
        kind: Kind,
        count: usize,
        bytes: usize,
        twice: bool,
    },
    /// It reads all there is, or stops reading until it reads again.
    Read { client: usize },
    /// It no longer reads.
    Stall { client: usize },
    /// It has read so many bytes more, and then its connection is cut; half-open: the node does not notice.
    Cut {
        client: usize,
        bytes: usize,
        half_open: bool,
    },
    /// A worker of a node panics: 0 and 1 are its shards, 2 is its bridge.
    Crash { node: usize, worker: usize },
    /// A shard panics half-way through a fan-out, after so many members.
    FailHalfWay { shard: usize, members: u32 },
    /// A node says something about itself to all its clients.
    Announce { node: usize },
    /// The bus is away for some time.
    Away { ms: u64 },
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

/// Any universe.
fn setup() -> impl Strategy<Value = Setup> {
    (
        select(vec![1_000, 1_000, 1_000, 12, 4]),
        select(vec![16, 16, 2, 1, 1_000]),
        select(vec![0, 2, 5]),
        select(vec![256 << 10, 3_000]),
        select(vec![1 << 20, 12_000]),
        select(vec![64 << 10, 700]),
        select(vec![0, 0, 0, 1, 30]),
        select(vec![0, 2, CLIENTS]),
    )
        .prop_map(
            |(
                history_events,
                mailbox,
                per_second,
                wait_bytes,
                outbox_bytes,
                window,
                answers_after_ms,
                of_one_subject,
            )| {
                Setup {
                    history_events,
                    mailbox,
                    per_second,
                    wait_bytes,
                    outbox_bytes,
                    window,
                    answers_after_ms,
                    of_one_subject,
                }
            },
        )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Chat),
        3 => (1..=2u8).prop_map(Kind::Thought),
        2 => (1..=2u8).prop_map(Kind::Update),
        1 => Just(Kind::Log),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let shard = || 0..(NODES * SHARDS) as usize;
    let node = || 0..NODES as usize;
    let rooms = || prop_oneof![2 => (0..4u8).prop_map(|i| 1 << i), 1 => 1..16u8];
    let count = || select(vec![1usize, 1, 2, 5, 20]);
    prop_oneof![
        8 => (client(), shard()).prop_map(|(client, shard)| Step::Connect { client, shard }),
        6 => (client(), rooms()).prop_map(|(client, rooms)| Step::Join { client, rooms }),
        2 => (client(), rooms()).prop_map(|(client, rooms)| Step::Leave { client, rooms }),
        3 => (client(), rooms(), kind(), count())
            .prop_map(|(client, rooms, kind, count)| Step::Say { client, rooms, kind, count }),
        12 => (shard(), rooms(), kind(), count(), select(vec![0, 0, 300, 1_500]), proptest::bool::weighted(0.2))
            .prop_map(|(shard, rooms, kind, count, bytes, twice)| {
                Step::Publish { shard, rooms, kind, count, bytes, twice }
            }),
        4 => client().prop_map(|client| Step::Read { client }),
        2 => client().prop_map(|client| Step::Stall { client }),
        5 => (client(), select(vec![0, 100, 500, 2_000, usize::MAX]), any::<bool>())
            .prop_map(|(client, bytes, half_open)| Step::Cut { client, bytes, half_open }),
        2 => (node(), 0..3usize).prop_map(|(node, worker)| Step::Crash { node, worker }),
        2 => (shard(), 0..3u32).prop_map(|(shard, members)| Step::FailHalfWay { shard, members }),
        1 => node().prop_map(|node| Step::Announce { node }),
        1 => select(vec![1u64, 70, 3_000]).prop_map(|ms| Step::Away { ms }),
        6 => (1..8u8).prop_map(Step::Turns),
        8 => select(vec![1u64, 10, 300, 1_000, 5_000]).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Any schedule.
pub fn schedule() -> impl Strategy<Value = Schedule> {
    let begin = proptest::collection::vec((0..(NODES * SHARDS) as usize, 1..16u8), CLIENTS);
    (setup(), begin, proptest::collection::vec(step(), 10..60)).prop_map(|(setup, begin, rest)| {
        // Most schedules are about clients that are there: they begin with them.
        let mut steps = Vec::new();
        for (client, (shard, rooms)) in begin.into_iter().enumerate() {
            steps.push(Step::Connect { client, shard });
            steps.push(Step::Join { client, rooms });
        }
        steps.push(Step::Wait { ms: 1 });
        steps.extend(rest);
        Schedule { setup, steps }
    })
}
