//! CacheActor: what was expensive is not computed twice.
//!
//! **Owns** the near tier, and the tasks to compute something that others wait for.
//! **Hears** [`Get`], [`GetMany`], [`Lease`], [`Put`], [`PutMany`], [`Depend`], [`GiveUp`], [`Touch`], [`Invalidate`], [`Warm`],
//! [`Report`].
//! **Tells** nobody; it asks the far tier ([`FarCache`]).
//! **Fails** never by itself: a far tier that does not answer within the budget counts as a miss, and after some of those is
//! not asked until it answers again.
//! **After a restart** the near tier is empty.
//!
//! An entry is near only while this node would hear of its change. What it hears while an entry is on its way from the far
//! tier has that entry not kept. While it hears nothing, only entries that never change are given out of the near tier.

mod following;
mod forgetting;
mod lending;
mod messages;
mod near;
mod reading;
mod report;
mod underway;
mod vectors;
mod warming;
mod writing;

pub use lending::{Computed, get_or_compute};
pub use messages::{
    CacheError, Depend, Get, GetMany, GiveUp, Invalidate, Invalidated, Lease, Leased, Put, PutMany, Touch,
    Undecodable, Warm,
};
pub use report::{CacheReport, FarReport, KindReport, NearReport, Rates, Report, Taken};
pub use vectors::{ChunkHash, get_vectors, put_vectors};

use crate::{
    far_cache::{FarCache, FarError, FarFuture},
    logic::cache::{
        Key,
        circuit::Circuit,
        flight::Flights,
        meter::{Latencies, Meter},
    },
};
use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, Supervised, WrapFuture as _};
use lending::Waiter;
use near::Near;
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};
use tokio::{
    task::yield_now,
    time::{Instant, timeout},
};
use underway::Underway;

pub use crate::logic::cache::circuit::Limits as CircuitLimits;

/// How a cache is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the near tier may hold, bytes.
    pub near_bytes: u64,
    /// The largest value, bytes.
    pub value_bytes: usize,
    /// How long anybody waits for the far tier.
    pub budget: Duration,
    /// When the far tier is not asked any more.
    pub circuit: CircuitLimits,
    /// How long entries live.
    pub lives: Lives,
    /// Projects that are loaded before they are asked for, those that were indexed last, at most.
    pub warm_projects: usize,
}

/// How long entries live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Fingerprints, manifests, files and vectors.
    pub long: Duration,
    /// Clients.
    pub session: Duration,
    /// Executions.
    pub execution: Duration,
}

impl Lives {
    /// How long an entry lives.
    pub fn of(&self, key: &Key) -> Duration {
        use crate::logic::cache::Life;
        match key.kind.row().life {
            Life::Long => self.long,
            Life::Session => self.session,
            Life::Execution => self.execution,
        }
    }
}

impl Lives {
    /// How long any entry lives at most.
    pub fn longest(&self) -> Duration {
        self.long.max(self.session).max(self.execution)
    }
}

/// The design's: 30 days, 24 hours, 1 hour.
impl Default for Lives {
    fn default() -> Self {
        Self {
            long: Duration::from_secs(2_592_000),
            session: Duration::from_secs(86_400),
            execution: Duration::from_secs(3_600),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            near_bytes: 64 << 20,
            value_bytes: 8 << 20,
            budget: Duration::from_millis(50),
            circuit: CircuitLimits::default(),
            lives: Lives::default(),
            warm_projects: 100,
        }
    }
}

/// How long counting entries, following, or looking through all of them may take: nobody's request waits for that.
const LONG: Duration = Duration::from_secs(30);

/// Entries that the far tier could not be told to forget, at most; past that it is told to forget all of the kinds that
/// change.
const OWED_MAX: usize = 10_000;

/// Entries that the far tier is still to renew, at most, so that asking it for that delays nobody; past that one is renewed
/// when it is used next.
const USED_MAX: usize = 1_000;

