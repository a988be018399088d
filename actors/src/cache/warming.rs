//! Loading what will be wanted before anybody asks for it: the projects that were indexed last, when the near tier begins
//! to be believed, and what [`Warm`] names. It counts neither as a hit nor as a miss.

use super::{CacheActor, Warm, within};
use crate::{logic::cache::Key, logic::cache::Name, reply::Reply};
use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use futures_util::future::FutureExt as _;
use std::{collections::VecDeque, time::Duration};
use tokio::sync::oneshot;

/// How long one answer may take. Nobody's request waits for it.
const WARM_WITHIN: Duration = Duration::from_secs(2);

fn of_project(project: &Name) -> Vec<Key> {
    vec![Key::fingerprint(project), Key::manifest(project)]
}

impl CacheActor {
    /// Loads the projects that were indexed last.
    pub(super) fn warm_up(&mut self, ctx: &mut Context<Self>) {
        let limit = self.settings.warm_projects;
        let Some(far) = self.asked_far().filter(|_| limit > 0) else {
            return;
        };
        let asked = within(WARM_WITHIN, far.recent(limit)).into_actor(self);
        ctx.spawn(asked.map(|projects, act, ctx| match projects {
            Ok(projects) => act.warm_next(projects.into(), ctx),
            Err(error) => tracing::debug!(%error, "nothing is loaded before it is asked for"),
        }));
    }

    /// One after the other, so that no answer is large, until half of the near tier is full: the rest is for what is asked
    /// for.
    fn warm_next(&mut self, mut projects: VecDeque<Name>, ctx: &mut Context<Self>) {
        self.near.settle();
        let (_, bytes) = self.near.size();
        let Some(project) = projects.pop_front() else {
            return;
        };
        if self.hears && bytes < self.settings.near_bytes / 2 {
            self.load(of_project(&project), ctx, move |act, loaded, ctx| {
                if loaded.is_some() {
                    act.warm_next(projects, ctx);
                }
            });
        }
    }

    /// Has these near, as far as they are there. Hands on how many are, or nothing if the far tier does not say.
    fn load(
        &mut self,
        keys: Vec<Key>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, Option<usize>, &mut Context<Self>) + 'static,
    ) {
        let (near, wanted): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| self.near.has(key));
        let wanted: Vec<Key> = wanted.into_iter().filter(|key| !self.is_owed(key)).collect();
        let there = near.len();
        let Some(far) = self.asked_far() else {
            return then(self, self.far.is_none().then_some(there), ctx);
        };
        let since = self.underway.begin();
        let asked = within(WARM_WITHIN, far.get(wanted.clone())).into_actor(self);
        ctx.spawn(asked.map(move |answer, act, ctx| {
            let is_answered = answer.is_ok();
            let mut values = answer.unwrap_or_default().into_iter();
            let mut there = there;
            for key in wanted {
                let Some(value) = values.next().flatten() else {
                    continue;
                };
                there += 1;
                if act.hears && act.underway.is_fresh(&key, since) {
                    act.counters.warmed += 1;
                    act.near.put(key, value);
                }
            }
            act.underway.end();
            act.stow_soon(ctx);
            then(act, is_answered.then_some(there), ctx);
        }));
    }
}

impl Handler<Warm> for CacheActor {
    type Result = Reply<usize>;

    fn handle(&mut self, Warm { project, besides }: Warm, ctx: &mut Self::Context) -> Self::Result {
        let mut keys = of_project(&project);
        keys.extend(besides);
        let (answer, answered) = oneshot::channel();
        self.load(keys, ctx, move |_, there, _| {
            // Whoever asked may be gone.
            let _ = answer.send(there.unwrap_or(0));
        });
        Reply(Box::pin(answered.map(|answer| answer.unwrap_or(0))))
    }
}
