//! Rooms through the real actors, over connections in memory, on virtual time.

use greenroom_actors::{
    logic::{
        bus_log::Limits,
        protocol::Publication,
        throttle::{self, Rules},
    },
    messages::Publish,
    testing::{
        on_virtual_time,
        universe::{Shard, Universe},
        wire::Client,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

async fn publish(shard: &Shard, rooms: &[&str], event: &str, data: Value) -> String {
    let publication = Publication {
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
        event: event.into(),
        data: serde_json::value::to_raw_value(&data).ok(),
        ..Publication::default()
    };
    let draft = shard
        .desk
        .draft(publication, None)
        .expect("a publication that holds");
    let receipt = shard
        .desk
        .registry
        .send(Publish::from(draft))
        .await
        .expect("a registry")
        .expect("a bus");
    receipt.id.as_str().to_owned()
}

fn of_type<'a>(frames: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    frames.iter().filter(|frame| frame["type"] == wanted).collect()
}

fn data_of(frames: &[Value]) -> Vec<Value> {
    of_type(frames, "event")
        .into_iter()
        .map(|frame| frame["data"].clone())
        .collect()
}

async fn joined(universe: &Universe, shard: &Shard, rooms: &[&str]) -> Client {
    let mut client = shard.connect();
    client.send(&json!({"type": "join", "rooms": rooms, "ref": 1}));
    universe.settle().await;
    let frames = client.read();
    assert_eq!(frames[0]["type"], "joined", "{frames:?}");
    client
}

async fn wait(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[test]
fn a_member_hears_its_room_and_nobody_else_does() {
    on_virtual_time(async {
        let universe = Universe::new(2, 2, Limits::default(), |_| {});
        let shards: Vec<&Shard> = universe.nodes.iter().flat_map(|node| &node.shards).collect();
        let mut members = Vec::new();
        for shard in &shards {
            members.push(joined(&universe, shard, &["agent:42"]).await);
        }
        let mut stranger = joined(&universe, shards[0], &["agent:7"]).await;
        publish(shards[1], &["agent:42"], "e", json!(1)).await;
        publish(shards[2], &["agent:42"], "e", json!(2)).await;
        universe.settle().await;
        for member in &mut members {
            assert_eq!(data_of(&member.read()), [json!(1), json!(2)]);
        }
        assert!(stranger.read().is_empty());
    });
}

#[test]
fn an_event_for_several_rooms_reaches_a_connection_once() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let shard = &universe.nodes[0].shards[0];
        let mut both = joined(&universe, shard, &["a", "b"]).await;
        let mut second = joined(&universe, shard, &["b"]).await;
        publish(shard, &["a", "b"], "e", json!(1)).await;
        universe.settle().await;
        let frames = both.read();
        assert_eq!(frames.len(), 1);
        assert_eq!(
            (&frames[0]["room"], &frames[0]["rooms"]),
            (&json!("a"), &json!(["a", "b"]))
        );
        assert_eq!(second.read().len(), 1);
    });
}

/// Commands in order, each with the type of its answer and, of an error, the code.
fn commands() -> Vec<(Value, &'static str, Option<&'static str>)> {
    vec![
        (json!({"type": "join", "room": "a", "ref": "x"}), "joined", None),
        (
            json!({"type": "presence", "room": "a", "ref": 2}),
            "presence",
            None,
        ),
        (
            json!({"type": "publish", "room": "a", "event": "e", "data": null, "ref": 3}),
            "published",
            None,
        ),
        (json!({"type": "ping", "ref": 4}), "pong", None),
        (json!({"type": "leave", "room": "a", "ref": 5}), "left", None),
        (
            json!({"type": "join", "room": "a b", "ref": 6}),
            "error",
            Some("room_name_invalid"),
        ),
        (
            json!({"type": "join", "room": "a", "since": "0-0", "ref": 7}),
            "error",
            Some("since_not_first"),
        ),
        (json!({"type": "dance", "ref": 8}), "error", Some("bad_request")),
        (
            json!({"type": "join", "room": 7, "ref": 9}),
            "error",
            Some("bad_request"),
        ),
        (
            json!({"type": "publish", "room": "a", "event": "connect", "ref": 10}),
            "error",
            Some("event_name_invalid"),
        ),
        (
            json!({"type": "publish", "room": "a", "event": "agent-thought", "data": {}, "ref": 11}),
            "error",
            Some("payload_invalid"),
        ),
    ]
}

