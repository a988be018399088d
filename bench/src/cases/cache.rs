//! The cache.

use super::measure::{Target, measure};
use super::{Cache, Case, Inside, Kind};
use crate::peer::BARE;

const GROUP: &str = "Cache";

pub(super) const CASES: &[Case] = &[
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
        name: "cache-far",
        group: GROUP,
        about: "vectors of 261 bytes that are in Redis and not near, each asked for once, one after the other, and in \
                batches of 100; beside a bare GET and a bare MGET of the same on such a connection, which take turns with \
                the cache",
        kind: Kind::Cache(Cache::Far),
        floors: &[],
        measures: &[
            measure(
                "get_us",
                "Get on the same thread, p50, us; bare: GET",
                Target::TimesPeer(1.3, BARE),
            ),
            measure(
                "get_many_us",
                "GetMany of 100 likewise; bare: one MGET",
                Target::TimesPeer(1.5, BARE),
            ),
            measure("get_across_us", "Get from another thread, p50, us", Target::Open),
            measure(
                "missed",
                "entries that did not come from Redis",
                Target::AtMost(0.0),
            ),
            measure(
                "not_near",
                "of 1,000 that were read a moment ago, not near",
                Target::AtMost(0.0),
            ),
        ],
    },
    Case {
        name: "cache-invalidate",
        group: GROUP,
        about: "a million keys in Redis, of 1,000 projects and vectors, and a second node that hears what changes: 20 times \
                100 vectors are invalidated, and a project of 10,000 files, then the entries that match a pattern; beside \
                bare UNLINK of as many keys, which takes turns with the cache",
        kind: Kind::Cache(Cache::Invalidate),
        floors: &[],
        measures: &[
            measure("keys_ms", "100 keys, median, ms", Target::Open),
            measure(
                "keys_longest_ms",
                "100 keys, the longest, ms",
                Target::AtMost(50.0),
            ),
            measure("project_ms", "a project, median, ms", Target::Open),
            measure(
                "project_longest_ms",
                "a project, the longest, ms",
                Target::AtMost(50.0),
            ),
            measure(
                "matching_ms",
                "by a pattern, which looks at all keys, ms",
                Target::Open,
            ),
            measure(
                "slow_commands",
                "commands that took Redis longer than 5 ms (SLOWLOG)",
                Target::AtMost(0.0),
            ),
            measure(
                "wrong",
                "entries forgotten too few or too many, or not everywhere",
                Target::AtMost(0.0),
            ),
        ],
    },
    Case {
        name: "cache-replay",
        group: GROUP,
        about: "the history of a git repository (`--repository`, this one by default), its newest 500 commits by first \
                parents from the oldest on, as an index will ask: for every commit the vector of every chunk of every file \
                is asked for, 64 at once, also at the first commit, when there is nothing; what is not there is computed \
                and put. A lookup is a chunk of a commit. Of changed files: only lookups of files that the commit has added \
                or changed. The index does not exist yet: files of source and prose are cut into chunks of 20 to 60 lines \
                that end where something of the file does",
        kind: Kind::Cache(Cache::Replay),
        floors: &[],
        measures: &[
            measure(
                "hit_percent",
                "chunks that were there, percent",
                Target::AtLeast(98.0),
            ),
            measure(
                "changed_hit_percent",
                "of changed files, chunks that were there, percent",
                Target::Open,
            ),
            measure("commits", "commits", Target::Open),
            measure("chunks", "chunks asked for", Target::Open),
            measure("computed", "computed", Target::Open),
            measure("lost", "put before, and not there", Target::AtMost(0.0)),
            measure("wrong", "other values than were put", Target::AtMost(0.0)),
        ],
    },
    Case {
        name: "cache-storage",
        group: GROUP,
        about: "100,000 vectors of 256 dimensions, put as a node puts them, with 30 days to live; beside values of 256 bytes \
                with as long to live under keys like e:12345, on a Redis of their own",
        kind: Kind::Cache(Cache::Storage),
        floors: &[],
        measures: &[
            measure("bytes", "bytes each, the larger of both", Target::AtMost(480.0)),
            measure(
                "usage_bytes",
                "as MEMORY USAGE says, the mean of 1,000",
                Target::Open,
            ),
            measure(
                "grown_bytes",
                "as Redis has grown, without its clients' buffers",
                Target::Open,
            ),
        ],
    },
    Case {
        name: "cache-growth",
        group: GROUP,
        about: "10 projects of 10,000 files and 75,000 chunks that share no text, each with the newer half of the history of \
                `cache-replay`: what its commits add to Redis (vectors, fingerprint, manifest, entries of files) beyond the \
                full index of the commit in the middle is taken for 20 commits a day over 30 days. That is all that they \
                put: within 30 days nothing of it expires, and after that what is not used any more does. What counts is how \
                large the commits are",
        kind: Kind::Cache(Cache::Growth),
        floors: &[],
        measures: &[
            measure("month_mb", "in a month, MB", Target::AtMost(50.0)),
            measure("kb_per_commit", "a commit, KB", Target::Open),
            measure("chunks_per_commit", "new chunks, a commit", Target::Open),
            measure(
                "files_per_commit",
                "files added or changed, a commit",
                Target::Open,
            ),
            measure("commits", "commits gone through, each project", Target::Open),
        ],
    },
];
