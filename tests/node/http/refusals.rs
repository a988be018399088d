//! Requests that are not what they should be, each with its code.

use reqwest::Method;
use serde_json::json;

use super::{EVENTS, JSON};
use crate::kit::TestNode;
use crate::kit::http::send;

#[tokio::test]
async fn a_query_that_is_not_what_it_should_be_is_refused_by_name() {
    let node = TestNode::start().await;
    for (path, told) in [
        ("/v1/rooms?limit=zz", "query parameter limit: "),
        ("/v1/rooms?limit=0", "limit is 1 to 1000"),
        ("/v1/rooms?prefx=a", "`prefx`"),
        ("/v1/rooms/lobby/events?limit=-1", "query parameter limit: "),
        ("/v1/rooms/lobby/events?snce=1", "`snce`"),
        ("/v1/rooms/lobby/stream?room=a", "`room`"),
    ] {
        let error = node.http.get(path).await.error(400, "bad_request");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(told), "{path}: {message}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_is_refused_with_its_code() {
    let node = TestNode::with(|config| config.limits.rooms_per_event = 3).await;
    let long_name = json!({"event": "e".repeat(129)});
    let many_rooms = json!({"event": "e", "rooms": ["a", "b", "c"]});
    for (body, status, code) in [
        ("", 400, "bad_json"),
        ("{", 400, "bad_json"),
        ("{\"event\":\"e\"} {}", 400, "bad_json"),
        ("\"event\"", 400, "bad_request"),
        ("{}", 400, "bad_request"),
        ("{\"event\":7}", 400, "bad_request"),
        ("{\"event\":\"e\",\"dta\":1}", 400, "bad_request"),
        ("{\"event\":\"e\",\"data\":1,\"args\":[]}", 400, "bad_request"),
        ("{\"event\":\"e\",\"args\":1}", 400, "bad_request"),
        ("{\"event\":\"\"}", 400, "event_name_invalid"),
        ("{\"event\":\"connect\"}", 400, "event_name_invalid"),
        ("{\"event\":\"greenroom\"}", 400, "event_name_invalid"),
        ("{\"event\":\"joined\"}", 400, "event_name_invalid"),
        ("{\"event\":\"a\\nb\"}", 400, "event_name_invalid"),
        (&long_name.to_string(), 400, "event_name_invalid"),
        ("{\"event\":\"e\",\"id\":\"\"}", 400, "event_id_invalid"),
        ("{\"event\":\"e\",\"id\":\"a b\"}", 400, "event_id_invalid"),
        ("{\"event\":\"e\",\"rooms\":[\"a b\"]}", 400, "room_name_invalid"),
        (&many_rooms.to_string(), 422, "too_many_rooms"),
    ] {
        let answer = node.http.post_text(EVENTS, JSON, body.to_owned()).await;
        answer.error(status, code);
    }
    let history = node.http.get(EVENTS).await.ok();
    assert_eq!(history["events"], json!([]), "nothing of it was published");
}

#[tokio::test]
async fn an_unreadable_field_is_named() {
    let node = TestNode::start().await;
    let answer = node
        .http
        .post(EVENTS, &json!({"event": "e", "rooms": ["a", 7]}))
        .await;
    let error = answer.error(400, "bad_request");
    assert!(
        error["message"].as_str().unwrap().starts_with("rooms[1]: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_body_has_to_say_that_it_is_json() {
    let node = TestNode::start().await;
    let body = "{\"event\":\"e\"}";
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        let answer = node.http.post_text(EVENTS, kind, body).await;
        answer.error(415, "unsupported_media_type");
        let typed = node.http.post_text("/v1/agents/1/status", kind, body).await;
        typed.error(415, "unsupported_media_type");
    }
    let without = send(node.http.request(Method::POST, EVENTS).body(body)).await;
    without.error(415, "unsupported_media_type");
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
    ] {
        let answer = node.http.post_text(EVENTS, kind, body).await;
        assert_eq!(answer.status, 202, "{kind}: {answer:?}");
    }
}

#[tokio::test]
async fn a_room_name_that_is_none_is_refused_wherever_it_stands() {
    let node = TestNode::start().await;
    let long = "r".repeat(201);
    for name in ["a%20b", "%00", "%C3%A4", "a%3Fb", &long] {
        for path in [
            format!("/v1/rooms/{name}"),
            format!("/v1/rooms/{name}/events"),
            format!("/v1/rooms/{name}/stream"),
        ] {
            node.http.get(&path).await.error(400, "room_name_invalid");
        }
        let path = format!("/v1/rooms/{name}/events");
        let publish = node.http.post(&path, &json!({"event": "e"})).await;
        publish.error(400, "room_name_invalid");
        let path = format!("/v1/agents/{name}/thoughts");
        let typed = node.http.post(&path, &json!({"thought": "t"})).await;
        typed.error(400, "room_name_invalid");
    }
    let longest = "r".repeat(200);
    assert_eq!(node.members(&longest).await, 0);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_taken_are_told_apart() {
    let node = TestNode::start().await;
    for path in [
        "/v2",
        "/v1",
        "/v1/rooms/a/b",
        "/v1/agents/1/thoughts/2",
        "/openapi",
    ] {
        node.http.get(path).await.error(404, "not_found");
    }
    for (method, path) in [
        (Method::PUT, EVENTS),
        (Method::DELETE, "/v1/rooms/lobby"),
        (Method::POST, "/v1/rooms"),
        (Method::GET, "/v1/agents/1/thoughts"),
        (Method::POST, "/readyz"),
        (Method::POST, "/v1/ws"),
    ] {
        let answer = send(node.http.request(method, path)).await;
        answer.error(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn too_large_a_body_and_too_large_an_event_are_told_apart() {
    let node = TestNode::with(|config| {
        config.limits.body_bytes = 10_000;
        config.limits.event_bytes = 1_000;
    })
    .await;
    let of = |bytes: usize| json!({"event": "e", "data": "x".repeat(bytes)});
    let answer = node.http.post(EVENTS, &of(998)).await;
    assert_eq!(answer.status, 202, "its quotes count: {answer:?}");
    let error = node.http.post(EVENTS, &of(999)).await;
    assert_eq!(
        error.error(413, "event_too_large")["details"],
        json!({"limitBytes": 1_000})
    );
    let error = node.http.post(EVENTS, &of(10_000)).await;
    error.error(413, "body_too_large");
    for (bytes, code) in [(10_000, "body_too_large"), (1_000, "event_too_large")] {
        let body = json!({"thought": "x".repeat(bytes)});
        let typed = node.http.post("/v1/agents/1/thoughts", &body).await;
        typed.error(413, code);
    }
}
