//! Redis goes, and comes back.

use serde_json::json;

use crate::kit::{Redis, eventually};
use crate::{Mixed, Server};

#[tokio::test]
async fn a_node_takes_part_again_when_redis_is_back() {
    let mut mixed = Mixed::start(1).await;
    let (mut ours, mut theirs) = (mixed.member(0, "room").await, mixed.their_member("room").await);
    for stalls in [false, true] {
        match stalls {
            true => mixed.redis.stall(),
            false => mixed.redis.kill(),
        }
        until_bus(&mixed, "down").await;
        // Given to our own at once; others never hear of it.
        mixed.nodes[0].publish("room", "away", 1).await;
        assert_eq!(ours.event().await.name, "greenroom");
        assert_eq!(ours.event().await.name, "away");
        match stalls {
            true => mixed.redis.go_on(),
            false => mixed.redis.begin(),
        }
        until_bus(&mixed, "up").await;
        assert_eq!(ours.event().await.name, "greenroom");
        mixed.server.until_servers(2).await;
        mixed.nodes[0].publish("room", "back", 2).await;
        assert_eq!(theirs.event().await.name, "back");
        assert_eq!(ours.event().await.name, "back");
        mixed.server.emit(&["room"], "js", json!([])).await;
        assert_eq!(ours.event().await.name, "js");
        assert_eq!(theirs.event().await.name, "js");
    }
}

async fn until_bus(mixed: &Mixed, state: &str) {
    eventually("the bus to notice", || async {
        let readiness = mixed.nodes[0].http.get("/readyz").await.json();
        let dependencies = readiness["dependencies"].as_array().unwrap();
        dependencies
            .iter()
            .any(|row| row["name"] == "bus" && row["state"] == state)
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_not_asked_to_keeps_to_itself() {
    let redis = Redis::start();
    let node = crate::node_with(&redis, |config| config.bus.socketio_compat = false).await;
    let server = Server::start(&redis.url()).await;
    server.until_servers(1).await;
    let stock = crate::Stock::start();
    let mut theirs = stock.connected(server.address, crate::KIND).await;
    theirs.join("room").await;
    let mut ours = stock.connected(node.address, crate::KIND).await;
    ours.join("room").await;
    node.publish("room", "ours", 1).await;
    server.emit(&["room"], "theirs", json!([])).await;
    assert_eq!(ours.event().await.name, "ours");
    assert_eq!(theirs.event().await.name, "theirs");
    ours.hears_nothing().await;
    theirs.hears_nothing().await;
}
