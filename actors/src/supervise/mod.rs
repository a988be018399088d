//! Supervision: workers are restarted behind their mailbox.
//!
//! A worker is an actor whose panics and outages are survived. When a run of it ends, its futures are dropped,
//! `Supervised::restarting` is called, [`restarts`](crate::logic::restarts) decides how long to wait, and the same
//! actor runs again behind the **same mailbox**: every `Addr` stays valid, and of the queued messages only the one that
//! panicked is lost.
//!
//! - A panic in `started`, `restarting`, `stopping`, `stopped`, a handler, a future, a timer or a `Drop` of one of those
//!   is caught and counted. Too many give the worker up: its mailbox closes, so that senders hear
//!   `MailboxError::Closed`. `stopped` is not called then, because its state is not to be trusted.
//! - An outage is reported by the worker itself, by [`Lifeline::fail`], and is retried for ever.
//! - A worker that stops itself, or that has neither an address nor a future left, is done: it stays on the board as
//!   [`Phase::Stopped`]. The board only grows by the names it is given, so workers are a fixed set, named by the node.
//! - What cannot be survived is Rust's rule that a panic out of a `Drop` that runs *because of* a panic aborts. So two
//!   futures of one worker must not both panic while they are dropped.

mod inbox;
mod panics;
mod status;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Actor, ActorContext, Addr, Context, Supervised};
use tokio::sync::watch;

pub use panics::{current_worker, note_panic};
pub use status::{Aged, Phase, Restarts, Status, Workers, ages};

use crate::logic::restarts::Policy;
use status::Board;
use worker::Worker;

/// Starts workers, on any thread that has an actix system, and knows how each of them is.
#[derive(Clone)]
pub struct Supervisor {
    board: Arc<Board>,
    /// Waits are jittered by a hash of this, the worker's name and a count, so that a test can repeat them.
    seed: u64,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// A supervisor without workers, whose jitter differs from that of every other one.
    pub fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(()))
    }

    /// A supervisor whose jitter is always the same.
    pub fn seeded(seed: u64) -> Self {
        Self {
            board: Arc::default(),
            seed,
        }
    }

    /// Starts a worker on the current thread. A name that a living worker has is numbered (`name#2`); one of a worker
    /// that has ended is taken over.
    pub fn start<A, F>(&self, name: &str, policy: Policy, make: F) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Supervised,
        F: FnOnce(Lifeline<A>) -> A,
    {
        let lifeline = Lifeline::new();
        let actor = make(lifeline.clone());
        let (addr, worker) = Worker::new(self, name, policy, lifeline, actor);
        #[expect(
            clippy::disallowed_methods,
            reason = "a worker catches its own panics and reports its end"
        )]
        actix::spawn(worker);
        addr
    }

    /// How every worker is, by name.
    pub fn workers(&self) -> watch::Receiver<Workers> {
        self.board.workers()
    }

    /// Workers that are not vital and were given up: without them the node still serves, but not all of it.
    pub fn degraded(&self) -> Vec<String> {
        let workers = self.board.workers().borrow().clone();
        let lost = workers
            .iter()
            .filter(|(_, status)| status.phase == Phase::GivenUp && !status.vital);
        lost.map(|(name, _)| name.clone()).collect()
    }

    /// Resolves with the name of the first vital worker that was given up: time for the process to end.
    pub fn gave_up(&self) -> impl Future<Output = String> + Send + 'static {
        let mut lost = self.board.lost();
        async move {
            loop {
                if let Some(name) = lost.borrow_and_update().clone() {
                    return name;
                }
                if lost.changed().await.is_err() {
                    // The supervisor and all of its workers are gone, none of them given up.
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Makes a worker panic at its next poll, as if one of its futures had; from any thread. False if there is no
    /// living worker of that name.
    #[cfg(any(test, feature = "testing"))]
    pub fn crash(&self, name: &str) -> bool {
        self.board.crash(name)
    }
}

/// A worker's way to say that its outside world is gone.
pub struct Lifeline<A> {
    /// Why the current run has failed. A lock, not a cell, so that holding a lifeline does not make an actor `!Send`.
    failure: Arc<Mutex<Option<String>>>,
    actor: PhantomData<fn(A)>,
}

impl<A> Clone for Lifeline<A> {
    fn clone(&self) -> Self {
        Self {
            failure: self.failure.clone(),
            actor: PhantomData,
        }
    }
}

impl<A: Actor<Context = Context<A>>> Lifeline<A> {
    fn new() -> Self {
        Self {
            failure: Arc::default(),
            actor: PhantomData,
        }
    }

    /// Ends this run: no further message is handled, `stopped` is called, and the worker is restarted after a wait that
    /// doubles with every failure. `stopping` cannot veto it. The first reason in a run counts.
    pub fn fail(&self, ctx: &mut Context<A>, reason: impl Display) {
        self.failure().get_or_insert_with(|| reason.to_string());
        // Not `terminate`: after a `cancel_future` in the same turn it would spin this thread for ever (actix 0.13.5).
        ctx.stop();
    }

    fn take_failure(&self) -> Option<String> {
        self.failure().take()
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
