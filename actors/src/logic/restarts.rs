//! Whether and when a worker that ended is started again.
//!
//! A bug is retried a few times, the weather is retried for ever. A panic counts against a limit within a sliding
//! window, because the same bug on the same state mostly panics again; an outage says nothing about the worker, so it
//! is only spaced out. [`Policy`] has the knobs, [`History::decide`] is the whole decision.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Below this a delay is no delay: timers tick in milliseconds, and a zero in the configuration must not spin.
const SHORTEST_STEP: Duration = Duration::from_millis(1);
/// Above this a delay is a worker given up in secret.
const LONGEST_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// How a worker is kept alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Restarts after a panic that `window` may hold; the next panic gives the worker up. Outages do not count.
    pub max_restarts: u32,
    /// How far back panics are counted.
    pub window: Duration,
    /// The first outage is waited out for at most this long; every further one for twice as long as the one before.
    pub backoff_min: Duration,
    /// No wait is longer than this.
    pub backoff_max: Duration,
    /// The node is of no use without this worker: giving it up ends the process.
    pub vital: bool,
    /// Messages that fit the worker's mailbox.
    pub mailbox: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_restarts: 3,
            window: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            vital: false,
            mailbox: 16,
        }
    }
}

impl Policy {
    /// How long a worker has to run before its next outage counts as a new one. Longer than the longest wait, so that
    /// a connection attempt which takes its time to fail is not taken for a worker that ran well.
    pub fn well_after(&self) -> Duration {
        self.window.max(self.longest_step())
    }

    fn longest_step(&self) -> Duration {
        self.backoff_max.clamp(SHORTEST_STEP, LONGEST_STEP)
    }

    fn first_step(&self) -> Duration {
        self.backoff_min.clamp(SHORTEST_STEP, self.longest_step())
    }

    /// The wait before the restart that follows `earlier` other ones in the window. The first is immediate: a worker
    /// that stumbled over one message should not be missed. The others together take less than half the window, so a
    /// worker that panics whenever it starts does reach its limit.
    fn panic_step(&self, earlier: u32) -> Duration {
        let Some(doublings) = earlier.checked_sub(1) else {
            return Duration::ZERO;
        };
        let share = self.window / self.max_restarts.saturating_add(1).saturating_mul(2);
        let step = self.first_step().saturating_mul(2u32.saturating_pow(doublings));
        step.min(self.longest_step()).min(share)
    }
}

/// How a run of a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// A bug: its message and, where it is known, its place.
    Panicked(String),
    /// The outside world is gone, and the worker said so.
    Failed(String),
    /// The worker has nothing left to do, or stopped itself.
    Stopped,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked {message}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// What happens to a worker that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It runs again after this wait.
    RestartAfter(Duration),
    /// It wanted to end.
    Done,
    /// It panicked too often.
    GiveUp,
}

/// What a decision depends on: the earlier exits of the same worker, as times since it was first started.
#[derive(Debug, Default)]
pub struct History {
    /// Panics that led to a restart, oldest first, none older than the window at the last decision.
    panics: VecDeque<Duration>,
    /// The wait before the last restart after an outage, without its jitter; `None` while all is well.
    outage_step: Option<Duration>,
    /// When the latest run began, or will begin.
    running_since: Duration,
}

impl History {
    /// Decides what follows `exit` at `now`. `jitter` in `0.0..1.0` is the caller's: it takes up to half off a wait,
    /// so that nodes which lost the same server do not come back to it in step.
    pub fn decide(&mut self, policy: &Policy, exit: &Exit, now: Duration, jitter: f64) -> Decision {
        let step = match exit {
            Exit::Stopped => return Decision::Done,
            Exit::Panicked(_) => self.after_panic(policy, now),
            Exit::Failed(_) => Some(self.after_outage(policy, now)),
        };
        let Some(step) = step else { return Decision::GiveUp };
        let delay = step.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        self.running_since = now.saturating_add(delay);
        Decision::RestartAfter(delay)
    }

