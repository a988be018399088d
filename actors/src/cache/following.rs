//! Hearing what changes in the far tier, and finding out whether it answers again.

use super::{CacheActor, within};
use crate::far_cache::{Changed, FarCache};
use actix::{
    ActorFutureExt as _, ActorStreamExt as _, AsyncContext as _, Context, WrapFuture as _, fut::wrap_stream,
};
use futures_util::stream::BoxStream;
use std::{sync::Arc, time::Duration};

/// How long it takes until a connection that has ended is made anew: twice as long after each attempt in vain, up to
/// sixteen times.
const FOLLOW_AGAIN: Duration = Duration::from_millis(250);
const DOUBLED: u32 = 4;
/// How long making it may take.
const FOLLOW_WITHIN: Duration = Duration::from_secs(2);

impl CacheActor {
    /// From when this has begun on, and for as long as it lasts, the near tier can be believed.
    pub(super) fn follow(&mut self, ctx: &mut Context<Self>) {
        let Some(far) = self.far.clone() else { return };
        let follows = within(FOLLOW_WITHIN, far.follow()).into_actor(self);
        ctx.spawn(follows.map(move |heard, act, ctx| match heard {
            Ok(heard) => {
                // What has changed before nobody has told.
                act.forget_all_near();
                act.pay(far, heard, ctx);
            }
            Err(error) => {
                if act.unheard == 0 {
                    tracing::warn!(%error, "what changes in the far cache is not heard: only what never changes is near");
                }
                act.follow_again(ctx);
            }
        }));
    }

    /// First the far tier forgets what it could not be told to.
    fn pay(&mut self, far: Arc<dyn FarCache>, heard: BoxStream<'static, Changed>, ctx: &mut Context<Self>) {
        let owed = self.owed.clone();
        let removed = self.within_budget(far.remove(owed.iter().cloned().collect()));
        ctx.spawn(removed.into_actor(self).map(move |(done, took), act, ctx| {
            if act.heed(done, took).is_none() {
                return act.follow_again(ctx);
            }
            act.owed.retain(|key| !owed.contains(key));
            act.hears = act.owed.is_empty();
            if !act.hears {
                // More has come up meanwhile.
                return act.pay(far, heard, ctx);
            }
            act.unheard = 0;
            act.warm_up(ctx);
            let each = wrap_stream(heard).map(|changed, act: &mut Self, _| act.overhear(&changed));
            ctx.spawn(each.finish().map(|(), act, ctx| {
                act.hears = false;
                tracing::debug!("nobody says any more what changes in the far cache");
                ctx.run_later(FOLLOW_AGAIN, Self::follow);
            }));
        }));
    }

    fn follow_again(&mut self, ctx: &mut Context<Self>) {
        let wait = FOLLOW_AGAIN * (1 << self.unheard.min(DOUBLED));
        self.unheard = self.unheard.saturating_add(1);
        ctx.run_later(wait, Self::follow);
    }

    fn overhear(&mut self, changed: &Changed) {
        self.counters.overheard += 1;
        match changed {
            Changed::Keys(keys) => drop(self.forget_near(keys)),
            Changed::All => self.forget_all_near(),
        }
    }

    /// While the far tier is not asked, it is looked whether it answers. While it is, it is told what it was not told.
    pub(super) fn try_again(&mut self, ctx: &mut Context<Self>) {
        if let Some(far) = self.asked_far().filter(|_| self.hears && !self.owed.is_empty()) {
            let owed = self.owed.clone();
            let removed = self.within_budget(far.remove(owed.iter().cloned().collect()));
            ctx.spawn(removed.into_actor(self).map(move |(done, took), act, _| {
                if act.heed(done, took).is_some() {
                    act.owed.retain(|key| !owed.contains(key));
                }
            }));
        }
        let is_due = self.circuit.try_at().is_some_and(|at| at <= self.now_ms());
        let Some(far) = self.far.clone().filter(|_| is_due) else {
            return;
        };
        let asked = self.within_budget(far.ping());
        ctx.spawn(asked.into_actor(self).map(|(answer, took), act, _| {
            act.heed(answer, took);
        }));
    }
}
