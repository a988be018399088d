//! Small words for tests that walk through one schedule by hand.

use crate::schedules::thought;
use greenroom_actors::{
    cluster_bus::OnOutage,
    logic::{event::Receipt, protocol::Publication, room_name::RoomName, throttle::Rules},
    ports::{Bus as _, BusError, PortFuture},
    testing::{
        cluster::Cluster,
        socket_io::Stock,
        universe::{Plan, Shard},
        wire::Client,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

/// Two nodes of two shards, of which the broker answers at once.
pub fn plan() -> Plan {
    crate::hush();
    let mut plan = Plan::new(2, 2);
    plan.answers_after = Duration::from_millis(1);
    plan
}

/// The same, throttled to one event a second.
pub fn throttled() -> Plan {
    let mut plan = plan();
    plan.settings.rules = Rules {
        per_second: 1,
        ..Rules::default()
    };
    plan
}

/// Nodes that go on by themselves while the broker is away, once they have reached it.
pub async fn cluster(plan: Plan) -> Cluster {
    let cluster = Cluster::new(plan, OnOutage::Local);
    wait(0.1).await;
    cluster
}

/// A room's name, checked.
pub fn room(name: &str) -> RoomName {
    RoomName::parse(name, 200).expect("a name")
}

/// Some time passes.
pub async fn wait(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Long enough for a node to reach the broker again, for everybody to catch up, and for a sweep.
pub async fn heal(cluster: &Cluster) {
    wait(12.0).await;
    assert!(cluster.buses.iter().all(|bus| bus.state().up));
}

/// Only this node does not reach the broker from now on; for how long, the caller says by `heal`.
pub async fn cut_off(cluster: &Cluster, node: usize) {
    cluster.broker.shut_out(cluster.buses[node].tag(), true);
    wait(0.01).await;
    assert!(!cluster.buses[node].state().up);
}

/// It reaches it again.
pub async fn let_in(cluster: &Cluster, node: usize) {
    cluster.broker.shut_out(cluster.buses[node].tag(), false);
    heal(cluster).await;
}

/// A client that is in these rooms.
pub async fn joined(at: &Shard, rooms: &[&str]) -> Client {
    resumed(at, rooms, None).await.0
}

/// A client that comes back with a position, and whether nothing is missing.
pub async fn resumed(at: &Shard, rooms: &[&str], since: Option<&str>) -> (Client, bool) {
    let mut client = at.connect();
    let mut join = json!({"type": "join", "rooms": rooms});
    if let Some(since) = since {
        join["since"] = since.into();
    }
    client.send(&join);
    wait(0.01).await;
    let frames = client.read_one();
    assert_eq!(frames["type"], "joined", "{frames:?}");
    (client, frames["recovered"] == true)
}

/// What waits for a client: events are told by their data, others by their types.
pub struct Heard {
    pub numbers: Vec<u64>,
    /// Of each event, whether it came before it had its number.
    pub local: Vec<bool>,
    /// The last position.
    pub position: String,
}

/// Hears all that there is.
pub fn hear(client: &mut Client) -> Heard {
    let frames = client.read();
    let is_event = |frame: &&Value| frame["type"] == "event" && frame["event"] != "greenroom";
    let events: Vec<&Value> = frames.iter().filter(is_event).collect();
    let position = frames.iter().rev().find_map(|frame| frame["position"].as_str());
    Heard {
        numbers: events
            .iter()
            .flat_map(|event| numbers_of(&event["data"]))
            .collect(),
        local: events.iter().map(|event| event["scope"] == "local").collect(),
        position: position.unwrap_or_default().to_owned(),
    }
}

/// The numbers that an event says: one, or those of its thoughts.
fn numbers_of(data: &Value) -> Vec<u64> {
    let thought = |data: &Value| data["thought"].as_str().and_then(|text| text.parse().ok());
    match (data.as_u64(), data["thoughts"].as_array()) {
        (Some(number), _) => vec![number],
        (None, Some(thoughts)) => thoughts.iter().filter_map(thought).collect(),
        (None, None) => thought(data).into_iter().collect(),
    }
}

/// The numbers that came.
pub fn numbers(client: &mut Client) -> Vec<u64> {
    hear(client).numbers
}

/// Somebody publishes a number through a node.
pub fn publish(at: &Shard, room: &str, number: u64) -> PortFuture<Result<Receipt, BusError>> {
    publish_as(at, room, "e", json!(number), None)
}

/// Somebody publishes an event through a node, with an id of his own if he wants.
pub fn publish_as(
    at: &Shard,
    room: &str,
    event: &str,
    data: Value,
    id: Option<&str>,
) -> PortFuture<Result<Receipt, BusError>> {
    let publication = Publication {
        rooms: vec![room.to_owned()],
        event: event.into(),
        data: serde_json::value::to_raw_value(&data).ok(),
        id: id.map(str::to_owned),
        ..Publication::default()
    };
    let draft = at.desk.draft(publication, None).expect("one that holds");
    at.desk.bus.publish(draft)
}

/// Thoughts of agent 1, one after the other.
pub fn think(at: &Shard, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let data = thought("1", &number.to_string());
        drop(publish_as(at, "agent:1", "agent-thought", data, None));
    }
}

/// A client of Socket.IO that is in these rooms.
pub async fn guest(at: &Shard, rooms: &[&str]) -> Stock {
    let mut guest = Stock::default();
    back(at, &mut guest).await;
    for room in rooms {
        join(&mut guest, room).await;
    }
    guest
}

/// It comes back over a new session, whatever became of the old one.
pub async fn back(at: &Shard, guest: &mut Stock) -> Option<bool> {
    drop(guest.enter(at.socket_io()));
    listen(guest).await;
    guest.recovered
}

/// It joins a room.
pub async fn join(guest: &mut Stock, room: &str) {
    let id = guest.now().emit("join", &json!(room));
    listen(guest).await;
    let answer = guest.now().answers.remove(&id).expect("an answer");
    assert_eq!(answer["ok"], true, "{answer}");
}

/// It hears all that there is.
pub async fn listen(guest: &mut Stock) {
    for _ in 0..8 {
        guest.listen();
        wait(0.005).await;
    }
}

/// The numbers that it was given since it was new.
pub fn told(guest: &Stock) -> Vec<u64> {
    guest
        .events
        .iter()
        .flat_map(|event| numbers_of(&event[1]))
        .collect()
}