/// See the module's description.
pub struct CacheActor {
    settings: Settings,
    near: Near,
    far: Option<Arc<dyn FarCache>>,
    circuit: Circuit,
    /// Whether this node hears what changes in the far tier.
    hears: bool,
    /// How often it was tried in vain to hear it, since it was heard last.
    unheard: u32,
    /// What is near is being stowed, when nobody waits for this actor.
    stows: bool,
    /// Entries on their way from the far tier, or to it.
    underway: Underway,
    flights: Flights<Key, Waiter>,
    /// What the far tier is still to be told to forget.
    owed: BTreeSet<Key>,
    /// Entries that were found far and are renewed by use: the far tier is still to be told.
    used: Vec<Key>,
    meter: Meter,
    counters: Counters,
    began: Instant,
}

/// What has happened since the actor began.
#[derive(Clone, Debug, Default)]
struct Counters {
    far_errors: u64,
    undecodable: u64,
    refused: u64,
    put: u64,
    put_bytes: u64,
    saved_bytes: u64,
    invalidated: u64,
    overheard: u64,
    warmed: u64,
    near: Latencies,
    far: Latencies,
}

impl CacheActor {
    /// A cache that is near only, or has a far tier too.
    pub fn new(settings: Settings, far: Option<Arc<dyn FarCache>>) -> Self {
        Self {
            near: Near::new(settings.near_bytes, settings.lives),
            circuit: Circuit::new(settings.circuit),
            // There is nothing to be heard without one.
            hears: far.is_none(),
            unheard: 0,
            far,
            settings,
            stows: false,
            underway: Underway::default(),
            flights: Flights::default(),
            owed: BTreeSet::new(),
            used: Vec::new(),
            meter: Meter::default(),
            counters: Counters::default(),
            began: Instant::now(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    fn ms_at(&self, at: Instant) -> u64 {
        u64::try_from((at - self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// The far tier, if it is asked at all.
    fn asked_far(&self) -> Option<Arc<dyn FarCache>> {
        self.far.clone().filter(|_| self.circuit.is_closed())
    }

    /// Has what has come near stowed, behind whatever waits by now.
    fn stow_soon(&mut self, ctx: &mut Context<Self>) {
        if self.stows || !self.near.is_landing() {
            return;
        }
        self.stows = true;
        ctx.spawn(yield_now().into_actor(self).map(|(), act, _| {
            act.stows = false;
            act.near.stow();
        }));
    }

    /// What the far tier says, within the budget, and how long it took.
    fn within_budget<T: Send + 'static>(
        &self,
        asked: FarFuture<T>,
    ) -> impl Future<Output = (Result<T, FarError>, Duration)> + use<T> {
        let budget = self.settings.budget;
        async move {
            let began = Instant::now();
            let answer = within(budget, asked).await;
            (answer, began.elapsed())
        }
    }

    /// Whether the far tier has answered; how that changes whether it is asked.
    fn heed<T>(&mut self, answer: Result<T, FarError>, took: Duration) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.counters.far.note(micros(took));
                if self.circuit.succeeded() {
                    tracing::info!("the far cache answers again");
                }
                Some(answer)
            }
            Err(error) => {
                self.counters.far_errors += 1;
                if self.circuit.failed(self.now_ms()) {
                    tracing::warn!(%error, "the far cache is not asked until it answers again");
                }
                None
            }
        }
    }
}

/// What the far tier says, if it says it in time.
async fn within<T>(limit: Duration, asked: FarFuture<T>) -> Result<T, FarError> {
    let late = |_| Err(FarError(format!("no answer within {} ms", limit.as_millis())));
    timeout(limit, asked).await.unwrap_or_else(late)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

impl Actor for CacheActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.far.is_some() {
            self.follow(ctx);
            ctx.run_interval(
                Duration::from_millis(self.settings.circuit.first_ms),
                |act, ctx| {
                    act.try_again(ctx);
                    act.renew(ctx);
                },
            );
        }
    }
}

/// What was near may have changed meanwhile, and who waited is gone.
impl Supervised for CacheActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.near.clear();
        self.hears = self.far.is_none();
        self.stows = false;
        self.underway = Underway::default();
        self.flights = Flights::default();
    }
}
