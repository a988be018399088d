//! Keeper: has the files of keys and of those who are denied read again when they change, or when somebody says so.
//!
//! **Owns** nothing but the error that it told last.
//! **Hears** [`Reload`], from operators; its clock.
//! **Tells** every shard to end the connections whose grants were taken back.
//! **Fails** never: a file that does not hold leaves the one in force that was read before.
//! **After a restart** it goes on.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseActFuture, Supervised,
    WrapFuture as _,
};
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::messages::Recheck;
use serde::Serialize;

use super::Authority;
use crate::shards::Shards;

/// Read the files again, whether or not they look changed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Reloaded, Fault>")]
pub struct Reload;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Reloaded {
    /// Keys by which tokens are verified.
    pub verifiers: usize,
    /// API keys.
    pub keys: usize,
    /// Lines of the deny list.
    pub denied: usize,
    /// Connections that were ended.
    pub ended: usize,
}

/// See the module's description.
pub struct Keeper {
    authority: Arc<Authority>,
    shards: Shards,
    every: Duration,
    told: Option<String>,
}

impl Keeper {
    /// One that looks at the files `every` so often.
    pub fn new(authority: Arc<Authority>, shards: Shards, every: Duration) -> Self {
        Self {
            authority,
            shards,
            every,
            told: None,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        self.authority.audit().tend((self.authority.clock)());
        let looked = look(self.authority.clone(), self.shards.clone(), false).into_actor(self);
        ctx.spawn(looked.map(|looked, act, _| act.heed(&looked)));
    }

    /// The same error is told once.
    fn heed(&mut self, looked: &Result<Reloaded, Fault>) {
        let problem = looked.as_ref().err().map(|fault| fault.message.clone());
        if let Some(problem) = problem
            .as_ref()
            .filter(|problem| self.told.as_ref() != Some(problem))
        {
            tracing::error!(problem, "keys and deny list stay as they were");
        }
        self.told = problem;
    }
}

/// Reads the files; if they have changed, or by order, every shard looks at its connections again.
async fn look(authority: Arc<Authority>, shards: Shards, by_order: bool) -> Result<Reloaded, Fault> {
    let reader = authority.clone();
    let read = actix_rt::task::spawn_blocking(move || reader.reload()).await;
    let changed = read.map_err(|error| Fault::new(Code::Internal, error.to_string()))??;
    let mut ended = 0;
    if changed || by_order {
        for door in shards.all() {
            // A shard that is being restarted looks when it is back: its mailbox is kept.
            ended += door.recheck.send(Recheck).await.unwrap_or(0);
        }
        let known = authority.known();
        tracing::info!(
            target: "audit",
            verifiers = known.verifiers.len(), keys = known.keys.len(), denied = known.denied.len(), ended,
            "read keys and deny list again"
        );
    }
    let known = authority.known();
    Ok(Reloaded {
        verifiers: known.verifiers.len(),
        keys: known.keys.len(),
        denied: known.denied.len(),
        ended,
    })
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.every, Self::look);
    }
}

impl Supervised for Keeper {}

impl Handler<Reload> for Keeper {
    type Result = ResponseActFuture<Self, Result<Reloaded, Fault>>;
    fn handle(&mut self, _: Reload, _: &mut Self::Context) -> Self::Result {
        let looked = look(self.authority.clone(), self.shards.clone(), true).into_actor(self);
        Box::pin(looked.map(|looked, act, _| {
            act.heed(&looked);
            looked
        }))
    }
}
