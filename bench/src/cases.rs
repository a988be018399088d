//! The catalogue of cases: what is done, who takes part, what is measured, and what is to be reached.

use std::time::Duration;

use crate::generator::{Pace, Via};
use crate::peer::{ALONE, BENCHMARK, COALESCING, FLOOR, SINGLE};
use crate::soak::Soak;

/// One case.
pub struct Case {
    pub name: &'static str,
    pub group: &'static str,
    /// What is done, in a sentence.
    pub about: &'static str,
    pub kind: Kind,
    /// Which of this program's own servers take part.
    pub floors: &'static [&'static str],
    pub measures: &'static [Measure],
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Clients in rooms, and somebody who publishes.
    Load(Scale),
    /// Connections that do nothing.
    Idle { clients: usize, rooms: u32 },
    /// One client of a busy room stops reading.
    Stalled { clients: usize, rate: f64 },
    /// One frame that announces far more than it should.
    GiantFrame,
    /// Actors and their messages, without a network.
    Inside(Inside),
    /// Clients that come back and want what they missed.
    Resume { clients: usize, missed: u32 },
    /// Several nodes that share a Redis.
    Cluster(Cluster),
    /// Clients that come, go, stall, vanish and come back, for long.
    Soak { clients: usize },
}

/// What is measured of the actors themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// What a message costs.
    Messages,
    /// How soon a worker that panicked serves again.
    Restart,
}

/// What is done to several nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cluster {
    /// A load on two nodes, beside one without Redis.
    Fanout(Scale),
    /// A load on three nodes, beside one on Redis.
    Scale(Scale),
    /// Publishing flat out by one node, beside Redis's own benchmark; and how many commands that takes.
    Publish { seconds: u64 },
    /// Redis is killed and started again under clients.
    Restart { clients: usize, rooms: u32 },
    /// Connections are cut, nodes and Redis killed.
    Recovery {
        clients: usize,
        rooms: u32,
        seconds: u64,
    },
}

/// How large a load is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub clients: usize,
    pub rooms: u32,
    pub pace: Pace,
    pub via: Via,
    pub seconds: u64,
}

/// One figure of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Its key among the results.
    pub key: &'static str,
    /// Its name and unit, as the report says it.
    pub title: &'static str,
    pub target: Target,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most so many times the figure of another peer in the same round.
    TimesPeer(f64, &'static str),
    /// At least so many times that.
    TimesPeerAtLeast(f64, &'static str),
    AtMost(f64),
    AtLeast(f64),
    /// Told, not judged.
    Open,
}

/// How long the parts of a case last: a quick run shows that all works, a full one measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    pub quick: bool,
    /// How long the stalled client's room floods.
    pub flood: Duration,
    pub soak: Soak,
}

impl Effort {
    /// How many seconds are measured where a full run measures so many.
    pub fn slices(self, seconds: u64) -> u64 {
        if self.quick {
            seconds.div_ceil(5).max(2)
        } else {
            seconds
        }
    }

    /// Before a stretch, unmeasured.
    pub fn warm_up(self) -> Duration {
        Duration::from_millis(if self.quick { 500 } else { 2_000 })
    }
}

const fn measure(key: &'static str, title: &'static str, target: Target) -> Measure {
    Measure { key, title, target }
}

const fn times_floor(factor: f64) -> Target {
    Target::TimesPeer(factor, FLOOR)
}

const EXACT: Measure = measure(
    "wrong",
    "lost, doubled, out of order, stray or refused",
    Target::AtMost(0.0),
);
const P50: Measure = measure("p50_ms", "latency p50, ms", times_floor(1.3));
const P99: Measure = measure("p99_ms", "latency p99, ms", times_floor(1.3));
const DELIVERIES: Measure = measure("deliveries_per_second", "deliveries a second", Target::Open);

const fn cpu(target: Target) -> Measure {
    measure("cpu_us_per_delivery", "server CPU, us a delivery", target)
}

const ROOMS: &str = "Rooms, one node";
const SEVERAL: &str = "Rooms, several nodes over Redis";
const HARD: &str = "Hard clients";
const ACCEPTANCE: &str = "Acceptance";
const INSIDE: &str = "Inside the node";

const BOTH_FLOORS: &[&str] = &[FLOOR, COALESCING];
const THE_FLOOR: &[&str] = &[FLOOR];

const fn load(clients: usize, rooms: u32, pace: Pace, via: Via) -> Kind {
    Kind::Load(Scale {
        clients,
        rooms,
        pace,
        via,
        seconds: 10,
    })
}

const ROOM_OF_200: Scale = Scale {
    clients: 200,
    rooms: 1,
    pace: Pace::Rate(50.0),
    via: Via::WebSocket,
    seconds: 10,
};

