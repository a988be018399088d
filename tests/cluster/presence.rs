//! Who is where, and which nodes there are.

use std::collections::BTreeSet;

use serde_json::json;

use crate::kit::{Process, Redis, Ws, eventually};
use crate::{node, pair};

#[tokio::test]
async fn members_and_rooms_of_all_nodes_are_shown_by_each() {
    let (_redis, [one, two]) = pair().await;
    let here = one.joined(&["agent:1", "lobby"]).await;
    let _there = two.joined(&["agent:1"]).await;
    for node in [&one, &two] {
        eventually("both members", || async { node.members("agent:1").await == 2 }).await;
        let room = node.http.get("/v1/rooms/agent:1").await.ok();
        let members = room["members"].as_array().unwrap();
        let nodes: BTreeSet<&str> = members
            .iter()
            .map(|member| member["node"].as_str().unwrap())
            .collect();
        assert_eq!(nodes, BTreeSet::from([&*one.name, &*two.name]));
        let rooms = node.http.get("/v1/rooms?prefix=agent").await.ok();
        assert_eq!(rooms["rooms"], json!([{"room": "agent:1", "members": 2}]));
        let page = node.http.get("/v1/rooms?limit=1").await.ok();
        assert_eq!(page["next"], "agent:1");
        let page = node.http.get("/v1/rooms?after=agent:1").await.ok();
        assert_eq!(page["rooms"], json!([{"room": "lobby", "members": 1}]));
    }
    drop(here);
    eventually("one member", || async { two.members("agent:1").await == 1 }).await;
}

#[tokio::test]
async fn nodes_are_shown_by_each_and_leave_when_they_stop() {
    let (_redis, [one, two]) = pair().await;
    for node in [&one, &two] {
        eventually("both nodes", || async {
            let nodes = node.http.get("/v1/nodes").await.ok();
            let nodes = nodes["nodes"].as_array().unwrap().clone();
            nodes.len() == 2 && nodes.iter().all(|node| node["state"] == "alive")
        })
        .await;
    }
    let name = two.name.clone();
    drop(two);
    eventually("one node", || async {
        let nodes = one.http.get("/v1/nodes").await.ok();
        !nodes.to_string().contains(&name)
    })
    .await;
}

#[tokio::test]
async fn members_of_a_node_that_was_killed_vanish_and_it_is_shown_as_dead() {
    let redis = Redis::start();
    let survivor = node(&redis.url()).await;
    let url = format!("redis.url={}", redis.url());
    let doomed = Process::start(&[&url, "cluster.dead_ms=5000", "node_id=doomed"]);
    let mut client = Ws::connect(doomed.address).await;
    client.join(&["agent:1"], None).await;
    eventually("the member", || async { survivor.members("agent:1").await == 1 }).await;
    drop(doomed);
    eventually("no member", || async { survivor.members("agent:1").await == 0 }).await;
    let nodes = survivor.http.get("/v1/nodes").await.ok();
    let is_dead = |row: &serde_json::Value| row["node"] == "doomed" && row["state"] == "dead";
    assert!(nodes["nodes"].as_array().unwrap().iter().any(is_dead), "{nodes}");
    let rooms = survivor.http.get("/v1/rooms").await.ok();
    assert_eq!(rooms["rooms"], json!([]));
}
