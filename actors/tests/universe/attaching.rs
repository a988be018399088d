//! How a shard is with the bus: walks that no random schedule is likely to hit.

use crate::{hush, scene::*};
use greenroom_actors::{
    embedded_bus::EmbeddedBus,
    logic::{
        bus_log::Limits,
        event::{Draft, EventId, EventName, Payload},
        position::Life,
        protocol::Rooms,
    },
    messages::{Heard, Join, SayInterest, Watch},
    ports::{Bus, Inlet},
    testing::{
        on_virtual_time, probe,
        universe::{Plan, Shard, Universe},
    },
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

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

/// Publishes a number under an id of its own, past every shard.
fn say_anew(universe: &Universe, number: u64) {
    let draft = Draft {
        id: EventId::parse(&format!("new{number}")).expect("an id"),
        id_chosen: false,
        publisher: None,
        rooms: vec![room("a")],
        name: EventName::parse("e").expect("a name"),
        payload: Payload::Data(json!(number).to_string().into()),
        about: None,
        written: None,
        ts_ms: universe.seen.now_ms(),
    };
    drop(universe.seen.publish(draft));
}

#[test]
fn a_bus_that_lost_its_history_is_noticed_and_nobody_goes_on_as_if_nothing_had_happened() {
    on_virtual_time(async {
        hush();
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let mut client = joined(&universe, at, &["a"]).await;
        let (to, mut watcher) = probe::<Heard>();
        let watch = Watch {
            rooms: vec![room("a")],
            since: None,
            to,
        };
        at.desk
            .registry
            .send(watch)
            .await
            .expect("a shard")
            .expect("a key");
        count(&universe, "a", 0..50);
        universe.settle().await;
        let position = client.read()[49]["position"].clone();
        watcher.so_far();
        let anew = EmbeddedBus::new(
            Life::from_random(77),
            Limits::default(),
            greenroom_actors::logic::sessions::Limits::default(),
            at.desk.clock.clone(),
        );
        universe.seen.begin_anew(Arc::new(anew));
        let say = |number| say_anew(&universe, number);
        (0..3).for_each(say);
        universe.nodes[0].supervisor.crash("bridge");
        for number in 3..20 {
            say(number);
            tokio::task::yield_now().await;
        }
        wait(3.0).await;
        assert!(client.read().is_empty() && client.is_over());
        assert_eq!(client.closed.as_ref().map(|(code, _)| *code), Some(4002));
        let mut again = at.connect();
        again.send(&json!({"type": "join", "room": "a", "since": position}));
        universe.settle().await;
        let frames = again.read();
        assert_eq!(frames[0]["recovered"], false);
        assert_eq!(
            numbers(&frames),
            (0..20).collect::<Vec<u64>>(),
            "all of the new life is new"
        );
        let heard = watcher.so_far();
        assert!(matches!(heard[0], Heard::Missed { .. }), "{:?}", heard[0]);
        let seqs = heard[1..].iter().map(|heard| match heard {
            Heard::Event(event) => event.seq,
            other => panic!("{other:?}"),
        });
        assert_eq!(seqs.collect::<Vec<_>>(), (1..=20).collect::<Vec<u64>>());
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
