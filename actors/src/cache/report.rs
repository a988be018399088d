//! What operators see of the cache.

use super::{CacheActor, LONG, within};
use crate::{
    far_cache::FarStanding,
    logic::cache::{
        KINDS, Kind,
        meter::{Counts, Latencies, Window},
    },
    reply::Reply,
};
use actix::{ActorFutureExt as _, AsyncContext as _, Handler, Message, WrapFuture as _};
use futures_util::future::FutureExt as _;
use serde::Serialize;
use tokio::sync::oneshot;

/// How the cache does. With `counts`, the far tier's entries are counted by kind too, which takes a while.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<CacheReport>")]
pub struct Report {
    /// Whether the far tier's entries are counted.
    pub counts: bool,
}

/// What was asked for in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Found in the process.
    pub near_hits: u64,
    /// Found in Redis.
    pub far_hits: u64,
    /// Being computed by somebody else.
    pub shared: u64,
    /// Found nowhere.
    pub misses: u64,
    /// The part that need not be computed, 0 to 1; absent where nothing was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit_rate: Option<f64>,
}

impl From<Counts> for Rates {
    fn from(counts: Counts) -> Self {
        Self {
            near_hits: counts.near,
            far_hits: counts.far,
            shared: counts.shared,
            misses: counts.missed,
            hit_rate: counts.hit_rate(),
        }
    }
}

/// Of one kind of entries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindReport {
    /// Its name.
    pub kind: &'static str,
    /// In the last minute.
    pub minute: Rates,
    /// In the last hour.
    pub hour: Rates,
    /// Since the cache began.
    pub total: Rates,
    /// Entries in the process.
    pub near_entries: u64,
    /// Their names and values, bytes.
    pub near_bytes: u64,
    /// Entries in Redis, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_entries: Option<u64>,
    /// What Redis says that they take, bytes, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far_bytes: Option<u64>,
}

/// How long something took, microseconds: a power of two that was not exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// How often.
    pub count: u64,
    /// Half of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// 99 of a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// All of them.
    #[serde(skip)]
    pub all: Latencies,
}

impl From<Latencies> for Taken {
    fn from(all: Latencies) -> Self {
        Self {
            count: all.count,
            p50_us: all.quantile_us(0.5),
            p99_us: all.quantile_us(0.99),
            all,
        }
    }
}

/// The near tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NearReport {
    /// Entries.
    pub entries: u64,
    /// What they cost, bytes.
    pub bytes: u64,
    /// What they may cost, bytes.
    pub limit_bytes: u64,
    /// Put out for others.
    pub evicted: u64,
    /// Of which the time was up.
    pub expired: u64,
    /// Whether entries that may change are given out: this node hears of changes.
    pub trusted: bool,
    /// How long finding something took.
    pub latency: Taken,
}

/// The far tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FarReport {
    /// Whether it is asked; if not, it has not answered several times.
    pub asked: bool,
    /// How often it was not asked any more.
    pub opened: u64,
    /// Questions that it did not answer in time, or with an error.
    pub errors: u64,
    /// Entries that it is still to be told to forget.
    pub owed: usize,
    /// Changes that were heard of.
    pub overheard: u64,
    /// How long its answers took.
    pub latency: Taken,
    /// What it holds, also for others, bytes; absent while it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// What it may hold, bytes; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Entries that it has put out for others, also of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted: Option<u64>,
    /// Entries of which the time was up, also of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<u64>,
}

/// What the cache of a node has done, and holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheReport {
    /// Since when, milliseconds ago.
    pub age_ms: u64,
    /// By kind.
    pub kinds: Vec<KindReport>,
    /// The process.
    pub near: NearReport,
    /// Redis, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub far: Option<FarReport>,
    /// Entries written.
    pub put: u64,
    /// Their values, bytes.
    pub put_bytes: u64,
    /// Values that were too large.
    pub refused: u64,
    /// Entries that were loaded before anybody asked for them.
    pub warmed: u64,
    /// Entries that were invalidated by way of this node.
    pub invalidated: u64,
    /// Values that could not be read as what they should be, and were deleted.
    pub undecodable: u64,
    /// What did not have to be computed.
    pub computations_saved: u64,
    /// What did not have to come from Redis, bytes.
    pub bytes_saved: u64,
    /// Being computed now, and waiting for that.
    pub computing: usize,
    /// See `computing`.
    pub waiting: usize,
    /// What would be written in a day at the rate since the cache began, bytes: before anything expires or is replaced.
    pub growth_day_bytes: u64,
    /// The same in 30 days.
    pub growth_month_bytes: u64,
}

