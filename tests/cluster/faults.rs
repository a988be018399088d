//! Redis fails: the node goes on by itself, and nothing is lost or comes twice afterwards.

use std::time::Duration;

use serde_json::json;

use crate::kit::{Fault, Proxy, Redis, Sio, TestNode, Ws, eventually, numbers};
use crate::{bus, node, node_with, pair, until};

/// The events of an answer of a client that were numbered by the node itself.
fn is_local(event: &serde_json::Value) -> bool {
    event["scope"] == "local"
}

/// Nothing more comes: what is published next is the next that each hears.
async fn quiet(nodes: [&TestNode; 2], clients: [&mut Ws; 2]) {
    nodes[0].publish("agent:1", "note", 99).await;
    for client in clients {
        assert_eq!(client.numbers(1).await, [99]);
    }
}

#[tokio::test]
async fn a_node_goes_on_by_itself_while_redis_is_away_and_catches_up_afterwards() {
    let (mut redis, [one, two]) = pair().await;
    let mut here = one.joined(&["agent:1"]).await;
    let mut there = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    // Else Redis may have answered who published, and not yet told who listens.
    assert_eq!(here.numbers(1).await, [1]);
    assert_eq!(there.numbers(1).await, [1]);
    redis.kill();
    until(&one, "down").await;
    until(&two, "down").await;
    let answer = one
        .http
        .post("/v1/rooms/agent:1/events", &json!({"event": "note", "data": 2}))
        .await;
    assert_eq!((answer.status, &answer.json()["scope"]), (202, &json!("local")));
    two.publish("agent:1", "note", 3).await;
    let second = here.heard().await;
    assert_eq!(second["data"], 2);
    assert!(is_local(&second), "{second}");
    assert_eq!(there.numbers(1).await, [3]);
    redis.begin();
    until(&one, "up").await;
    until(&two, "up").await;
    one.publish("agent:1", "note", 4).await;
    assert_eq!(
        here.numbers(2).await,
        [3, 4],
        "what the other had, and not its own again"
    );
    assert_eq!(there.numbers(2).await, [2, 4]);
    quiet([&one, &two], [&mut here, &mut there]).await;
    let history = one.http.get("/v1/rooms/agent:1/events").await.ok();
    let events = history["events"].as_array().unwrap();
    assert_eq!(events.len(), 5, "each once");
    assert!(!events.iter().any(is_local));
}

