//! How the workers are: one board for all threads, read by the dashboard, readiness and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

#[cfg(any(test, feature = "testing"))]
use switch::Switches;

/// All workers by name. Shared: a reader takes it out of its `watch` and lets go of the lock.
pub type Workers = Arc<BTreeMap<String, Status>>;

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Not run yet.
    Starting,
    /// Hears its messages.
    Running,
    /// Waits to run again; messages queue up.
    Restarting,
    /// Panicked too often; its mailbox is closed.
    GivenUp,
    /// Ended by itself, or with its thread.
    Stopped,
}

impl Phase {
    /// Nothing follows this phase.
    pub fn is_final(self) -> bool {
        matches!(self, Self::GivenUp | Self::Stopped)
    }
}

/// Restarts by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restarts {
    /// After a bug.
    pub panics: u32,
    /// After the worker lost its outside world.
    pub outages: u32,
}

/// How one worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Whether the node ends with it.
    pub vital: bool,
    /// How often it was restarted.
    pub restarts: Restarts,
    /// How its latest run ended, in words.
    pub last_exit: Option<String>,
    /// When it entered its phase. An instant means nothing outside this process: see [`Status::aged`].
    #[serde(skip)]
    pub since: Instant,
}

impl Status {
    /// How long it has been in its phase.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// The status with its age, to be serialised.
    pub fn aged(&self, now: Instant) -> Aged<'_> {
        let age_ms = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
        Aged { status: self, age_ms }
    }
}

/// A [`Status`] that says for how long it has been so. What time that was is for the edge to say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Aged<'a> {
    /// How the worker is.
    #[serde(flatten)]
    pub status: &'a Status,
    /// How long it has been in its phase, in milliseconds.
    pub age_ms: u64,
}

/// All workers with their ages, to be serialised.
pub fn ages(workers: &BTreeMap<String, Status>, now: Instant) -> BTreeMap<&str, Aged<'_>> {
    workers
        .iter()
        .map(|(name, status)| (name.as_str(), status.aged(now)))
        .collect()
}

/// The one place where workers say how they are.
#[derive(Default)]
pub(super) struct Board {
    workers: watch::Sender<Workers>,
    /// The first vital worker given up.
    lost: watch::Sender<Option<String>>,
    #[cfg(any(test, feature = "testing"))]
    switches: Switches,
}

impl Board {
    pub(super) fn workers(&self) -> watch::Receiver<Workers> {
        self.workers.subscribe()
    }

    pub(super) fn lost(&self) -> watch::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    /// Enters a worker that starts, and returns the name it got.
    pub(super) fn enter(&self, wanted: &str, vital: bool) -> Arc<str> {
        let mut name = wanted.to_owned();
        self.workers.send_modify(|workers| {
            let workers = Arc::make_mut(workers);
            let is_taken = |name: &str| workers.get(name).is_some_and(|status| !status.phase.is_final());
            let mut number = 1;
            while is_taken(&name) {
                number += 1;
                name = format!("{wanted}#{number}");
            }
            let restarts = Restarts::default();
            let (phase, since) = (Phase::Starting, Instant::now());
            workers.insert(
                name.clone(),
                Status {
                    phase,
                    vital,
                    restarts,
                    last_exit: None,
                    since,
                },
            );
        });
        name.into()
    }

    /// Puts a worker into a phase, along with whatever else `change` changes.
    pub(super) fn put(&self, name: &str, phase: Phase, change: impl FnOnce(&mut Status)) {
        self.workers.send_modify(|workers| {
            let Some(status) = Arc::make_mut(workers).get_mut(name) else {
                return;
            };
            status.phase = phase;
            status.since = Instant::now();
            change(status);
            if phase == Phase::GivenUp && status.vital {
                self.lost.send_if_modified(|lost| {
                    let is_first = lost.is_none();
                    lost.get_or_insert_with(|| name.to_owned());
                    is_first
                });
            }
        });
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn crash(&self, name: &str) -> bool {
        let is_alive = |status: &Status| !status.phase.is_final();
        self.workers.borrow().get(name).is_some_and(is_alive) && self.switches.crash(name)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn switch(&self, name: &str) -> Arc<switch::Switch> {
        self.switches.of(name)
    }
}

/// The switches by which a test makes workers panic.
#[cfg(any(test, feature = "testing"))]
pub(super) mod switch {
    use std::collections::BTreeMap;
    use std::panic::panic_any;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::task::Waker;

    use futures_util::task::AtomicWaker;

    #[derive(Default)]
    pub(in super::super) struct Switches(Mutex<BTreeMap<String, Arc<Switch>>>);

    impl Switches {
        pub(super) fn of(&self, name: &str) -> Arc<Switch> {
            let mut switches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let switch = Arc::<Switch>::default();
            switches.insert(name.to_owned(), switch.clone());
            switch
        }

        pub(super) fn crash(&self, name: &str) -> bool {
            let switches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(switch) = switches.get(name) else {
                return false;
            };
            switch.armed.store(true, Ordering::Release);
            switch.waker.wake();
            true
        }
    }

    #[derive(Default)]
    pub(in super::super) struct Switch {
        armed: AtomicBool,
        waker: AtomicWaker,
    }

    impl Switch {
        /// To be called before [`Switch::check`], so that no crash is overlooked between the two.
        pub(in super::super) fn listen(&self, waker: &Waker) {
            self.waker.register(waker);
        }

        /// Panics if a test wants it.
        #[expect(clippy::panic, reason = "panicking is what it is for")]
        pub(in super::super) fn check(&self) {
            if self.armed.swap(false, Ordering::AcqRel) {
                panic_any("crashed by a test");
            }
        }
    }
}
