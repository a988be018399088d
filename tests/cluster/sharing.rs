//! What is published on one node is heard on all, in one order.

use serde_json::json;

use crate::kit::{Sio, numbers, within};
use crate::pair;

#[tokio::test]
async fn what_is_published_on_any_node_is_heard_on_all_in_one_order() {
    let (_redis, [one, two]) = pair().await;
    let mut here = one.joined(&["agent:42"]).await;
    let mut there = two.joined(&["agent:42"]).await;
    for number in 0..50 {
        let node = if number % 2 == 0 { &one } else { &two };
        node.publish("agent:42", "note", number).await;
    }
    let heard = here.events(50).await;
    assert_eq!(numbers(&heard), (0..50).collect::<Vec<_>>());
    assert_eq!(
        there.events(50).await,
        heard,
        "the same events at the same positions"
    );
    for node in [&one, &two] {
        let history = node.http.get("/v1/rooms/agent:42/events").await.ok();
        assert_eq!(
            numbers(history["events"].as_array().unwrap()),
            (0..50).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn an_event_for_several_rooms_reaches_each_connection_once_on_every_node() {
    let (_redis, [one, two]) = pair().await;
    let mut both = two.joined(&["task:1", "project:1"]).await;
    let mut project = two.joined(&["project:1"]).await;
    let body = json!({"event": "note", "data": 1, "rooms": ["project:1"]});
    let answer = one.http.post("/v1/rooms/task:1/events", &body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["rooms"], json!({"task:1": 1, "project:1": 1}));
    for client in [&mut both, &mut project] {
        let event = client.event().await;
        assert_eq!(
            (&event["room"], &event["rooms"]),
            (&json!("task:1"), &json!(["task:1", "project:1"]))
        );
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn the_same_id_is_accepted_once_whichever_node_it_comes_to() {
    let (_redis, [one, two]) = pair().await;
    let mut client = two.joined(&["lobby"]).await;
    let body = json!({"event": "order", "data": 7, "id": "order-7"});
    let first = one.http.post("/v1/rooms/lobby/events", &body).await;
    let again = two.http.post("/v1/rooms/lobby/events", &body).await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.json(), again.json(), "the same receipt");
    let other = json!({"event": "order", "data": 8, "id": "order-7"});
    two.http
        .post("/v1/rooms/lobby/events", &other)
        .await
        .error(409, "id_reused");
    assert_eq!(client.event().await["id"], "order-7");
    client.hears_nothing().await;
}

#[tokio::test]
async fn events_of_any_form_come_over_as_they_were_published() {
    let (_redis, [one, two]) = pair().await;
    let mut stock = Sio::joined(two.address, &["agent:1"]).await;
    let mut plain = two.joined(&["agent:1"]).await;
    let args = json!({"event": "chunk", "args": [{"$binary": "AQID"}, "grüße\n", 1.5, null]});
    let answer = one.http.post("/v1/rooms/agent:1/events", &args).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let event = plain.event().await;
    assert_eq!(event["args"], json!([{"$binary": "AQID"}, "grüße\n", 1.5, null]));
    let heard = within("a binary event", stock.next()).await;
    assert!(format!("{heard:?}").contains("451-["), "{heard:?}");
}

#[tokio::test]
async fn who_joins_hears_everything_that_is_published_after_the_answer() {
    let (_redis, [one, two]) = pair().await;
    for round in 0..30 {
        let room = format!("chat:{round}");
        let mut client = two.joined(&[&room]).await;
        one.publish(&room, "note", round).await;
        assert_eq!(client.event().await["data"], round);
    }
}
