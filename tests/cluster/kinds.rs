//! The kinds of servers: with a password, with users, by TLS, watched by Sentinels.

use crate::kit::{Redis, eventually};
use crate::{bus, node, node_with, until};

#[tokio::test]
async fn a_password_and_a_user_are_shown() {
    let redis = Redis::with(&["--requirepass", "open sesame"]);
    let url = format!("redis://:open%20sesame@{}", redis.address);
    let one = node(&url).await;
    assert_eq!(bus(&one).await["state"], "up");
    let cli = |command: &[&str]| redis.cli(&[&["-a", "open sesame", "--no-auth-warning"], command].concat());
    let made = cli(&[
        "acl",
        "setuser",
        "greenroom",
        "on",
        ">key",
        "~{greenroom}:*",
        "&{greenroom}:*",
        "+@all",
    ]);
    assert_eq!(made, "OK");
    let two = node(&format!("redis://greenroom:key@{}", redis.address)).await;
    let mut client = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    let refused = node(&format!("redis://greenroom:wrong@{}", redis.address)).await;
    let state = bus(&refused).await;
    assert_eq!(state["state"], "down");
    let means = state["means"].as_str().unwrap();
    assert!(
        means.contains("WRONGPASS") || means.to_lowercase().contains("auth"),
        "{means}"
    );
    assert!(!means.contains("wrong@"), "{means}");
}

#[tokio::test]
async fn nodes_with_different_prefixes_do_not_meet() {
    let redis = Redis::start();
    let one = node_with(&redis.url(), |config| config.redis.prefix = "a".into()).await;
    let two = node_with(&redis.url(), |config| config.redis.prefix = "b".into()).await;
    let mut client = two.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    client.hears_nothing().await;
    assert_eq!(redis.cli(&["keys", "{greenroom}*"]), "");
}

#[tokio::test]
async fn a_server_that_sentinels_promote_takes_over() {
    let mut first = Redis::start();
    let port = first.address.port().to_string();
    let second = Redis::with(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]);
    eventually("the replica", || async {
        first.cli(&["info", "replication"]).contains("state=online")
    })
    .await;
    let sentinel = Redis::sentinel(&first);
    let one = node(&format!("redis+sentinel://{}/main", sentinel.address)).await;
    let mut client = one.joined(&["agent:1"]).await;
    one.publish("agent:1", "note", 1).await;
    assert_eq!(client.heard().await["data"], 1);
    eventually("the replica to have it", || async {
        second.cli(&["xlen", "{greenroom}:history:agent:1"]) == "1"
    })
    .await;
    first.kill();
    until(&one, "down").await;
    one.publish("agent:1", "note", 2).await;
    assert_eq!(client.heard().await["data"], 2);
    until(&one, "up").await;
    one.publish("agent:1", "note", 3).await;
    assert_eq!(client.heard().await["data"], 3);
    let history = one.http.get("/v1/rooms/agent:1/events").await.ok();
    assert_eq!(
        crate::kit::numbers(history["events"].as_array().unwrap()),
        [1, 2, 3]
    );
    assert_eq!(second.cli(&["xlen", "{greenroom}:history:agent:1"]), "3");
}