const DAY_MS: u128 = 86_400_000;

impl CacheActor {
    fn report(&mut self, far: Option<FarStanding>) -> CacheReport {
        let now_ms = self.now_ms();
        self.near.settle();
        let (entries, bytes) = self.near.size();
        let kinds = self.kinds(far.as_ref(), now_ms);
        let saved = |kind: &KindReport| kind.total.near_hits + kind.total.far_hits + kind.total.shared;
        let counters = &self.counters;
        let day = u128::from(counters.put_bytes) * DAY_MS / u128::from(now_ms.max(1));
        let day = u64::try_from(day).unwrap_or(u64::MAX);
        CacheReport {
            age_ms: now_ms,
            computations_saved: kinds.iter().map(saved).sum(),
            kinds,
            near: NearReport {
                entries,
                bytes,
                limit_bytes: self.settings.near_bytes,
                evicted: self.near.evicted(),
                expired: self.near.expired(),
                trusted: self.hears,
                latency: counters.near.into(),
            },
            far: self.far.is_some().then(|| FarReport {
                asked: self.circuit.is_closed(),
                opened: self.circuit.opened,
                errors: counters.far_errors,
                owed: self.owed.len(),
                overheard: counters.overheard,
                latency: counters.far.into(),
                used_bytes: far.as_ref().map(|far| far.used_bytes),
                limit_bytes: far.as_ref().map(|far| far.limit_bytes),
                evicted: far.as_ref().map(|far| far.evicted),
                expired: far.as_ref().map(|far| far.expired),
            }),
            put: counters.put,
            put_bytes: counters.put_bytes,
            refused: counters.refused,
            warmed: counters.warmed,
            invalidated: counters.invalidated,
            undecodable: counters.undecodable,
            bytes_saved: counters.saved_bytes,
            computing: self.flights.len(),
            waiting: self.flights.waiting(),
            growth_day_bytes: day,
            growth_month_bytes: day.saturating_mul(30),
        }
    }

    fn kinds(&mut self, far: Option<&FarStanding>, now_ms: u64) -> Vec<KindReport> {
        let mut sizes = [(0_u64, 0_u64); KINDS.len()];
        for (key, bytes) in self.near.sizes() {
            let size = &mut sizes[key.kind as usize];
            *size = (size.0 + 1, size.1 + bytes as u64);
        }
        let counted = |kind: Kind| far?.kinds.iter().find(|(known, ..)| *known == kind).copied();
        let mut rates = |kind, window| self.meter.counts(kind, window, now_ms).into();
        let report = |row: &crate::logic::cache::KindRow| {
            let (near_entries, near_bytes) = sizes[row.kind as usize];
            KindReport {
                kind: row.name,
                minute: rates(row.kind, Window::Minute),
                hour: rates(row.kind, Window::Hour),
                total: rates(row.kind, Window::Total),
                near_entries,
                near_bytes,
                far_entries: counted(row.kind).map(|(_, entries, _)| entries),
                far_bytes: counted(row.kind).map(|(.., bytes)| bytes),
            }
        };
        KINDS.iter().map(report).collect()
    }
}

impl Handler<Report> for CacheActor {
    type Result = Reply<Option<CacheReport>>;

    fn handle(&mut self, Report { counts }: Report, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        match self.asked_far() {
            None => drop(answer.send(self.report(None))),
            // Counting takes longer than anybody's budget.
            Some(far) => {
                let limit = if counts { LONG } else { self.settings.budget };
                let standing = within(limit, far.standing(counts)).into_actor(self);
                ctx.spawn(standing.map(move |standing, act, _| {
                    let report = act.report(standing.ok());
                    // Whoever asked may be gone.
                    let _ = answer.send(report);
                }));
            }
        }
        Reply(Box::pin(answered.map(Result::ok)))
    }
}
