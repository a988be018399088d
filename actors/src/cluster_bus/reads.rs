//! Reads of the history that are under way: who asks for the same as somebody who has not been answered yet is given that
//! answer. When a node begins anew under its clients, those of a room mostly want the same.

use crate::{
    logic::bus_log::{Page, Query},
    ports::{BusError, PortFuture},
};
use futures_util::future::{FutureExt as _, Shared, WeakShared};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Answer = Result<Page, BusError>;
type UnderWay = HashMap<Query, WeakShared<PortFuture<Answer>>>;

/// Questions that nobody waits for any more are looked for when there are so many.
const SWEPT_AT: usize = 1_024;

/// See the module's description.
#[derive(Clone, Default)]
pub(super) struct Reads(Arc<Mutex<UnderWay>>);

impl Reads {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        // What is under the lock is whole at all times.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a question; it is asked only if nobody waits for that already. What it says may be as old as the
    /// question that was there first: whoever has heard of later events reads on, as behind any page.
    pub fn share(&self, query: Query, ask: impl FnOnce(Query) -> PortFuture<Answer>) -> PortFuture<Answer> {
        let query = query.plain();
        let mut under_way = self.lock();
        let waited_for = under_way.get(&query).and_then(WeakShared::upgrade);
        if let Some(shared) = waited_for.filter(|shared| shared.peek().is_none()) {
            return Box::pin(shared);
        }
        let (reads, asked) = (self.clone(), ask(query.clone()));
        let key = query.clone();
        let answer: PortFuture<Answer> = Box::pin(async move {
            let answer = asked.await;
            reads.lock().remove(&key);
            answer
        });
        let shared: Shared<_> = answer.shared();
        if under_way.len() >= SWEPT_AT {
            under_way.retain(|_, shared| shared.upgrade().is_some());
        }
        if let Some(weak) = shared.downgrade() {
            under_way.insert(query, weak);
        }
        Box::pin(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn query(after: u64) -> Query {
        Query {
            after,
            ..Query::default()
        }
    }

    /// What is asked waits until the answer is given.
    fn asks() -> (oneshot::Sender<u64>, impl FnOnce(Query) -> PortFuture<Answer>) {
        let (give, given) = oneshot::channel();
        let page = |upto: Result<u64, _>| Page {
            upto: upto.expect("an answer"),
            ..Page::default()
        };
        (give, move |_| Box::pin(given.map(move |upto| Ok(page(upto)))))
    }

    fn not_asked(_: Query) -> PortFuture<Answer> {
        unreachable!("somebody has asked that")
    }

    #[tokio::test]
    async fn who_asks_for_the_same_is_given_the_same_answer() {
        let reads = Reads::default();
        let (give, ask) = asks();
        let (give_other, ask_other) = asks();
        let first = reads.share(query(1), ask);
        let second = reads.share(query(1), not_asked);
        let other = reads.share(query(2), ask_other);
        give.send(5).expect("it waits");
        give_other.send(6).expect("it waits");
        assert_eq!(first.await.map(|page| page.upto), Ok(5));
        assert_eq!(second.await.map(|page| page.upto), Ok(5));
        assert_eq!(other.await.map(|page| page.upto), Ok(6));
        assert!(reads.lock().is_empty());
    }

    #[tokio::test]
    async fn what_was_answered_or_given_up_is_asked_anew() {
        let reads = Reads::default();
        let (give, ask) = asks();
        give.send(5).expect("it waits");
        let answered = reads.share(query(1), ask);
        assert!(answered.await.is_ok());
        let (_give, ask) = asks();
        drop(reads.share(query(1), ask));
        let (give, ask) = asks();
        give.send(7).expect("it waits");
        assert_eq!(reads.share(query(1), ask).await.map(|page| page.upto), Ok(7));
    }
}
