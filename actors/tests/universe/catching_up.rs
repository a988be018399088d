//! Coming back, and positions: walks that no random schedule is likely to hit.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::{bus_log::Limits, position::Position, throttle::Rules},
    ports::Bus,
    testing::{
        on_virtual_time,
        universe::{Plan, Universe},
    },
};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_notice_before_the_answer_does_not_move_a_client_that_comes_back() {
    on_virtual_time(async {
        hush();
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(500);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(1.0).await;
        let mut client = at.connect();
        client.send(&json!({"type": "join", "room": "a"}));
        wait(1.0).await;
        let position = client.read()[0]["position"].clone();
        client.hang_up();
        count(&universe, "a", 0..5);
        let mut again = at.connect();
        at.desk.registry.send(notice()).await.expect("a shard");
        again.send(&json!({"type": "join", "room": "a", "since": position}));
        wait(0.01).await;
        at.desk.registry.send(notice()).await.expect("a shard");
        wait(0.01).await;
        let frames = again.read();
        assert_eq!(types(&frames), ["event", "event"]);
        assert_eq!(
            frames[0]["position"],
            Value::Null,
            "a connection that is nowhere has nothing"
        );
        assert_eq!(
            frames[1]["position"], position,
            "and then what it said that it has"
        );
        wait(2.0).await;
        let frames = again.read();
        assert_eq!(frames[0]["recovered"], true);
        assert_eq!(numbers(&frames), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_notice_does_not_give_a_client_of_another_life_a_position_in_this_one() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(500);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(1.0).await;
        let mut client = at.connect();
        client.send(&json!({"type": "join", "room": "a", "since": "zz-5"}));
        wait(0.1).await;
        at.desk.registry.send(notice()).await.expect("a shard");
        wait(0.1).await;
        let frames = client.read();
        assert_eq!(frames[0]["event"], "greenroom");
        assert_eq!(
            frames[0]["position"], "zz-5",
            "or it would come back and miss the answer"
        );
        wait(2.0).await;
        assert_eq!(client.read()[0]["recovered"], false);
    });
}

#[test]
fn a_position_that_the_bus_never_gave_is_told_and_the_client_goes_on_live() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["a"]).await;
        count(&universe, "a", 0..3);
        universe.settle().await;
        let position = client.read()[2]["position"].as_str().expect("one").to_owned();
        let (life, _) = position.split_once('-').expect("a life");
        let mut again = at.connect();
        again.send(&json!({"type": "join", "room": "a", "since": format!("{life}-zzzz")}));
        universe.settle().await;
        count(&universe, "a", 3..5);
        universe.settle().await;
        let frames = again.read();
        assert_eq!(frames[0]["recovered"], false);
        assert_eq!(
            frames[0]["position"], position,
            "what it has is what there is, not what it said"
        );
        assert_eq!(numbers(&frames), [3, 4]);
    });
}

#[test]
fn a_long_absence_in_a_throttled_room_is_caught_up_without_losing_the_connection() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules = Rules {
                per_second: 5,
                wait_bytes: 4_000,
                ..Rules::default()
            };
            settings.outbox_bytes = 40_000;
        });
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["agent:1"]).await;
        publish(&universe, &["agent:1"], "agent-thought", thought("1", "first"));
        universe.settle().await;
        let position = client.read()[0]["position"].clone();
        client.hang_up();
        for i in 0..400 {
            let text = format!("{i} {}", "x".repeat(200));
            publish(&universe, &["agent:1"], "agent-thought", thought("1", &text));
        }
        let mut again = at.connect();
        again.send(&json!({"type": "join", "room": "agent:1", "since": position}));
        let mut originals = 0;
        for _ in 0..120 {
            wait(1.0).await;
            let heard = data(&again.read());
            originals += heard
                .iter()
                .map(|data| data["merged"].as_u64().unwrap_or(1))
                .sum::<u64>();
        }
        assert!(!again.is_over(), "{:?}", again.closed);
        assert_eq!(originals, 400);
    });
}

#[test]
fn a_small_outbox_is_no_reason_to_lose_a_client_that_catches_up_and_reads() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| settings.outbox_bytes = 8_000);
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["a"]).await;
        count(&universe, "a", 0..1);
        universe.settle().await;
        let position = client.read()[0]["position"].clone();
        client.hang_up();
        count(&universe, "a", 1..900);
        let mut again = at.connect_with(500);
        again.send(&json!({"type": "join", "room": "a", "since": position}));
        let mut heard = Vec::new();
        for _ in 0..2_000 {
            universe.settle().await;
            heard.extend(numbers(&again.read()));
        }
        assert_eq!(heard, (1..900).collect::<Vec<u64>>());
    });
}

