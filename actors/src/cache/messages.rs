//! What the CacheActor hears and answers.

use crate::logic::cache::{Key, Name, flight::Ticket};
use actix::Message;
use bytes::Bytes;

/// Why an entry was not kept, or not forgotten everywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// A value is larger than one may be.
    #[error("a value of {bytes} bytes; {limit} are allowed (cache.value_bytes)")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
    /// The actor is gone or is being restarted.
    #[error("the cache does not answer")]
    Gone,
    /// The far tier has not noted what entries depend on: they are not to be kept.
    #[error("the far cache does not answer, so that what entries depend on is not noted")]
    Away,
    /// Entries of this kind are renewed by use, and depend on nothing but what their key names.
    #[error("an entry that is renewed by use depends on nothing but its key")]
    Renewed,
}

/// An entry, if it is there.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Option<Bytes>")]
pub struct Get(pub Key);

/// Entries, in this order, each if it is there: what is not near is asked of the far tier in one round trip.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<Option<Bytes>>")]
pub struct GetMany(pub Vec<Key>);

/// An entry, or the task to compute it; while somebody else has that, what he comes to. See [`get_or_compute`].
///
/// [`get_or_compute`]: super::get_or_compute
#[derive(Clone, Debug, Message)]
#[rtype(result = "Leased")]
pub struct Lease(pub Key);

/// What a lease comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It was there, or somebody has computed it.
    Hit(Bytes),
    /// It is to be computed, and its [`Put`] or [`GiveUp`] shows this.
    Yours(Ticket),
}

/// Keeps an entry.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CacheError>")]
pub struct Put {
    /// Which.
    pub key: Key,
    /// What.
    pub value: Bytes,
    /// The lease under which it was computed.
    pub ticket: Option<Ticket>,
}

/// Keeps entries, in one round trip. Errors: one of them is too large; then none is kept.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CacheError>")]
pub struct PutMany(pub Vec<(Key, Bytes)>);

/// Entries that are about to be put are forgotten when something is that they depend on: an image in which code was run, a
/// tool that has made a file's summary. Errors: that could not be noted; then they are not to be put.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CacheError>")]
pub struct Depend {
    /// Which, and their fields are of them.
    pub keys: Vec<Key>,
    /// On what: any name that whoever changes it knows too.
    pub on: Name,
}

/// What was leased is not computed: the next one who waits for it does.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct GiveUp {
    /// Which.
    pub key: Key,
    /// Its lease.
    pub ticket: Ticket,
}

/// Has entries live as long again, unless most of their life is still before them.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Touch(pub Vec<Key>);

/// Forgets entries, here and on all nodes.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Invalidated")]
pub enum Invalidate {
    /// These.
    Keys(Vec<Key>),
    /// What depends on the commit of a project: its fingerprint, and the manifest that was made of it.
    Commit(Name),
    /// What was made of these files of a project, and of nothing else of it.
    Files(Name, Vec<String>),
    /// Everything of a project. Vectors are of nobody: whoever has the same text has the same.
    Project(Name),
    /// All that were said to [`Depend`] on this, little by little.
    Dependents(Name),
    /// All that match a pattern with `*` and `?`, little by little.
    Matching(String),
}

/// What forgetting has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// How many entries the far tier had; without one, how many the process had.
    pub removed: u64,
    /// Whether the far tier has forgotten them, and so every node: if not, it is told when it answers again; but of
    /// dependents and of patterns it is not, and whoever wants them forgotten asks again.
    pub everywhere: bool,
}

/// Has a project's fingerprint and manifest, and these entries besides, in the process before they are asked for. Answers
/// how many there are.
#[derive(Clone, Debug, Message)]
#[rtype(result = "usize")]
pub struct Warm {
    /// Which project.
    pub project: Name,
    /// What else, most wanted first; as much of it as there is room for.
    pub besides: Vec<Key>,
}

/// What was found under this key is not what it should be: it is forgotten, and counted.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Undecodable(pub Key);
