//! Wherever a worker panics, it is survived.

use super::*;

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
