//! Clients of Socket.IO that come back by their secret: where they are cut off, and what they come back with.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::{bus_log::Limits, throttle::Rules},
    testing::{
        on_virtual_time,
        socket_io::{SocketIo, Stock},
        universe::{Plan, Shard, Universe},
    },
};
use serde_json::{Value, json};
use std::time::Duration;

/// A client that is in these rooms, over that session.
pub async fn guest(universe: &Universe, session: SocketIo, rooms: &[&str]) -> Stock {
    let mut guest = Stock::default();
    guest.enter(session);
    hear(universe, &mut guest).await;
    assert_eq!(guest.recovered, Some(false));
    for room in rooms {
        join(universe, &mut guest, room).await;
    }
    guest
}

/// Joins a room; the answer.
pub async fn join(universe: &Universe, guest: &mut Stock, room: &str) -> Value {
    let id = guest.now().emit("join", &json!(room));
    hear(universe, guest).await;
    guest.now().answers.remove(&id).expect("an answer")
}

/// Hears all that there is now, by polling as often as it takes.
pub async fn hear(universe: &Universe, guest: &mut Stock) {
    for _ in 0..8 {
        guest.listen();
        universe.settle().await;
    }
}

/// Comes back over a new session, once the node has seen the end of the old one.
async fn cut_and_back(universe: &Universe, guest: &mut Stock, shard: &Shard) -> Option<bool> {
    guest.now().hang_up();
    universe.settle().await;
    back(universe, guest, shard).await
}

/// Comes back over a new session, whatever became of the old one.
async fn back(universe: &Universe, guest: &mut Stock, shard: &Shard) -> Option<bool> {
    guest.enter(shard.socket_io());
    hear(universe, guest).await;
    guest.recovered
}

fn universe(nodes: usize, shards: u32) -> Universe {
    hush();
    Universe::new(nodes, shards, Limits::default(), |_| {})
}

fn up_to(end: u64) -> Vec<u64> {
    (0..end).collect()
}

#[test]
fn who_comes_back_is_in_its_rooms_under_its_id_and_has_what_it_missed() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io(), &["a", "b"]).await;
        let sid = guest.sid.clone();
        count(&universe, "a", 0..3);
        hear(&universe, &mut guest).await;
        guest.now().hang_up();
        universe.settle().await;
        count(&universe, "a", 3..5);
        count(&universe, "b", 5..6);
        assert_eq!(back(&universe, &mut guest, at).await, Some(true));
        assert_eq!(guest.sid, sid);
        count(&universe, "b", 6..8);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), up_to(8));
    });
}

#[test]
fn before_the_first_event_nothing_is_missed_and_nothing_is_from_before_the_join() {
    on_virtual_time(async {
        let universe = universe(1, 2);
        count(&universe, "a", 100..105);
        let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io(), &["a"]).await;
        guest.now().hang_up();
        universe.settle().await;
        count(&universe, "a", 0..4);
        let recovered = back(&universe, &mut guest, shard(&universe, 0, 1)).await;
        assert_eq!((recovered, guest.numbers()), (Some(true), up_to(4)));
    });
}

#[test]
fn an_offset_from_a_life_before_does_not_hide_what_came_since() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io(), &["a"]).await;
        count(&universe, "a", 0..3);
        hear(&universe, &mut guest).await;
        // Nobody knows this one any more; the client keeps its offset.
        guest.pid = Some("f".repeat(32));
        assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(false));
        let mut other = guest_in(&universe, at, &["b"]).await;
        count(&universe, "a", 3..5);
        join(&universe, &mut guest, "a").await;
        guest.now().hang_up();
        universe.settle().await;
        count(&universe, "a", 5..9);
        assert_eq!(back(&universe, &mut guest, at).await, Some(true));
        assert_eq!(
            guest.numbers(),
            [5, 6, 7, 8],
            "what came between the lives is not its own"
        );
        count(&universe, "b", 0..1);
        hear(&universe, &mut other).await;
        assert_eq!(other.numbers(), [0]);
    });
}

async fn guest_in(universe: &Universe, at: &Shard, rooms: &[&str]) -> Stock {
    guest(universe, at.socket_io(), rooms).await
}

/// Thoughts of one agent with numbers as their texts.
fn think(universe: &Universe, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(
            universe,
            &["agent:1"],
            "agent-thought",
            thought("1", &number.to_string()),
        );
    }
}

