//! The future that drives one worker through its runs.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use actix::dev::{AsyncContextParts, ContextFut};
use actix::{Actor, ActorContext, Addr, Context, Supervised};
use tokio::time::{Instant, Sleep, sleep};
use tracing::Span;

use super::inbox::Inbox;
use super::status::{Board, Phase, Restarts};
use super::{Lifeline, Supervisor, panics};
use crate::logic::restarts::{Decision, Exit, History, Policy};

/// One supervised actor. Nothing that the actor does, or fails to do, may panic out of this future.
pub(super) struct Worker<A: Actor<Context = Context<A>> + Supervised> {
    name: Arc<str>,
    policy: Policy,
    board: Arc<Board>,
    span: Span,
    lifeline: Lifeline<A>,
    seed: u64,
    born: Instant,
    history: History,
    restarts: Restarts,
    stage: Stage,
    /// `None` once the worker has ended.
    run: Option<Run<A>>,
    #[cfg(any(test, feature = "testing"))]
    switch: Arc<super::status::switch::Switch>,
}

/// The actor with its futures, and the mailbox behind them; dropped in this order.
struct Run<A: Actor<Context = Context<A>>> {
    future: ContextFut<A, Context<A>>,
    inbox: Inbox<A>,
}

enum Stage {
    /// The next poll calls `started`.
    Fresh,
    /// `started` was survived.
    Running,
    /// Between two runs. `renewed` says whether the old run's futures are dropped and `restarting` was survived.
    Waiting {
        delay: Option<Pin<Box<Sleep>>>,
        renewed: bool,
    },
}

impl<A: Actor<Context = Context<A>> + Supervised> Worker<A> {
    pub(super) fn new(
        supervisor: &Supervisor,
        name: &str,
        policy: Policy,
        lifeline: Lifeline<A>,
        actor: A,
    ) -> (Addr<A>, Self) {
        let (addr, inbox) = Inbox::new(policy.mailbox);
        let mut future = Context::new().into_future(actor);
        *future.ctx().parts() = inbox.parts();
        inbox.pump_into(future.ctx());
        let board = supervisor.board.clone();
        let name = board.enter(name, policy.vital);
        let worker = Self {
            span: tracing::info_span!("worker", name = &*name),
            #[cfg(any(test, feature = "testing"))]
            switch: board.switch(&name),
            name,
            policy,
            board,
            lifeline,
            seed: supervisor.seed,
            born: Instant::now(),
            history: History::default(),
            restarts: Restarts::default(),
            stage: Stage::Fresh,
            run: Some(Run { future, inbox }),
        };
        (addr, worker)
    }

    fn advance(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if let Stage::Waiting { delay, renewed } = &mut self.stage {
            if let Some(delay) = delay {
                ready!(delay.as_mut().poll(cx));
            }
            if !*renewed && let Err(exit) = self.renew() {
                return self.leave(&exit, cx);
            }
            self.stage = Stage::Fresh;
        }
        let Err(exit) = self.turn(cx) else {
            if matches!(self.stage, Stage::Fresh) {
                self.stage = Stage::Running;
                self.board.put(&self.name, Phase::Running, |_| {});
            }
            return Poll::Pending;
        };
        if self.leave(&exit, cx).is_ready() {
            return Poll::Ready(());
        }
        // The old run lets go of what it holds before the wait, not after it.
        self.renew()
            .map_or_else(|exit| self.leave(&exit, cx), |()| Poll::Pending)
    }

    /// Polls the actor; an error is the end of its run.
    fn turn(&mut self, cx: &mut task::Context<'_>) -> Result<(), Exit> {
        let Some(run) = &mut self.run else {
            return Err(Exit::Stopped);
        };
        #[cfg(any(test, feature = "testing"))]
        self.switch.listen(cx.waker());
        loop {
            let polled = panics::catch(&self.name, || {
                #[cfg(any(test, feature = "testing"))]
                self.switch.check();
                Pin::new(&mut run.future).poll(cx)
            });
            match (polled, self.lifeline.take_failure()) {
                (Err(panic), _) => return Err(Exit::Panicked(panic)),
                (Ok(_), Some(reason)) => return Err(Exit::Failed(reason)),
                (Ok(Poll::Ready(())), None) => return Err(Exit::Stopped),
                (Ok(Poll::Pending), None) if run.inbox.pump_again(run.future.ctx(), cx) => {}
                (Ok(Poll::Pending), None) => return Ok(()),
            }
        }
    }

