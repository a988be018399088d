//! A client that polls now here and now there.

use reqwest::Method;
use serde_json::json;

use crate::kit::http::send;
use crate::kit::{Polling, TestNode, within};
use crate::{counted, node_with, nodes};

/// Joins a room, by whichever node.
pub async fn join(session: &Polling, room: &str) {
    session.say(&format!("421[\"join\",\"{room}\"]")).await;
    let answer = session.packets().await;
    assert!(answer[0].starts_with("431[{\"ok\":true"), "{answer:?}");
}

/// A session of the first node, in a room.
pub async fn session(node: &TestNode, room: &str) -> Polling {
    let (session, _) = Polling::enter(&node.http).await;
    join(&session, room).await;
    session
}

#[tokio::test]
async fn each_request_of_a_session_may_come_to_another_node() {
    let (_redis, nodes) = nodes::<3>().await;
    let (session, _) = Polling::enter(&nodes[0].http).await;
    for (number, node) in nodes.iter().cycle().take(9).enumerate() {
        let room = format!("room:{number}");
        join(&session.by(&node.http), &room).await;
        // What is published at a third node is heard by way of this one.
        nodes[(number + 2) % 3].publish(&room, "n", number).await;
        let heard = session.by(&node.http).packets().await;
        assert!(heard[0].starts_with(&format!("42[\"n\",{number},")), "{heard:?}");
    }
    assert_eq!(counted(&nodes[0], "greenroom_handed_on_total").await, 0);
    for node in &nodes[1..] {
        assert!(counted(node, "greenroom_handed_on_total").await >= 9);
        assert_eq!(counted(node, "greenroom_handed_on_failed_total").await, 0);
    }
}

#[tokio::test]
async fn a_poll_that_waits_by_another_node_is_answered_at_once_when_there_is_something() {
    let (_redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    for number in 0..20 {
        let waits = session.by(&two.http);
        let (heard, ()) = tokio::join!(waits.packets(), async {
            one.publish("lobby", "n", number).await;
        });
        assert!(heard[0].starts_with(&format!("42[\"n\",{number},")), "{heard:?}");
    }
}

#[tokio::test]
async fn bytes_and_large_answers_come_through_as_they_are() {
    let (_redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    let text = "thought ".repeat(500);
    one.publish("lobby", "note", json!(text)).await;
    let request = two.http.request(Method::GET, &session.path());
    let response = request.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.bytes().await.unwrap().len() < text.len() / 4);
    // A message of bytes, by its type: Socket.IO has no use for one and ends the session.
    let answer = session
        .by(&two.http)
        .post_as("application/octet-stream", vec![0x04, 0x01])
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_where_it_comes() {
    let redis = crate::kit::Redis::start();
    let small = |config: &mut greenroom::config::Config| config.socketio.max_payload_bytes = 1_000;
    let (one, two) = (node_with(&redis, small).await, node_with(&redis, small).await);
    let session = session(&one, "lobby").await;
    let by_two = session.by(&two.http);
    let message = |bytes: usize| {
        format!(
            "42[\"publish\",{{\"event\":\"n\",\"room\":\"lobby\",\"data\":\"{}\"}}]",
            "x".repeat(bytes)
        )
    };
    by_two.say(&message(800)).await;
    by_two.post(message(2_000)).await.error(413, "body_too_large");
    let heard = by_two.packets().await;
    assert!(
        heard[0].starts_with("42[\"n\",\"xxx"),
        "the session goes on: {heard:?}"
    );
}

#[tokio::test]
async fn a_poll_whose_client_goes_away_is_taken_back_at_its_node() {
    let (_redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    let poll = two.http.request(Method::GET, &session.path());
    let poll = tokio::time::timeout(std::time::Duration::from_millis(200), poll.send()).await;
    assert!(poll.is_err(), "there is nothing to hear");
    // As without a node in between: a poll that breaks is the end of the session.
    within("the session to end", async {
        while session.get().await.status == 200 {}
    })
    .await;
    session.is_over().await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_judged_where_it_comes_to() {
    let redis = crate::kit::Redis::start();
    let one = node_with(&redis, |_| {}).await;
    let two = node_with(&redis, |config| {
        config.http.origins = "https://app.example.com".into()
    })
    .await;
    let session = session(&one, "lobby").await;
    one.publish("lobby", "n", 1).await;
    let ask = |origin: &str| {
        let request = two.http.request(Method::GET, &session.path());
        request.header("origin", origin.to_owned())
    };
    send(ask("https://evil.example.com"))
        .await
        .error(403, "origin_forbidden");
    let answer = send(ask("https://app.example.com")).await;
    // The other node has another list, by which this page is a stranger.
    answer.error(403, "origin_forbidden");
}