#[test]
fn a_cut_inside_a_throttled_burst_costs_nothing() {
    for read_on in [0, 1, 2, 3] {
        on_virtual_time(async {
            hush();
            let universe = Universe::new(2, 1, Limits::default(), |settings| {
                settings.rules = Rules {
                    per_second: 3,
                    ..Rules::default()
                };
            });
            let mut guest = guest_in(&universe, shard(&universe, 0, 0), &["agent:1", "a"]).await;
            think(&universe, 0..20);
            count(&universe, "a", 1_000..1_002);
            for _ in 0..read_on {
                guest.listen();
                wait(0.4).await;
            }
            think(&universe, 20..30);
            assert_eq!(
                cut_and_back(&universe, &mut guest, shard(&universe, 1, 0)).await,
                Some(true)
            );
            think(&universe, 30..40);
            count(&universe, "a", 1_002..1_004);
            wait(20.0).await;
            hear(&universe, &mut guest).await;
            let (thoughts, others): (Vec<u64>, Vec<u64>) =
                guest.numbers().iter().partition(|number| **number < 1_000);
            assert_eq!(thoughts, up_to(40), "after {read_on} looks");
            assert_eq!(others, [1_000, 1_001, 1_002, 1_003]);
        });
    }
}

#[test]
fn a_cut_between_the_attachments_of_an_event_brings_all_of_it_again() {
    // The greeting is read by then; of the event so many bytes get through.
    for bytes in [0, 10, 60, 90, 100, 104, 200] {
        on_virtual_time(async {
            let universe = universe(1, 1);
            let at = shard(&universe, 0, 0);
            let mut guest = guest_in(&universe, at, &["a"]).await;
            let data = json!([{"$binary": "AQID"}, {"$binary": "BAUG"}]);
            publish(&universe, &["a"], "e", data);
            universe.settle().await;
            guest.listen_to(bytes);
            let came = guest.events.len();
            assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(true));
            assert_eq!(guest.events.len(), 1, "{bytes} bytes, {came} before the cut");
            count(&universe, "a", 0..1);
            hear(&universe, &mut guest).await;
            assert_eq!(guest.numbers(), [0]);
        });
    }
}

#[test]
fn an_event_of_a_client_whose_attachments_were_cut_off_was_never_sent() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &["a"]).await;
        let event = r#"451-["publish",{"room":"a","event":"e","data":{"_placeholder":true,"num":0}}]"#;
        guest.now().send(event);
        universe.settle().await;
        assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(true));
        assert!(guest.events.is_empty());
        guest.now().send(event);
        guest.now().send_binary(b"now");
        hear(&universe, &mut guest).await;
        assert_eq!(guest.events.len(), 1);
    });
}

#[test]
fn a_join_that_was_pending_at_the_cut_is_carried_out_wholly_or_not_at_all() {
    for wait_ms in [0, 100, 499, 500, 501, 600, 1_100] {
        on_virtual_time(async {
            hush();
            let mut plan = Plan::new(1, 2);
            plan.answers_after = Duration::from_millis(500);
            let universe = Universe::planned(plan);
            wait(2.0).await;
            let mut guest = Stock::default();
            guest.enter(shard(&universe, 0, 0).socket_io());
            wait(2.0).await;
            guest.listen();
            guest.now().emit("join", &json!("a"));
            wait(wait_ms as f64 / 1_000.0).await;
            guest.listen();
            guest.now().hang_up();
            count(&universe, "a", 0..3);
            guest.enter(shard(&universe, 0, 1).socket_io());
            for _ in 0..8 {
                wait(1.0).await;
                guest.listen();
            }
            assert_eq!(guest.recovered, Some(true));
            let id = guest.now().emit("join", &json!("a"));
            wait(3.0).await;
            guest.listen();
            assert_eq!(guest.now().answers[&id]["ok"], true);
            count(&universe, "a", 3..5);
            wait(3.0).await;
            guest.listen();
            let numbers = guest.numbers();
            assert!(
                numbers == up_to(5) || numbers == [3, 4],
                "after {wait_ms} ms: {numbers:?}"
            );
        });
    }
}

