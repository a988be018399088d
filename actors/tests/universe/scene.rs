//! Small words for tests that walk through one schedule by hand.

pub use crate::schedules::thought;
use greenroom_actors::{
    logic::{
        event::Draft,
        protocol::{Notice, Publication},
        room_name::RoomName,
    },
    messages::Announce,
    ports::Bus,
    reply::poll_once,
    testing::{
        universe::{Shard, Universe},
        wire::Client,
    },
};
use serde_json::{Value, json};
use std::{ops::Range, time::Duration};

/// A room's name, checked.
pub fn room(name: &str) -> RoomName {
    RoomName::parse(name, 200).expect("a name")
}

/// A shard of a universe.
pub fn shard(universe: &Universe, node: usize, shard: usize) -> &Shard {
    &universe.nodes[node].shards[shard]
}

/// An event that is not published yet.
pub fn draft(universe: &Universe, rooms: &[&str], event: &str, data: Value) -> Draft {
    let publication = Publication {
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
        event: event.into(),
        data: serde_json::value::to_raw_value(&data).ok(),
        ..Publication::default()
    };
    let desk = &shard(universe, 0, 0).desk;
    desk.draft(publication, None).expect("one that holds")
}

/// Publishes an event past all mailboxes.
pub fn publish(universe: &Universe, rooms: &[&str], event: &str, data: Value) {
    let draft = draft(universe, rooms, event, data);
    let answer = poll_once(universe.bus.publish(draft)).ok().expect("at once");
    answer.expect("accepted");
}

/// Publishes numbers into a room.
pub fn count(universe: &Universe, room: &str, numbers: Range<u64>) {
    numbers.for_each(|number| publish(universe, &[room], "e", json!(number)));
}

/// A client that is in these rooms.
pub async fn joined(universe: &Universe, shard: &Shard, rooms: &[&str]) -> Client {
    let mut client = shard.connect();
    client.send(&json!({"type": "join", "rooms": rooms}));
    universe.settle().await;
    let frames = client.read();
    assert_eq!(frames[0]["type"], "joined", "{frames:?}");
    client
}

/// Some time passes.
pub async fn wait(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// What the events among the frames say.
pub fn data(frames: &[Value]) -> Vec<Value> {
    let events = frames.iter().filter(|frame| frame["type"] == "event");
    events.map(|frame| frame["data"].clone()).collect()
}

/// The numbers that the events among the frames say.
pub fn numbers(frames: &[Value]) -> Vec<u64> {
    data(frames)
        .iter()
        .map(|data| data.as_u64().expect("a number"))
        .collect()
}

/// The types of the frames.
pub fn types(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame["type"].as_str().expect("a type"))
        .collect()
}

/// A node says something about itself.
pub fn notice() -> Announce {
    Announce(Notice {
        r#type: "degraded",
        message: "a test says so".into(),
        retry_in_ms: None,
    })
}
