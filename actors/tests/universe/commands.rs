//! What clients ask, and clients that go: walks that no random schedule is likely to hit.

use crate::scene::*;
use greenroom_actors::{
    logic::{bus_log::Limits, protocol::Rooms},
    messages::Join,
    ports::Bus,
    testing::{
        on_virtual_time,
        universe::{Plan, Universe},
    },
};
use serde_json::{Value, json};
use std::time::Duration;

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
        plan.commands_in_flight = 10;
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
