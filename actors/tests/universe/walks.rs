//! Walks through schedules that once went wrong, or that no random schedule is likely to hit.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::{
        bus_log::Limits,
        position::Position,
        protocol::{Notice, Rooms},
        throttle::Rules,
    },
    messages::{Announce, Join, SayInterest},
    ports::{Bus, Inlet},
    testing::{
        on_virtual_time,
        universe::{Plan, Shard, Universe},
    },
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

fn notice() -> Announce {
    Announce(Notice {
        r#type: "degraded",
        message: "a test says so".into(),
        retry_in_ms: None,
    })
}

#[test]
fn a_join_of_a_connection_that_is_gone_does_not_meet_the_one_in_its_place() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let gone = at.connect();
        let key = at.desk.hub.all()[0].key.get();
        gone.hang_up();
        universe.settle().await;
        assert!(at.desk.hub.is_empty());
        let mut other = at.connect();
        let join = Join {
            peer: key,
            rooms: vec![room("secret")],
            asked: Rooms::One("secret".into()),
            since: None,
            reference: None,
        };
        at.desk.registry.send(join).await.expect("a shard");
        universe.settle().await;
        count(&universe, "secret", 0..1);
        universe.settle().await;
        assert_eq!(other.read(), [Value::Null; 0]);
    });
}

#[test]
fn what_waited_for_a_connection_that_is_gone_does_not_reach_the_one_in_its_place() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules.per_second = 1;
        });
        let at = shard(&universe, 0, 0);
        let client = joined(&universe, at, &["agent:1"]).await;
        for i in 0..3 {
            publish(
                &universe,
                &["agent:1"],
                "agent-thought",
                thought("1", &i.to_string()),
            );
        }
        universe.settle().await;
        client.hang_up();
        universe.settle().await;
        let mut other = joined(&universe, at, &["lobby"]).await;
        wait(5.0).await;
        assert_eq!(other.read(), [Value::Null; 0]);
    });
}

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
fn a_shard_whose_mailbox_is_full_of_other_things_notices_that_it_is_behind() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.mailbox = 2;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["a"]).await;
        while at.desk.registry.try_send(notice()).is_ok() {}
        // The last events there are: nothing comes after them that could tell.
        count(&universe, "a", 0..40);
        wait(0.01).await;
        let frames: Vec<Value> = client.read();
        let events: Vec<Value> = frames.into_iter().filter(|frame| frame["event"] == "e").collect();
        assert_eq!(numbers(&events), (0..40).collect::<Vec<u64>>());
    });
}

#[test]
fn a_bus_that_is_away_is_waited_for_and_not_asked_without_end() {
    on_virtual_time(async {
        hush();
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["a"]).await;
        count(&universe, "a", 0..1);
        universe.settle().await;
        let position = client.read()[0]["position"].clone();
        universe.seen.set_away(true);
        let mut again = at.connect();
        again.send(&json!({"type": "join", "room": "a", "since": position, "ref": 1}));
        wait(5.0).await;
        assert_eq!(types(&again.read()), [""; 0], "the answer waits");
        universe.seen.set_away(false);
        wait(2.0).await;
        assert_eq!(types(&again.read()), ["joined"]);
        count(&universe, "a", 1..2);
        universe.settle().await;
        assert_eq!(numbers(&again.read()), [1]);
        assert_eq!(numbers(&client.read()), [1]);
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
fn answers_come_in_the_order_of_the_commands_also_when_the_bus_takes_its_time() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(100);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        let mut client = at.connect();
        for command in ["join", "leave", "join", "leave"] {
            client.send(&json!({"type": command, "room": "a"}));
        }
        client.send(&json!({"type": "join", "rooms": ["b", "c"]}));
        wait(2.0).await;
        assert_eq!(
            types(&client.read()),
            ["joined", "left", "joined", "left", "joined"]
        );
        count(&universe, "a", 0..1);
        count(&universe, "b", 1..2);
        universe.settle().await;
        assert_eq!(numbers(&client.read()), [1]);
    });
}

