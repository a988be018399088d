//! Any schedule of faults, and after it every client has everything that it was promised; then each fault by itself.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, and how far it searched by printing"
)]

mod attaching;
mod catching_up;
mod commands;
mod faults;
mod gate;
mod memory;
mod namespaces;
mod player;
mod polling;
mod returning;
mod returning_at_random;
mod returning_early;
mod scene;
mod schedule;
#[path = "../schedules/mod.rs"]
mod schedules;
mod subjects;
mod taking_over;
mod truth;
mod watchers;
mod world;

use schedule::schedule;
use schedules::{assert_reached, assert_repeatable, hush, search};

/// Schedules a run of the tests plays.
const SCHEDULES: u32 = 300;

#[test]
fn after_any_schedule_every_client_has_all_it_was_promised_once_and_in_order() {
    let reached = search(&schedule(), SCHEDULES, |schedule| world::play(schedule).reached);
    assert_reached(
        &reached,
        5,
        &[
            "catch_ups",
            "replayed",
            "resumes",
            "resumes_incomplete",
            "throttled",
            "merged",
            "slow_clients",
            "closed 4002", // the history was overrun
            "closed 4000", // too slow
        ],
    );
}

#[test]
fn a_schedule_played_twice_is_the_same_play() {
    assert_repeatable(&schedule(), world::play);
}
