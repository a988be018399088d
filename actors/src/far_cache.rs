//! The cache beyond the process, as the CacheActor needs it.

use crate::{
    logic::cache::{Key, Kind, Name},
    ports::PortFuture,
};
use bytes::Bytes;
use futures_util::stream::BoxStream;

/// Why something was not done. The cache goes on without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the far cache: {0}")]
pub struct FarError(pub String);

/// What a far cache comes to say.
pub type FarFuture<T> = PortFuture<Result<T, FarError>>;

/// Entries that have changed, by whoever's hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These, with all their fields.
    Keys(Vec<Key>),
    /// All of them.
    All,
}

/// How a far cache is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FarStanding {
    /// What all that it holds takes, also for others, bytes.
    pub used_bytes: u64,
    /// What it may take, bytes; 0: no limit.
    pub limit_bytes: u64,
    /// Entries that it has put out for others since it began, also of others.
    pub evicted: u64,
    /// Entries of which the time was up since it began, also of others.
    pub expired: u64,
    /// Entries and their bytes by kind, as a sample of them says; empty where that was not asked for.
    pub kinds: Vec<(Kind, u64, u64)>,
}

/// The far tier. Nothing here waits for longer than its adapter lets it; the actor has a limit of its own.
pub trait FarCache: Send + Sync + 'static {
    /// These entries, in this order, in one round trip.
    fn get(&self, keys: Vec<Key>) -> FarFuture<Vec<Option<Bytes>>>;

    /// Keeps these, in one round trip, each for as long as its kind lives. Who follows is not told of what he puts himself.
    fn put(&self, entries: Vec<(Key, Bytes)>) -> FarFuture<()>;

    /// Has these live as long again, unless most of their life is still before them.
    fn touch(&self, keys: Vec<Key>) -> FarFuture<()>;

    /// Notes that these depend on something, for as long as they live.
    fn depend(&self, keys: Vec<Key>, on: Name) -> FarFuture<()>;

    /// Forgets all that depend on this, little by little. Answers how many there were.
    fn remove_dependents(&self, on: Name) -> FarFuture<u64>;

    /// Forgets these. Answers how many there were.
    fn remove(&self, keys: Vec<Key>) -> FarFuture<u64>;

    /// Forgets all that match a pattern with `*` and `?`, little by little. Answers how many there were.
    fn remove_matching(&self, pattern: String) -> FarFuture<u64>;

    /// The projects of which a fingerprint was put last and is not removed, the latest first.
    fn recent(&self, limit: usize) -> FarFuture<Vec<Name>>;

    /// Whether it answers.
    fn ping(&self) -> FarFuture<()>;

    /// What changes from now on, until the connection for that ends.
    fn follow(&self) -> FarFuture<BoxStream<'static, Changed>>;

    /// How it is; with a count by kind only if that is wanted, since that looks at many entries.
    fn standing(&self, counts: bool) -> FarFuture<FarStanding>;
}
