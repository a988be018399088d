//! The plain WebSocket: the handshake, commands and answers, violations, and resuming after a cut.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::kit::raw::{self, BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, PONG, TEXT};
use crate::kit::{Process, Raw, TestNode, Ws, eventually, numbered_name, numbers, thoughts_of};

const JOIN: &str = r#"{"type":"join","room":"lobby","ref":1}"#;

#[tokio::test]
async fn the_sub_protocol_is_the_one_that_is_spoken() {
    let node = TestNode::start().await;
    for (offered, chosen) in [
        ("greenroom.v1", Some("greenroom.v1")),
        ("graphql-ws, greenroom.v1", Some("greenroom.v1")),
        ("graphql-ws", None),
    ] {
        let mut raw = Raw::connect(node.address).await;
        let header = format!("sec-websocket-protocol: {offered}\r\n\r\n");
        let request = HANDSHAKE.replace("\r\n\r\n", &format!("\r\n{header}"));
        raw.send(request.as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        let line = chosen.map(|chosen| format!("\r\nsec-websocket-protocol: {chosen}\r\n"));
        match line {
            Some(line) => assert!(head.contains(&line), "{head}"),
            None => assert!(!head.contains("sec-websocket-protocol"), "{head}"),
        }
    }
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_refused() {
    let node = TestNode::start().await;
    node.http.get("/v1/ws").await.error(426, "upgrade_required");
    for (line, without) in [
        ("sec-websocket-version: 13\r\n", "sec-websocket-version: 12\r\n"),
        ("sec-websocket-version: 13\r\n", ""),
        ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
    ] {
        let mut raw = Raw::connect(node.address).await;
        raw.send(HANDSHAKE.replace(line, without).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let body = String::from_utf8(raw.read_to_the_end().await).unwrap();
        assert!(body.contains("\"bad_request\""), "{body}");
    }
}

#[tokio::test]
async fn an_upgrade_to_something_else_is_an_ordinary_request() {
    let node = TestNode::start().await;
    let body = r#"{"event":"note","data":1}"#;
    let mut raw = Raw::connect(node.address).await;
    let request = format!(
        "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\nconnection: Upgrade, HTTP2-Settings\r\n\
         upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    raw.send(request.as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_heard() {
    let node = TestNode::start().await;
    let mut early = HANDSHAKE.as_bytes().to_vec();
    early.extend(raw::text(JOIN));
    early.extend(raw::text(r#"{"type":"ping","ref":2}"#));
    for split in [early.len(), HANDSHAKE.len() + 1, HANDSHAKE.len() - 2, 10] {
        let mut raw = Raw::connect(node.address).await;
        raw.send(&early[..split]).await;
        if split < early.len() {
            raw.send(&early[split..]).await;
        }
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
        let frames = [raw.json().await, raw.json().await];
        let types: BTreeSet<&str> = frames
            .iter()
            .map(|frame| frame["type"].as_str().unwrap())
            .collect();
        assert_eq!(types, BTreeSet::from(["joined", "pong"]));
    }
}

#[tokio::test]
async fn a_handshake_may_follow_another_request_on_its_connection() {
    let node = TestNode::start().await;
    let mut raw = Raw::connect(node.address).await;
    let request = format!("GET /livez HTTP/1.1\r\nhost: test\r\n\r\n{HANDSHAKE}");
    raw.send(request.as_bytes()).await;
    raw.send(&raw::text(JOIN)).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(raw.take(18).await.unwrap(), br#"{"status":"alive"}"#);
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.json().await["type"], "joined");
}

#[tokio::test]
async fn pipelined_commands_are_answered_each_with_its_ref() {
    let node = TestNode::with(|config| config.limits.commands_in_flight = 4).await;
    let mut raw = Raw::websocket(node.address).await;
    raw.send(&raw::text(JOIN)).await;
    assert_eq!(raw.json().await["type"], "joined");
    let mut all = Vec::new();
    for number in 0..500 {
        let command =
            json!({"type": "publish", "room": "lobby", "event": "note", "data": number, "ref": number});
        all.extend(raw::text(&command.to_string()));
    }
    raw.send(&all).await;
    let (mut answered, mut heard) = (Vec::new(), Vec::new());
    while answered.len() < 500 || heard.len() < 500 {
        let frame = raw.json().await;
        match frame["type"].as_str() {
            Some("published") => answered.push(frame["ref"].as_u64().unwrap()),
            _ => heard.push(frame),
        }
    }
    let expected: Vec<u64> = (0..500).collect();
    // That is what a `ref` is for: answers need not come in the order of their commands.
    answered.sort_unstable();
    assert_eq!(answered, expected);
    assert_eq!(numbers(&heard), expected);
}

/// A shard's mailbox that is full makes its senders wait, each at its place.
#[tokio::test]
async fn commands_keep_their_order_when_the_shard_is_busy() {
    let node = TestNode::with(|config| {
        config.limits.mailbox = 1;
        config.workers = 1;
    })
    .await;
    let mut member = node.joined(&["lobby"]).await;
    let mut raw = Raw::websocket(node.address).await;
    let mut all = Vec::new();
    for number in 0..200 {
        let command = json!({"type": "publish", "room": "lobby", "event": "note", "data": number});
        all.extend(raw::text(&command.to_string()));
    }
    raw.send(&all).await;
    let expected: Vec<u64> = (0..200).collect();
    assert_eq!(numbers(&member.events(200).await), expected);
}

#[tokio::test]
async fn every_command_is_answered() {
    let node = TestNode::start().await;
    let mut ws = node.ws().await;
    let joined = ws.ask(json!({"type": "join", "room": "lobby"})).await;
    assert_eq!(
        (&joined["type"], &joined["room"], &joined["recovered"]),
        (&json!("joined"), &json!("lobby"), &json!(true))
    );
    let joined = ws.ask(json!({"type": "join", "rooms": ["a", "b"]})).await;
    assert_eq!(joined["rooms"], json!(["a", "b"]));
    let presence = ws.ask(json!({"type": "presence", "room": "lobby"})).await;
    assert_eq!(
        (&presence["type"], &presence["count"]),
        (&json!("presence"), &json!(1))
    );
    assert_eq!(presence["members"][0]["node"], node.name);
    let published = ws.publish("c", "note", 1).await;
    assert_eq!(published["rooms"], json!({"c": 1}));
    let left = ws.ask(json!({"type": "leave", "room": "lobby"})).await;
    assert_eq!((&left["type"], &left["room"]), (&json!("left"), &json!("lobby")));
    assert_eq!(node.members("lobby").await, 0);
    let left = ws
        .ask(json!({"type": "leave", "rooms": ["a", "never-joined"]}))
        .await;
    assert_eq!(left["rooms"], json!(["a", "never-joined"]));
    for room in ["lobby", "a"] {
        node.publish(room, "note", 2).await;
    }
    ws.hears_nothing().await;
    node.publish("b", "note", 3).await;
    assert_eq!(numbers(&ws.events(1).await), [3]);
}

#[tokio::test]
async fn a_ref_is_handed_back_as_it_was_given() {
    let node = TestNode::start().await;
    let mut ws = node.ws().await;
    for reference in [
        json!(1),
        json!(-1.5),
        json!("x"),
        json!("\u{1F600}\"\\"),
        json!(""),
    ] {
        ws.send(&json!({"type": "ping", "ref": reference})).await;
        assert_eq!(ws.frame().await, json!({"type": "pong", "ref": reference}));
        ws.send(&json!({"type": "dance", "ref": reference})).await;
        assert_eq!(ws.frame().await["ref"], reference);
    }
    ws.send(&json!({"type": "ping"})).await;
    assert_eq!(ws.frame().await, json!({"type": "pong"}));
    for reference in [
        json!(null),
        json!(true),
        json!([1]),
        json!({}),
        json!("x".repeat(300)),
    ] {
        ws.send(&json!({"type": "ping", "ref": reference})).await;
        let frame = ws.frame().await;
        // `null` may count as no ref at all; nothing else that is no ref may be handed back.
        assert!(
            frame["type"] == "error" || reference.is_null(),
            "{reference}: {frame}"
        );
        assert!(frame.get("ref").is_none(), "{frame}");
    }
}

/// Commands that cannot be carried out, and why.
const BAD: [(&str, &str); 18] = [
    ("bad_request", r#"{"type": "dance"}"#),
    ("bad_request", r#"{"type": "join"}"#),
    ("bad_request", r#"{"type": "join", "room": 7}"#),
    ("bad_request", r#"{"type": "join", "room": "a", "rooms": ["b"]}"#),
    ("bad_request", r#"{"type": "join", "room": "a", "color": 1}"#),
    ("room_name_invalid", r#"{"type": "join", "room": "a b"}"#),
    ("room_name_invalid", r#"{"type": "join", "rooms": []}"#),
    ("too_many_rooms", r#"{"type": "join", "rooms": ["a", "b", "c"]}"#),
    (
        "since_not_first",
        r#"{"type": "join", "room": "a", "since": "0-0"}"#,
    ),
    ("bad_request", r#"{"type": "leave"}"#),
    ("bad_request", r#"{"type": "publish", "room": "a"}"#),
    ("bad_request", r#"{"type": "publish", "event": "e"}"#),
    (
        "event_name_invalid",
        r#"{"type": "publish", "room": "a", "event": "disconnect"}"#,
    ),
    (
        "event_id_invalid",
        r#"{"type": "publish", "room": "a", "event": "e", "id": "a b"}"#,
    ),
    (
        "too_many_rooms",
        r#"{"type": "publish", "rooms": ["a", "b", "c"], "event": "e"}"#,
    ),
    (
        "event_too_large",
        r#"{"type": "publish", "room": "a", "event": "e", "data": "$LONG"}"#,
    ),
    (
        "payload_invalid",
        r#"{"type": "publish", "room": "a", "event": "task-update", "data": {}}"#,
    ),
    ("bad_request", r#"{"type": "presence", "rooms": ["a"]}"#),
];

#[tokio::test]
async fn a_bad_command_is_answered_with_its_error_and_the_connection_stays() {
    let node = TestNode::with(|config| {
        config.limits.rooms_per_connection = 3;
        config.limits.rooms_per_event = 2;
        config.limits.event_bytes = 200;
    })
    .await;
    let mut ws = node.joined(&["lobby"]).await;
    for (code, command) in BAD {
        let command = command.replace("$LONG", &"x".repeat(300));
        let answer = ws.ask(serde_json::from_str(&command).unwrap()).await;
        assert_eq!(answer["type"], "error", "{command}");
        assert_eq!(answer["code"], code, "{command}");
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    // The last is what serde would take for a ping, field by field.
    let fields = r#"["ping",null,null,null,null,null,null,null,null]"#;
    for text in ["", "{", "hello", "[]", "1", "{\"type\":\"ping\"} x", fields] {
        ws.send_raw(Message::text(text)).await;
        let answer = ws.frame().await;
        assert_eq!(answer["type"], "error", "{text}: {answer}");
    }
    ws.publish("lobby", "note", 1).await;
    assert_eq!(numbers(&ws.events(1).await), [1], "it is served as before");
}

#[tokio::test]
async fn a_published_id_is_accepted_once() {
    let node = TestNode::start().await;
    let mut ws = node.joined(&["lobby"]).await;
    let command = json!({"type": "publish", "room": "lobby", "event": "e", "data": 1, "id": "mine"});
    let [mut first, mut again] = [ws.ask(command.clone()).await, ws.ask(command.clone()).await];
    for answer in [&mut first, &mut again] {
        answer.as_object_mut().unwrap().remove("ref");
    }
    assert_eq!(
        first,
        json!({"type": "published", "id": "mine", "rooms": {"lobby": 1}})
    );
    assert_eq!(again, first);
    let over_http = json!({"event": "e", "data": 1, "id": "mine"});
    let over_http = node.http.post("/v1/rooms/lobby/events", &over_http).await;
    assert_eq!(over_http.json()["rooms"], first["rooms"]);
    let other = ws
        .ask(json!({"type": "publish", "room": "lobby", "event": "e", "data": 2, "id": "mine"}))
        .await;
    assert_eq!(other["code"], "id_reused");
    assert_eq!(ws.event().await["id"], "mine");
    ws.hears_nothing().await;
}

#[tokio::test]
async fn an_event_for_several_rooms_is_heard_once() {
    let node = TestNode::start().await;
    let mut ws = node.joined(&["a", "b", "c"]).await;
    let command = json!({"type": "publish", "rooms": ["b", "c", "d"], "event": "note", "data": 1});
    let answer = ws.ask(command).await;
    assert_eq!(answer["rooms"], json!({"b": 1, "c": 1, "d": 1}));
    let event = ws.event().await;
    assert_eq!(
        (&event["room"], &event["rooms"], &event["offset"]),
        (&json!("b"), &json!(["b", "c", "d"]), &json!(1))
    );
    ws.hears_nothing().await;
}

#[tokio::test]
async fn a_ping_frame_gets_its_pong_and_a_silent_client_is_pinged() {
    let node = TestNode::with(|config| config.websocket.ping_interval_ms = 50).await;
    let mut raw = Raw::websocket(node.address).await;
    raw.send(&raw::frame(true, PING, b"there?")).await;
    assert_eq!(raw.frame().await, Some((PONG, b"there?".to_vec())));
    assert_eq!(raw.frame().await.map(|(opcode, _)| opcode), Some(PING));
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_ping_is_closed() {
    let node = TestNode::with(|config| {
        config.websocket.ping_interval_ms = 50;
        config.websocket.ping_timeout_ms = 50;
    })
    .await;
    let mut dead = Raw::websocket(node.address).await;
    dead.send(&raw::text(JOIN)).await;
    assert_eq!(dead.close_code().await, Some(4001));
    node.until_members("lobby", 0).await;
}

#[tokio::test]
async fn a_binary_frame_closes_with_its_code_and_nothing_after_it_is_heard() {
    let node = TestNode::start().await;
    let mut raw = Raw::websocket(node.address).await;
    let mut frames = raw::frame(true, BINARY, b"{}");
    frames.extend(raw::text(r#"{"type":"publish","room":"lobby","event":"late"}"#));
    raw.send(&frames).await;
    assert_eq!(raw.close_code().await, Some(1003));
    let history = node.http.get("/v1/rooms/lobby/events").await.ok();
    assert_eq!(history["events"], json!([]));
}

/// A client that sends this is closed with that code, and leaves nothing behind.
async fn closes(node: &TestNode, code: u16, bytes: &[u8]) {
    let mut raw = Raw::websocket(node.address).await;
    raw.send(bytes).await;
    assert_eq!(raw.close_code().await, Some(code), "{bytes:?}");
    drop(raw);
    eventually("the session to be over", || async {
        node.http.get("/v1/sessions").await.ok()["sessions"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn a_frame_against_the_protocol_closes_with_1002() {
    let node = TestNode::start().await;
    let unmasked = vec![0x81, 0x02, b'{', b'}'];
    let reserved_bit = raw::head(true, TEXT | 0x40, 0, Some([0; 4]));
    let reserved_opcode = raw::frame(true, 3, b"");
    let continuation_of_nothing = raw::frame(true, CONTINUATION, b"x");
    let message_within_another = [raw::frame(false, TEXT, b"x"), raw::text("{}")].concat();
    let control_frame_in_pieces = raw::frame(false, PING, b"x");
    let long_ping = raw::frame(true, PING, &[0; 126]);
    let half_a_close_code = raw::frame(true, CLOSE, &[3]);
    let close_code_that_is_none = raw::frame(true, CLOSE, &[0, 7]);
    for bytes in [
        unmasked,
        reserved_bit,
        reserved_opcode,
        continuation_of_nothing,
        message_within_another,
        control_frame_in_pieces,
        long_ping,
        half_a_close_code,
        close_code_that_is_none,
    ] {
        closes(&node, 1002, &bytes).await;
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let node = TestNode::start().await;
    closes(&node, 1007, &raw::frame(true, TEXT, &[b'"', 0xff, b'"'])).await;
    let half_a_character = &"\u{1F600}".as_bytes()[..3];
    closes(&node, 1007, &raw::frame(true, TEXT, half_a_character)).await;
    // At once, though the message has not ended.
    closes(&node, 1007, &raw::frame(false, TEXT, &[0xff])).await;
    closes(&node, 1007, &raw::frame(true, CLOSE, &[3, 232, 0xff])).await;
}

#[tokio::test]
async fn a_frame_or_a_message_over_the_limit_closes_with_1009() {
    let node = TestNode::with(|config| {
        config.limits.frame_bytes = 1_000;
        config.limits.message_bytes = 1_500;
        config.limits.event_bytes = 1_000;
    })
    .await;
    // Its head is enough.
    closes(&node, 1009, &raw::head(true, TEXT, 1_001, Some([0; 4]))).await;
    let pieces = [
        raw::frame(false, TEXT, &[b'x'; 800]),
        raw::head(true, CONTINUATION, 701, Some([0; 4])),
    ];
    closes(&node, 1009, &pieces.concat()).await;
    let fits = format!("{:1000}", r#"{"type":"ping"}"#);
    let mut raw = Raw::websocket(node.address).await;
    raw.send(&raw::text(&fits)).await;
    assert_eq!(raw.json().await["type"], "pong");
}

#[tokio::test]
async fn a_message_may_come_in_pieces_cut_anywhere() {
    let node = TestNode::start().await;
    let mut raw = Raw::websocket(node.address).await;
    let command = r#"{"type":"ping","ref":"\u{1F600} größer"}"#.replace("\\u{1F600}", "\u{1F600}");
    for piece in 1..command.len() {
        let pieces = command.as_bytes().chunks(piece).collect::<Vec<_>>();
        let mut frames = Vec::new();
        for (number, bytes) in pieces.iter().enumerate() {
            let opcode = if number == 0 { TEXT } else { CONTINUATION };
            frames.extend(raw::frame(number + 1 == pieces.len(), opcode, bytes));
            if number + 1 < pieces.len() {
                frames.extend(raw::frame(true, PONG, b"between"));
            }
        }
        for bytes in frames.chunks(piece) {
            raw.send(bytes).await;
        }
        assert_eq!(raw.json().await["ref"], "\u{1F600} größer");
    }
}

#[tokio::test]
async fn a_close_is_answered_with_the_clients_own_code() {
    let node = TestNode::start().await;
    for (close, code) in [
        (None, 1005),
        (Some(CloseCode::Normal), 1000),
        (Some(CloseCode::Away), 1001),
        (Some(CloseCode::Library(4_321)), 4_321),
    ] {
        let mut ws = node.joined(&["lobby"]).await;
        let frame = close.map(|code| CloseFrame {
            code,
            reason: "bye".into(),
        });
        ws.send_raw(Message::Close(frame)).await;
        let (frames, closed) = ws.read_to_the_end().await;
        assert_eq!(
            (frames, closed.map(|(code, _)| code)),
            (Vec::<Value>::new(), Some(code))
        );
    }
    node.until_members("lobby", 0).await;
}

#[tokio::test]
async fn a_client_that_closes_and_never_reads_is_forgotten() {
    let node = TestNode::start().await;
    let mut silent = Raw::websocket(node.address).await;
    silent.send(&raw::text(JOIN)).await;
    node.until_members("lobby", 1).await;
    silent.send(&raw::frame(true, CLOSE, &[3, 232])).await;
    node.until_members("lobby", 0).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
    assert_eq!(silent.json().await["type"], "joined");
    assert_eq!(
        silent.close_code().await,
        Some(1000),
        "it was answered all the same"
    );
}

#[tokio::test]
async fn half_closed_and_reset_connections_leave_their_rooms() {
    let node = TestNode::start().await;
    let mut half = Raw::websocket(node.address).await;
    let reset = Raw::websocket(node.address).await;
    let mut torn = Raw::websocket(node.address).await;
    let mut reset = reset;
    for raw in [&mut half, &mut reset, &mut torn] {
        raw.send(&raw::text(JOIN)).await;
    }
    node.until_members("lobby", 3).await;
    half.half_close().await;
    node.until_members("lobby", 2).await;
    reset.reset();
    node.until_members("lobby", 1).await;
    // In the middle of a frame.
    torn.send(&raw::text(JOIN)[..9]).await;
    drop(torn);
    node.until_members("lobby", 0).await;
    assert_eq!(node.http.get("/v1/sessions").await.ok()["sessions"], json!([]));
}

#[tokio::test]
async fn a_command_whose_sender_goes_at_once_is_carried_out() {
    let node = TestNode::start().await;
    let mut member = node.joined(&["lobby"]).await;
    for number in 0..20 {
        let mut raw = Raw::websocket(node.address).await;
        let command = json!({"type": "publish", "room": "lobby", "event": "note", "data": number});
        let mut frames = raw::text(&command.to_string());
        if number % 2 == 0 {
            frames.extend(raw::frame(true, CLOSE, &[3, 232]));
        }
        raw.send(&frames).await;
        raw.half_close().await;
        assert_eq!(numbers(&member.events(1).await), [number]);
    }
}

#[tokio::test]
async fn a_full_node_refuses_and_goes_on_serving_whom_it_has() {
    let node = TestNode::with(|config| config.limits.connections = 3).await;
    let mut first = node.joined(&["lobby"]).await;
    let second = node.joined(&["lobby"]).await;
    let _stream = node.sse("lobby").await;
    let Err(Error::Http(refused)) = Ws::try_connect(node.address).await else {
        panic!("a fourth connection was taken");
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let stream = node.http.get("/v1/rooms/lobby/stream").await;
    stream.error(503, "overloaded");
    node.publish("lobby", "note", 1).await;
    assert_eq!(numbers(&first.events(1).await), [1]);
    second.cut();
    node.until_members("lobby", 2).await;
    let mut third = node.joined(&["lobby"]).await;
    node.publish("lobby", "note", 2).await;
    assert_eq!(numbers(&third.events(1).await), [2]);
}

/// Also where the shell from which it was started allows fewer files than the node has connections.
#[tokio::test]
async fn a_node_takes_the_files_it_may_have() {
    let node = Process::start_with_few_files(40);
    let mut clients = Vec::new();
    for _ in 0..60 {
        let mut client = Ws::connect(node.address).await;
        client.join(&["lobby"], None).await;
        clients.push(client);
    }
    let lobby = node.http.get("/v1/rooms/lobby").await.ok();
    assert_eq!(lobby["count"], 60);
}

#[tokio::test]
async fn a_position_of_another_life_is_told_and_then_it_goes_on() {
    let [node, other] = [TestNode::start().await, TestNode::start().await];
    let foreign = other.joined(&["lobby"]).await.join(&["lobby"], None).await["position"].clone();
    node.publish("lobby", "note", 1).await;
    let mut ws = node.ws().await;
    let joined = ws.join(&["lobby"], foreign.as_str()).await;
    assert_eq!(joined["recovered"], false);
    node.publish("lobby", "note", 2).await;
    let heard = numbers(&ws.events(2).await);
    assert_eq!(heard, [1, 2], "what is kept, then what comes");
    let mut bad = node.ws().await;
    let answer = bad
        .ask(json!({"type": "join", "room": "a", "since": "nonsense"}))
        .await;
    assert_eq!(answer["code"], "position_invalid");
}

#[tokio::test]
async fn a_history_that_was_overrun_is_told() {
    let node = TestNode::with(|config| config.rooms.history_events = 4).await;
    let mut ws = node.joined(&["lobby", "quiet"]).await;
    node.publish("lobby", "note", 0).await;
    let position = ws.event().await["position"].as_str().unwrap().to_owned();
    ws.cut();
    for number in 1..=4 {
        node.publish("lobby", "note", number).await;
    }
    let mut back = node.ws().await;
    let joined = back.join(&["lobby", "quiet"], Some(&position)).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(numbers(&back.events(4).await), [1, 2, 3, 4]);
    node.publish("lobby", "note", 5).await;
    let mut late = node.ws().await;
    let joined = late.join(&["lobby", "quiet"], Some(&position)).await;
    assert_eq!(joined["recovered"], false);
    let heard = numbers(&late.events(4).await);
    assert_eq!(heard, [2, 3, 4, 5], "what is left of it");
    late.hears_nothing().await;
}

/// What a client has done so far in [`resuming_is_exact`].
struct Resumer {
    ws: Option<Ws>,
    position: Option<String>,
    heard: Vec<u64>,
}

impl Resumer {
    /// Joins, from its position if it has one.
    async fn connect(&mut self, node: &TestNode, rooms: &[&str]) {
        let mut ws = node.ws().await;
        let joined = ws.join(rooms, self.position.as_deref()).await;
        assert_eq!(joined["recovered"], true);
        self.position = joined["position"].as_str().map(str::to_owned);
        self.ws = Some(ws);
    }

    async fn hear(&mut self, events: usize) {
        for event in self.ws.as_mut().unwrap().events(events).await {
            self.position = event["position"].as_str().map(str::to_owned);
            self.heard.push(crate::kit::number(&event));
        }
    }
}

/// Cut at any moment while events keep coming in several rooms, on either of two nodes: nothing is missing, nothing
/// comes twice, and the order is the one order of all rooms.
#[tokio::test]
async fn resuming_is_exact() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = TestNode::pair().await;
        let rooms = ["a", "b", "c"];
        let mut client = Resumer {
            ws: None,
            position: None,
            heard: Vec::new(),
        };
        client.connect(&nodes[0], &rooms).await;
        let mut publisher = nodes[1].ws().await;
        let mut expected = Vec::new();
        for round in 0..25_u64 {
            let burst = random.usize(0..12);
            for number in 0..burst {
                let number = round * 100 + number as u64;
                // One of several rooms, or two at once; `d` is a room of others.
                let to = match random.usize(0..5) {
                    4 => json!(["d", rooms[random.usize(0..3)]]),
                    3 => json!(["d"]),
                    one => json!([rooms[one]]),
                };
                if to != json!(["d"]) {
                    expected.push(number);
                }
                let command = json!({"type": "publish", "rooms": to, "event": "note", "data": number});
                publisher.send(&command).await;
            }
            let waits = expected.len() - client.heard.len();
            client.hear(random.usize(0..=waits)).await;
            if random.bool() {
                let ws = client.ws.take().unwrap();
                if random.bool() {
                    ws.reset()
                } else {
                    ws.cut()
                }
                client.connect(&nodes[random.usize(0..2)], &rooms).await;
            }
        }
        client.hear(expected.len() - client.heard.len()).await;
        assert_eq!(client.heard, expected, "seed {seed}");
        client.ws.unwrap().hears_nothing().await;
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
    let mut witness = node.joined(&["lobby"]).await;
    let mut slow = Raw::connect_narrow(node.address).await;
    slow.shake_hands().await;
    slow.send(&raw::text(JOIN)).await;
    let mut position = slow.json().await["position"].clone();
    let filler = "x".repeat(15_000);
    for number in 0..EVENTS {
        node.publish("lobby", "note", json!({"n": number, "filler": filler}))
            .await;
        assert_eq!(crate::kit::number(&witness.event().await), number);
    }
    let mut heard = Vec::new();
    let mut hear = |event: Value| {
        position = event["position"].clone();
        heard.push(crate::kit::number(&event));
    };
    while let Some((TEXT, payload)) = slow.frame().await {
        hear(serde_json::from_slice(&payload).unwrap());
    }
    assert!(heard.len() < EVENTS as usize, "it was cut off");
    let mut back = node.ws().await;
    let joined = back.join(&["lobby"], position.as_str()).await;
    assert_eq!(joined["recovered"], true);
    heard.extend(numbers(&back.events(EVENTS as usize - heard.len()).await));
    assert_eq!(heard, (0..EVENTS).collect::<Vec<_>>());
    back.hears_nothing().await;
}

/// What had to wait for the throttle when a client was cut off is given when it is back, and nothing else twice.
#[tokio::test]
async fn thoughts_that_wait_survive_a_cut() {
    let node = TestNode::start().await;
    // Ten go out at once, then what overtakes; the others wait.
    join_all([0, 1, 10, 11].map(|heard_before| is_cut_while_thoughts_wait(&node, heard_before))).await;
}

async fn is_cut_while_thoughts_wait(node: &TestNode, heard_before: usize) {
    let expected: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let rooms = ["agent", "lobby"].map(numbered_name);
    let rooms = rooms.each_ref().map(|room| &**room);
    let mut ws = node.ws().await;
    let mut position = ws.join(&rooms, None).await["position"].clone();
    for text in &expected {
        let data = json!({"agentId": "1", "thought": text, "timestamp": "2026-01-31T12:00:00Z"});
        node.publish(rooms[0], "agent-thought", data).await;
    }
    // Is not throttled, so it overtakes what waits.
    node.publish(rooms[1], "note", 1).await;
    let mut heard = ws.events(heard_before).await;
    if let Some(last) = heard.last() {
        position = last["position"].clone();
    }
    ws.cut();
    let mut back = node.ws().await;
    let joined = back.join(&rooms, position.as_str()).await;
    assert_eq!(joined["recovered"], true);
    let thoughts_in = |heard: &[Value]| -> Vec<String> {
        let thoughts = heard.iter().filter(|event| event["event"] == "agent-thought");
        thoughts.flat_map(|event| thoughts_of(&event["data"])).collect()
    };
    while thoughts_in(&heard).len() < expected.len() || heard.iter().all(|event| event["event"] != "note") {
        heard.push(back.event().await);
    }
    back.hears_nothing().await;
    assert_eq!(thoughts_in(&heard), expected, "cut after {heard_before}");
    let notes = heard.iter().filter(|event| event["event"] == "note").count();
    assert_eq!(notes, 1, "cut after {heard_before}");
}

/// What still waited for a client that has gone reaches nobody else, though the next one takes its place.
#[tokio::test]
async fn nobody_hears_what_waited_for_another() {
    let node = TestNode::with(|config| config.workers = 1).await;
    let think = async |agent: &str| {
        // Ten go out at once, the others wait for a second.
        for number in 0..20 {
            let thought = json!({"thought": format!("{agent} {number}")});
            let path = format!("/v1/agents/{agent}/thoughts");
            assert_eq!(node.http.post(&path, &thought).await.status, 202);
        }
    };
    let gone = node.joined(&["agent:secret"]).await;
    think("secret").await;
    gone.cut();
    node.until_members("agent:secret", 0).await;
    let mut next = node.joined(&["agent:own"]).await;
    think("own").await;
    let mut heard = Vec::new();
    while heard.len() < 20 {
        let event = next.event().await;
        heard.extend(thoughts_of(&event["data"]));
    }
    // Its own waited longer than what waited for the other.
    let expected: Vec<String> = (0..20).map(|number| format!("own {number}")).collect();
    assert_eq!(heard, expected);
    next.hears_nothing().await;
}
