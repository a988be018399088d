//! Forgetting: near at once, far before it is answered, and if the far tier does not answer, when it does again.

use super::{CacheActor, Invalidate, Invalidated, LONG, OWED_MAX, within};
use crate::{
    far_cache::{FarCache, FarFuture},
    logic::cache::Key,
    reply::Reply,
};
use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use futures_util::future::FutureExt as _;
use std::future::ready;
use tokio::sync::oneshot;

/// What is told of an invalidation of which nobody knows what came of it.
const UNKNOWN: Invalidated = Invalidated {
    removed: 0,
    everywhere: false,
};

impl CacheActor {
    /// These have changed: nothing of them that was found before is kept or given to who asks from now on.
    pub(super) fn forget_near(&mut self, keys: &[Key]) -> u64 {
        let mut removed = 0;
        for key in keys {
            removed += u64::from(self.near.remove(key));
            self.flights.outdate(key);
            self.underway.heard(key);
        }
        removed
    }

    /// Anything may have changed.
    pub(super) fn forget_all_near(&mut self) {
        self.near.clear();
        self.flights.outdate_all();
        self.underway.heard_all();
    }

    /// The far tier is to be told to forget these.
    pub(super) fn owe(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.owed.extend(keys);
        while self.owed.len() > OWED_MAX {
            // The far tier's life time has to do for these.
            self.owed.pop_last();
            self.counters.far_errors += 1;
        }
    }

    pub(super) fn is_owed(&self, key: &Key) -> bool {
        let whole = |key: &Key| Key {
            field: None,
            ..key.clone()
        };
        !self.owed.is_empty()
            && (self.owed.contains(key) || key.field.is_some() && self.owed.contains(&whole(key)))
    }

    pub(super) fn forget(&mut self, keys: Vec<Key>, ctx: &mut Context<Self>) -> Reply<Invalidated> {
        self.counters.invalidated += keys.len() as u64;
        let near = self.forget_near(&keys);
        let Some(far) = self.asked_far() else {
            let everywhere = self.far.is_none();
            if !everywhere {
                self.owe(keys);
            }
            let removed = near;
            return Reply(Box::pin(ready(Invalidated { removed, everywhere })));
        };
        let removed = self.within_budget(far.remove(keys.clone()));
        let (answer, answered) = oneshot::channel();
        ctx.spawn(removed.into_actor(self).map(move |(done, took), act, _| {
            // What has come near meanwhile may have been read before.
            act.forget_near(&keys);
            let removed = act.heed(done, took);
            if removed.is_none() {
                act.owe(keys);
            }
            // Whoever asked may be gone.
            let _ = answer.send(Invalidated {
                removed: removed.unwrap_or(near),
                everywhere: removed.is_some(),
            });
        }));
        Reply(Box::pin(answered.map(|answer| answer.unwrap_or(UNKNOWN))))
    }

    /// What only the far tier can find, and that little by little.
    fn forget_found(
        &mut self,
        remove: impl FnOnce(&dyn FarCache) -> FarFuture<u64>,
        ctx: &mut Context<Self>,
    ) -> Reply<Invalidated> {
        self.near.settle();
        let (near, _) = self.near.size();
        // Which of those near match is not worth knowing: they are read again.
        self.forget_all_near();
        let Some(far) = self.asked_far() else {
            return Reply(Box::pin(ready(Invalidated {
                removed: near,
                everywhere: self.far.is_none(),
            })));
        };
        let (answer, answered) = oneshot::channel();
        let removed = within(LONG, remove(&*far)).into_actor(self);
        ctx.spawn(removed.map(move |removed, act, _| {
            act.forget_all_near();
            let _ = answer.send(match removed {
                Ok(removed) => Invalidated {
                    removed,
                    everywhere: true,
                },
                Err(_) => UNKNOWN,
            });
        }));
        Reply(Box::pin(answered.map(|answer| answer.unwrap_or(UNKNOWN))))
    }
}

impl Handler<Invalidate> for CacheActor {
    type Result = Reply<Invalidated>;

    fn handle(&mut self, what: Invalidate, ctx: &mut Self::Context) -> Self::Result {
        let keys = match what {
            Invalidate::Keys(keys) => keys,
            Invalidate::Commit(project) => vec![Key::fingerprint(&project), Key::manifest(&project)],
            Invalidate::Files(project, paths) => paths.iter().map(|path| Key::file(&project, path)).collect(),
            Invalidate::Project(project) => Key::all_of(&project).into(),
            Invalidate::Dependents(on) => return self.forget_found(|far| far.remove_dependents(on), ctx),
            Invalidate::Matching(pattern) => {
                return self.forget_found(|far| far.remove_matching(pattern), ctx);
            }
        };
        self.forget(keys, ctx)
    }
}
