//! Every way in which a worker can end, on virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::dev::SendError;
use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, MailboxError, Message, Running, SpawnHandle,
    Supervised,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::{Level, Metadata, field, span};

use super::{Lifeline, Phase, Restarts, Status, Supervisor, ages, current_worker, note_panic};
use crate::logic::restarts::Policy;
use crate::testing::on_virtual_time;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// An actor that does what a test tells it to, and keeps a diary.
struct Patient {
    lifeline: Lifeline<Patient>,
    diary: Diary,
    script: Script,
    runs: u32,
    timer: SpawnHandle,
}

type Step = fn(&mut Patient, &mut Context<Patient>);

/// What the patient does in its life cycle. It can tell the runs apart by `runs`, counted from one.
#[derive(Clone, Copy)]
struct Script {
    started: Step,
    restarting: Step,
    stopping: fn() -> Running,
    stopped: Step,
}

const CALM: Script = Script {
    started: |_, _| {},
    restarting: |_, _| {},
    stopping: || Running::Stop,
    stopped: |_, _| {},
};

impl Actor for Patient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.runs += 1;
        self.diary.note("started");
        (self.script.started)(self, ctx);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        (self.script.stopping)()
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        self.diary.note("stopped");
        (self.script.stopped)(self, ctx);
    }
}

impl Supervised for Patient {
    fn restarting(&mut self, ctx: &mut Self::Context) {
        self.diary.note("restarting");
        (self.script.restarting)(self, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Do(Step);

impl Handler<Do> for Patient {
    type Result = ();

    fn handle(&mut self, Do(step): Do, ctx: &mut Self::Context) {
        step(self, ctx);
    }
}

#[derive(Message, Debug)]
#[rtype(result = "u32")]
struct Say(u32);

impl Handler<Say> for Patient {
    type Result = u32;

    fn handle(&mut self, Say(number): Say, _: &mut Self::Context) -> u32 {
        self.diary.note(&number.to_string());
        number
    }
}

#[derive(Clone, Default)]
struct Diary(Rc<RefCell<String>>);

impl Diary {
    fn note(&self, what: &str) {
        let mut text = self.0.borrow_mut();
        let gap = if text.is_empty() { "" } else { " " };
        write!(text, "{gap}{what}").unwrap();
    }

    /// What was noted since the last look.
    fn read(&self) -> String {
        self.0.take()
    }
}

/// Panics when it is dropped, but never because of another panic, which would abort.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

const BOOM: Do = Do(|_, _| panic!("boom"));

fn patient(supervisor: &Supervisor, policy: Policy, script: Script) -> (Addr<Patient>, Diary) {
    let diary = Diary::default();
    let addr = supervisor.start("patient", policy, |lifeline| Patient {
        lifeline,
        diary: diary.clone(),
        script,
        runs: 0,
        timer: SpawnHandle::default(),
    });
    (addr, diary)
}

fn status(supervisor: &Supervisor) -> Status {
    supervisor.workers().borrow()["patient"].clone()
}

fn restarts(supervisor: &Supervisor) -> (u32, u32) {
    let Restarts { panics, outages } = status(supervisor).restarts;
    (panics, outages)
}

/// Tells a calm patient to do something that is its end, and checks that it serves again at once.
fn one_panic(script: Script, task: Do, expected: &str) {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), script);
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        let before = Instant::now();
        addr.try_send(task).unwrap();
        sleep(5 * MS).await;
        assert_eq!(restarts(&supervisor), (1, 0));
        assert_eq!(addr.send(Say(2)).await, Ok(2));
        assert!(before.elapsed() <= 6 * MS);
        assert_eq!(diary.read(), expected);
        assert_eq!(status(&supervisor).phase, Phase::Running);
    });
}

#[test]
fn a_panic_in_a_handler_is_survived() {
    one_panic(CALM, BOOM, "started 1 restarting started 2");
}

#[test]
fn a_panic_in_a_timer_is_survived() {
    let task = Do(|_, ctx| {
        ctx.run_later(MS, |_, _| panic!("boom"));
    });
    one_panic(CALM, task, "started 1 restarting started 2");
}

#[test]
fn a_panic_in_a_spawned_future_is_survived() {
    let task = Do(|_, ctx| {
        let future = async {
            sleep(MS).await;
            panic!("boom");
        };
        ctx.spawn(wrap_future(future));
    });
    one_panic(CALM, task, "started 1 restarting started 2");
}

