//! The cache with a far tier: its actor and the node's own adapter, in this process, on a Redis of the run's own; beside bare
//! commands to the same Redis where that is what it costs.

mod chunks;
mod far;
mod history;
mod indexer;
mod invalidation;
mod replay;
mod stage;
mod storage;

use actix::System;
use anyhow::{Result, anyhow};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::cases::{Cache, Effort};
use crate::figures::Figures;
use crate::peer::{BARE, Peer};
use crate::process::Cores;

/// Who takes part.
pub fn contenders(what: Cache) -> Vec<Peer> {
    let bare = Peer::inside().named(BARE);
    match what {
        Cache::Far | Cache::Invalidate | Cache::Storage => vec![bare, Peer::inside()],
        Cache::Replay | Cache::Growth => vec![Peer::inside()],
    }
}

/// Measures one round: the figures of those who take part, in their order.
pub fn run(what: Cache, effort: Effort, repository: &Path, cores: Cores) -> Vec<Result<Figures>> {
    let repository = repository.to_owned();
    let measured = thread::spawn(move || {
        System::new().block_on(async move {
            let measured = match what {
                Cache::Far => far::run(effort, cores).await,
                Cache::Invalidate => invalidation::run(effort, cores).await,
                Cache::Replay => replay::run(effort, &repository, cores).await,
                Cache::Storage => storage::run(effort, cores).await,
                Cache::Growth => replay::growth(effort, &repository, cores).await,
            };
            System::current().stop();
            measured
        })
    });
    let measured = measured.join();
    match measured.unwrap_or_else(|_| Err(anyhow!("the measurement panicked"))) {
        Ok(figures) => figures.into_iter().map(Ok).collect(),
        // All of them were measured together.
        Err(error) => {
            let failed = |_: &Peer| Err(anyhow!("{error:#}"));
            contenders(what).iter().map(failed).collect()
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
