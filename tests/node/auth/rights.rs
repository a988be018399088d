//! What a token gives, and what it does not.

use futures_util::future::join_all;
use greenroom::extensions::EngineDoor;
use greenroom::http::openapi_json;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use super::{Guarded, ada, admin, bad, token};
use crate::echo::conformance;
use crate::kit::http::send;
use crate::kit::raw::HANDSHAKE;
use crate::kit::{Answer, Http, Polling, Raw, Sio, Sse, TestNode, Ws};

const OPEN: [&str; 4] = ["/", "/livez", "/readyz", "/openapi.json"];

#[actix_rt::test]
async fn every_call_asks_for_a_token_but_those_that_are_open() {
    let guarded = Guarded::start().await;
    let http = &guarded.node.http;
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut asked = 0;
    for (path, calls) in paths.iter().filter(|(path, _)| !OPEN.contains(&path.as_str())) {
        if path == "/metrics" {
            continue;
        }
        for method in calls.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = send(http.request(method, path)).await;
            answer.error(401, "unauthenticated");
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"greenroom\"");
            asked += 1;
        }
    }
    assert!(asked >= 14, "{asked}");
    http.get("/v1/nonsense").await.error(401, "unauthenticated");
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    assert_eq!(document["paths"]["/livez"]["get"]["security"], json!([{}]));
    for path in OPEN {
        assert_eq!(http.get(path).await.status, 200, "{path}");
    }
}

#[actix_rt::test]
async fn metrics_are_open_to_this_machine_unless_somebody_asks_for_another() {
    let guarded = Guarded::start().await;
    let http = &guarded.node.http;
    assert_eq!(http.get("/metrics").await.status, 200);
    let ask = |header: &'static str, token: Option<String>| {
        let request = http
            .request(Method::GET, "/metrics")
            .header(header, "for=192.0.2.1");
        send(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    };
    for header in ["forwarded", "x-forwarded-for"] {
        ask(header, None).await.error(401, "unauthenticated");
        ask(header, Some(ada())).await.error(403, "forbidden");
        assert_eq!(ask(header, Some(admin())).await.status, 200);
    }
}