#[test]
fn what_is_asked_after_coming_back_is_answered_after_it() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(100);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(1.0).await;
        let mut client = at.connect();
        client.send(&json!({"type": "join", "rooms": ["a", "b"], "since": "0-0"}));
        client.send(&json!({"type": "leave", "room": "a"}));
        client.send(&json!({"type": "join", "room": "c"}));
        wait(2.0).await;
        assert_eq!(types(&client.read()), ["joined", "left", "joined"]);
        count(&universe, "a", 0..1);
        count(&universe, "b", 1..2);
        count(&universe, "c", 2..3);
        universe.settle().await;
        assert_eq!(numbers(&client.read()), [1, 2]);
    });
}

#[test]
fn a_client_that_leaves_a_room_hears_nothing_more_of_it_not_even_what_waited() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules.per_second = 1;
        });
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["agent:1", "lobby"]).await;
        for (i, rooms) in [&["agent:1"] as &[&str], &["agent:1"], &["agent:1", "lobby"]]
            .iter()
            .enumerate()
        {
            publish(&universe, rooms, "agent-thought", thought("1", &i.to_string()));
        }
        universe.settle().await;
        client.send(&json!({"type": "leave", "room": "agent:1"}));
        wait(5.0).await;
        let frames = client.read();
        assert_eq!(types(&frames), ["event", "left", "event"]);
        assert_eq!(frames[2]["data"]["thought"], "2", "it is for the lobby, too");
        assert!(!frames[2]["position"].as_str().expect("one").contains('~'));
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
fn what_one_client_publishes_keeps_its_order_even_when_the_shard_is_swamped() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.mailbox = 1;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        let mut listener = joined(&universe, at, &["a"]).await;
        let clients: Vec<_> = (0..5).map(|_| at.connect()).collect();
        let mut number = 0;
        for _ in 0..30 {
            for (i, client) in clients.iter().enumerate() {
                for _ in 0..=i {
                    number += 1;
                    client.send(&json!({"type": "publish", "room": "a", "event": "e", "data": [i, number]}));
                }
            }
            tokio::task::yield_now().await;
        }
        wait(1.0).await;
        let mut last = [0; 5];
        let heard = data(&listener.read());
        assert_eq!(heard.len(), number);
        for pair in heard {
            let (client, number) = (pair[0].as_u64().expect("a client"), pair[1].as_u64());
            let before = std::mem::replace(&mut last[client as usize], number.expect("a number"));
            assert!(
                before < last[client as usize],
                "client {client}: {before} came first"
            );
        }
    });
}

/// Confirms a room to a shard as if a subscription of an earlier run had been confirmed late.
fn confirm_late(at: &Shard, name: &str) {
    let inlet = Inlet {
        shard: at.id,
        attachment: 0,
        mailbox: at.desk.registry.clone().recipient(),
        behind: Arc::default(),
    };
    inlet.confirm(&[room(name)], 0);
}

#[test]
fn a_late_confirmation_is_none_while_the_shard_attaches() {
    on_virtual_time(async {
        hush();
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(500);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(1.0).await;
        let mut client = at.connect();
        universe.nodes[0].supervisor.crash("rooms-0");
        wait(0.1).await;
        client.send(&json!({"type": "join", "room": "a"}));
        wait(0.1).await;
        confirm_late(at, "a");
        wait(2.0).await;
        assert_eq!(types(&client.read()), ["joined"]);
        count(&universe, "a", 0..3);
        universe.settle().await;
        assert_eq!(numbers(&client.read()), [0, 1, 2]);
    });
}

#[test]
fn a_late_confirmation_is_none_before_the_bus_hands_over() {
    for turns in 0..6 {
        on_virtual_time(async {
            let universe = Universe::new(1, 1, Limits::default(), |_| {});
            let at = shard(&universe, 0, 0);
            universe.settle().await;
            let mut client = at.connect();
            let join = Join {
                peer: at.desk.hub.all()[0].key.get(),
                rooms: vec![room("a")],
                asked: Rooms::One("a".into()),
                since: None,
                reference: None,
            };
            at.desk.registry.try_send(join).expect("a shard");
            confirm_late(at, "a");
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            count(&universe, "a", 0..1);
            universe.settle().await;
            let frames = client.read();
            let position = frames[0]["position"].as_str().expect("one");
            let had_it = position.ends_with("-1");
            assert_eq!(
                numbers(&frames).len(),
                usize::from(!had_it),
                "after {turns} turns: {frames:?}"
            );
        });
    }
}

