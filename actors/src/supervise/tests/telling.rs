//! What is told of workers: status, panic hook, log.

use super::*;

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
        assert!(last_exit.contains(file!()), "{last_exit}");
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