#[test]
fn a_panic_in_a_future_waited_for_is_survived() {
    let task = Do(|_, ctx| ctx.wait(wrap_future(async { panic!("boom") })));
    one_panic(CALM, task, "started 1 restarting started 2");
}

#[test]
fn a_panic_in_stopped_is_survived() {
    let script = Script {
        stopped: |_, _| panic!("boom"),
        ..CALM
    };
    one_panic(
        script,
        Do(|_, ctx| ctx.stop()),
        "started 1 stopped restarting started 2",
    );
}

#[test]
fn a_panic_in_stopping_is_survived() {
    let script = Script {
        stopping: || panic!("boom"),
        ..CALM
    };
    one_panic(script, Do(|_, ctx| ctx.stop()), "started 1 restarting started 2");
}

#[test]
fn a_panic_in_started_is_survived() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let started: Step = |patient, _| assert!(patient.runs > 1, "boom");
        let (addr, diary) = patient(&supervisor, Policy::default(), Script { started, ..CALM });
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert_eq!(diary.read(), "started restarting started 1");
        assert_eq!(restarts(&supervisor), (1, 0));
    });
}

#[test]
fn a_panic_in_restarting_counts_and_restarting_is_called_again() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let restarting: Step = |patient, _| {
            patient.timer = patient.timer.next();
            assert!(patient.timer != SpawnHandle::default().next(), "boom");
        };
        let (addr, diary) = patient(&supervisor, Policy::default(), Script { restarting, ..CALM });
        assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert_eq!(diary.read(), "started restarting restarting started 1");
        assert_eq!(restarts(&supervisor), (2, 0));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_spawned_future_counts_and_is_survived() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), CALM);
        let arm = Do(|_, ctx| {
            let bomb = Bomb;
            ctx.spawn(wrap_future(async move {
                pending::<()>().await;
                drop(bomb);
            }));
        });
        addr.send(arm).await.unwrap();
        assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert_eq!(diary.read(), "started restarting started 1");
        assert_eq!(restarts(&supervisor), (2, 0));
        assert!(status(&supervisor).last_exit.unwrap().contains("dropped"));
    });
}

#[test]
fn a_panic_whose_payload_panics_in_its_drop_is_survived() {
    one_panic(
        CALM,
        Do(|_, _| std::panic::panic_any(Bomb)),
        "started 1 restarting started 2",
    );
}

#[test]
fn a_panic_costs_one_message_and_nothing_else() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), CALM);
        let recipient = addr.clone().recipient::<Say>();
        addr.try_send(Say(1)).unwrap();
        addr.try_send(BOOM).unwrap();
        for number in 2..6 {
            recipient.try_send(Say(number)).unwrap();
        }
        assert_eq!(recipient.send(Say(6)).await, Ok(6));
        assert_eq!(diary.read(), "started 1 restarting started 2 3 4 5 6");
    });
}

#[test]
fn messages_sent_during_a_wait_are_kept_and_the_mailbox_stays_bounded() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(
            &supervisor,
            Policy {
                mailbox: 4,
                ..Policy::default()
            },
            CALM,
        );
        addr.send(Do(|patient, ctx| patient.lifeline.clone().fail(ctx, "gone")))
            .await
            .unwrap();
        assert_eq!(status(&supervisor).phase, Phase::Restarting);
        let mut kept = 0;
        while addr.try_send(Say(kept)).is_ok() {
            kept += 1;
        }
        assert_eq!(kept, 4);
        assert!(matches!(addr.try_send(Say(0)), Err(SendError::Full(_))));
        sleep(SECOND).await;
        assert_eq!(diary.read(), "started stopped restarting started 0 1 2 3");
    });
}

#[test]
fn a_restart_drops_the_futures_and_timers_of_the_old_run() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), CALM);
        let task = Do(|_, ctx| {
            ctx.run_interval(MS, |patient, _| patient.diary.note("tick"));
        });
        addr.send(task).await.unwrap();
        assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        sleep(SECOND).await;
        assert_eq!(diary.read(), "started restarting started");
    });
}