#[test]
fn a_shard_that_is_asked_while_it_attaches_attaches_once_more() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_millis(500);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(0.1).await;
        for _ in 0..3 {
            at.desk.registry.send(SayInterest).await.expect("a shard");
        }
        assert_eq!(at.desk.hub.stats.catch_ups.get(), 1, "one at a time");
        wait(5.0).await;
        assert_eq!(at.desk.hub.stats.catch_ups.get(), 2);
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
fn a_room_whose_join_waits_for_another_answer_is_not_given_up() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.answers_after = Duration::from_secs(6);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(10.0).await;
        let mut client = at.connect();
        client.send(&json!({"type": "join", "room": "a", "since": "0-0"}));
        client.send(&json!({"type": "join", "room": "b"}));
        // Meanwhile the second room is confirmed, and nobody is in it for longer than empty rooms are kept.
        wait(20.0).await;
        assert_eq!(types(&client.read()), ["joined", "joined"]);
        count(&universe, "b", 0..1);
        wait(1.0).await;
        assert_eq!(numbers(&client.read()), [0]);
    });
}

#[test]
fn a_client_that_is_too_slow_hears_so_right_after_the_frame_it_is_reading() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| settings.outbox_bytes = 20_000);
        let at = shard(&universe, 0, 0);
        let mut client = at.connect_with(1_500);
        client.send(&json!({"type": "join", "room": "a"}));
        universe.settle().await;
        assert_eq!(types(&client.read()), ["joined"]);
        for _ in 0..40 {
            publish(&universe, &["a"], "e", json!("x".repeat(1_000)));
            universe.settle().await;
        }
        let mut frames = Vec::new();
        for _ in 0..20 {
            universe.settle().await;
            frames.extend(client.read());
        }
        assert!(frames.len() < 5, "{}", frames.len());
        assert_eq!(client.closed.as_ref().map(|(code, _)| *code), Some(4000));
    });
}

#[test]
fn a_client_that_asks_more_than_may_be_under_way_is_read_from_again() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.mailbox = 10_000;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        universe.settle().await;
        let mut client = at.connect();
        let limit = at.desk.commands_in_flight;
        for round in 0..3 {
            for i in 0..2 * limit {
                client.send(&json!({"type": "publish", "room": "a", "event": "e", "data": i}));
            }
            universe.settle().await;
            client.send(&json!({"type": "ping"}));
            universe.settle().await;
            let frames = client.read();
            assert_eq!(types(&frames).last(), Some(&"pong"), "round {round}");
            assert_eq!(frames.len(), 2 * limit + 1);
        }
    });
}

#[test]
fn a_client_that_asked_and_went_leaves_nothing_behind() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let client = joined(&universe, at, &["a"]).await;
        // Its own event finds the connection broken before the answer does.
        client.send(&json!({"type": "publish", "room": "a", "event": "e", "data": 1}));
        client.hang_up();
        universe.settle().await;
        assert!(at.desk.hub.is_empty());
        assert_eq!(universe.bus.gauges().head, 1, "what it asked was done");
    });
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

#[test]
fn a_client_that_is_nowhere_misses_nothing_while_its_shard_attaches() {
    on_virtual_time(async {
        hush();
        let mut plan = Plan::new(1, 1);
        plan.limits.history_events = 3;
        plan.answers_after = Duration::from_millis(500);
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        wait(1.0).await;
        let mut client = at.connect();
        count(&universe, "a", 0..5);
        universe.nodes[0].supervisor.crash("rooms-0");
        wait(0.1).await;
        count(&universe, "a", 5..10);
        client.send(&json!({"type": "join", "room": "a"}));
        wait(3.0).await;
        count(&universe, "a", 10..12);
        universe.settle().await;
        let frames = client.read();
        assert_eq!(types(&frames), ["joined", "event", "event"]);
        assert_eq!(numbers(&frames), [10, 11]);
        assert!(!client.is_over());
    });
}

#[test]
fn a_publisher_hears_that_the_bus_is_away() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["a"]).await;
        universe.seen.set_away(true);
        client.send(&json!({"type": "publish", "room": "a", "event": "e", "data": 1, "ref": 7}));
        universe.settle().await;
        let frames = client.read();
        assert_eq!(
            (&frames[0]["code"], &frames[0]["ref"]),
            (&json!("unavailable"), &json!(7))
        );
    });
}
