//! Reading what was published.

use serde_json::json;

use super::EVENTS;
use crate::kit::{TestNode, numbers};

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
