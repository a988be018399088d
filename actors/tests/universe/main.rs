//! Any schedule of faults, and after it every client has everything that it was promised.

mod player;
mod schedule;
mod truth;
mod world;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use schedule::schedule;
use std::{
    cell::Cell,
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
fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| info.payload().downcast_ref::<&str>().copied())
                .unwrap_or_default();
            if !QUIET.get() && !(text.ends_with("as planned") || text == "crashed by a test") {
                before(info);
            }
        }));
    });
}

#[test]
fn after_any_schedule_every_client_has_all_it_was_promised_once_and_in_order() {
    hush();
    let cases = std::env::var("GREENROOM_SCHEDULES")
        .ok()
        .and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(SCHEDULES),
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let began = std::time::Instant::now();
    QUIET.set(true);
    let run = runner.run(&schedule(), |schedule| {
        let played = panic::catch_unwind(AssertUnwindSafe(|| world::play(&schedule)));
        played.map(drop).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            TestCaseError::fail(text.unwrap_or_else(|| "panicked".into()))
        })
    });
    println!(
        "{:?} for {} schedules",
        began.elapsed(),
        cases.unwrap_or(SCHEDULES)
    );
    if let Err(TestError::Fail(why, schedule)) = run {
        panic!("{why}\n{schedule:#?}");
    }
}
