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
#[path = "../schedules/mod.rs"]
mod schedules;
mod truth;
mod world;

use schedule::schedule;
use schedules::{assert_reached, assert_repeatable, hush, search};

/// Schedules a run of the tests plays.
const SCHEDULES: u32 = 300;

#[test]
fn after_any_schedule_every_client_of_any_node_has_all_it_was_promised_once() {
    let reached = search(&schedule(), SCHEDULES, |schedule| world::play(schedule).reached);
    assert_reached(
        &reached,
        5,
        &[
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
        ],
    );
}

#[test]
fn a_schedule_played_twice_is_the_same_play() {
    assert_repeatable(&schedule(), world::play);
}
