//! The catalogue of cases: what is done, who takes part, what is measured, and what is to be reached. A file holds a group
//! of the report.

mod acceptance;
mod cache;
mod hard_clients;
mod inside;
mod measure;
mod rooms;
mod several_nodes;

use std::time::Duration;

use crate::generator::{Pace, Via};
use crate::peer::FLOOR;
use crate::soak::Soak;

pub use measure::{Measure, Target};

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
    /// The cache, on a Redis of its own.
    Cache(Cache),
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
    /// Entries that the cache has near.
    NearCache,
    /// What a message costs.
    Messages,
    /// How soon a worker that panicked serves again.
    Restart,
}

/// What is asked of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Entries that are in Redis and not in the process.
    Far,
    /// Forgetting among very many entries.
    Invalidate,
    /// The chunks of a repository, commit by commit.
    Replay,
    /// What an entry takes in Redis.
    Storage,
    /// What commits add to Redis.
    Growth,
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
    /// A node is killed and started again under its clients.
    Avalanche { clients: usize, rooms: u32 },
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

/// All cases, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let groups = [
        rooms::CASES,
        several_nodes::CASES,
        hard_clients::CASES,
        inside::CASES,
        cache::CASES,
        acceptance::CASES,
    ];
    groups.into_iter().flatten()
}

/// The case of this name.
pub fn find(name: &str) -> Option<&'static Case> {
    all().find(|case| case.name == name)
}

impl Case {
    /// Whether it has to be asked for by its name: it lasts longer than all others together.
    pub fn is_long(&self) -> bool {
        matches!(self.kind, Kind::Soak { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_can_be_found() {
        let names: BTreeSet<&str> = all().map(|case| case.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(names.into_iter().all(|name| find(name).is_some()));
        assert!(find("nonsense").is_none());
    }
}
