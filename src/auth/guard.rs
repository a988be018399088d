//! What keeps strangers out of a node: who judges tokens, and who looks after the files of keys.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_rt::Arbiter;
use greenroom_actors::gate::OpenGate;
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::ports::Gate;
use greenroom_actors::session::mailbox_fault;
use greenroom_actors::supervise::Supervisor;
use tokio::sync::oneshot;

use super::{Authority, FileError, Keeper, Reload, Reloaded};
use crate::config::{Config, sections::AuthMode};
use crate::node::wall_clock;
use crate::shards::Shards;

/// See the module's description. Of a node that asks nobody it is empty.
#[derive(Clone, Default)]
pub struct Guard(Option<(Arc<Authority>, Option<Addr<Keeper>>)>);

impl Guard {
    /// Reads the files, and starts whoever looks after them on this thread. Errors: a file cannot be used.
    pub(crate) async fn start(
        config: &Config,
        thread: &Arbiter,
        supervisor: &Supervisor,
        policy: &Policy,
        shards: &Shards,
    ) -> Result<Self, FileError> {
        if config.auth.mode == AuthMode::Off {
            return Ok(Self::default());
        }
        let authority = Arc::new(Authority::open(&config.auth, wall_clock())?);
        let (told, started) = oneshot::channel();
        let (supervisor, policy, shards) = (supervisor.clone(), policy.clone(), shards.clone());
        let (kept, every) = (authority.clone(), Duration::from_secs(config.auth.reload_seconds));
        thread.spawn_fn(move || {
            let keeper = supervisor.start("auth", policy, |_| Keeper::new(kept, shards, every));
            let _ = told.send(keeper);
        });
        Ok(Self(Some((authority, started.await.ok()))))
    }

    /// Who is let in.
    pub(crate) fn gate(&self) -> Arc<dyn Gate> {
        match &self.0 {
            Some((authority, _)) => authority.clone(),
            None => Arc::new(OpenGate::default()),
        }
    }

    /// How many were refused, by code.
    pub fn refusals(&self) -> [(Code, u64); 2] {
        match &self.0 {
            Some((authority, _)) => authority.audit().counts(),
            None => [(Code::Unauthenticated, 0), (Code::Forbidden, 0)],
        }
    }

    /// Has the files of keys and of those who are denied read again, and ends the connections of those who are denied
    /// now. Errors: `reload_failed`; then nothing has changed.
    pub async fn reload(&self) -> Result<Reloaded, Fault> {
        match &self.0 {
            Some((_, Some(keeper))) => keeper.send(Reload).await.map_err(mailbox_fault)?,
            Some((_, None)) => Err(Fault::new(Code::Internal, "nobody looks after the files of keys")),
            None => Ok(Reloaded::default()),
        }
    }
}
