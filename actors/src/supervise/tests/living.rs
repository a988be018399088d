//! Workers that end by themselves, vital ones, and the ends of threads.

use super::*;

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