/// What every surface says to tokens that do not hold.
#[actix_rt::test]
async fn a_token_that_does_not_hold_opens_nothing() {
    let guarded = Guarded::start().await;
    let node = &guarded.node;
    for bad in bad() {
        guarded.get("/v1/rooms", &bad).await.error(401, "unauthenticated");
        for query in [format!("?token={bad}"), String::new()] {
            let header = query.is_empty().then_some(bad.as_str());
            refused_with(Ws::knock(node.address, &query, header).await, 401);
        }
        let stream = node.http.get(&format!("/v1/rooms/a/stream?token={bad}")).await;
        stream.error(401, "unauthenticated");
        let error = connect_error(&mut Sio::open(node.address).await, &json!({"token": bad})).await;
        assert_eq!(error["data"]["code"], "unauthenticated", "{error}");
    }
    refused_with(Ws::try_connect(node.address).await, 401);
    let metrics = node.http.get("/metrics").await.text;
    assert!(
        metrics.contains("greenroom_refusals_total{code=\"unauthenticated\"}"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("greenroom_refusals_total{code=\"unauthenticated\"} 0"),
        "{metrics}"
    );
}

fn refused_with(knocked: Result<Ws, Error>, status: u16) {
    match knocked {
        Err(Error::Http(response)) => assert_eq!(response.status(), status, "{response:?}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let in"),
    }
}

async fn connect_error(sio: &mut Sio, auth: &Value) -> Value {
    sio.send(&format!("40{auth}")).await;
    let packet = sio.packet().await;
    let error = packet.strip_prefix("44").unwrap_or_else(|| panic!("{packet}"));
    serde_json::from_str(error).unwrap()
}

#[actix_rt::test]
async fn over_http_a_token_gives_what_it_names() {
    let guarded = Guarded::start().await;
    let event = json!({"event": "e", "data": 1});
    let thought = json!({"thought": "t"});
    let post = async |path: &str, body: &Value| guarded.post(path, &ada(), body).await;
    assert_eq!(post("/v1/rooms/a/events", &event).await.status, 202);
    post("/v1/rooms/b/events", &event).await.error(403, "forbidden");
    let both = json!({"event": "e", "data": 1, "rooms": ["b"]});
    let error = post("/v1/rooms/a/events", &both).await.error(403, "forbidden");
    assert_eq!(error["details"], json!({"action": "publish", "room": "b"}));
    post("/v1/agents/7/thoughts", &thought)
        .await
        .error(403, "forbidden");
    for (path, status) in [
        ("/v1/rooms/a/events", 200),
        ("/v1/rooms/a", 200),
        ("/v1/rooms/user:ada", 200),
        ("/v1/rooms/agent:7/events", 200),
        ("/v1/rooms/b/events", 403),
        ("/v1/rooms/b", 403),
        ("/v1/rooms/user:eve", 403),
        ("/v1/rooms/b/stream", 403),
        ("/v1/rooms/a/stream?rooms=b", 403),
        ("/v1/sessions", 403),
        ("/v1/workers", 403),
        ("/v1/nonsense", 404),
    ] {
        let answer = guarded.get(path, &ada()).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let history = guarded.get("/v1/rooms/a/events", &ada()).await.ok();
    assert_eq!(
        history["events"].as_array().unwrap().len(),
        1,
        "what was refused is nowhere"
    );
}

#[actix_rt::test]
async fn a_token_in_the_address_is_for_those_who_cannot_set_a_header() {
    let guarded = Guarded::start().await;
    let (node, token) = (&guarded.node, ada());
    let with = |path: &str| format!("{path}?token={token}");
    for path in ["/v1/rooms", "/v1/rooms/a", "/v1/rooms/a/events", "/v1/sessions"] {
        node.http.get(&with(path)).await.error(401, "unauthenticated");
    }
    let mut sse = Sse::open(node.address, &with("/v1/rooms/a/stream"), None).await;
    sse.joined().await;
    let ws = Ws::knock(node.address, &format!("?token={token}"), None)
        .await
        .unwrap();
    drop(ws);
    for header in ["Basic YTpi", "Bearer", "Token x"] {
        let request = node.http.request(Method::GET, &with("/v1/rooms/a/stream"));
        let answer = send(request.header("authorization", header)).await;
        answer.error(401, "unauthenticated");
    }
}

#[actix_rt::test]
async fn over_a_websocket_what_is_refused_is_answered_and_the_connection_stays() {
    let guarded = Guarded::start().await;
    let mut ws = Ws::knock(guarded.node.address, "", Some(&ada())).await.unwrap();
    for (command, room) in [
        (json!({"type": "join", "rooms": ["a", "b"]}), "b"),
        (json!({"type": "join", "room": "user:eve"}), "user:eve"),
        (
            json!({"type": "publish", "room": "agent:7", "event": "e"}),
            "agent:7",
        ),
        (json!({"type": "presence", "room": "b"}), "b"),
    ] {
        let answer = ws.ask(command).await;
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("error"), &json!("forbidden")),
            "{answer}"
        );
        assert_eq!(answer["details"]["room"], room);
    }
    ws.join(&["a", "user:ada"], None).await;
    ws.publish("a", "e", 7).await;
    assert_eq!(ws.event().await["data"], 7);
    let presence = ws.ask(json!({"type": "presence", "room": "a"})).await;
    assert_eq!(presence["members"][0]["subject"], "ada");
}

#[actix_rt::test]
async fn a_client_of_socket_io_shows_its_token_when_it_enters_or_in_its_handshake() {
    let guarded = Guarded::start().await;
    let (node, token) = (&guarded.node, ada());
    let mut entered = Sio::open(node.address).await;
    entered.greet(&json!({"token": token})).await;
    let mut by_query = Sio::attach(node.address, &format!("EIO=4&transport=websocket&token={token}")).await;
    by_query.packet().await;
    by_query.greet(&json!({})).await;
    for sio in [&mut entered, &mut by_query] {
        for (event, argument) in [
            ("join", json!("b")),
            ("subscribe-user", json!("eve")),
            ("presence", json!("b")),
            ("publish", json!({"room": "agent:7", "event": "e"})),
        ] {
            let answer = sio.ask(event, &argument).await;
            assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
        }
        sio.join("a").await;
        sio.join("agent:7").await;
    }
    let published = entered
        .ask("publish", &json!({"room": "a", "event": "e", "data": 1}))
        .await;
    assert_eq!(published["ok"], true, "{published}");
    assert_eq!(by_query.event().await, [json!("e"), json!(1)]);
    // What it shows when it enters is what counts.
    let mut bad = Sio::attach(node.address, &format!("EIO=4&transport=websocket&token={token}")).await;
    bad.packet().await;
    let error = connect_error(&mut bad, &json!({"token": "nonsense"})).await;
    assert_eq!(
        error["data"],
        json!({"code": "unauthenticated", "details": {"reason": "malformed"}})
    );
}

