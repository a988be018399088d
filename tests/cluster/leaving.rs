//! A node is told to stop.

use greenroom::node::Ended;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::kit::{Http, TestNode, Ws, eventually, numbers};
use crate::{pair, until};

async fn until_draining(node: &TestNode) {
    eventually("the node to drain", || async {
        let answer = node.http.get("/readyz").await;
        answer.status == 503 && answer.json()["status"] == "draining"
    })
    .await;
}

#[tokio::test]
async fn what_a_node_has_accepted_by_itself_is_relayed_before_it_ends() {
    let (mut redis, [mut one, two]) = pair().await;
    let mut there = two.joined(&["agent:1"]).await;
    redis.kill();
    until(&one, "down").await;
    assert_eq!(one.publish("agent:1", "note", 1).await["scope"], "local");
    one.tell_to_stop();
    until_draining(&one).await;
    assert_eq!(one.publish("agent:1", "note", 2).await["scope"], "local");
    redis.begin();
    assert!(matches!(one.ended().await, Ended::Stopped));
    assert_eq!(there.numbers(2).await, [1, 2]);
    let history = two.http.get("/v1/rooms/agent:1/events").await.ok();
    assert_eq!(numbers(history["events"].as_array().unwrap()), [1, 2]);
}

#[tokio::test]
async fn a_node_that_drains_answers_requests_and_lets_nobody_into_a_room() {
    let (mut redis, [mut one, _two]) = pair().await;
    redis.kill();
    until(&one, "down").await;
    // For as long as this waits for Redis, the node drains.
    one.publish("agent:1", "note", 1).await;
    one.tell_to_stop();
    until_draining(&one).await;
    let fresh = Http::without_keep_alive(one.address, None);
    let accepted = fresh
        .post("/v1/rooms/agent:1/events", &json!({"event": "note", "data": 2}))
        .await;
    assert_eq!(
        (accepted.status, &accepted.headers["connection"]),
        (202, &"close".parse().unwrap())
    );
    assert_eq!(fresh.get("/livez").await.status, 200);
    for path in ["/v1/rooms/agent:1/stream", "/socket.io/?EIO=4&transport=polling"] {
        let refused = fresh.get(path).await;
        assert_eq!(
            (refused.status, &refused.headers["retry-after"]),
            (503, &"1".parse().unwrap()),
            "{path}"
        );
        assert!(refused.text.contains("draining"), "{path}: {}", refused.text);
    }
    let knocked = Ws::try_connect(one.address).await.err();
    assert!(
        matches!(&knocked, Some(Error::Http(refused)) if refused.status() == 503),
        "{knocked:?}"
    );
    redis.begin();
    assert!(matches!(one.ended().await, Ended::Stopped));
}
