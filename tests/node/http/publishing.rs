//! What is accepted, and once.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{EVENTS, JSON};
use crate::kit::http::send;
use crate::kit::{Answer, Http, TestNode};

#[tokio::test]
async fn an_accepted_event_is_answered_with_its_id_and_its_offset_in_each_room() {
    let node = TestNode::start().await;
    let body = json!({"event": "note", "data": [1, 2], "rooms": ["agent:42", "lobby"]});
    let answer = node.http.post(EVENTS, &body).await;
    assert_eq!(answer.status, 202);
    let first = answer.json();
    assert_eq!(first["rooms"], json!({"lobby": 1, "agent:42": 1}));
    assert_eq!(first["id"].as_str().map(str::len), Some(26), "a ULID: {first}");
    let second = node.publish("agent:42", "note", Value::Null).await;
    assert_eq!(second["rooms"], json!({"agent:42": 2}));
    assert_ne!(second["id"], first["id"]);
    assert!(second.get("position").is_none(), "{second}");
}

#[tokio::test]
async fn a_known_events_payload_is_checked_and_its_wrong_field_named() {
    let node = TestNode::start().await;
    let at = "2026-01-31T12:00:00.000Z";
    for (event, data, path) in [
        (
            "agent-thought",
            json!({"agentId": "1", "timestamp": at}),
            "thought",
        ),
        (
            "agent-thought",
            json!({"agentId": 1, "thought": "t", "timestamp": at}),
            "agentId",
        ),
        (
            "agent-thought",
            json!({"agentId": "1", "thought": "t", "timestamp": "noon"}),
            "timestamp",
        ),
        (
            "agent-status",
            json!({"agentId": "1", "status": "happy", "timestamp": at}),
            "status",
        ),
        (
            "task-update",
            json!({"taskId": "1", "status": "failed", "progress": 101, "timestamp": at}),
            "progress",
        ),
        (
            "audit-event",
            json!({"taskId": "1", "projectId": "2", "stage": "s", "status": "done", "timestamp": at}),
            "status",
        ),
    ] {
        let answer = node
            .http
            .post(EVENTS, &json!({"event": event, "data": data}))
            .await;
        let error = answer.error(422, "payload_invalid");
        assert_eq!(error["details"]["path"], path, "{error}");
    }
    let answer = node
        .http
        .post(EVENTS, &json!({"event": "thought", "data": {"any": "thing"}}))
        .await;
    assert_eq!(answer.status, 202, "any other name takes any payload: {answer:?}");
}

/// A request with the id in the header.
async fn keyed(http: &Http, path: &str, key: &str, body: &Value) -> Answer {
    let request = http.request(Method::POST, path).header("idempotency-key", key);
    send(request.header(CONTENT_TYPE, JSON).body(body.to_string())).await
}

#[tokio::test]
async fn a_repeated_id_is_accepted_once_and_answered_alike() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["lobby"]).await;
    let body = json!({"event": "note", "data": 1, "id": "mine-1"});
    let first = node.http.post(EVENTS, &body).await;
    assert_eq!(first.json(), json!({"id": "mine-1", "rooms": {"lobby": 1}}));
    let without_id = json!({"event": "note", "data": 1});
    for again in [
        node.http.post(EVENTS, &body).await,
        keyed(&node.http, EVENTS, "mine-1", &body).await,
        keyed(&node.http, EVENTS, "mine-1", &without_id).await,
    ] {
        assert_eq!((again.status, again.json()), (202, first.json()));
    }
    let other = json!({"event": "note", "data": 2, "id": "mine-1"});
    node.http.post(EVENTS, &other).await.error(409, "id_reused");
    let elsewhere = node.http.post("/v1/rooms/other/events", &body).await;
    elsewhere.error(409, "id_reused");
    let torn = keyed(&node.http, EVENTS, "mine-2", &body).await;
    torn.error(400, "bad_request");
    assert_eq!(member.event().await["id"], "mine-1");
    member.hears_nothing().await;
}