#[actix_rt::test]
async fn a_polling_client_shows_its_token_too() {
    let guarded = Guarded::start().await;
    let http = &guarded.node.http;
    let polling = Polling::open(http).await;
    polling.say("40").await;
    let refused = polling.get().await.text;
    assert!(
        refused.starts_with("44{") && refused.contains("\"reason\":\"missing\""),
        "{refused}"
    );
    polling.say(&format!("40{}", json!({"token": ada()}))).await;
    let greeting = polling.get().await.text;
    assert!(greeting.starts_with("40{\"sid\""), "{greeting}");
}

#[actix_rt::test]
async fn who_comes_back_is_who_he_was_and_may_still_be_there() {
    let guarded = Guarded::start().await;
    let address = guarded.node.address;
    let mut sio = Sio::open(address).await;
    let pid = sio.greet(&json!({"token": ada()})).await["pid"].clone();
    sio.join("a").await;
    sio.reset();
    let eve = token(json!({"sub": "eve", "rooms": {"join": ["*"]}}));
    let narrow = token(json!({"sub": "ada", "rooms": {"join": ["agent:*"]}}));
    for (token, is_back) in [(eve, false), (narrow, false), (ada(), true)] {
        let mut back = Sio::open(address).await;
        let greeting = back.greet(&json!({"token": token, "pid": pid})).await;
        assert_eq!(greeting["pid"] == pid, is_back);
    }
}

