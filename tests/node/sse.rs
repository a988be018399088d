//! Rooms as a stream of server-sent events: what comes, resuming, and clients that are slow or gone.

use serde_json::json;

use crate::kit::{Raw, Sse, TestNode, number, numbers};

const STREAM: &str = "/v1/rooms/lobby/stream";

#[tokio::test]
async fn a_stream_begins_with_where_it_is_and_goes_on_with_events_and_their_positions() {
    let node = TestNode::start().await;
    node.publish("lobby", "note", 0).await;
    let mut stream = Sse::open(node.address, STREAM, None).await;
    let joined = stream.joined().await;
    assert_eq!(
        (&joined["room"], &joined["recovered"]),
        (&json!("lobby"), &json!(true))
    );
    let mut member = node.joined(&["lobby"]).await;
    let answer = node
        .publish("lobby", "größer \"1\"", json!({"n": 1, "text": "a\nb"}))
        .await;
    let message = stream.next().await.unwrap();
    assert_eq!(message.event, "größer \"1\"");
    let mut heard = member.event().await;
    assert_eq!(message.id.as_deref(), heard["position"].as_str());
    let fields = heard.as_object_mut().unwrap();
    fields.remove("type");
    fields.remove("position");
    assert_eq!(message.data, heard, "the same event on both surfaces");
    assert_eq!(message.data["id"], answer["id"]);
}

#[tokio::test]
async fn a_stream_says_what_it_is_to_browsers_and_proxies() {
    let node = TestNode::start().await;
    let response = node
        .http
        .request(reqwest::Method::GET, STREAM)
        .send()
        .await
        .unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-accel-buffering"), "no");
}

#[tokio::test]
async fn more_rooms_may_be_added() {
    let node = TestNode::with(|config| config.limits.rooms_per_connection = 3).await;
    let path = format!("{STREAM}?rooms=agent:42,%20a%2Fb,lobby");
    let mut stream = Sse::open(node.address, &path, None).await;
    let joined = stream.joined().await;
    assert_eq!(joined["room"], "lobby");
    assert_eq!(joined["rooms"], json!(["lobby", "agent:42", "a/b", "lobby"]));
    for (number, room) in ["agent:42", "other", "a%2Fb", "lobby"].into_iter().enumerate() {
        node.publish(room, "note", number).await;
    }
    let body = json!({"event": "note", "data": 4, "rooms": ["agent:42"]});
    node.http.post("/v1/rooms/lobby/events", &body).await;
    node.publish("lobby", "note", 5).await;
    assert_eq!(numbers(&stream.events(5).await), [0, 2, 3, 4, 5]);
    let four = node.http.get(&format!("{STREAM}?rooms=a,b,c")).await;
    four.error(422, "too_many_rooms");
    let bad = node.http.get(&format!("{STREAM}?rooms=a,b%20c")).await;
    bad.error(400, "room_name_invalid");
}

#[tokio::test]
async fn it_resumes_from_the_last_event_id_or_from_since() {
    let node = TestNode::start().await;
    let mut stream = node.sse("lobby").await;
    node.publish("lobby", "note", 0).await;
    stream.events(1).await;
    let last_event_id = stream.cut().unwrap();
    for number in 1..4 {
        node.publish("lobby", "note", number).await;
    }
    let page = node.http.get("/v1/rooms/lobby/events?limit=3").await.ok();
    let later = page["position"].as_str().unwrap();
    let since = |position: &str| format!("{STREAM}?since={position}");
    for (path, header, expected) in [
        (STREAM.to_owned(), Some(&*last_event_id), &[1, 2, 3][..]),
        (since(&last_event_id), None, &[1, 2, 3]),
        (since(later), None, &[3]),
        // A browser that comes back by itself asks for the same address with a header that is newer.
        (since(&last_event_id), Some(later), &[3]),
    ] {
        let mut stream = Sse::open(node.address, &path, header).await;
        assert_eq!(stream.joined().await["recovered"], true);
        assert_eq!(numbers(&stream.events(expected.len()).await), expected);
    }
}

#[tokio::test]
async fn a_last_event_id_that_is_not_ours_goes_on_live_and_says_so() {
    let [node, other] = [TestNode::start().await, TestNode::start().await];
    let foreign = other.sse("lobby").await.cut().unwrap();
    node.publish("lobby", "note", 1).await;
    for id in [&*foreign, "17", "event-3", "\u{e4}"] {
        let mut stream = Sse::open(node.address, STREAM, Some(id)).await;
        assert_eq!(stream.joined().await["recovered"], false, "{id}");
        assert_eq!(numbers(&stream.events(1).await), [1], "what is kept");
    }
}