#[test]
fn a_foreign_offset_is_no_reason_to_guess() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        for offset in ["", "Q831i4P", "1700000000000-0", "zz-5", "hello", "0-0~0"] {
            let mut guest = guest_in(&universe, at, &["a"]).await;
            count(&universe, "a", 0..2);
            hear(&universe, &mut guest).await;
            let pid = guest.pid.clone();
            guest.offset = Some(offset.into());
            assert_eq!(
                cut_and_back(&universe, &mut guest, at).await,
                Some(false),
                "{offset}"
            );
            assert_ne!(guest.pid, pid);
            count(&universe, "a", 2..4);
            hear(&universe, &mut guest).await;
            assert_eq!(guest.numbers(), [0; 0], "in no room");
            let members = at.desk.bus.members(&room("a")).await.expect("members");
            assert!(members.is_empty(), "{members:?}");
        }
    });
}

#[test]
fn an_offset_that_the_bus_has_not_given_yet_is_no_position() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &["a"]).await;
        count(&universe, "a", 0..2);
        hear(&universe, &mut guest).await;
        let life = guest
            .offset
            .as_deref()
            .and_then(|offset| offset.split_once('-'))
            .expect("one")
            .0;
        guest.offset = Some(format!("{life}-zzzz"));
        assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(false));
        join(&universe, &mut guest, "a").await;
        count(&universe, "a", 2..4);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), [2, 3], "and it is not deaf until then");
    });
}

#[test]
fn who_is_in_no_room_has_missed_nothing_whatever_its_offset_says() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &[]).await;
        guest.offset = Some("foreign".into());
        assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(true));
        join(&universe, &mut guest, "a").await;
        count(&universe, "a", 0..2);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), [0, 1]);
    });
}

#[test]
fn a_history_that_does_not_reach_back_is_told_and_the_client_is_in_no_room() {
    on_virtual_time(async {
        hush();
        let limits = Limits {
            history_events: 5,
            ..Limits::default()
        };
        let universe = Universe::new(1, 1, limits, |_| {});
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &["a"]).await;
        count(&universe, "a", 0..1);
        hear(&universe, &mut guest).await;
        guest.now().hang_up();
        universe.settle().await;
        count(&universe, "a", 1..7);
        assert_eq!(back(&universe, &mut guest, at).await, Some(false));
        count(&universe, "a", 7..9);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), [0; 0]);
        assert_eq!(at.desk.hub.stats.resumes_incomplete.get(), 1);
    });
}

#[test]
fn who_stays_away_too_long_is_new() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &["a"]).await;
        guest.now().hang_up();
        wait(119.0).await;
        assert_eq!(back(&universe, &mut guest, at).await, Some(true));
        assert_eq!(join(&universe, &mut guest, "a").await["ok"], true);
        guest.now().hang_up();
        wait(121.0).await;
        let pid = guest.pid.clone();
        assert_eq!(back(&universe, &mut guest, at).await, Some(false));
        assert_ne!(guest.pid, pid);
    });
}

#[test]
fn who_leaves_for_good_does_not_come_back() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &["a"]).await;
        guest.now().send("41");
        universe.settle().await;
        assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(false));
        let mut other = guest_in(&universe, at, &["a"]).await;
        other.now().send("nonsense");
        universe.settle().await;
        assert!(other.now().is_over());
        assert_eq!(
            back(&universe, &mut other, at).await,
            Some(false),
            "nor who sends nonsense"
        );
    });
}

/// Enters the main namespace again, over the session that it has left it on.
#[test]
fn who_leaves_and_enters_again_over_the_same_session_is_in_no_room() {
    on_virtual_time(async {
        let universe = universe(1, 1);
        let at = shard(&universe, 0, 0);
        let mut guest = guest_in(&universe, at, &["a"]).await;
        let (pid, sid) = (guest.pid.clone(), guest.sid.clone());
        let now = guest.now();
        now.emit("join", &json!("b"));
        now.send("41");
        now.greeting = None;
        now.send("40");
        guest.recovered = None;
        hear(&universe, &mut guest).await;
        assert_eq!(guest.recovered, Some(false));
        assert!(guest.pid != pid && guest.sid != sid);
        count(&universe, "a", 0..1);
        count(&universe, "b", 1..2);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), [0; 0]);
        for name in ["a", "b"] {
            let members = at.desk.bus.members(&room(name)).await.expect("members");
            assert!(members.is_empty(), "{members:?}");
        }
        join(&universe, &mut guest, "a").await;
        count(&universe, "a", 2..3);
        assert_eq!(cut_and_back(&universe, &mut guest, at).await, Some(true));
        assert_eq!(guest.numbers(), [2]);
    });
}
