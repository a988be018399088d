//! Writing: far first, so that all nodes have it, then near.

use super::{CacheActor, CacheError, Depend, Put, PutMany, Touch};
use crate::{logic::cache::Key, reply::Reply};
use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use futures_util::future::FutureExt as _;
use std::future::ready;
use tokio::sync::oneshot;

type Kept = Result<(), CacheError>;

impl CacheActor {
    fn check(&mut self, value: &Bytes) -> Kept {
        let (bytes, limit) = (value.len(), self.settings.value_bytes);
        if bytes > limit {
            self.counters.refused += 1;
            return Err(CacheError::TooLarge { bytes, limit });
        }
        Ok(())
    }

    fn keep(&mut self, entries: Vec<(Key, Bytes)>, ctx: &mut Context<Self>) -> Reply<Kept> {
        self.counters.put += entries.len() as u64;
        self.counters.put_bytes += entries.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
        let Some(far) = self.asked_far() else {
            entries
                .into_iter()
                .for_each(|(key, value)| self.keep_alone(key, value));
            self.stow_soon(ctx);
            return Reply(Box::pin(ready(Ok(()))));
        };
        let since = self.underway.begin();
        let put = self.within_budget(far.put(entries.clone()));
        let (answer, answered) = oneshot::channel();
        ctx.spawn(put.into_actor(self).map(move |(done, took), act, ctx| {
            let is_done = act.heed(done, took).is_some();
            for (key, value) in entries {
                match (act.underway.is_fresh(&key, since), is_done) {
                    (true, true) if act.hears => act.near.put(key, value),
                    (true, false) => act.keep_alone(key, value),
                    _ => {}
                }
            }
            act.underway.end();
            // Whoever asked may be gone.
            let _ = answer.send(Ok(()));
            act.stow_soon(ctx);
        }));
        Reply(Box::pin(
            answered.map(|answer| answer.unwrap_or(Err(CacheError::Gone))),
        ))
    }

    /// Keeps what the far tier may not have. What it may have is older, if this is of a kind that changes.
    fn keep_alone(&mut self, key: Key, value: Bytes) {
        if self.far.is_some() && !key.kind.row().is_constant {
            self.near.remove(&key);
            return self.owe([key]);
        }
        self.near.put(key, value);
    }
}

impl Handler<Put> for CacheActor {
    type Result = Reply<Kept>;

    fn handle(&mut self, Put { key, value, ticket }: Put, ctx: &mut Self::Context) -> Self::Result {
        let is_outdated = ticket.is_some_and(|ticket| !self.flights.is_current(&key, ticket));
        if let Some(ticket) = ticket {
            self.land(&key, ticket, &value);
        }
        match self.check(&value) {
            // It was invalidated while it was computed: for those who had asked before.
            Ok(()) if is_outdated => Reply(Box::pin(ready(Ok(())))),
            Ok(()) => self.keep(vec![(key, value)], ctx),
            Err(refused) => Reply(Box::pin(ready(Err(refused)))),
        }
    }
}

impl Handler<PutMany> for CacheActor {
    type Result = Reply<Kept>;

    fn handle(&mut self, PutMany(entries): PutMany, ctx: &mut Self::Context) -> Self::Result {
        match entries.iter().try_for_each(|(_, value)| self.check(value)) {
            Ok(()) => self.keep(entries, ctx),
            Err(refused) => Reply(Box::pin(ready(Err(refused)))),
        }
    }
}

impl Handler<Depend> for CacheActor {
    type Result = Reply<Kept>;

    fn handle(&mut self, Depend { keys, on }: Depend, ctx: &mut Self::Context) -> Self::Result {
        if keys.iter().any(|key| key.kind.row().is_renewed) {
            return Reply(Box::pin(ready(Err(CacheError::Renewed))));
        }
        let Some(far) = self.asked_far() else {
            // Alone, all that is near is forgotten when anything is on which something depends.
            let is_alone = self.far.is_none();
            return Reply(Box::pin(ready(is_alone.then_some(()).ok_or(CacheError::Away))));
        };
        let noted = self.within_budget(far.depend(keys, on));
        let (answer, answered) = oneshot::channel();
        ctx.spawn(noted.into_actor(self).map(move |(done, took), act, _| {
            // Whoever asked may be gone.
            let _ = answer.send(act.heed(done, took).ok_or(CacheError::Away));
        }));
        Reply(Box::pin(
            answered.map(|answer| answer.unwrap_or(Err(CacheError::Gone))),
        ))
    }
}

impl Handler<Touch> for CacheActor {
    type Result = ();

    fn handle(&mut self, Touch(keys): Touch, ctx: &mut Self::Context) {
        let Some(far) = self.asked_far() else { return };
        let touched = self.within_budget(far.touch(keys));
        ctx.spawn(touched.into_actor(self).map(|(done, took), act, _| {
            // What was not touched lives for less long, and that is all.
            act.heed(done, took);
        }));
    }
}