#[test]
fn every_command_is_answered_with_its_ref() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let mut client = universe.nodes[0].shards[0].connect();
        for (command, answer, code) in commands() {
            client.send(&command);
            universe.settle().await;
            let frames = client.read();
            let frame = frames
                .iter()
                .find(|frame| frame["type"] == answer)
                .unwrap_or_else(|| panic!("{frames:?}"));
            assert_eq!(frame["ref"], command["ref"]);
            assert_eq!(frame["code"].as_str(), code, "{command}");
        }
        client.send_raw(&greenroom_actors::logic::ws::masked(
            greenroom_actors::logic::ws::Opcode::Text,
            true,
            b"{",
            [9; 4],
        ));
        universe.settle().await;
        assert_eq!(client.read()[0]["code"], "bad_json");
        assert!(
            !client.is_over(),
            "a bad frame costs its sender an answer, not the connection"
        );
    });
}

#[test]
fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    on_virtual_time(async {
        let universe = Universe::new(2, 1, Limits::default(), |_| {});
        let (here, there) = (&universe.nodes[0].shards[0], &universe.nodes[1].shards[0]);
        let mut client = joined(&universe, here, &["a", "b"]).await;
        publish(here, &["a"], "e", json!(1)).await;
        universe.settle().await;
        let position = client.read()[0]["position"].clone();
        client.hang_up();
        for i in 2..500 {
            publish(here, &[if i % 3 == 0 { "a" } else { "b" }], "e", json!(i)).await;
        }
        let mut again = there.connect();
        again.send(&json!({"type": "join", "rooms": ["a", "b"], "since": position}));
        universe.settle().await;
        publish(here, &["a"], "e", json!("live")).await;
        universe.settle().await;
        let frames = again.read();
        assert_eq!(
            (&frames[0]["type"], &frames[0]["recovered"]),
            (&json!("joined"), &json!(true))
        );
        let wanted: Vec<Value> = (2..500).map(|i| json!(i)).chain([json!("live")]).collect();
        assert_eq!(data_of(&frames), wanted);
    });
}

#[test]
fn a_history_that_does_not_reach_back_is_told() {
    on_virtual_time(async {
        let limits = Limits {
            history_events: 10,
            ..Limits::default()
        };
        let universe = Universe::new(1, 1, limits, |_| {});
        let shard = &universe.nodes[0].shards[0];
        let mut client = joined(&universe, shard, &["a"]).await;
        publish(shard, &["a"], "e", json!(0)).await;
        universe.settle().await;
        let position = client.read()[0]["position"].clone();
        client.hang_up();
        for i in 1..=20 {
            publish(shard, &["a"], "e", json!(i)).await;
        }
        for since in [position, json!("zz-1"), json!("0-zzzz")] {
            let mut again = shard.connect();
            again.send(&json!({"type": "join", "room": "a", "since": since}));
            universe.settle().await;
            let frames = again.read();
            assert_eq!(frames[0]["recovered"], false, "{since}");
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_closed_and_the_others_notice_nothing() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| settings.outbox_bytes = 40_000);
        let shard = &universe.nodes[0].shards[0];
        let mut stalled = joined(&universe, shard, &["a"]).await;
        let mut reader = joined(&universe, shard, &["a"]).await;
        let mut heard = 0;
        for i in 0..300 {
            publish(shard, &["a"], "e", json!([i, "x".repeat(1_000)])).await;
            universe.settle().await;
            heard += data_of(&reader.read()).len();
        }
        assert_eq!(heard, 300);
        wait(4.0).await;
        let frames = stalled.read();
        assert!(stalled.is_over());
        let held = data_of(&frames).len();
        assert!(
            (50..200).contains(&held),
            "what the kernel held, and the frame being written: {held}"
        );
        let position = of_type(&frames, "event").last().expect("an event")["position"].clone();
        let mut again = shard.connect();
        again.send(&json!({"type": "join", "room": "a", "since": position}));
        let mut caught_up = Vec::new();
        for _ in 0..100 {
            universe.settle().await;
            caught_up.extend(data_of(&again.read()));
        }
        assert_eq!(
            held + caught_up.len(),
            300,
            "and what it missed it gets when it is back"
        );
    });
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let shard = &universe.nodes[0].shards[0];
        let mut alive = joined(&universe, shard, &["a"]).await;
        let mut dead = joined(&universe, shard, &["a"]).await;
        for _ in 0..60 {
            wait(1.0).await;
            alive.read();
        }
        assert!(!alive.is_over());
        assert!(dead.is_over());
        dead.read();
        assert_eq!(dead.closed.as_ref().map(|(code, _)| *code), Some(4001));
        universe.settle().await;
        assert_eq!(shard.desk.hub.len(), 1);
    });
}

