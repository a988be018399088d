//! Several nodes on one broker. Any schedule of faults, and after it every client has everything that it was promised, on
//! whatever node it is by then; then each schedule that has a name.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, and how far it searched by printing"
)]

mod check;
mod found;
mod guest;
mod moving;
mod outage;
mod player;
mod restarting;
mod scene;
mod schedule;
mod truth;
mod world;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use schedule::schedule;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

/// Schedules a run of the tests plays; set `GREENROOM_SCHEDULES` for a longer search.
const SCHEDULES: u32 = 300;

thread_local! {
    /// While a failing schedule is being shrunk, only the last failure is worth reading.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Planned panics say nothing.
pub fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| info.payload().downcast_ref::<&str>().copied())
                .unwrap_or_default();
            if !QUIET.get() && !text.ends_with("as planned") && text != "crashed by a test" {
                before(info);
            }
        }));
    });
}

#[test]
fn after_any_schedule_every_client_of_any_node_has_all_it_was_promised_once() {
    hush();
    let cases = std::env::var("GREENROOM_SCHEDULES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SCHEDULES);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    // The same schedules in every run, unless others are asked for: a search is a search, and a test a test.
    let seed: u64 = std::env::var("GREENROOM_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let began = std::time::Instant::now();
    let reached = RefCell::new(BTreeMap::<String, u64>::new());
    QUIET.set(true);
    let run =
        TestRunner::new_with_rng(config, random).run(&schedule(), |schedule| {
            match panic::catch_unwind(AssertUnwindSafe(|| world::play(&schedule))) {
                Ok(outcome) => {
                    let mut reached = reached.borrow_mut();
                    for (name, count) in outcome.counters {
                        *reached.entry(name).or_default() += count;
                    }
                    Ok(())
                }
                Err(panic) => {
                    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                    Err(TestCaseError::fail(text.unwrap_or_else(|| "panicked".into())))
                }
            }
        });
    QUIET.set(false);
    println!("{:?} for {cases} schedules", began.elapsed());
    if let Err(TestError::Fail(why, schedule)) = run {
        // proptest's own hook may swallow the panic's message.
        eprintln!("{why}\n{schedule:?}");
        panic!("{why}");
    }
    check_reached(&reached.into_inner());
}

/// A search that never gets anywhere finds nothing: each of these must have happened many times.
fn check_reached(reached: &BTreeMap<String, u64>) {
    println!("{reached:#?}");
    for name in [
        "catch_ups",
        "replayed",
        "resumes",
        "throttled",
        "merged",
        "given locally",
        "relayed after an outage",
        "where they were",
        "new again",
        "killed",
        "restarted with less",
    ] {
        let count = reached.get(name).copied().unwrap_or(0);
        assert!(count >= 5, "{name}: {count}");
    }
}

#[test]
fn a_schedule_played_twice_is_the_same_play() {
    hush();
    let mut runner = TestRunner::deterministic();
    for _ in 0..20 {
        let schedule = schedule().new_tree(&mut runner).expect("a schedule").current();
        assert_eq!(world::play(&schedule), world::play(&schedule), "{schedule:?}");
    }
}
