//! Reading: near, then far.

use super::{
    CacheActor, Get, GetMany, LONG, Lease, Leased, USED_MAX,
    lending::{Answer, Waiter},
    micros,
    underway::Since,
    within,
};
use crate::{
    far_cache::FarError,
    logic::cache::{Key, flight::Asked, meter::Found},
    reply::Reply,
};
use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use futures_util::future::FutureExt as _;
use std::{future::ready, time::Duration};
use tokio::{sync::oneshot, time::Instant};

type Values = Vec<Option<Bytes>>;

impl CacheActor {
    /// What the near tier has, if it may be believed.
    fn look_near(&self, key: &Key) -> Option<Bytes> {
        let row = key.kind.row();
        let is_believed = row.is_near && (self.hears || row.is_constant);
        is_believed.then(|| self.near.get(key)).flatten()
    }

    /// The same, counted if it is there. Reading the clock costs about as much as finding the entry: twice has to do.
    fn find_near(&mut self, key: &Key) -> Option<Bytes> {
        let began = Instant::now();
        let value = self.look_near(key)?;
        self.found_near(key, &value, began, began.elapsed());
        Some(value)
    }

    fn found_near(&mut self, key: &Key, value: &Bytes, at: Instant, took: Duration) {
        self.counters.near.note(micros(took));
        self.counters.saved_bytes += value.len() as u64;
        self.meter.note(key.kind, Found::Near, self.ms_at(at));
    }

    fn missed(&mut self, keys: &[Key], places: &[usize]) {
        let now_ms = self.now_ms();
        for place in places {
            self.meter.note(keys[*place].kind, Found::Missed, now_ms);
        }
    }

    /// Asks the far tier for what is not near, and hands all of it to `then`.
    fn read(
        &mut self,
        keys: Vec<Key>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, Vec<Key>, Values, &mut Context<Self>) + 'static,
    ) {
        let began = Instant::now();
        let mut values: Values = keys.iter().map(|key| self.look_near(key)).collect();
        let each = began.elapsed() / u32::try_from(keys.len().max(1)).unwrap_or(u32::MAX);
        for (key, value) in keys.iter().zip(&values) {
            if let Some(value) = value {
                self.found_near(key, value, began, each);
            }
        }
        let missing = (0..keys.len()).filter(|place| values[*place].is_none());
        // What the far tier is still to be told to forget it would give out.
        let (owed, missing): (Vec<usize>, Vec<usize>) =
            missing.partition(|place| self.is_owed(&keys[*place]));
        self.missed(&keys, &owed);
        let Some(far) = self.asked_far().filter(|_| !missing.is_empty()) else {
            self.missed(&keys, &missing);
            return then(self, keys, values, ctx);
        };
        let wanted: Vec<Key> = missing.iter().map(|place| keys[*place].clone()).collect();
        let since = self.underway.begin();
        let asked = self.within_budget(far.get(wanted));
        ctx.spawn(asked.into_actor(self).map(move |(answer, took), act, ctx| {
            act.arrived((&keys, &missing), &mut values, (answer, took), since);
            act.underway.end();
            then(act, keys, values, ctx);
            act.stow_soon(ctx);
        }));
    }

    fn arrived(
        &mut self,
        (keys, missing): (&[Key], &[usize]),
        values: &mut Values,
        (answer, took): (Result<Values, FarError>, Duration),
        since: Since,
    ) {
        let found = self.heed(answer, took).unwrap_or_default();
        let (mut found, now_ms) = (found.into_iter(), self.now_ms());
        for place in missing {
            let key = &keys[*place];
            match found.next().flatten() {
                Some(value) => {
                    self.meter.note(key.kind, Found::Far, now_ms);
                    if key.kind.row().is_renewed && self.used.len() < USED_MAX {
                        self.used.push(key.clone());
                    }
                    if self.hears && self.underway.is_fresh(key, since) {
                        self.near.put(key.clone(), value.clone());
                    }
                    values[*place] = Some(value);
                }
                None => self.meter.note(key.kind, Found::Missed, now_ms),
            }
        }
    }

    /// Has what was used live as long again. Nobody waits for that.
    pub(super) fn renew(&mut self, ctx: &mut Context<Self>) {
        let Some(far) = self.asked_far().filter(|_| !self.used.is_empty()) else {
            return;
        };
        let used = std::mem::take(&mut self.used);
        let renewed = within(LONG, far.touch(used)).into_actor(self);
        // What was not renewed is when it is used again.
        ctx.spawn(renewed.map(|_, _, _| ()));
    }
}

impl Handler<Get> for CacheActor {
    type Result = Reply<Option<Bytes>>;

    fn handle(&mut self, Get(key): Get, ctx: &mut Self::Context) -> Self::Result {
        if let Some(value) = self.find_near(&key) {
            return Reply(Box::pin(ready(Some(value))));
        }
        let (answer, answered) = oneshot::channel();
        self.read(vec![key], ctx, move |_, _, mut values, _| {
            // Whoever asked may be gone.
            let _ = answer.send(values.pop().flatten());
        });
        Reply(Box::pin(answered.map(|answer| answer.ok().flatten())))
    }
}

impl Handler<GetMany> for CacheActor {
    type Result = Reply<Values>;

    fn handle(&mut self, GetMany(keys): GetMany, ctx: &mut Self::Context) -> Self::Result {
        let nothing = vec![None; keys.len()];
        let (answer, answered) = oneshot::channel();
        self.read(keys, ctx, move |_, _, values, _| drop(answer.send(values)));
        Reply(Box::pin(answered.map(|answer| answer.unwrap_or(nothing))))
    }
}

impl Handler<Lease> for CacheActor {
    type Result = Reply<Leased>;

    fn handle(&mut self, Lease(key): Lease, ctx: &mut Self::Context) -> Self::Result {
        if let Some(value) = self.find_near(&key) {
            return Reply(Box::pin(ready(Leased::Hit(value))));
        }
        let (answer, answered) = oneshot::channel();
        self.lend(key, Waiter(answer), ctx);
        Reply(Answer(answered).into_reply())
    }
}

impl CacheActor {
    /// The first one looks far, for all who come meanwhile, and computes it if it is not there.
    fn lend(&mut self, key: Key, asker: Waiter, ctx: &mut Context<Self>) {
        let Asked::Yours(ticket, asker) = self.flights.ask(&key, asker) else {
            let now_ms = self.now_ms();
            return self.meter.note(key.kind, Found::Shared, now_ms);
        };
        self.read(vec![key], ctx, move |act, mut keys, mut values, _| {
            let Some(key) = keys.pop() else { return };
            match values.pop().flatten() {
                Some(value) => {
                    act.land(&key, ticket, &value);
                    asker.hit(value);
                }
                None => act.hand(&key, ticket, asker),
            }
        });
    }
}
