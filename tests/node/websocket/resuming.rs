//! Coming back with a position.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::JOIN;
use crate::kit::raw::{self, TEXT};
use crate::kit::{Raw, TestNode, Ws, numbered_name, numbers, thoughts_of};

#[tokio::test]
async fn a_position_of_another_life_is_told_and_then_it_goes_on() {
    let [node, other] = [TestNode::start().await, TestNode::start().await];
    let foreign = other.joined(&["lobby"]).await.join(&["lobby"], None).await["position"].clone();
    node.publish("lobby", "note", 1).await;
    let mut ws = node.ws().await;
    let joined = ws.join(&["lobby"], foreign.as_str()).await;
    assert_eq!(joined["recovered"], false);
    node.publish("lobby", "note", 2).await;
    let heard = numbers(&ws.events(2).await);
    assert_eq!(heard, [1, 2], "what is kept, then what comes");
    let mut bad = node.ws().await;
    let answer = bad
        .ask(json!({"type": "join", "room": "a", "since": "nonsense"}))
        .await;
    assert_eq!(answer["code"], "position_invalid");
}

#[tokio::test]
async fn a_history_that_was_overrun_is_told() {
    let node = TestNode::with(|config| config.rooms.history_events = 4).await;
    let mut ws = node.joined(&["lobby", "quiet"]).await;
    node.publish("lobby", "note", 0).await;
    let position = ws.event().await["position"].as_str().unwrap().to_owned();
    ws.cut();
    for number in 1..=4 {
        node.publish("lobby", "note", number).await;
    }
    let mut back = node.ws().await;
    let joined = back.join(&["lobby", "quiet"], Some(&position)).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(numbers(&back.events(4).await), [1, 2, 3, 4]);
    node.publish("lobby", "note", 5).await;
    let mut late = node.ws().await;
    let joined = late.join(&["lobby", "quiet"], Some(&position)).await;
    assert_eq!(joined["recovered"], false);
    let heard = numbers(&late.events(4).await);
    assert_eq!(heard, [2, 3, 4, 5], "what is left of it");
    late.hears_nothing().await;
}

/// What a client has done so far in [`resuming_is_exact`].
struct Resumer {
    ws: Option<Ws>,
    position: Option<String>,
    heard: Vec<u64>,
}

impl Resumer {
    /// Joins, from its position if it has one.
    async fn connect(&mut self, node: &TestNode, rooms: &[&str]) {
        let mut ws = node.ws().await;
        let joined = ws.join(rooms, self.position.as_deref()).await;
        assert_eq!(joined["recovered"], true);
        self.position = joined["position"].as_str().map(str::to_owned);
        self.ws = Some(ws);
    }

    async fn hear(&mut self, events: usize) {
        for event in self.ws.as_mut().unwrap().events(events).await {
            self.position = event["position"].as_str().map(str::to_owned);
            self.heard.push(crate::kit::number(&event));
        }
    }
}

/// Cut at any moment while events keep coming in several rooms, on either of two nodes: nothing is missing, nothing
/// comes twice, and the order is the one order of all rooms.
#[tokio::test]
async fn resuming_is_exact() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = TestNode::pair().await;
        let rooms = ["a", "b", "c"];
        let mut client = Resumer {
            ws: None,
            position: None,
            heard: Vec::new(),
        };
        client.connect(&nodes[0], &rooms).await;
        let mut publisher = nodes[1].ws().await;
        let mut expected = Vec::new();
        for round in 0..25_u64 {
            let burst = random.usize(0..12);
            for number in 0..burst {
                let number = round * 100 + number as u64;
                // One of several rooms, or two at once; `d` is a room of others.
                let to = match random.usize(0..5) {
                    4 => json!(["d", rooms[random.usize(0..3)]]),
                    3 => json!(["d"]),
                    one => json!([rooms[one]]),
                };
                if to != json!(["d"]) {
                    expected.push(number);
                }
                let command = json!({"type": "publish", "rooms": to, "event": "note", "data": number});
                publisher.send(&command).await;
            }
            let waits = expected.len() - client.heard.len();
            client.hear(random.usize(0..=waits)).await;
            if random.bool() {
                let ws = client.ws.take().unwrap();
                if random.bool() {
                    ws.reset()
                } else {
                    ws.cut()
                }
                client.connect(&nodes[random.usize(0..2)], &rooms).await;
            }
        }
        client.hear(expected.len() - client.heard.len()).await;
        assert_eq!(client.heard, expected, "seed {seed}");
        client.ws.unwrap().hears_nothing().await;
    }
}