#[tokio::test]
async fn an_overrun_history_is_told() {
    let node = TestNode::with(|config| config.rooms.history_events = 3).await;
    let last_event_id = node.sse("lobby").await.cut().unwrap();
    for number in 0..4 {
        node.publish("lobby", "note", number).await;
    }
    let mut stream = Sse::open(node.address, STREAM, Some(&last_event_id)).await;
    assert_eq!(stream.joined().await["recovered"], false);
    assert_eq!(numbers(&stream.events(3).await), [1, 2, 3]);
}

#[tokio::test]
async fn a_quiet_stream_gets_comments() {
    let node = TestNode::with(|config| config.sse.comment_ms = 20).await;
    let mut raw = Raw::connect(node.address).await;
    raw.send(format!("GET {STREAM} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
        .await;
    raw.head().await;
    let mut comments = 0;
    while comments < 3 {
        comments += usize::from(raw.line().await.unwrap() == ":");
    }
    assert_eq!(node.members("lobby").await, 1);
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_room() {
    let node = TestNode::start().await;
    let mut half = Raw::connect(node.address).await;
    half.send(format!("GET {STREAM} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())
        .await;
    half.head().await;
    let cut = node.sse("lobby").await;
    node.until_members("lobby", 2).await;
    cut.cut();
    node.until_members("lobby", 1).await;
    half.reset();
    node.until_members("lobby", 0).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
}

/// Cut at any moment while events keep coming: nothing is missing, nothing comes twice.
#[tokio::test]
async fn resuming_is_exact() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = TestNode::pair().await;
        let path = format!("{STREAM}?rooms=a,b");
        let mut stream = Sse::open(nodes[0].address, &path, None).await;
        stream.joined().await;
        let mut publisher = nodes[1].ws().await;
        let (mut heard, mut sent) = (Vec::new(), 0_u64);
        for _ in 0..20 {
            for _ in 0..random.usize(0..12) {
                let room = ["lobby", "a", "b"][random.usize(0..3)];
                let command = json!({"type": "publish", "room": room, "event": "note", "data": sent});
                publisher.send(&command).await;
                sent += 1;
            }
            let waits = sent as usize - heard.len();
            heard.extend(numbers(&stream.events(random.usize(0..=waits)).await));
            if random.bool() {
                let last_event_id = stream.cut();
                let node = &nodes[random.usize(0..2)];
                stream = Sse::open(node.address, &path, last_event_id.as_deref()).await;
                assert_eq!(stream.joined().await["recovered"], true);
            }
        }
        heard.extend(numbers(&stream.events(sent as usize - heard.len()).await));
        assert_eq!(heard, (0..sent).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// A reader that falls behind by more than its outbox is cut off, and has lost nothing when it comes back.
#[tokio::test]
async fn a_slow_reader_is_cut_off_and_resumes_without_loss() {
    const EVENTS: u64 = 900;
    let node = TestNode::with(|config| {
        config.rooms.outbox_bytes = 64 << 10;
        config.throttle.wait_bytes = 16 << 10;
        config.limits.event_bytes = 16 << 10;
    })
    .await;
    let mut witness = node.sse("lobby").await;
    let raw = Raw::connect_narrow(node.address).await;
    let mut slow = Sse::open_on(raw, STREAM, None).await;
    slow.joined().await;
    let filler = "x".repeat(15_000);
    for number in 0..EVENTS {
        node.publish("lobby", "note", json!({"n": number, "filler": filler}))
            .await;
        assert_eq!(crate::kit::number(&witness.event().await), number);
    }
    let mut heard = Vec::new();
    let mut cuts = 0;
    while heard.len() < EVENTS as usize {
        match slow.next().await {
            Some(message) => heard.push(number(&message.data)),
            None => {
                cuts += 1;
                let last_event_id = slow.cut();
                slow = Sse::open(node.address, STREAM, last_event_id.as_deref()).await;
                assert_eq!(slow.joined().await["recovered"], true);
            }
        }
    }
    assert_eq!(heard, (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(cuts, 1, "it was cut off once, and then it read");
}

/// One that never reads again is not a member any more, and its connection is given up.
#[tokio::test]
async fn a_reader_that_has_stopped_for_good_is_forgotten() {
    let node = TestNode::with(|config| {
        config.rooms.outbox_bytes = 64 << 10;
        config.throttle.wait_bytes = 16 << 10;
        config.limits.event_bytes = 16 << 10;
    })
    .await;
    let raw = Raw::connect_narrow(node.address).await;
    let mut stopped = Sse::open_on(raw, STREAM, None).await;
    stopped.joined().await;
    let filler = "x".repeat(15_000);
    let until_forgotten = async {
        while node.members("lobby").await > 0 {
            node.publish("lobby", "note", filler.clone()).await;
        }
    };
    crate::kit::within("the reader to be forgotten", until_forgotten).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
}
