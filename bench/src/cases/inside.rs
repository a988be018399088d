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