    /// Drops what is left of the old run and makes the actor ready for the next one.
    fn renew(&mut self) -> Result<(), Exit> {
        let Some(Run { future, inbox }) = &mut self.run else {
            return Ok(());
        };
        let renewed = panics::catch(&self.name, || {
            *future.ctx().parts() = inbox.parts();
            // A context without an address refuses to restart, and this one's own mailbox has none.
            let _address = future.address();
            future.restart();
            inbox.pump_into(future.ctx());
        });
        match (renewed, self.lifeline.take_failure()) {
            (Err(panic), _) => return Err(Exit::Panicked(panic)),
            (Ok(()), Some(reason)) => return Err(Exit::Failed(reason)),
            (Ok(()), None) => {}
        }
        if let Stage::Waiting { renewed, .. } = &mut self.stage {
            *renewed = true;
        }
        Ok(())
    }

    /// Does what is decided about an exit. Ready if nothing follows it.
    fn leave(&mut self, exit: &Exit, cx: &mut task::Context<'_>) -> Poll<()> {
        match self
            .history
            .decide(&self.policy, exit, self.born.elapsed(), self.jitter())
        {
            Decision::RestartAfter(delay) => {
                self.wait(exit, delay);
                // To be polled once more now, which registers the timer; without one, lets the others have a turn.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Decision::Done => {
                tracing::debug!(worker = &*self.name, "worker is done");
                self.end(Phase::Stopped, exit.to_string());
                Poll::Ready(())
            }
            Decision::GiveUp => {
                let (
                    Policy {
                        max_restarts,
                        window,
                        vital,
                        ..
                    },
                    worker,
                ) = (&self.policy, &*self.name);
                tracing::error!(worker, %exit, max_restarts, ?window, vital, "worker is given up");
                self.end(Phase::GivenUp, exit.to_string());
                Poll::Ready(())
            }
        }
    }

    fn wait(&mut self, exit: &Exit, delay: Duration) {
        match exit {
            Exit::Panicked(_) => self.restarts.panics = self.restarts.panics.saturating_add(1),
            Exit::Failed(_) | Exit::Stopped => {
                self.restarts.outages = self.restarts.outages.saturating_add(1)
            }
        }
        let Restarts { panics, outages } = self.restarts;
        tracing::warn!(worker = &*self.name, %exit, ?delay, panics, outages, "worker restarts");
        let delay = (!delay.is_zero()).then(|| Box::pin(sleep(delay)));
        self.stage = Stage::Waiting {
            delay,
            renewed: false,
        };
        self.board.put(&self.name, Phase::Restarting, |status| {
            status.restarts = self.restarts;
            status.last_exit = Some(exit.to_string());
        });
    }

    /// Differs from worker to worker and from wait to wait.
    fn jitter(&self) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, &self.name, self.restarts.panics, self.restarts.outages).hash(&mut hasher);
        f64::from(hasher.finish() as u32) / f64::from(u32::MAX)
    }

    /// Closes the mailbox, then says so: who reads that a worker was given up finds its address closed.
    fn end(&mut self, phase: Phase, last_exit: String) {
        let Some(mut run) = self.run.take() else { return };
        // Dropped alive, a context polls its actor again. That is a farewell to one that runs, not to a broken one,
        // and one that was not started yet would be.
        let is_well = matches!(self.stage, Stage::Running) && phase == Phase::Stopped;
        let dropped = panics::catch(&self.name, || {
            if !is_well {
                run.future.ctx().terminate();
            }
            drop(run);
        });
        if let Err(panic) = dropped {
            tracing::error!(worker = &*self.name, %panic, "worker panicked while it was dropped");
        }
        self.board
            .put(&self.name, phase, |status| status.last_exit = Some(last_exit));
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Future for Worker<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let worker = self.get_mut();
        // Taken out rather than cloned, which the log would count with each turn of the worker.
        let span = std::mem::replace(&mut worker.span, Span::none());
        let polled = span.in_scope(|| worker.advance(cx));
        worker.span = span;
        polled
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Drop for Worker<A> {
    fn drop(&mut self) {
        let span = self.span.clone();
        let _entered = span.enter();
        self.end(Phase::Stopped, "its thread ended".to_owned());
    }
}