/// A reader that falls behind by more than its outbox is cut off, and has lost nothing when it comes back.
#[tokio::test]
async fn a_slow_reader_is_cut_off_and_resumes_without_loss() {
    const EVENTS: u64 = 900;
    let node = TestNode::with(|config| {
        config.rooms.outbox_bytes = 64 << 10;
        config.throttle.wait_bytes = 16 << 10;
        config.limits.event_bytes = 16 << 10;
    })
    .await;
    let mut witness = node.joined(&["lobby"]).await;
    let mut slow = Raw::connect_narrow(node.address).await;
    slow.shake_hands().await;
    slow.send(&raw::text(JOIN)).await;
    let mut position = slow.json().await["position"].clone();
    let filler = "x".repeat(15_000);
    for number in 0..EVENTS {
        node.publish("lobby", "note", json!({"n": number, "filler": filler}))
            .await;
        assert_eq!(crate::kit::number(&witness.event().await), number);
    }
    let mut heard = Vec::new();
    let mut hear = |event: Value| {
        position = event["position"].clone();
        heard.push(crate::kit::number(&event));
    };
    while let Some((TEXT, payload)) = slow.frame().await {
        hear(serde_json::from_slice(&payload).unwrap());
    }
    assert!(heard.len() < EVENTS as usize, "it was cut off");
    let mut back = node.ws().await;
    let joined = back.join(&["lobby"], position.as_str()).await;
    assert_eq!(joined["recovered"], true);
    heard.extend(numbers(&back.events(EVENTS as usize - heard.len()).await));
    assert_eq!(heard, (0..EVENTS).collect::<Vec<_>>());
    back.hears_nothing().await;
}

/// What had to wait for the throttle when a client was cut off is given when it is back, and nothing else twice.
#[tokio::test]
async fn thoughts_that_wait_survive_a_cut() {
    let node = TestNode::start().await;
    // Ten go out at once, then what overtakes; the others wait.
    join_all([0, 1, 10, 11].map(|heard_before| is_cut_while_thoughts_wait(&node, heard_before))).await;
}

async fn is_cut_while_thoughts_wait(node: &TestNode, heard_before: usize) {
    let expected: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let rooms = ["agent", "lobby"].map(numbered_name);
    let rooms = rooms.each_ref().map(|room| &**room);
    let mut ws = node.ws().await;
    let mut position = ws.join(&rooms, None).await["position"].clone();
    for text in &expected {
        let data = json!({"agentId": "1", "thought": text, "timestamp": "2026-01-31T12:00:00Z"});
        node.publish(rooms[0], "agent-thought", data).await;
    }
    // Is not throttled, so it overtakes what waits.
    node.publish(rooms[1], "note", 1).await;
    let mut heard = ws.events(heard_before).await;
    if let Some(last) = heard.last() {
        position = last["position"].clone();
    }
    ws.cut();
    let mut back = node.ws().await;
    let joined = back.join(&rooms, position.as_str()).await;
    assert_eq!(joined["recovered"], true);
    let thoughts_in = |heard: &[Value]| -> Vec<String> {
        let thoughts = heard.iter().filter(|event| event["event"] == "agent-thought");
        thoughts.flat_map(|event| thoughts_of(&event["data"])).collect()
    };
    while thoughts_in(&heard).len() < expected.len() || heard.iter().all(|event| event["event"] != "note") {
        heard.push(back.event().await);
    }
    back.hears_nothing().await;
    assert_eq!(thoughts_in(&heard), expected, "cut after {heard_before}");
    let notes = heard.iter().filter(|event| event["event"] == "note").count();
    assert_eq!(notes, 1, "cut after {heard_before}");
}

/// What still waited for a client that has gone reaches nobody else, though the next one takes its place.
#[tokio::test]
async fn nobody_hears_what_waited_for_another() {
    let node = TestNode::with(|config| config.workers = 1).await;
    let think = async |agent: &str| {
        // Ten go out at once, the others wait for a second.
        for number in 0..20 {
            let thought = json!({"thought": format!("{agent} {number}")});
            let path = format!("/v1/agents/{agent}/thoughts");
            assert_eq!(node.http.post(&path, &thought).await.status, 202);
        }
    };
    let gone = node.joined(&["agent:secret"]).await;
    think("secret").await;
    gone.cut();
    node.until_members("agent:secret", 0).await;
    let mut next = node.joined(&["agent:own"]).await;
    think("own").await;
    let mut heard = Vec::new();
    while heard.len() < 20 {
        let event = next.event().await;
        heard.extend(thoughts_of(&event["data"]));
    }
    // Its own waited longer than what waited for the other.
    let expected: Vec<String> = (0..20).map(|number| format!("own {number}")).collect();
    assert_eq!(heard, expected);
    next.hears_nothing().await;
}
