//! The actors and their messages, without a network.

use super::measure::{Target, measure};
use super::{Case, Inside, Kind};

const GROUP: &str = "Inside the node";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "messages",
        group: GROUP,
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
        name: "cache-near",
        group: GROUP,
        about: "vectors of 261 bytes that the cache has near, asked for one after the other, of 10,000 at random",
        kind: Kind::Inside(Inside::NearCache),
        floors: &[],
        measures: &[
            measure("same_thread_us", "same thread, us each", Target::AtMost(2.0)),
            measure("across_us", "another thread, us each", Target::AtMost(10.0)),
            measure("missed", "entries that were not there", Target::AtMost(0.0)),
        ],
    },
    Case {
        name: "restart",
        group: GROUP,
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
];