#[test]
fn a_room_joined_while_catching_up_is_whole_from_the_position_that_was_answered() {
    for delay in 0..30 {
        on_virtual_time(async {
            hush();
            let mut plan = Plan::new(1, 1);
            plan.answers_after = Duration::from_millis(50);
            let universe = Universe::planned(plan);
            let at = shard(&universe, 0, 0);
            wait(1.0).await;
            let (mut client, mut other) = (at.connect(), at.connect());
            client.send(&json!({"type": "join", "room": "a"}));
            other.send(&json!({"type": "join", "room": "b"}));
            wait(1.0).await;
            assert_eq!(types(&client.read()), ["joined"]);
            assert_eq!(types(&other.read()), ["joined"]);
            count(&universe, "a", 0..3);
            universe.nodes[0].supervisor.crash("rooms-0");
            // It joins at some moment of the catching up, and the room has news all the time.
            for next in 3..63 {
                if next == 3 + delay {
                    client.send(&json!({"type": "join", "room": "b"}));
                }
                count(&universe, "b", next..next + 1);
                wait(0.007).await;
            }
            wait(2.0).await;
            let frames = client.read();
            let joined = frames.iter().find(|frame| frame["type"] == "joined");
            let position = joined.expect("an answer")["position"].as_str().expect("one");
            let (_, seq) = position.split_once('-').expect("a life");
            let seq = u64::from_str_radix(seq, 36).expect("a number");
            // Event `n` has the sequence `n + 1`.
            let wanted: Vec<u64> = (0..3).chain(seq.max(3)..63).collect();
            assert_eq!(numbers(&frames), wanted, "joined at {seq}");
        });
    }
}

#[test]
fn what_is_not_found_yet_of_what_waited_is_part_of_every_position() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(100);
        plan.settings.rules.per_second = 10;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        let update =
            |task: &str| json!({"taskId": task, "status": "pending", "timestamp": "2026-01-01T00:00:00Z"});
        for seq in 1..=300 {
            match seq {
                1 | 250 => publish(&universe, &["a"], "task-update", update(&seq.to_string())),
                _ => publish(&universe, &["a"], "e", json!(seq)),
            }
        }
        let position = Position {
            life: universe.bus.life(),
            seq: 300,
            waiting: vec![1, 250],
            seen: Vec::new(),
            rooms: None,
        };
        wait(1.0).await;
        let mut client = at.connect();
        client.send(&json!({"type": "join", "room": "a", "since": position.to_string()}));
        // A page holds 128 events.
        wait(0.15).await;
        at.desk.registry.send(notice()).await.expect("a shard");
        wait(1.0).await;
        let frames = client.read();
        assert_eq!(types(&frames), ["joined", "event", "event", "event"]);
        let positions: Vec<Position> = frames
            .iter()
            .map(|frame| {
                frame["position"]
                    .as_str()
                    .expect("one")
                    .parse()
                    .expect("a position")
            })
            .collect();
        assert_eq!(
            (frames[0]["recovered"].as_bool(), &positions[0]),
            (Some(true), &position)
        );
        assert_eq!(
            (frames[1]["event"].as_str(), &positions[1]),
            (Some("greenroom"), &position)
        );
        assert_eq!(positions[2].waiting, [250]);
        assert_eq!(positions[3].waiting, [0; 0]);
    });
}

/// What a client was told is missing, in whatever room, is one gap: it does not end the connection a page later.
#[test]
fn a_gap_that_begins_in_a_later_page_was_told_with_the_first() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.limits.history_events = 150;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        // All that room a had, and half of what room b had; a page holds 128 events.
        count(&universe, "a", 0..150);
        count(&universe, "b", 150..450);
        let position = Position::at(universe.bus.life(), 0).to_string();
        let mut client = at.connect();
        client.send(&json!({"type": "join", "rooms": ["a", "b"], "since": position}));
        wait(1.0).await;
        let frames = client.read();
        assert_eq!(frames[0]["recovered"], false);
        assert_eq!(numbers(&frames), (0..150).chain(300..450).collect::<Vec<_>>());
        assert_eq!(client.closed, None);
    });
}

/// What is sent of the history is what was left of it when the client was told. If that goes too, it is told again.
#[test]
fn what_is_lost_after_a_gap_was_told_is_another_gap() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.limits.history_events = 150;
        plan.settings.outbox_bytes = 4_000;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        count(&universe, "a", 0..200);
        let position = Position::at(universe.bus.life(), 0).to_string();
        let mut client = at.connect_with(700);
        client.send(&json!({"type": "join", "room": "a", "since": position}));
        wait(1.0).await;
        let joined = client.read_one();
        assert_eq!(joined["recovered"], false, "{joined}");
        count(&universe, "a", 200..400);
        let mut given = Vec::new();
        while client.closed.is_none() {
            given.extend(numbers(&client.read()));
            wait(0.1).await;
        }
        assert!(
            given.len() < 150 && given.iter().copied().eq((50..).take(given.len())),
            "{given:?}"
        );
        assert_eq!(client.closed.map(|(code, _)| code), Some(4002));
    });
}
