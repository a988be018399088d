//! Rooms of one node, without Redis: loads, and connections that do nothing.

use super::measure::{DELIVERIES, EXACT, P50, P99, Target, cpu, measure, times_floor};
use super::{Case, Kind, THE_FLOOR, load};
use crate::generator::{Pace, Via};
use crate::peer::{COALESCING, FLOOR};

const GROUP: &str = "Rooms, one node";

const BOTH_FLOORS: &[&str] = &[FLOOR, COALESCING];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "fanout",
        group: GROUP,
        about: "1 room x 1,000 clients, 50 events a second",
        kind: load(1_000, 1, Pace::Rate(50.0), Via::WebSocket),
        floors: THE_FLOOR,
        measures: &[cpu(times_floor(1.15)), P50, P99, EXACT],
    },
    Case {
        name: "flatout",
        group: GROUP,
        about: "1 room x 1,000 clients, 32 events in flight",
        kind: load(1_000, 1, Pace::InFlight(32), Via::WebSocket),
        floors: BOTH_FLOORS,
        measures: &[cpu(Target::TimesPeer(1.0, "uwebsockets")), DELIVERIES, EXACT],
    },
    Case {
        name: "many-rooms",
        group: GROUP,
        about: "100 rooms x 10 clients, 1,000 events a second",
        kind: load(1_000, 100, Pace::Rate(1_000.0), Via::WebSocket),
        floors: THE_FLOOR,
        measures: &[cpu(times_floor(1.25)), P50, P99, EXACT],
    },
    Case {
        name: "many-rooms-http",
        group: GROUP,
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
        group: GROUP,
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
];
