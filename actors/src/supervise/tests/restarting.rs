//! What a restart costs and what it keeps.

use super::*;

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
