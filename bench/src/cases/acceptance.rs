//! What a node has to reach, whatever others reach.

use super::measure::{EXACT, Target, measure};
use super::{Case, THE_FLOOR, load};
use crate::generator::{Pace, Via};

const GROUP: &str = "Acceptance";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "latency",
        group: GROUP,
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
        group: GROUP,
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
        group: GROUP,
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
        group: GROUP,
        about: "1,000 users in 100 rooms, 1,000 events a second",
        kind: load(1_000, 100, Pace::Rate(1_000.0), Via::WebSocket),
        floors: &[],
        measures: &[
            measure("rss_peak_mb", "RSS of the node, peak, MB", Target::AtMost(500.0)),
            EXACT,
        ],
    },
];
