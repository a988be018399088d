//! Clients that stall, lie, come back all at once, or come and go for long.

use super::measure::{EXACT, Target, measure};
use super::{Case, Kind};

const GROUP: &str = "Hard clients";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "stalled",
        group: GROUP,
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
        group: GROUP,
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
        group: GROUP,
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
        group: GROUP,
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
];