const ROOMS_OF_90: Scale = Scale {
    clients: 900,
    rooms: 10,
    pace: Pace::Rate(100.0),
    via: Via::WebSocket,
    seconds: 10,
};

/// All cases, in the order of the report.
pub const CASES: &[Case] = &[
    Case {
        name: "fanout",
        group: ROOMS,
        about: "1 room x 1,000 clients, 50 events a second",
        kind: load(1_000, 1, Pace::Rate(50.0), Via::WebSocket),
        floors: THE_FLOOR,
        measures: &[cpu(times_floor(1.15)), P50, P99, EXACT],
    },
    Case {
        name: "flatout",
        group: ROOMS,
        about: "1 room x 1,000 clients, 32 events in flight",
        kind: load(1_000, 1, Pace::InFlight(32), Via::WebSocket),
        floors: BOTH_FLOORS,
        measures: &[cpu(Target::TimesPeer(1.0, "uwebsockets")), DELIVERIES, EXACT],
    },
    Case {
        name: "many-rooms",
        group: ROOMS,
        about: "100 rooms x 10 clients, 1,000 events a second",
        kind: load(1_000, 100, Pace::Rate(1_000.0), Via::WebSocket),
        floors: THE_FLOOR,
        measures: &[cpu(times_floor(1.25)), P50, P99, EXACT],
    },
    Case {
        name: "many-rooms-http",
        group: ROOMS,
        about: "the same, published over 8 keep-alive HTTP connections; the floor still over WebSocket",
        kind: load(1_000, 100, Pace::Rate(1_000.0), Via::Http),
        floors: THE_FLOOR,
        measures: &[
            cpu(times_floor(2.0)),
            measure("p50_ms", "latency p50, ms", Target::Open),
            measure("p99_ms", "latency p99, ms", Target::Open),
            EXACT,
        ],
    },
    Case {
        name: "idle",
        group: ROOMS,
        about: "5,000 connections in 500 rooms that do nothing",
        kind: Kind::Idle {
            clients: 5_000,
            rooms: 500,
        },
        floors: THE_FLOOR,
        measures: &[
            measure(
                "rss_bytes_per_connection",
                "RSS, bytes a connection",
                Target::AtMost(2_500.0),
            ),
            measure(
                "connect_cpu_us",
                "connect and upgrade: server CPU, us each",
                times_floor(2.0),
            ),
            measure("join_cpu_us", "join a room: server CPU, us each", Target::Open),
            EXACT,
        ],
    },
    Case {
        name: "cluster-fanout",
        group: SEVERAL,
        about: "2 nodes, 1 room x 200 clients, 50 events a second published at the first; beside one node without Redis",
        kind: Kind::Cluster(Cluster::Fanout(ROOM_OF_200)),
        floors: &[],
        measures: &[
            cpu(Target::TimesPeer(1.3, ALONE)),
            measure(
                "redis_us_per_delivery",
                "CPU of Redis, us a delivery",
                Target::Open,
            ),
            measure(
                "local_p50_ms",
                "latency p50 at the publisher's node, ms",
                Target::Open,
            ),
            measure("p50_ms", "latency p50 of all, ms", Target::Open),
            measure("far_p50_ms", "latency p50 at the other node, ms", Target::Open),
            measure("far_extra_p50_ms", "what that is more, ms", Target::AtMost(0.5)),
            measure(
                "far_p99_ms",
                "latency p99 at the other node, ms",
                Target::AtMost(5.0),
            ),
            EXACT,
        ],
    },
    Case {
        name: "cluster-scale",
        group: SEVERAL,
        about: "3 nodes, 10 rooms x 90 clients, 100 events a second; beside one node on Redis with all of them",
        kind: Kind::Cluster(Cluster::Scale(ROOMS_OF_90)),
        floors: &[],
        measures: &[
            cpu(Target::TimesPeer(1.15, SINGLE)),
            measure(
                "redis_us_per_delivery",
                "CPU of Redis, us a delivery",
                Target::Open,
            ),
            measure("p50_ms", "latency p50, ms", Target::Open),
            measure("p99_ms", "latency p99, ms", Target::Open),
            EXACT,
        ],
    },
    Case {
        name: "cluster-publish",
        group: SEVERAL,
        about: "1 node on Redis, publishes over one WebSocket, 200 unanswered, to rooms without members; beside \
                redis-benchmark with the same script and arguments (16 under way on each of 50 connections); Redis on one \
                core, everything else on the other",
        kind: Kind::Cluster(Cluster::Publish { seconds: 10 }),
        floors: &[],
        measures: &[
            measure(
                "publishes_per_second",
                "publishes accepted a second",
                Target::TimesPeerAtLeast(0.8, BENCHMARK),
            ),
            measure(
                "scripts_per_publish",
                "scripts run in Redis, a publish",
                Target::AtMost(1.05),
            ),
            measure(
                "subscribes_per_room",
                "SUBSCRIBE commands, a room that somebody joins",
                Target::AtMost(1.0),
            ),
        ],
    },
    Case {
        name: "cluster-restart",
        group: SEVERAL,
        about: "2 nodes, 1,000 clients in 50 rooms, 200 events a second: Redis is killed, is away for three seconds, and \
                comes back with its data",
        kind: Kind::Cluster(Cluster::Restart {
            clients: 1_000,
            rooms: 50,
        }),
        floors: &[],
        measures: &[
            measure("disconnected", "clients disconnected", Target::AtMost(0.0)),
            measure(
                "caught_up_ms",
                "all caught up after Redis answers again, ms",
                Target::Open,
            ),
            measure(
                "outage_p99_ms",
                "latency p99 at the publisher's node while it is away, ms",
                Target::Open,
            ),
            EXACT,
        ],
    },
    Case {
        name: "cluster-recovery",
        group: SEVERAL,
        about: "3 nodes, 200 clients in 20 rooms, 200 events a second: 100 connections a second are cut and come back \
                elsewhere, every few seconds a node or Redis is killed and started again",
        kind: Kind::Cluster(Cluster::Recovery {
            clients: 200,
            rooms: 20,
            seconds: 100,
        }),
        floors: &[],
        measures: &[
            measure("cuts", "connections cut", Target::Open),
            measure("node_kills", "nodes killed", Target::Open),
            measure("redis_kills", "Redis killed", Target::Open),
            measure("accepted", "events accepted", Target::Open),
            measure(
                "told",
                "clients told that something is missing",
                Target::AtMost(0.0),
            ),
            measure("not_once", "lost, doubled, stray or refused", Target::AtMost(0.0)),
            measure(
                "out_of_order",
                "heard after a later one: missed while Redis was away",
                Target::Open,
            ),
        ],
    },
    Case {
        name: "stalled",
        group: HARD,
        about: "1 room x 25 clients, 2,000 events a second; one client more stops reading",
        kind: Kind::Stalled {
            clients: 25,
            rate: 2_000.0,
        },
        floors: &[],
        measures: &[
            measure("rss_growth_mib", "RSS growth, MiB", Target::AtMost(2.0)),
            measure(
                "p99_ratio",
                "the others' p99 second by second, times that without the stalled one",
                Target::AtMost(1.2),
            ),
            measure("p99_ms", "the others' p99, ms", Target::Open),
            measure(
                "close_code",
                "close code of the stalled one (0: still open, 1: cut)",
                Target::Open,
            ),
            EXACT,
        ],
    },
    Case {
        name: "giant-frame",
        group: HARD,
        about: "one frame announces 8 GiB and is streamed",
        kind: Kind::GiantFrame,
        floors: &[],
        measures: &[
            measure("rss_growth_mib", "RSS growth, MiB", Target::AtMost(1.0)),
            measure("close_code", "close code (0: open, 1: cut)", Target::AtLeast(1.0)),
            measure("sent_mib", "taken before that, MiB", Target::Open),
        ],
    },
    Case {
        name: "resume",
        group: HARD,
        about: "1,000 clients of one room are cut, miss 100 events, and all come back at once",
        kind: Kind::Resume {
            clients: 1_000,
            missed: 100,
        },
        floors: &[],
        measures: &[
            measure("p50_ms", "from connect to caught up, p50, ms", Target::Open),
            measure(
                "p99_ms",
                "from connect to caught up, p99, ms",
                Target::AtMost(250.0),
            ),
            measure("cpu_us_per_client", "server CPU, us a client", Target::Open),
            measure(
                "not_recovered",
                "clients not told that all is there, or not caught up",
                Target::AtMost(0.0),
            ),
            EXACT,
        ],
    },
    Case {
        name: "soak",
        group: HARD,
        about: "2,000 clients, WebSocket and Socket.IO, come, go, stall, vanish and come back, all the time",
        kind: Kind::Soak { clients: 2_000 },
        floors: &[],
        measures: &[
            measure("heard", "events heard", Target::Open),
            measure("visits", "visits", Target::AtLeast(2_000.0)),
            measure(
                "recovered",
                "returns after which nothing was missing",
                Target::AtLeast(1.0),
            ),
            measure(
                "unrecovered",
                "returns that were told of a loss, rightly",
                Target::Open,
            ),
            measure(
                "rss_growth_mib",
                "RSS when all have left, against that after the warm-up, MiB",
                Target::AtMost(4.0),
            ),
            measure("files_growth", "file descriptors, likewise", Target::AtMost(0.0)),
            measure("threads_growth", "threads, likewise", Target::AtMost(0.0)),
            measure(
                "held_growth",
                "connections of which something is held, likewise",
                Target::AtMost(0.0),
            ),
            measure(
                "wrong",
                "lost, doubled, stray, refused, or told of a loss that was none",
                Target::AtMost(0.0),
            ),
        ],
    },
    Case {
        name: "messages",
        group: INSIDE,
        about: "typed messages to a supervised worker, each answered",
        kind: Kind::Inside(Inside::Messages),
        floors: &[],
        measures: &[
            measure(
                "same_thread_us",
                "same thread, one after the other, us each",
                Target::AtMost(0.5),
            ),
            measure(
                "across_us",
                "another thread, 256 on their way, us each",
                Target::AtMost(5.0),
            ),
            measure(
                "across_round_trip_us",
                "another thread, one after the other, us each",
                Target::Open,
            ),
        ],
    },
    Case {
        name: "restart",
        group: INSIDE,
        about: "a worker panics on the first of 65 queued messages",
        kind: Kind::Inside(Inside::Restart),
        floors: &[],
        measures: &[
            measure(
                "serving_again_us",
                "from the panic to all the others answered, us",
                Target::AtMost(1_000.0),
            ),
            measure(
                "lost",
                "queued messages lost, beside the one",
                Target::AtMost(0.0),
            ),
        ],
    },
    Case {
        name: "latency",
        group: ACCEPTANCE,
        about: "200 users in one room, 50 events a second",
        kind: load(200, 1, Pace::Rate(50.0), Via::WebSocket),
        floors: THE_FLOOR,
        measures: &[
            measure("p95_ms", "latency p95, ms", Target::AtMost(50.0)),
            measure("p99_ms", "latency p99, ms", Target::Open),
            EXACT,
        ],
    },
    Case {
        name: "users",
        group: ACCEPTANCE,
        about: "1,000 users in 100 rooms, 100 events a second",
        kind: load(1_000, 100, Pace::Rate(100.0), Via::WebSocket),
        floors: &[],
        measures: &[
            measure("clients", "users connected to the end", Target::AtLeast(1_000.0)),
            measure("p95_ms", "latency p95, ms", Target::AtMost(50.0)),
            EXACT,
        ],
    },
    Case {
        name: "throughput",
        group: ACCEPTANCE,
        about: "200 users in 20 rooms, 1,100 events a second offered",
        kind: load(200, 20, Pace::Rate(1_100.0), Via::WebSocket),
        floors: &[],
        measures: &[
            measure(
                "events_per_second",
                "events a second that reached everybody",
                Target::AtLeast(1_000.0),
            ),
            measure("p95_ms", "latency p95, ms", Target::AtMost(50.0)),
            EXACT,
        ],
    },
    Case {
        name: "memory",
        group: ACCEPTANCE,
        about: "1,000 users in 100 rooms, 1,000 events a second",
        kind: load(1_000, 100, Pace::Rate(1_000.0), Via::WebSocket),
        floors: &[],
        measures: &[
            measure("rss_peak_mb", "RSS of the node, peak, MB", Target::AtMost(500.0)),
            EXACT,
        ],
    },
];

