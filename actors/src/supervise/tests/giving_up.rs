//! When a worker is given up, and how outages differ from panics.

use super::*;

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