#[test]
fn a_timer_cancelled_in_the_last_turn_of_a_run_does_not_cancel_one_of_the_next() {
    for end in [
        Do(|patient, ctx| cancel_and(patient, ctx, true)),
        Do(|patient, ctx| cancel_and(patient, ctx, false)),
    ] {
        on_virtual_time(async {
            let supervisor = Supervisor::seeded(1);
            let started: Step = |patient, ctx| {
                patient.timer = ctx.run_interval(SECOND, |patient, _| patient.diary.note("tick"));
            };
            let (addr, diary) = patient(&supervisor, Policy::default(), Script { started, ..CALM });
            addr.try_send(end).unwrap();
            sleep(SECOND / 2).await;
            assert_eq!(diary.read().matches("started").count(), 2);
            sleep(SECOND * 3).await;
            assert_eq!(diary.read(), "tick tick tick");
            drop(addr);
        });
    }
}

fn cancel_and(patient: &mut Patient, ctx: &mut Context<Patient>, panics: bool) {
    ctx.cancel_future(patient.timer);
    assert!(!panics, "boom");
    patient.lifeline.clone().fail(ctx, "gone");
}

#[test]
fn the_panic_after_the_last_allowed_one_gives_up_and_closes_the_mailbox() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), CALM);
        for _ in 0..3 {
            assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        }
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        addr.try_send(BOOM).unwrap();
        let queued = addr.send(Say(2));
        assert_eq!(queued.await, Err(MailboxError::Closed));
        assert!(!addr.connected());
        assert!(matches!(addr.try_send(Say(3)), Err(SendError::Closed(_))));
        let Status {
            phase,
            restarts,
            last_exit,
            ..
        } = status(&supervisor);
        assert_eq!((phase, restarts.panics), (Phase::GivenUp, 3));
        assert!(last_exit.unwrap().contains("boom"));
        let lives = "started restarting started restarting started restarting started 1";
        assert_eq!(diary.read(), lives, "stopped is not called on a broken actor");
    });
}

#[test]
fn a_worker_that_always_panics_in_started_is_given_up() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let script = Script {
            started: |_, _| panic!("boom"),
            ..CALM
        };
        let (addr, diary) = patient(&supervisor, Policy::default(), script);
        assert_eq!(
            timeout(10 * SECOND, addr.send(Say(1))).await,
            Ok(Err(MailboxError::Closed))
        );
        assert_eq!(diary.read().matches("started").count(), 4);
    });
}

#[test]
fn a_worker_that_panics_while_it_is_given_up_is_given_up_all_the_same() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let policy = Policy {
            max_restarts: 0,
            ..Policy::default()
        };
        let (addr, _) = patient(&supervisor, policy, CALM);
        let task = Do(|_, ctx| {
            let bomb = Bomb;
            ctx.run_later(SECOND, move |_, _| drop(bomb));
        });
        addr.send(task).await.unwrap();
        assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        assert!(!addr.connected());
        assert_eq!(status(&supervisor).phase, Phase::GivenUp);
    });
}

#[test]
fn panics_are_forgotten_as_the_window_slides() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, _) = patient(&supervisor, Policy::default(), CALM);
        for _ in 0..100 {
            assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
            sleep(4 * SECOND).await;
        }
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert_eq!(restarts(&supervisor), (100, 0));
        for _ in 0..4 {
            assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        }
        assert!(!addr.connected(), "it is still given up when they come faster");
    });
}

#[test]
fn an_outage_is_retried_for_ever_ever_more_slowly() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let started: Step = |patient, ctx| {
            if patient.runs <= 130 {
                patient.lifeline.clone().fail(ctx, "no route");
            }
        };
        let (addr, _) = patient(&supervisor, Policy::default(), Script { started, ..CALM });
        addr.try_send(Say(1)).unwrap();
        sleep(3 * SECOND).await;
        let early = restarts(&supervisor).1;
        assert!((5..=7).contains(&early), "{early} attempts in the first seconds");
        let Status { phase, last_exit, .. } = status(&supervisor);
        assert_eq!(
            (phase, last_exit.as_deref()),
            (Phase::Restarting, Some("failed: no route"))
        );

        sleep(1_800 * SECOND).await;
        let half_hour = restarts(&supervisor).1;
        assert!(
            (60..=130).contains(&half_hour),
            "{half_hour} attempts in half an hour"
        );

        let before = Instant::now();
        assert_eq!(addr.send(Say(2)).await, Ok(2));
        assert!(before.elapsed() > 600 * SECOND);
        assert_eq!(restarts(&supervisor), (0, 130));
        assert_eq!(status(&supervisor).phase, Phase::Running);
    });
}

