//! Requests of which two readers might disagree where they end: what is behind them must be nobody's request.

use super::{MIB, Scene};
use crate::kit::{Process, Raw};

const POST: &str = "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
/// What must never be carried out where it is (a part of) a body, or behind a request that was refused.
const SMUGGLED: &str = "POST /v1/rooms/smuggled/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
    content-length: 16\r\n\r\n{\"event\":\"note\"}";

/// Fields that say badly how long a body is.
const FIELDS: [&str; 31] = [
    "content-length: 0\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 5",
    "content-length: 0\r\ncontent-length: 5",
    "content-length: 5\r\ncontent-length: 5",
    "content-length: 5, 5",
    "content-length: +5",
    "content-length: -1",
    "content-length: 0x5",
    "content-length: 5 5",
    "content-length: 5;",
    "content-length:",
    "content-length: 18446744073709551616",
    "content-length : 5",
    "content-length\t: 5",
    " content-length: 5",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity, chunked",
    "transfer-encoding: identity",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    "transfer-encoding: xchunked",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding:\u{b}chunked",
    "transfer-encoding : chunked",
    "transfer-encoding:",
    // A field that goes on in the next line.
    "x: y\r\n content-length: 5",
    "transfer-encoding:\r\n chunked",
    "x: y\rcontent-length: 5",
    "x: y\0\r\ncontent-length: 5",
    "host: another",
];

/// Bodies in chunks that are none.
const CHUNKS: [&str; 14] = [
    "-1\r\n",
    "+1\r\n",
    "0x1\r\n",
    "\r\n",
    " 1\r\n",
    "g\r\n",
    "1\n",
    "1 1\r\n",
    "1\r\r\n",
    "ffffffffffffffff1\r\n",
    "1;x\n",
    "1\r\nab\r\n",
    "1\r\na\n",
    "1\r\naX\r\n",
];

/// Heads, and bodies, that are refused as they are.
fn ambiguous() -> Vec<String> {
    let field = |fields: &str| format!("{POST}{fields}\r\n\r\n");
    let chunked = |chunks: &str| format!("{POST}transfer-encoding: chunked\r\n\r\n{chunks}");
    let mut all: Vec<String> = FIELDS.map(field).into();
    all.extend(CHUNKS.map(chunked));
    all.push(field("content-length: 5").replace("HTTP/1.1", "HTTP/1.0\r\ntransfer-encoding: chunked"));
    all.push(field("content-length: 5").replace("host: test\r\n", ""));
    all.push("GET /livez HTTP/2.0\r\nhost: test\r\n\r\n".into());
    all.push("GET  /livez HTTP/1.1\r\nhost: test\r\n\r\n".into());
    all.push("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into());
    all
}

/// What is refused is refused whole: one answer, 400, and the end of the connection.
#[tokio::test]
async fn requests_whose_end_is_uncertain_end_their_connection() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let (mut answered, requests) = (0, ambiguous());
        for request in &requests {
            let mut raw = Raw::connect(node.address).await;
            raw.try_send(format!("{request}{SMUGGLED}").as_bytes()).await;
            let answer = String::from_utf8(raw.read_to_the_end().await).unwrap();
            // A client whose last bytes were not read may lose the answer to a reset.
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                "{request:?}: {answer}"
            );
            answered += usize::from(!answer.is_empty());
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                usize::from(!answer.is_empty()),
                "{answer}"
            );
        }
        assert!(answered * 4 >= requests.len() * 3, "{answered} answers");
        nothing_was_smuggled(node).await;
    };
    scene.survives(4 * MIB, attack).await;
}