#[tokio::test]
async fn who_saw_events_of_an_outage_is_not_given_them_again_on_another_node() {
    let (mut redis, [one, two]) = pair().await;
    let mut client = Sio::joined(one.address, &["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.numbers(1).await, [1]);
    redis.kill();
    until(&one, "down").await;
    one.publish("agent:1", "note", 2).await;
    one.publish("agent:1", "note", 3).await;
    assert_eq!(client.numbers(2).await, [2, 3]);
    let (pid, offset) = (client.pid.clone().unwrap(), client.offset.clone());
    client.reset();
    one.publish("agent:1", "note", 4).await;
    redis.begin();
    until(&one, "up").await;
    until(&two, "up").await;
    let (mut back, recovered) = Sio::back(two.address, &pid, offset.as_deref()).await;
    assert!(recovered);
    two.publish("agent:1", "note", 5).await;
    assert_eq!(back.numbers(2).await, [4, 5]);
}

#[tokio::test]
async fn clients_come_and_go_while_redis_is_away() {
    let (mut redis, [one, _two]) = pair().await;
    let mut client = one.joined(&["agent:1"]).await;
    let mut witness = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    let position = client.heard().await["position"].as_str().unwrap().to_owned();
    drop(client);
    one.publish("agent:1", "note", 2).await;
    // The node has it: who joins from now on begins behind it.
    assert_eq!(witness.numbers(2).await, [1, 2]);
    drop(witness);
    eventually("nobody", || async { one.members("agent:1").await == 0 }).await;
    redis.kill();
    until(&one, "down").await;
    let mut new = one.joined(&["agent:1", "agent:2"]).await;
    let mut back = Ws::connect(one.address).await;
    back.join(&["agent:1"], Some(&position)).await;
    one.publish("agent:1", "note", 3).await;
    assert_eq!(new.heard().await["data"], 3);
    assert_eq!(
        back.heard().await["data"],
        3,
        "what is new does not wait for what it missed"
    );
    assert_eq!(one.members("agent:1").await, 2, "of this node");
    redis.begin();
    until(&one, "up").await;
    assert_eq!(back.heard().await["data"], 2, "what it missed");
    one.publish("agent:1", "note", 4).await;
    assert_eq!(new.heard().await["data"], 4);
    assert_eq!(back.heard().await["data"], 4);
}

#[tokio::test]
async fn a_node_begins_without_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.kill();
    let one = node(&redis.url()).await;
    assert_eq!(bus(&one).await["state"], "down");
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    redis.begin();
    until(&one, "up").await;
    let two = node(&redis.url()).await;
    two.publish("agent:1", "note", 2).await;
    assert_eq!(client.heard().await["data"], 2);
    let history = two.http.get("/v1/rooms/agent:1/events").await.ok();
    assert_eq!(numbers(history["events"].as_array().unwrap()), [1, 2]);
}

#[tokio::test]
async fn a_node_may_refuse_what_it_cannot_share() {
    let mut redis = Redis::start();
    let one = node_with(&redis.url(), |config| {
        config.bus.on_outage = greenroom::config::sections::OnOutage::Refuse;
    })
    .await;
    let mut client = one.joined(&["agent:1"]).await;
    redis.kill();
    until(&one, "down").await;
    let body = json!({"event": "note", "data": 1, "id": "mine"});
    one.http
        .post("/v1/rooms/agent:1/events", &body)
        .await
        .error(503, "unavailable");
    redis.begin();
    until(&one, "up").await;
    let answer = one.http.post("/v1/rooms/agent:1/events", &body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(client.heard().await["data"], 1);
}

#[tokio::test]
async fn a_redis_that_is_slow_is_waited_for() {
    let redis = Redis::start();
    let network = Proxy::to(redis.address).await;
    let [one, two] = [
        node(&format!("redis://{}", network.address)).await,
        node(&redis.url()).await,
    ];
    let mut here = one.joined(&["agent:1"]).await;
    let mut there = two.joined(&["agent:1"]).await;
    // Half of what it may take, there and back.
    network.slow_down(Duration::from_millis(100));
    for number in 0..10 {
        let answer = one.publish("agent:1", "note", number).await;
        assert!(answer["scope"].is_null(), "{answer}");
    }
    for client in [&mut here, &mut there] {
        let heard = client.events(10).await;
        assert!(!heard.iter().any(is_local), "{heard:?}");
        assert_eq!(numbers(&heard), (0..10).collect::<Vec<_>>());
    }
    assert_eq!(bus(&one).await["state"], "up");
}

#[tokio::test]
async fn a_redis_that_neither_does_nor_says_anything_is_away() {
    let (redis, [one, two]) = pair().await;
    let mut here = one.joined(&["agent:1"]).await;
    let mut there = two.joined(&["agent:1"]).await;
    redis.stall();
    // Nobody waits for ever for the answer.
    one.publish("agent:1", "note", 1).await;
    assert_eq!(here.heard().await["data"], 1);
    until(&one, "down").await;
    redis.go_on();
    until(&one, "up").await;
    until(&two, "up").await;
    two.publish("agent:1", "note", 2).await;
    assert_eq!(
        there.numbers(2).await,
        [1, 2],
        "once, though it was sent before and after"
    );
    assert_eq!(here.heard().await["data"], 2);
    quiet([&one, &two], [&mut here, &mut there]).await;
}

#[tokio::test]
async fn a_connection_to_redis_that_is_cut_costs_nothing() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address).await;
    let one = node(&format!("redis://{}", proxy.address)).await;
    let two = node(&redis.url()).await;
    let mut here = one.joined(&["agent:1"]).await;
    for number in 0..10 {
        if number % 3 == 2 {
            proxy.strike(Fault::Reset);
        }
        two.publish("agent:1", "note", number).await;
    }
    until(&one, "up").await;
    assert_eq!(here.numbers(10).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_told_to_those_who_miss_something() {
    let (mut redis, [one, two]) = pair().await;
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    let position = client.heard().await["position"].as_str().unwrap().to_owned();
    one.publish("agent:1", "note", 2).await;
    assert_eq!(client.heard().await["data"], 2);
    redis.kill();
    redis.forget();
    until(&one, "down").await;
    until(&two, "down").await;
    redis.begin();
    until(&one, "up").await;
    until(&two, "up").await;
    // The one that is connected has everything, and stays.
    two.publish("agent:1", "note", 3).await;
    assert_eq!(client.heard().await["data"], 3);
    // The one that comes back does not.
    let mut back = Ws::connect(two.address).await;
    let joined = back.join(&["agent:1"], Some(&position)).await;
    assert_eq!(joined["recovered"], false, "{joined}");
}

#[tokio::test]
async fn a_redis_that_comes_back_with_its_data_loses_nobody() {
    let (mut redis, [one, two]) = pair().await;
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    let position = client.heard().await["position"].as_str().unwrap().to_owned();
    one.publish("agent:1", "note", 2).await;
    redis.kill();
    redis.begin();
    until(&one, "up").await;
    until(&two, "up").await;
    two.publish("agent:1", "note", 3).await;
    assert_eq!(client.numbers(2).await, [2, 3]);
    let mut back = Ws::connect(two.address).await;
    let joined = back.join(&["agent:1"], Some(&position)).await;
    assert_eq!(joined["recovered"], true, "{joined}");
    assert_eq!(back.numbers(2).await, [2, 3]);
}

#[tokio::test]
async fn a_full_redis_is_away_for_publishers_and_says_why() {
    let (redis, [one, two]) = pair().await;
    let mut client = one.joined(&["agent:1"]).await;
    redis.cli(&["config", "set", "maxmemory", "1"]);
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    eventually("the reason", || async {
        bus(&one).await["means"].as_str().unwrap().contains("OOM")
    })
    .await;
    redis.cli(&["config", "set", "maxmemory", "0"]);
    until(&one, "up").await;
    until(&two, "up").await;
    let history = two.http.get("/v1/rooms/agent:1/events").await.ok();
    assert_eq!(numbers(history["events"].as_array().unwrap()), [1]);
}

#[tokio::test]
async fn histories_that_redis_evicts_are_missed_and_not_taken_for_empty() {
    let (redis, [one, two]) = pair().await;
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    let position = client.heard().await["position"].as_str().unwrap().to_owned();
    drop(client);
    one.publish("agent:1", "note", 2).await;
    for key in ["history:agent:1", "rooms"] {
        redis.cli(&["del", &format!("{{greenroom}}:{key}")]);
        let mut back = Ws::connect(two.address).await;
        let joined = back.join(&["agent:1"], Some(&position)).await;
        assert_eq!(joined["recovered"], false, "without {key}: {joined}");
    }
}

#[tokio::test]
async fn scripts_that_somebody_flushed_are_loaded_again() {
    let (redis, [one, two]) = pair().await;
    let mut client = two.joined(&["agent:1"]).await;
    redis.cli(&["script", "flush"]);
    one.publish("agent:1", "note", 1).await;
    until(&one, "up").await;
    until(&two, "up").await;
    assert_eq!(client.heard().await["data"], 1);
}

#[tokio::test]
async fn a_thousand_failed_attempts_are_one_line_of_the_metrics() {
    let (mut redis, [one, _two]) = pair().await;
    redis.kill();
    until(&one, "down").await;
    redis.begin();
    until(&one, "up").await;
    let metrics = one.http.get("/metrics").await.text;
    assert!(metrics.contains("greenroom_bus_outages_total 1\n"), "{metrics}");
    assert!(metrics.contains("greenroom_bus_up 1\n"));
}

#[tokio::test]
async fn who_comes_to_a_node_by_itself_is_given_what_it_gave_out_before() {
    let (mut redis, [one, two]) = pair().await;
    let mut before = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    let first = before.heard().await;
    drop(before);
    redis.kill();
    until(&one, "down").await;
    until(&two, "down").await;
    one.publish("agent:1", "note", 2).await;
    one.publish("agent:1", "note", 3).await;
    let mut here = one.ws().await;
    here.join(&["agent:1"], first["position"].as_str()).await;
    one.publish("agent:1", "note", 4).await;
    assert_eq!(here.numbers(3).await, [2, 3, 4]);
    redis.begin();
    until(&one, "up").await;
    until(&two, "up").await;
    one.publish("agent:1", "note", 5).await;
    assert_eq!(here.numbers(1).await, [5], "none of them again");
}
