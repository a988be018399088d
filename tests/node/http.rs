//! The HTTP surface: publishing, history, rooms, the node's state, and every error.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::kit::http::send;
use crate::kit::{Answer, Http, TestNode, numbers};

const EVENTS: &str = "/v1/rooms/lobby/events";
const JSON: &str = "application/json";

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
async fn history_is_read_in_pages() {
    let node = TestNode::start().await;
    for number in 1..=7 {
        node.publish("lobby", "note", number).await;
        node.publish("elsewhere", "note", 100 + number).await;
    }
    let mut since = String::new();
    let mut pages = Vec::new();
    loop {
        let page = node.http.get(&format!("{EVENTS}?limit=3{since}")).await.ok();
        assert_eq!(page["room"], "lobby");
        pages.push(numbers(page["events"].as_array().unwrap()));
        since = format!("&since={}", page["position"].as_str().unwrap());
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(pages.concat(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(pages[..2], [vec![1, 2, 3], vec![4, 5, 6]]);
    let rest = node.http.get(&format!("{EVENTS}?{}", &since[1..])).await.ok();
    assert_eq!((&rest["events"], &rest["more"]), (&json!([]), &json!(false)));
    node.publish("lobby", "note", 8).await;
    let rest = node.http.get(&format!("{EVENTS}?{}", &since[1..])).await.ok();
    assert_eq!(numbers(rest["events"].as_array().unwrap()), [8]);
}

#[tokio::test]
async fn a_position_in_a_page_is_one_to_join_with() {
    let node = TestNode::start().await;
    for number in 1..=3 {
        node.publish("lobby", "note", number).await;
    }
    let page = node.http.get(&format!("{EVENTS}?limit=2")).await.ok();
    let mut ws = node.ws().await;
    let joined = ws.join(&["lobby"], page["position"].as_str()).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(numbers(&ws.events(1).await), [3]);
}

#[tokio::test]
async fn history_says_what_it_no_longer_has() {
    let node = TestNode::with(|config| config.rooms.history_events = 5).await;
    node.publish("lobby", "note", 0).await;
    let page = node.http.get(EVENTS).await.ok();
    let since = format!("{EVENTS}?since={}", page["position"].as_str().unwrap());
    for number in 1..=5 {
        node.publish("lobby", "note", number).await;
    }
    let page = node.http.get(&since).await.ok();
    assert_eq!(numbers(page["events"].as_array().unwrap()), [1, 2, 3, 4, 5]);
    node.publish("lobby", "note", 6).await;
    node.http.get(&since).await.error(410, "history_gone");
    let page = node.http.get(EVENTS).await.ok();
    assert_eq!(
        numbers(page["events"].as_array().unwrap()),
        [2, 3, 4, 5, 6],
        "without since, what there is"
    );
}

#[tokio::test]
async fn a_position_of_another_life_is_gone_and_nonsense_is_none() {
    let [node, other] = [TestNode::start().await, TestNode::start().await];
    node.publish("lobby", "note", 1).await;
    other.publish("lobby", "note", 1).await;
    let foreign = other.http.get(EVENTS).await.ok()["position"].clone();
    let path = format!("{EVENTS}?since={}", foreign.as_str().unwrap());
    node.http.get(&path).await.error(410, "history_gone");
    for nonsense in ["", "7", "x-", "%C3%A4", "a-b-c", "A-1"] {
        let path = format!("{EVENTS}?since={nonsense}");
        node.http.get(&path).await.error(400, "position_invalid");
        let path = format!("/v1/rooms/lobby/stream?since={nonsense}");
        node.http.get(&path).await.error(400, "position_invalid");
    }
    for limit in ["0", "1001", "-1", "x", ""] {
        let path = format!("{EVENTS}?limit={limit}");
        node.http.get(&path).await.error(400, "bad_request");
        let path = format!("/v1/rooms?limit={limit}");
        node.http.get(&path).await.error(400, "bad_request");
    }
}

#[tokio::test]
async fn an_event_with_arguments_keeps_them() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["lobby"]).await;
    let args = json!([1, "two", {"$binary": "AAE="}]);
    let answer = node
        .http
        .post(EVENTS, &json!({"event": "call", "args": args}))
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let live = member.event().await;
    let kept = node.http.get(EVENTS).await.ok()["events"][0].clone();
    for event in [live, kept] {
        assert_eq!((&event["args"], event.get("data")), (&args, None));
    }
}

#[tokio::test]
async fn an_event_in_the_history_is_the_event_that_was_heard() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["a/b"]).await;
    let body =
        json!({"event": "Grüße \"you\"", "data": {"text": "line\nbreak \u{1F600}"}, "rooms": ["lobby"]});
    let answer = node.http.post("/v1/rooms/a%2Fb/events", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let mut live = member.event().await;
    assert_eq!(
        (&live["event"], &live["data"], &live["room"]),
        (&body["event"], &body["data"], &json!("a/b"))
    );
    let fields = live.as_object_mut().unwrap();
    fields.remove("type");
    fields.remove("position");
    let kept = node.http.get("/v1/rooms/a%2Fb/events").await.ok();
    assert_eq!(kept["events"], json!([live]));
    assert_eq!(node.members("a%2Fb").await, 1);
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

#[tokio::test]
async fn rooms_with_members_are_listed_by_prefix_and_in_pages() {
    let node = TestNode::start().await;
    let _many = node
        .joined(&["agent:1", "agent:2", "agent:3", "agents", "b", "task:1"])
        .await;
    let _one = node.joined(&["agent:2"]).await;
    node.publish("quiet", "note", 1).await;
    let all = node.http.get("/v1/rooms").await.ok();
    let names = |page: &Value| -> Vec<String> {
        let rows = page["rooms"].as_array().unwrap().iter();
        rows.map(|row| row["room"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        names(&all),
        ["agent:1", "agent:2", "agent:3", "agents", "b", "task:1"]
    );
    assert_eq!(all["rooms"][1]["members"], 2);
    assert!(all.get("next").is_none(), "{all}");
    let page = node.http.get("/v1/rooms?prefix=agent:&limit=2").await.ok();
    assert_eq!(names(&page), ["agent:1", "agent:2"]);
    let next = page["next"].as_str().unwrap();
    let page = node
        .http
        .get(&format!("/v1/rooms?prefix=agent:&limit=2&after={next}"))
        .await
        .ok();
    assert_eq!(names(&page), ["agent:3"]);
    assert!(page.get("next").is_none(), "{page}");
    let none = node.http.get("/v1/rooms?prefix=x").await.ok();
    assert_eq!(none, json!({"rooms": []}));
}

#[tokio::test]
async fn a_rooms_members_are_told_with_the_position() {
    let node = TestNode::start().await;
    let empty = node.http.get("/v1/rooms/lobby").await.ok();
    assert_eq!((&empty["count"], &empty["members"]), (&json!(0), &json!([])));
    let mut member = node.joined(&["lobby"]).await;
    node.publish("lobby", "note", 1).await;
    let position = member.event().await["position"].clone();
    let room = node.http.get("/v1/rooms/lobby").await.ok();
    assert_eq!(
        (&room["room"], &room["count"], &room["position"]),
        (&json!("lobby"), &json!(1), &position)
    );
    let row = &room["members"][0];
    assert_eq!((&row["node"], &row["subject"]), (&json!(node.name), &Value::Null));
    assert!(
        row["joinedAt"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{row}"
    );
    let presence = member.ask(json!({"type": "presence", "room": "lobby"})).await;
    assert_eq!(presence["members"], room["members"]);
}

#[tokio::test]
async fn the_node_tells_how_it_is() {
    let node = TestNode::with(|config| config.node_id = Some("node-a".into())).await;
    assert_eq!(node.http.get("/livez").await.ok(), json!({"status": "alive"}));
    let ready = node.http.get("/readyz").await.ok();
    assert_eq!(
        (&ready["status"], &ready["node"], &ready["workers"]),
        (&json!("ready"), &json!("node-a"), &json!({}))
    );
    let bus = &ready["dependencies"][0];
    assert_eq!((&bus["name"], &bus["state"]), (&json!("bus"), &json!("up")));
    assert!(bus["means"].as_str().is_some_and(|means| !means.is_empty()));
    let workers = node.http.get("/v1/workers").await.ok();
    let rows = workers["workers"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bridge", "rooms-0", "rooms-1"]);
    for row in rows {
        assert_eq!(
            (&row["phase"], &row["vital"], &row["restarts"]),
            (
                &json!("running"),
                &json!(true),
                &json!({"panics": 0, "outages": 0})
            )
        );
        assert!(row["ageMs"].is_u64() && row["lastExit"].is_null(), "{row}");
    }
    let root = node.http.get("/").await.ok();
    assert_eq!(
        (&root["name"], &root["node"]),
        (&json!("greenroom"), &json!("node-a"))
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_and_count() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["lobby"]).await;
    let _stream = node.sse("lobby").await;
    for number in 0..3 {
        node.publish("lobby", "note", number).await;
    }
    member.events(3).await;
    member.ask(json!({"type": "join", "room": "a b"})).await;
    let answer = node.http.get("/metrics").await;
    let kind = answer.headers[CONTENT_TYPE].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let sum = |name: &str| samples(&answer.text, name).iter().sum::<f64>();
    assert_eq!(sum("greenroom_published_total"), 3.0);
    assert_eq!(sum("greenroom_connections"), 2.0);
    assert_eq!(sum("greenroom_history_events"), 3.0);
    assert_eq!(sum("greenroom_worker_up"), 3.0);
    assert_eq!(sum("greenroom_worker_restarts_total"), 0.0);
    assert_eq!(sum("greenroom_command_errors_total"), 1.0);
    assert!(sum("greenroom_deliveries_total") >= 3.0);
    assert_eq!(
        samples(&answer.text, "greenroom_connections").len(),
        2,
        "a shard each"
    );
}

/// The values of a metric's samples. Checks of every line that it is OpenMetrics, and that the metric is described.
fn samples(text: &str, name: &str) -> Vec<f64> {
    let mut values = Vec::new();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let word = comment.split(' ').next().unwrap();
            assert!(["HELP", "TYPE", "UNIT", "EOF"].contains(&word), "{line}");
            continue;
        }
        let (metric, value) = line.rsplit_once(' ').unwrap();
        let bare = metric.split('{').next().unwrap();
        let value: f64 = value.parse().unwrap();
        if bare == name {
            values.push(value);
        }
    }
    let family = name.strip_suffix("_total").unwrap_or(name);
    assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
    assert!(!values.is_empty(), "there is no {name}");
    values
}

/// Each path of the document with each of its methods is there, and each method it does not have is refused.
#[tokio::test]
async fn the_open_api_document_lists_the_routes_that_exist() {
    let node = TestNode::start().await;
    let document = node.http.get("/openapi.json").await.ok();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{}",
        document["openapi"]
    );
    let paths = document["paths"].as_object().unwrap();
    let mut listed: Vec<&str> = paths.keys().map(String::as_str).collect();
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            "/livez",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/v1/agents/{id}/status",
            "/v1/agents/{id}/thoughts",
            "/v1/auth/reload",
            "/v1/nodes",
            "/v1/projects/{id}/events",
            "/v1/rooms",
            "/v1/rooms/{room}",
            "/v1/rooms/{room}/events",
            "/v1/rooms/{room}/stream",
            "/v1/sessions",
            "/v1/sessions/{id}",
            "/v1/tasks/{id}/updates",
            "/v1/workers",
            "/v1/ws",
        ]
    );
    for (path, item) in paths {
        let url = path.replace("{id}", "1").replace("{room}", "lobby");
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            let operation = &item[method.as_str().to_ascii_lowercase()];
            let response = node.http.request(method.clone(), &url).send().await.unwrap();
            let status = response.status().as_u16();
            assert_eq!(status == 405, operation.is_null(), "{method} {path}: {status}");
            // There is no connection of that id.
            let is_nobody = status == 404 && method == Method::DELETE && path == "/v1/sessions/{id}";
            assert!(status != 404 || is_nobody, "{method} {path}");
            let documented = operation["responses"].get(status.to_string());
            assert!(
                status == 405 || documented.is_some(),
                "{method} {path} answers {status}, which is not documented"
            );
        }
    }
}

/// Every reference of the document leads somewhere.
#[tokio::test]
async fn the_open_api_document_is_whole() {
    let node = TestNode::start().await;
    let document = node.http.get("/openapi.json").await.ok();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(reference) if name == "$ref" => found.push(reference.to_owned()),
                    _ => collect_references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}