#[test]
fn no_message_is_handled_after_a_failure_until_the_next_run() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), CALM);
        let fail = Do(|patient, ctx| {
            patient.lifeline.clone().fail(ctx, "first");
            patient.lifeline.clone().fail(ctx, "second");
        });
        addr.try_send(fail).unwrap();
        addr.try_send(Say(1)).unwrap();
        sleep(MS).await;
        assert_eq!(diary.read(), "started stopped restarting");
        assert_eq!(status(&supervisor).last_exit.as_deref(), Some("failed: first"));
        sleep(SECOND).await;
        assert_eq!(diary.read(), "started 1");
    });
}

#[test]
fn a_failure_cannot_be_vetoed_by_stopping() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(
            &supervisor,
            Policy::default(),
            Script {
                stopping: || Running::Continue,
                ..CALM
            },
        );
        addr.send(Do(|patient, ctx| patient.lifeline.clone().fail(ctx, "gone")))
            .await
            .unwrap();
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert_eq!(diary.read(), "started restarting started 1");
        assert_eq!(restarts(&supervisor), (0, 1));
    });
}

#[test]
fn a_failure_in_restarting_waits_like_any_other() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let restarting: Step = |patient, ctx| patient.lifeline.clone().fail(ctx, "still gone");
        let (addr, diary) = patient(&supervisor, Policy::default(), Script { restarting, ..CALM });
        addr.try_send(BOOM).unwrap();
        sleep(3_600 * SECOND).await;
        let attempts = diary.read().matches("restarting").count();
        assert!((120..260).contains(&attempts), "{attempts} attempts in an hour");
        assert_eq!(diary.read().matches("started").count(), 0);
        assert!(addr.connected());
    });
}

#[test]
fn a_vital_worker_given_up_is_told_to_who_waits_for_it_before_or_after() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let before = supervisor.gave_up();
        let policy = Policy {
            vital: true,
            max_restarts: 0,
            ..Policy::default()
        };
        let (addr, _) = patient(&supervisor, policy, CALM);
        assert!(timeout(SECOND, supervisor.gave_up()).await.is_err());
        addr.try_send(BOOM).unwrap();
        assert_eq!(timeout(SECOND, before).await, Ok("patient".to_owned()));
        assert_eq!(
            timeout(SECOND, supervisor.gave_up()).await,
            Ok("patient".to_owned())
        );
        assert!(!addr.connected());
    });
}

#[test]
fn another_worker_given_up_only_degrades_the_node() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, _) = patient(
            &supervisor,
            Policy {
                max_restarts: 0,
                ..Policy::default()
            },
            CALM,
        );
        assert!(supervisor.degraded().is_empty());
        assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        assert_eq!(supervisor.degraded(), ["patient"]);
        assert!(timeout(SECOND, supervisor.gave_up()).await.is_err());
        let (addr, _) = patient(&supervisor, Policy::default(), CALM);
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert!(supervisor.degraded().is_empty(), "somebody started it anew");
    });
}

#[test]
fn a_worker_that_stops_in_started_is_done_and_does_not_spin() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let script = Script {
            started: |_, ctx| ctx.stop(),
            ..CALM
        };
        let (addr, diary) = patient(&supervisor, Policy::default(), script);
        assert_eq!(addr.send(Say(1)).await, Err(MailboxError::Closed));
        sleep(SECOND).await;
        assert_eq!(diary.read(), "started stopped");
        assert_eq!(status(&supervisor).phase, Phase::Stopped);
    });
}

#[test]
fn a_worker_without_addresses_ends_when_its_work_does() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), CALM);
        let task = Do(|_, ctx| {
            ctx.run_later(SECOND, |patient, _| patient.diary.note("worked"));
        });
        addr.try_send(task).unwrap();
        drop(addr);
        sleep(SECOND / 2).await;
        assert_eq!(status(&supervisor).phase, Phase::Running);
        sleep(SECOND).await;
        assert_eq!(diary.read(), "started worked stopped");
        assert_eq!(status(&supervisor).phase, Phase::Stopped);
    });
}

