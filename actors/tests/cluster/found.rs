//! Schedules that a search has found, in their shortest form, for what no walk by hand shows as well.

use crate::{
    hush,
    schedule::{Kind, Schedule, Setup, Step},
    world::play,
};
use greenroom_actors::testing::memory_broker::Has;

fn setup(answers_after_ms: u64) -> Setup {
    Setup {
        history_events: 1_000,
        mailbox: 1_000,
        per_second: 0,
        outbox_bytes: 1 << 20,
        window: 64 << 10,
        answers_after_ms,
        relay_bytes: 1 << 20,
        refuses: false,
        begins_away: false,
    }
}

/// Plays it, with clients of both kinds that are in a room at the first node before.
fn after_joining(answers_after_ms: u64, steps: Vec<Step>) {
    hush();
    let place = 0;
    let joins = |player| [Step::Connect { player, place }, Step::Join { player, rooms: 1 }];
    let asks = |guest| {
        let (polls, half_open, room, joins) = (false, false, 1, true);
        [
            Step::Back {
                guest,
                place,
                polls,
                half_open,
            },
            Step::Wait { ms: 200 },
            Step::Ask { guest, room, joins },
        ]
    };
    let joining = (0..3).flat_map(joins).chain((0..2).flat_map(asks));
    let joined = joining.chain([Step::Wait { ms: 200 }]);
    play(&Schedule {
        setup: setup(answers_after_ms),
        steps: joined.chain(steps).collect(),
    });
}

#[test]
fn a_client_that_is_closed_before_its_join_is_answered_is_in_no_room_any_more() {
    let (player, place) = (0, 0);
    let (rooms, kind, count) = (1, Kind::Chat, 1);
    after_joining(
        30,
        vec![
            Step::Kill { node: 0 },
            Step::Save,
            Step::Connect { player, place },
            Step::Restart(Has::All),
            Step::Connect { player, place },
            Step::Connect { player, place },
            Step::Wait { ms: 60 },
            Step::Connect { player, place },
            Step::Connect { player, place },
            Step::Say {
                player,
                rooms,
                kind,
                count,
            },
        ],
    );
}

#[test]
fn a_session_ends_though_what_its_client_said_waits_behind_a_join() {
    let (guest, place, half_open) = (1, 0, false);
    let back = |polls| Step::Back {
        guest,
        place,
        polls,
        half_open,
    };
    let (room, joins, rooms) = (0, true, 1);
    after_joining(
        0,
        vec![
            back(true),
            Step::Wait { ms: 300 },
            Step::Ask { guest, room, joins },
            Step::Kill { node: 0 },
            Step::Emit { guest, rooms },
            back(false),
        ],
    );
}

#[test]
fn a_session_ends_though_what_its_client_said_waits_for_something_to_be_written() {
    let (guest, half_open) = (0, false);
    let back = |place, polls| Step::Back {
        guest,
        place,
        polls,
        half_open,
    };
    let (room, joins, rooms) = (0, true, 1);
    after_joining(
        1,
        vec![
            back(2, true),
            Step::Wait { ms: 300 },
            Step::CutOff { node: 0 },
            Step::Ask { guest, room, joins },
            Step::Emit { guest, rooms },
            back(0, false),
        ],
    );
}