/// The node fills in the time of each attempt; a retry is the same request all the same.
#[tokio::test]
async fn a_typed_call_may_be_retried_with_its_key() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["agent:42"]).await;
    let path = "/v1/agents/42/thoughts";
    let body = json!({"thought": "t"});
    let first = keyed(&node.http, path, "mine", &body).await;
    assert_eq!(first.status, 202, "{first:?}");
    let stamped = member.event().await["data"]["timestamp"].clone();
    // Once the clock of the node shows another millisecond, so does what it fills in.
    let later = loop {
        node.http.post(path, &json!({"thought": "clock"})).await;
        let event = member.event().await;
        if event["data"]["timestamp"] != stamped {
            break event;
        }
    };
    assert_ne!(later["data"]["timestamp"], stamped);
    let again = keyed(&node.http, path, "mine", &body).await;
    assert_eq!((again.status, again.json()), (202, first.json()));
    let other = keyed(&node.http, path, "mine", &json!({"thought": "u"})).await;
    other.error(409, "id_reused");
}

#[tokio::test]
async fn typed_calls_reach_every_room_of_the_event_and_fill_in_what_is_left_out() {
    let node = TestNode::start().await;
    let rooms = ["agent:7", "task:7", "project:9"];
    let mut member = node.joined(&rooms).await;
    for (path, body, event, id, rooms) in [
        (
            "/v1/agents/7/thoughts",
            json!({"thought": "t", "projectId": "9"}),
            "agent-thought",
            "agentId",
            &["agent:7", "project:9"][..],
        ),
        (
            "/v1/agents/7/status",
            json!({"status": "idle"}),
            "agent-status",
            "agentId",
            &["agent:7"],
        ),
        (
            "/v1/tasks/7/updates",
            json!({"status": "pending", "projectId": "9"}),
            "task-update",
            "taskId",
            &["task:7", "project:9"],
        ),
        (
            "/v1/projects/9/events",
            json!({"event": "e", "data": [1]}),
            "project-event",
            "projectId",
            &["project:9"],
        ),
    ] {
        let answer = node.http.post(path, &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let offsets = answer.json()["rooms"].as_object().unwrap().clone();
        let mut named: Vec<&str> = offsets.keys().map(String::as_str).collect();
        let mut rooms = rooms.to_vec();
        named.sort_unstable();
        rooms.sort_unstable();
        assert_eq!(named, rooms);
        let heard = member.event().await;
        assert_eq!(heard["event"], event);
        let about = path.split('/').nth(3).unwrap();
        assert_eq!(heard["data"][id], about, "{heard}");
        let at = heard["data"]["timestamp"].as_str().unwrap();
        assert!(
            at.ends_with('Z') && at.len() == "2026-01-31T12:00:00.000Z".len(),
            "{at}"
        );
        member.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_typed_body_may_repeat_the_path_but_not_contradict_it() {
    let node = TestNode::start().await;
    let at = "2026-01-31T12:00:00Z";
    let mut member = node.joined(&["agent:7"]).await;
    let body = json!({"agentId": "7", "status": "idle", "timestamp": at});
    assert_eq!(node.http.post("/v1/agents/7/status", &body).await.status, 202);
    assert_eq!(member.event().await["data"], body, "nothing is overwritten");
    let body = json!({"agentId": "8", "status": "idle"});
    let error = node.http.post("/v1/agents/7/status", &body).await;
    assert_eq!(error.error(422, "payload_invalid")["details"]["path"], "agentId");
    let error = node.http.post("/v1/agents/7/status", &json!({})).await;
    assert_eq!(error.error(422, "payload_invalid")["details"]["path"], "status");
    for body in ["[]", "1"] {
        let answer = node.http.post_text("/v1/agents/7/status", JSON, body).await;
        answer.error(400, "bad_request");
    }
    let answer = node.http.post_text("/v1/agents/7/status", JSON, "{").await;
    answer.error(400, "bad_json");
    member.hears_nothing().await;
}