#[test]
fn a_worker_without_addresses_is_restarted_and_hears_a_new_one() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let started: Step = |patient, ctx| {
            let runs = patient.runs;
            ctx.run_later(SECOND, move |_, _| assert!(runs > 1, "boom"));
            let say = Say(runs);
            ctx.run_later(2 * SECOND, |_, ctx| ctx.address().try_send(say).unwrap());
            ctx.run_later(3 * SECOND, |_, _| {});
        };
        let (addr, diary) = patient(&supervisor, Policy::default(), Script { started, ..CALM });
        drop(addr);
        sleep(10 * SECOND).await;
        assert_eq!(diary.read(), "started restarting started 2 stopped");
        assert_eq!(restarts(&supervisor), (1, 0));
    });
}

#[test]
fn a_weak_address_reaches_a_worker_that_only_its_work_keeps_alive() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, _) = patient(&supervisor, Policy::default(), CALM);
        let task = Do(|_, ctx| {
            ctx.spawn(wrap_future(pending()));
        });
        addr.send(task).await.unwrap();
        let weak = addr.downgrade();
        drop(addr);
        sleep(SECOND).await;
        let addr = weak.upgrade().unwrap();
        assert_eq!(timeout(SECOND, addr.send(Say(1))).await, Ok(Ok(1)));
    });
}

#[test]
fn a_crash_by_a_test_is_a_panic_at_the_next_poll() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(
            &supervisor,
            Policy {
                max_restarts: 1,
                ..Policy::default()
            },
            CALM,
        );
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        assert!(supervisor.crash("patient"));
        addr.try_send(Say(2)).unwrap();
        addr.try_send(Say(3)).unwrap();
        assert_eq!(addr.send(Say(4)).await, Ok(4));
        assert_eq!(diary.read(), "started 1 restarting started 2 3 4");
        assert!(supervisor.crash("patient"));
        sleep(SECOND).await;
        assert_eq!(
            status(&supervisor).phase,
            Phase::GivenUp,
            "an idle worker is woken to crash"
        );
        assert!(!supervisor.crash("patient"));
        assert!(!supervisor.crash("nobody"));
        assert!(!addr.connected());
    });
}

#[test]
fn threads_share_a_board_and_a_worker_is_crashed_from_another_one() {
    let supervisor = Supervisor::seeded(1);
    let there = supervisor.clone();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        on_virtual_time(async {
            let (_addr, diary) = patient(&there, Policy::default(), CALM);
            ended.await.unwrap();
            diary.read()
        })
    });
    let diary = on_virtual_time(async {
        let (_addr, diary) = patient(&supervisor, Policy::default(), CALM);
        let mut workers = supervisor.workers();
        let runs_after =
            |status: &Status, panics| status.phase == Phase::Running && status.restarts.panics == panics;
        workers
            .wait_for(|all| all.len() == 2 && all.values().all(|one| runs_after(one, 0)))
            .await
            .unwrap();
        // A name is given once; which of the two threads came first does not matter.
        for name in ["patient", "patient#2"] {
            assert!(supervisor.crash(name));
            workers.wait_for(|all| runs_after(&all[name], 1)).await.unwrap();
        }
        end.send(()).unwrap();
        diary.read()
    });
    assert_eq!(diary, "started restarting started");
    assert_eq!(thread.join().unwrap(), diary);
}

#[test]
fn a_worker_whose_thread_ends_is_stopped_and_may_panic_in_that_too() {
    let supervisor = Supervisor::seeded(1);
    let diary = on_virtual_time(async {
        let (addr, diary) = patient(
            &supervisor,
            Policy::default(),
            Script {
                stopped: |_, _| panic!("boom"),
                ..CALM
            },
        );
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        diary
    });
    assert_eq!(diary.read(), "started 1 stopped");
    let Status { phase, last_exit, .. } = status(&supervisor);
    assert_eq!(
        (phase, last_exit.as_deref()),
        (Phase::Stopped, Some("its thread ended"))
    );
}

#[test]
fn a_worker_that_waits_or_has_not_run_is_not_started_by_the_end_of_its_thread() {
    let supervisor = Supervisor::seeded(1);
    let (waiting, fresh) = on_virtual_time(async {
        let (addr, waiting) = patient(&supervisor, Policy::default(), CALM);
        addr.send(Do(|patient, ctx| patient.lifeline.clone().fail(ctx, "gone")))
            .await
            .unwrap();
        let (_, fresh) = patient(&supervisor, Policy::default(), CALM);
        (waiting, fresh)
    });
    assert_eq!(waiting.read(), "started stopped restarting");
    assert_eq!(fresh.read(), "");
    assert!(
        supervisor
            .workers()
            .borrow()
            .values()
            .all(|status| status.phase == Phase::Stopped)
    );
}