fn thought(agent: &str, text: &str) -> Value {
    json!({"agentId": agent, "thought": text, "timestamp": "2026-01-01T00:00:00Z"})
}

#[test]
fn thoughts_beyond_ten_a_second_are_merged_and_none_is_lost() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules = Rules::default()
        });
        let shard = &universe.nodes[0].shards[0];
        let mut client = joined(&universe, shard, &["agent:1"]).await;
        for i in 0..100 {
            publish(shard, &["agent:1"], "agent-thought", thought("1", &i.to_string())).await;
        }
        universe.settle().await;
        assert_eq!(data_of(&client.read()).len(), 10);
        wait(2.0).await;
        let late = data_of(&client.read());
        assert_eq!(late.len(), 1);
        assert_eq!(late[0]["merged"], 90);
        let texts: Vec<String> = (10..100).map(|i| i.to_string()).collect();
        assert_eq!(late[0]["thought"], texts.join("\n"));
        assert_eq!(late[0]["thoughts"][89]["thought"], "99");
    });
}

#[test]
fn the_latest_status_always_arrives() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules = Rules::default()
        });
        let shard = &universe.nodes[0].shards[0];
        let mut client = joined(&universe, shard, &["task:1"]).await;
        for i in 0..=100 {
            let update = json!({"taskId": "1", "status": "in_progress", "progress": i, "timestamp": "2026-01-01T00:00:00Z"});
            publish(shard, &["task:1"], "task-update", update).await;
        }
        wait(2.0).await;
        let heard = data_of(&client.read());
        assert_eq!(heard.len(), 11);
        assert_eq!(heard[10]["progress"], 100);
    });
}

#[test]
fn a_cut_while_events_wait_loses_none_of_them_and_repeats_none() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules = Rules::default()
        });
        let shard = &universe.nodes[0].shards[0];
        let mut client = joined(&universe, shard, &["agent:1", "lobby"]).await;
        for i in 0..20 {
            publish(shard, &["agent:1"], "agent-thought", thought("1", &i.to_string())).await;
        }
        publish(shard, &["lobby"], "chat", json!("overtakes")).await;
        universe.settle().await;
        let frames = client.read();
        assert_eq!(data_of(&frames).len(), 11);
        let position = frames.last().expect("a frame")["position"].clone();
        assert!(
            position.as_str().is_some_and(|text| text.contains('~')),
            "it names what waits: {position}"
        );
        client.hang_up();
        let mut again = shard.connect();
        again.send(&json!({"type": "join", "rooms": ["agent:1", "lobby"], "since": position}));
        wait(5.0).await;
        let frames = again.read();
        assert_eq!(frames[0]["recovered"], true);
        let mut texts = Vec::new();
        for data in data_of(&frames) {
            match data["thoughts"].as_array() {
                Some(thoughts) => texts.extend(thoughts.iter().map(|one| one["thought"].clone())),
                None => texts.push(data["thought"].clone()),
            }
        }
        assert_eq!(texts, (10..20).map(|i| json!(i.to_string())).collect::<Vec<_>>());
    });
}

#[test]
fn two_connections_are_two_users_where_nobody_has_a_name() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules = Rules {
                per_second: 3,
                ..Rules::default()
            };
        });
        let shard = &universe.nodes[0].shards[0];
        let mut one = joined(&universe, shard, &["agent:1"]).await;
        let mut two = joined(&universe, shard, &["agent:1"]).await;
        for i in 0..5 {
            publish(shard, &["agent:1"], "agent-thought", thought("1", &i.to_string())).await;
        }
        universe.settle().await;
        assert_eq!((data_of(&one.read()).len(), data_of(&two.read()).len()), (3, 3));
    });
}

#[test]
fn events_that_are_not_known_are_not_delayed() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules = Rules::default()
        });
        assert_eq!(throttle::WINDOW_MS, 1_000);
        let shard = &universe.nodes[0].shards[0];
        let mut client = joined(&universe, shard, &["chat:1"]).await;
        for i in 0..100 {
            publish(shard, &["chat:1"], "message", json!(i)).await;
        }
        universe.settle().await;
        assert_eq!(data_of(&client.read()).len(), 100);
    });
}
