//! Several nodes that share a Redis.

use super::measure::{EXACT, Target, cpu, measure};
use super::{Case, Cluster, Kind, Scale};
use crate::generator::{Pace, Via};
use crate::peer::{ALONE, BENCHMARK, SINGLE};

const GROUP: &str = "Rooms, several nodes over Redis";

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

pub(super) const CASES: &[Case] = &[
    Case {
        name: "cluster-fanout",
        group: GROUP,
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
        group: GROUP,
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
        group: GROUP,
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
        group: GROUP,
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
        name: "cluster-avalanche",
        group: GROUP,
        about: "2 nodes: one is killed under its 5,000 clients in 100 rooms, misses 10 events of each room, and is started \
                again; all come back to it at once",
        kind: Kind::Cluster(Cluster::Avalanche {
            clients: 5_000,
            rooms: 100,
        }),
        floors: &[],
        measures: &[
            measure(
                "caught_up_ms",
                "all back and caught up after it listens again, ms",
                Target::AtMost(2_000.0),
            ),
            measure("again", "connections that had to be tried again", Target::Open),
            measure(
                "told",
                "clients told that something is missing",
                Target::AtMost(0.0),
            ),
            EXACT,
        ],
    },
    Case {
        name: "cluster-recovery",
        group: GROUP,
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
];