/// The case of this name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

impl Case {
    /// Whether it has to be asked for by its name: it lasts longer than all others together.
    pub fn is_long(&self) -> bool {
        matches!(self.kind, Kind::Soak { .. })
    }
}

impl Target {
    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::TimesPeer(factor, peer) => format!("<= {factor} x {peer}"),
            Self::TimesPeerAtLeast(factor, peer) => format!(">= {factor} x {peer}"),
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::Open => String::new(),
        }
    }

    /// Whether `value` is met; `ratio` is that to the peer named. `None` when it cannot be told.
    pub fn is_met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::TimesPeer(factor, _) => ratio.map(|ratio| ratio <= factor),
            Self::TimesPeerAtLeast(factor, _) => ratio.map(|ratio| ratio >= factor),
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
            Self::Open => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_can_be_found() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(names.into_iter().all(|name| find(name).is_some()));
        assert!(find("nonsense").is_none());
    }

    #[test]
    fn targets_are_judged_by_value_or_ratio() {
        assert_eq!(times_floor(1.15).is_met(9.0, Some(1.15)), Some(true));
        assert_eq!(times_floor(1.15).is_met(9.0, Some(1.16)), Some(false));
        assert_eq!(times_floor(1.15).is_met(9.0, None), None);
        assert_eq!(Target::AtMost(2.0).is_met(2.1, None), Some(false));
        assert_eq!(Target::AtLeast(2.0).is_met(2.1, None), Some(true));
        assert_eq!(Target::Open.is_met(2.1, None), None);
    }
}
