//! One computes, the others wait for it.

use super::{CacheActor, GiveUp, Lease, Leased, Put};
use crate::logic::cache::{Key, flight::Ticket};
use actix::{Addr, Handler};
use bytes::Bytes;
use futures_util::future::{FutureExt as _, pending};
use tokio::sync::oneshot;

/// Somebody who waits for an entry, or for the task to compute it.
#[derive(Debug)]
pub(super) struct Waiter(pub oneshot::Sender<Leased>);

/// What he comes to hear.
pub(super) struct Answer(pub oneshot::Receiver<Leased>);

impl Waiter {
    pub fn hit(self, value: Bytes) {
        // Whoever asked may be gone.
        let _ = self.0.send(Leased::Hit(value));
    }
}

impl Answer {
    pub fn into_reply(self) -> crate::ports::PortFuture<Leased> {
        Box::pin(self.0.then(|answer| async move {
            match answer {
                Ok(answer) => answer,
                // Only a restart drops it, and then the message is answered by that.
                Err(_) => pending().await,
            }
        }))
    }
}

impl CacheActor {
    /// Gives somebody the task to compute it; if he is gone, the next one.
    pub(super) fn hand(&mut self, key: &Key, ticket: Ticket, asker: Waiter) {
        let mut next = Some((ticket, asker));
        while let Some((ticket, asker)) = next {
            match asker.0.send(Leased::Yours(ticket)) {
                Ok(()) => return,
                // He is gone.
                Err(_) => next = self.flights.given_up(key, ticket),
            }
        }
    }

    pub(super) fn land(&mut self, key: &Key, ticket: Ticket, value: &Bytes) {
        for waiter in self.flights.done(key, ticket) {
            waiter.hit(value.clone());
        }
    }
}

impl Handler<GiveUp> for CacheActor {
    type Result = ();

    fn handle(&mut self, GiveUp { key, ticket }: GiveUp, _: &mut Self::Context) {
        if let Some((ticket, asker)) = self.flights.given_up(&key, ticket) {
            self.hand(&key, ticket, asker);
        }
    }
}

/// An entry, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// The entry.
    pub value: Bytes,
    /// Whether it was there, or somebody else has computed it.
    pub was_there: bool,
}

/// Gives a lease back that nothing came of.
struct Held<'c> {
    cache: &'c Addr<CacheActor>,
    lease: Option<(Key, Ticket)>,
}

impl Drop for Held<'_> {
    #[expect(
        clippy::disallowed_methods,
        reason = "one a lease at most; were it lost in a full mailbox, whoever waits would wait for ever"
    )]
    fn drop(&mut self) {
        if let Some((key, ticket)) = self.lease.take() {
            self.cache.do_send(GiveUp { key, ticket });
        }
    }
}

/// An entry: as it is kept, or as somebody computes it just now, or else as `compute` does, which is then kept. Of many who
/// ask for it on this node one computes. If that fails or is dropped, the next one does: errors are not kept. It is computed
/// in the caller's own task. Errors: those of `compute`.
pub async fn get_or_compute<E>(
    cache: &Addr<CacheActor>,
    key: Key,
    compute: impl Future<Output = Result<Bytes, E>>,
) -> Result<Computed, E> {
    let ticket = match cache.send(Lease(key.clone())).await {
        Ok(Leased::Hit(value)) => {
            let was_there = true;
            return Ok(Computed { value, was_there });
        }
        Ok(Leased::Yours(ticket)) => Some(ticket),
        // Without a cache everybody computes for himself.
        Err(_) => None,
    };
    let mut held = Held {
        cache,
        lease: ticket.map(|ticket| (key.clone(), ticket)),
    };
    let value = compute.await?;
    if held.lease.take().is_some() {
        // What is too large to be kept, or finds nobody who keeps it, is computed all the same.
        let _ = cache
            .send(Put {
                key,
                value: value.clone(),
                ticket,
            })
            .await;
    }
    let was_there = false;
    Ok(Computed { value, was_there })
}