#[actix_rt::test]
async fn a_list_has_the_rooms_that_may_be_joined_page_by_page() {
    let guarded = Guarded::start().await;
    let all = token(json!({"sub": "all", "rooms": {"join": ["*"]}}));
    let mut ws = Ws::knock(guarded.node.address, "", Some(&all)).await.unwrap();
    let rooms = [
        "a", "ab", "agent:1", "agent:2", "agent:3", "b", "user:ada", "user:eve",
    ];
    ws.join(&rooms, None).await;
    let names = |answer: Answer| -> Vec<String> {
        let rooms = answer.ok()["rooms"].as_array().unwrap().clone();
        rooms
            .iter()
            .map(|room| room["room"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(guarded.get("/v1/rooms", &all).await), rooms);
    let hers = ["a", "agent:1", "agent:2", "agent:3", "user:ada"];
    assert_eq!(names(guarded.get("/v1/rooms", &ada()).await), hers);
    assert_eq!(
        names(guarded.get("/v1/rooms?prefix=agent:", &ada()).await),
        hers[1..4]
    );
    assert_eq!(names(guarded.get("/v1/rooms?prefix=b", &ada()).await), [""; 0]);
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let answer = guarded.get(&format!("/v1/rooms?limit=2{next}"), &ada()).await;
        let page = answer.ok();
        found.extend(names(answer));
        match page["next"].as_str() {
            Some(after) => next = format!("&after={after}"),
            None => break,
        }
    }
    assert_eq!(found, hers);
}

#[actix_rt::test]
async fn an_id_is_its_publishers_own() {
    let guarded = Guarded::start().await;
    let eve = token(json!({"sub": "eve", "rooms": {"publish": ["a"]}}));
    let event = |data: u64| json!({"event": "e", "data": data, "id": "order-1"});
    let publish = async |token: &str, data| guarded.post("/v1/rooms/a/events", token, &event(data)).await;
    let first = publish(&ada(), 1).await.json();
    assert_eq!(first["rooms"]["a"], 1);
    assert_eq!(publish(&eve, 2).await.json()["rooms"]["a"], 2, "another one's id");
    assert_eq!(publish(&ada(), 1).await.json(), first);
    publish(&eve, 3).await.error(409, "id_reused");
}

#[actix_rt::test]
async fn a_flood_of_refusals_is_answered_like_one() {
    let guarded = Guarded::start().await;
    let http: &Http = &guarded.node.http;
    let answers = join_all((0..200).map(|_| http.get("/v1/rooms"))).await;
    assert!(answers.iter().all(|answer| answer.status == 401));
    // More than one header is none.
    let mut raw = Raw::connect(guarded.node.address).await;
    let token = ada();
    let request = format!(
        "GET /v1/rooms HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    raw.send(request.as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

/// A namespace, a WebSocket and a door of Engine.IO that a program adds; and one that it has declared open.
#[actix_rt::test]
async fn doors_of_a_program_ask_for_a_token_too() {
    let mut extensions = conformance::extensions();
    let opened = EngineDoor {
        path: "/open/".into(),
        is_open: true,
        ..extensions.engines[0].clone()
    };
    extensions.engines.push(opened);
    let guarded = Guarded::with(extensions).await;
    let (node, http, token) = (&guarded.node, &guarded.node.http, ada());
    let polling = "EIO=4&transport=polling";
    let socket = "EIO=4&transport=websocket";
    for bad in ["", "&token=", "&token=nonsense"] {
        let answer = http.get(&format!("/engine.io/?{polling}{bad}")).await;
        answer.error(401, "unauthenticated");
        let status = knock(node, &format!("/engine.io/?{socket}{bad}")).await;
        assert_eq!(status, "401", "{bad}");
        let status = knock(node, &format!("/echo?{}", bad.trim_start_matches('&'))).await;
        assert_eq!(status, "401", "{bad}");
    }
    let error = connect_error(&mut Sio::open(node.address).await, &json!({})).await;
    assert_eq!(error["data"]["code"], "unauthenticated", "{error}");
    for (path, status) in [
        (format!("/engine.io/?{socket}&token={token}"), "101"),
        (format!("/echo?token={token}"), "101"),
        (format!("/open/?{socket}"), "101"),
    ] {
        assert_eq!(knock(node, &path).await, status, "{path}");
    }
    let answer = guarded.get(&format!("/engine.io/?{polling}"), &token).await;
    let open: Value = serde_json::from_str(answer.text.strip_prefix('0').unwrap()).unwrap();
    // Who has a session is known by its secret.
    let session = format!("/engine.io/?{polling}&sid={}", open["sid"].as_str().unwrap());
    let said = http
        .post_text(&session, "text/plain;charset=UTF-8", "4hello")
        .await;
    assert_eq!((said.status, said.text.as_str()), (200, "ok"));
    assert_eq!(http.get(&session).await.text, "4hello");
    assert_eq!(http.get(&format!("/open/?{polling}")).await.status, 200);
}

/// All namespaces of a session are one client's.
#[actix_rt::test]
async fn a_session_is_one_subjects_in_all_its_namespaces() {
    let guarded = Guarded::with(conformance::extensions()).await;
    let mut sio = Sio::open(guarded.node.address).await;
    sio.send(&format!("40{}", json!({"token": ada()}))).await;
    assert!(sio.packet().await.starts_with("40{"));
    assert!(sio.packet().await.starts_with("42[\"auth\""));
    let eve = token(json!({"sub": "eve"}));
    sio.send(&format!("40/custom,{}", json!({"token": eve}))).await;
    let refused = sio.packet().await;
    assert!(
        refused.starts_with("44/custom,{") && refused.contains("\"forbidden\""),
        "{refused}"
    );
    let again = token(json!({"sub": "ada", "jti": "t2"}));
    sio.send(&format!("40/custom,{}", json!({"token": again}))).await;
    assert!(sio.packet().await.starts_with("40/custom,{"));
}

/// The status that a handshake is answered.
async fn knock(node: &TestNode, path: &str) -> String {
    let mut raw = Raw::connect(node.address).await;
    raw.send(HANDSHAKE.replace("/v1/ws", path).as_bytes()).await;
    raw.head().await.split(' ').nth(1).unwrap().to_owned()
}