/// A request that is refused for what it asks has a body that is plainly its own. What follows is the client's next
/// request, or is not heard at all; what is in the body is neither.
#[tokio::test]
async fn what_follows_a_refused_request_is_the_next_one_or_nothing() {
    let mut scene = Scene::set(&["limits.body_bytes=10000"]).await;
    let attack = async |node: &Process| {
        let chunked = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        let large = SMUGGLED.repeat(100);
        for (path, status) in [
            ("POST /v1/rooms/lobby/events", "415"),
            ("POST /v1/rooms/a%20b/events", "415"),
            ("POST /nowhere", "404"),
            ("POST /livez", "405"),
            ("DELETE /v1/rooms/lobby/events", "405"),
            ("GET /livez", "200"),
            ("GET /v1/ws", "426"),
            ("POST /socket.io/?EIO=4&transport=polling", "400"),
            ("POST /socket.io/?EIO=4&transport=polling&sid=none", "400"),
        ] {
            let length = |body: &str| format!("content-length: {}\r\n\r\n{body}", body.len());
            for body in [
                length(SMUGGLED),
                length(&large),
                format!("transfer-encoding: chunked\r\n\r\n{chunked}"),
            ] {
                refused_then_next(node, &format!("{path} HTTP/1.1\r\nhost: test\r\n{body}"), status).await;
            }
            // Announced, refused before it has come, and then sent.
            let expect = format!(
                "{path} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n{}",
                length(SMUGGLED)
            );
            refused_then_next(node, &expect, status).await;
        }
        nothing_was_smuggled(node).await;
    };
    scene.survives(4 * MIB, attack).await;
}

/// Sends it with a request behind it that is the client's own.
async fn refused_then_next(node: &Process, request: &str, status: &str) {
    let mut raw = Raw::connect(node.address).await;
    let next = "GET /nowhere/next HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    raw.try_send(format!("{request}{next}").as_bytes()).await;
    let answers = String::from_utf8(raw.read_to_the_end().await).unwrap();
    let answers = answers.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    let mut statuses = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answers[at + 9..at + 12]);
    // A body over the limit may be refused for that instead, and a reset may lose the answer.
    let first = statuses.next();
    assert!(
        first.is_none_or(|first| first == status || first == "413"),
        "{request}: {answers}"
    );
    let second = statuses.next();
    assert!(
        second.is_none_or(|second| second == "404"),
        "{request}: {answers}"
    );
    assert!(
        second.is_none() || answers.contains("GET /nowhere/next"),
        "{request}: {answers}"
    );
    assert_eq!(statuses.next(), None, "{request}: {answers}");
}

/// A handshake that is refused or granted leaves no second request behind, whatever body it brings.
#[tokio::test]
async fn what_comes_with_a_handshake_is_no_request() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for door in super::DOORS {
            let handshake = door.handshake();
            let length = format!("\r\ncontent-length: {}\r\n\r\n", SMUGGLED.len());
            for head in [
                handshake.clone(),
                handshake.replacen("\r\n\r\n", &length, 1),
                handshake.replacen("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n", 1),
                handshake.replace("sec-websocket-version: 13", "sec-websocket-version: 12"),
                handshake.replace("GET", "POST"),
            ] {
                let mut raw = Raw::connect(node.address).await;
                raw.try_send(format!("{head}{SMUGGLED}").as_bytes()).await;
                let answer = raw.read_to_the_end().await;
                let answer = String::from_utf8_lossy(&answer);
                assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head}: {answer}");
            }
        }
        nothing_was_smuggled(node).await;
    };
    scene.survives(4 * MIB, attack).await;
}

async fn nothing_was_smuggled(node: &Process) {
    let history = node.http.get("/v1/rooms/smuggled/events").await.ok();
    assert_eq!(history["events"], serde_json::json!([]));
}

/// The checks can fail: the same request is carried out by itself, and so is one like it in chunks.
#[tokio::test]
async fn what_is_to_be_smuggled_is_a_good_request() {
    let scene = Scene::set(&[]).await;
    let mut raw = Raw::connect(scene.node.address).await;
    let chunks = "A;name=value\r\n{\"event\":\"\r\n6\r\nnote\"}\r\n0\r\ntrailer: x\r\n\r\n";
    let chunked = SMUGGLED.replace("content-length: 16", "transfer-encoding: chunked");
    let chunked = chunked.replace("{\"event\":\"note\"}", chunks);
    for request in [SMUGGLED, &chunked, SMUGGLED] {
        raw.send(request.as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
        let length = head.split_once("content-length: ").unwrap().1;
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        raw.take(length).await.unwrap();
    }
    let history = scene.node.http.get("/v1/rooms/smuggled/events").await.ok();
    assert_eq!(history["events"].as_array().unwrap().len(), 3);
}