    fn after_panic(&mut self, policy: &Policy, now: Duration) -> Option<Duration> {
        while self
            .panics
            .front()
            .is_some_and(|&at| now.saturating_sub(at) > policy.window)
        {
            self.panics.pop_front();
        }
        let earlier = u32::try_from(self.panics.len()).unwrap_or(u32::MAX);
        if earlier >= policy.max_restarts {
            return None;
        }
        self.panics.push_back(now);
        Some(policy.panic_step(earlier))
    }

    fn after_outage(&mut self, policy: &Policy, now: Duration) -> Duration {
        let ran_well = now.saturating_sub(self.running_since) >= policy.well_after();
        let step = match self.outage_step {
            Some(step) if !ran_well => step.saturating_mul(2).min(policy.longest_step()),
            _ => policy.first_step(),
        };
        self.outage_step = Some(step);
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn panicked() -> Exit {
        Exit::Panicked("boom".into())
    }

    fn failed() -> Exit {
        Exit::Failed("gone".into())
    }

    fn delay(decision: Decision) -> Option<Duration> {
        match decision {
            Decision::RestartAfter(delay) => Some(delay),
            Decision::Done | Decision::GiveUp => None,
        }
    }

    #[test]
    fn a_worker_that_stopped_is_done() {
        let decision = History::default().decide(&Policy::default(), &Exit::Stopped, MS, 0.0);
        assert_eq!(decision, Decision::Done);
    }

    #[test]
    fn the_first_panic_restarts_at_once_and_the_fourth_in_ten_seconds_gives_up() {
        let policy = Policy::default();
        let mut history = History::default();
        let decisions = [0, 1, 2, 3].map(|s| history.decide(&policy, &panicked(), MS * s, 1.0));
        let expected = [0, 100, 200].map(|ms| Decision::RestartAfter(MS * ms));
        assert_eq!(decisions[..3], expected);
        assert_eq!(decisions[3], Decision::GiveUp);
    }

    #[test]
    fn a_panic_is_forgotten_once_the_window_has_passed() {
        let policy = Policy {
            max_restarts: 1,
            ..Policy::default()
        };
        let restarts_after = |pause: Duration| {
            let mut history = History::default();
            history.decide(&policy, &panicked(), MS, 0.0);
            delay(history.decide(&policy, &panicked(), MS + pause, 0.0)).is_some()
        };
        assert!(!restarts_after(policy.window));
        assert!(restarts_after(policy.window + MS));
    }

    #[test]
    fn an_outage_after_a_good_run_is_waited_out_from_the_start_again() {
        let policy = Policy::default();
        let outage_after = |run: Duration| {
            let mut history = History::default();
            let mut now = Duration::ZERO;
            for _ in 0..5 {
                now += delay(history.decide(&policy, &failed(), now, 1.0)).unwrap();
            }
            delay(history.decide(&policy, &failed(), now + run, 1.0)).unwrap()
        };
        assert_eq!(outage_after(policy.well_after()), policy.backoff_min);
        assert_eq!(outage_after(policy.well_after() - MS), policy.backoff_min * 32);
    }

    #[test]
    fn a_policy_of_zeroes_does_not_spin_on_an_outage() {
        let policy = Policy {
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            ..Policy::default()
        };
        let decision = History::default().decide(&policy, &failed(), Duration::ZERO, 1.0);
        assert_eq!(decision, Decision::RestartAfter(MS));
    }

    fn policies() -> impl Strategy<Value = Policy> {
        (0..6u32, 0..20_000u32, 0..5_000u32, 0..60_000u32).prop_map(|(max_restarts, window, min, max)| {
            Policy {
                max_restarts,
                window: MS * window,
                backoff_min: MS * min,
                backoff_max: MS * max,
                ..Policy::default()
            }
        })
    }

    /// Exits, each with the time the run took and a jitter.
    fn lives() -> impl Strategy<Value = Vec<(Exit, Duration, f64)>> {
        let exit = prop_oneof![Just(panicked()), Just(failed())];
        let run = prop_oneof![Just(0), 0..1_000u32, 0..40_000u32];
        prop::collection::vec((exit, run.prop_map(|ms| MS * ms), 0.0..1.0), 0..60)
    }

    /// The decisions over a life, each with the time it was made at; a worker given up is started anew by nobody.
    fn live(policy: &Policy, life: &[(Exit, Duration, f64)]) -> Vec<(Duration, Exit, Decision)> {
        let (mut history, mut now, mut decisions) = (History::default(), Duration::ZERO, Vec::new());
        for (exit, run, jitter) in life {
            now += *run;
            let decision = history.decide(policy, exit, now, *jitter);
            decisions.push((now, exit.clone(), decision));
            let Some(delay) = delay(decision) else { break };
            now += delay;
        }
        decisions
    }

    proptest! {
        /// Against a naive model: look at all earlier panics at every panic.
        #[test]
        fn a_worker_is_given_up_exactly_when_the_window_is_full_of_panics(policy in policies(), life in lives()) {
            let mut restarted: Vec<Duration> = Vec::new();
            for (now, exit, decision) in live(&policy, &life) {
                if exit != panicked() {
                    continue;
                }
                let recent = restarted.iter().filter(|&&at| now - at <= policy.window).count();
                prop_assert!(recent <= policy.max_restarts as usize);
                prop_assert_eq!(decision == Decision::GiveUp, recent == policy.max_restarts as usize);
                restarted.push(now);
            }
        }

        #[test]
        fn an_outage_never_gives_up_and_waits_within_its_bounds(policy in policies(), life in lives()) {
            for (_, exit, decision) in live(&policy, &life) {
                if exit == failed() {
                    let delay = delay(decision);
                    prop_assert!(delay.is_some_and(|d| d >= policy.first_step() / 2), "{:?}", delay);
                    prop_assert!(delay.is_some_and(|d| d <= policy.longest_step()), "{:?}", delay);
                }
            }
        }

        #[test]
        fn a_wait_after_a_panic_is_bounded_too(policy in policies(), life in lives()) {
            for (_, exit, decision) in live(&policy, &life) {
                let (true, Some(delay)) = (exit == panicked(), delay(decision)) else { continue };
                prop_assert!(delay <= policy.longest_step());
                prop_assert!(delay * policy.max_restarts <= policy.window / 2);
            }
        }

        #[test]
        fn outages_in_a_row_wait_longer_each_time_up_to_the_cap(
            policy in policies(),
            jitters in prop::collection::vec(0.0..1.0f64, 2..40),
        ) {
            let life: Vec<_> = jitters.iter().map(|j| (failed(), Duration::ZERO, *j)).collect();
            let delays: Vec<_> = live(&policy, &life).iter().filter_map(|(.., d)| delay(*d)).collect();
            let cap = policy.longest_step();
            let mut step = policy.first_step();
            for (index, pair) in delays.windows(2).enumerate() {
                prop_assert!(pair[0] >= step / 2 && pair[0] <= step, "wait {} of {:?}", index, delays);
                prop_assert!(pair[1] >= pair[0] || step * 2 > cap, "wait {} of {:?}", index, delays);
                step = (step * 2).min(cap);
            }
        }

        #[test]
        fn a_worker_that_panics_whenever_it_starts_is_given_up(policy in policies(), jitter in 0.0..1.0f64) {
            let life = vec![(panicked(), Duration::ZERO, jitter); policy.max_restarts as usize + 1];
            let decisions = live(&policy, &life);
            prop_assert_eq!(decisions.len(), life.len());
            prop_assert_eq!(decisions.last().map(|last| last.2), Some(Decision::GiveUp));
        }
    }
}