#[test]
fn a_status_tells_the_phase_its_age_and_the_restarts_by_cause() {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, _) = patient(
            &supervisor,
            Policy {
                vital: true,
                ..Policy::default()
            },
            CALM,
        );
        let mut phases = vec![status(&supervisor).phase];
        assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        phases.push(status(&supervisor).phase);
        addr.send(Do(|patient, ctx| patient.lifeline.clone().fail(ctx, "gone")))
            .await
            .unwrap();
        phases.push(status(&supervisor).phase);
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        phases.push(status(&supervisor).phase);
        assert_eq!(
            phases,
            [Phase::Starting, Phase::Running, Phase::Restarting, Phase::Running]
        );

        sleep(90 * SECOND).await;
        let workers = supervisor.workers().borrow().clone();
        let json = serde_json::to_value(ages(&workers, Instant::now())).unwrap();
        let expected = serde_json::json!({
            "phase": "running",
            "vital": true,
            "restarts": { "panics": 1, "outages": 1 },
            "lastExit": "failed: gone",
            "ageMs": 90_000,
        });
        assert_eq!(json["patient"], expected);
    });
}

#[test]
fn the_panic_hook_knows_the_worker_and_the_last_exit_the_place() {
    static SEEN: Mutex<Vec<Option<String>>> = Mutex::new(Vec::new());
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        note_panic(info);
        if info.payload().downcast_ref::<&str>() == Some(&"seen") {
            SEEN.lock().unwrap().push(current_worker());
        }
        others(info);
    }));
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, _) = patient(&supervisor, Policy::default(), CALM);
        assert_eq!(
            addr.send(Do(|_, _| panic!("seen"))).await,
            Err(MailboxError::Closed)
        );
        let last_exit = status(&supervisor).last_exit.unwrap();
        assert!(
            last_exit.starts_with("panicked at ") && last_exit.ends_with(": seen"),
            "{last_exit}"
        );
        assert!(last_exit.contains("tests.rs:"), "{last_exit}");
        assert_eq!(current_worker(), None, "the test itself is no worker");
    });
    assert_eq!(*SEEN.lock().unwrap(), [Some("patient".to_owned())]);
}

/// Keeps the level and message of what this crate logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, Fields)>>>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl field::Visit for Fields {
    fn record_debug(&mut self, field: &field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("greenroom") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        assert_eq!(attributes.metadata().name(), "worker");
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields));
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn each_restart_is_one_warning_and_giving_up_is_one_error() {
    let life = || {
        on_virtual_time(async {
            let supervisor = Supervisor::seeded(1);
            let (addr, _) = patient(
                &supervisor,
                Policy {
                    max_restarts: 1,
                    ..Policy::default()
                },
                CALM,
            );
            addr.send(Do(|patient, ctx| patient.lifeline.clone().fail(ctx, "gone")))
                .await
                .unwrap();
            assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
            assert_eq!(addr.send(BOOM).await, Err(MailboxError::Closed));
        });
    };
    let log = Log::default();
    // With a single subscriber, tracing lets the first thread that comes across an event decide for all threads whether
    // anybody wants it; the other tests have no subscriber. Hence two of them, and a life before the one that counts.
    let _second = tracing::Dispatch::new(log.clone());
    tracing::subscriber::with_default(log.clone(), || {
        life();
        tracing::callsite::rebuild_interest_cache();
        log.0.lock().unwrap().clear();
        life();
    });
    let log = log.0.lock().unwrap();
    let lines: Vec<_> = log
        .iter()
        .map(|(level, fields)| (*level, fields.0["message"].as_str()))
        .collect();
    let expected = [
        (Level::WARN, "worker restarts"),
        (Level::WARN, "worker restarts"),
        (Level::ERROR, "worker is given up"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(log[0].1.0["exit"], "failed: gone");
    assert!(log[2].1.0["exit"].contains("boom"));
    assert!(log.iter().all(|(_, fields)| fields.0["worker"] == "\"patient\""));
}
