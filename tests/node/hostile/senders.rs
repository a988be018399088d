//! Clients that send too slowly, or only a part, or end their side and stay.

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Duration, interval};

use super::{DOORS, Door, MIB, ROOM, Scene};
use crate::kit::{Polling, Process, Raw, raw};

const POST: &str = "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
const IMPATIENT: [&str; 3] = [
    "http.header_timeout_ms=500",
    "http.body_timeout_ms=500",
    "http.keep_alive_ms=1000",
];

/// What comes of a request that is begun, goes on a byte at a time, and never ends.
struct Slow {
    begins: String,
    drips: &'static [u8],
    /// How the answer begins, if there is one.
    answer: &'static str,
}

fn slow_requests() -> Vec<Slow> {
    let slow = |begins: &str, drips, answer| Slow {
        begins: begins.to_owned(),
        drips,
        answer,
    };
    let whole = "GET /livez HTTP/1.1\r\nhost: test\r\n";
    let unfinished = |door: Door| door.handshake().trim_end_matches("\r\n").to_owned();
    vec![
        slow("", b"", ""),
        slow("G", b"E", "HTTP/1.1 4"),
        slow("GET /livez HTTP/1.1\r\nho", b"", "HTTP/1.1 408 "),
        slow("GET /livez HTTP/1.1\r\nx: ", b"x", "HTTP/1.1 408 "),
        slow(&unfinished(Door::Plain), b"", "HTTP/1.1 408 "),
        slow(&unfinished(Door::SocketIo), b"x", "HTTP/1.1 408 "),
        slow(
            &format!("{POST}content-length: 100\r\n\r\n{{"),
            b"",
            "HTTP/1.1 408 ",
        ),
        slow(
            &format!("{POST}content-length: 100000\r\n\r\n{{"),
            b" ",
            "HTTP/1.1 408 ",
        ),
        slow(
            &format!("{POST}transfer-encoding: chunked\r\n\r\n"),
            b"1\r\n \r\n",
            "HTTP/1.1 408 ",
        ),
        slow(
            &format!("{POST}transfer-encoding: chunked\r\n\r\n1;"),
            b"x",
            "HTTP/1.1 408 ",
        ),
        // What is answered without its body.
        slow(
            &format!("{whole}transfer-encoding: chunked\r\n\r\n1\r\n"),
            b"",
            "HTTP/1.1 200 ",
        ),
        slow(
            &format!("{whole}transfer-encoding: chunked\r\n\r\n"),
            b"1\r\nx\r\n",
            "HTTP/1.1 200 ",
        ),
        slow(&format!("{whole}content-length: 9\r\n\r\n"), b"", "HTTP/1.1 200 "),
        // No second request on a connection, and one that does not come whole.
        slow(&format!("{whole}\r\n"), b"", "HTTP/1.1 200 "),
        slow(&format!("{whole}\r\nG"), b"", "HTTP/1.1 200 "),
        slow(&format!("{whole}\r\nG"), b"E", "HTTP/1.1 200 "),
        slow(
            &format!("{whole}\r\nGET /livez HTTP/1.1\r\nx: "),
            b"x",
            "HTTP/1.1 200 ",
        ),
    ]
}

/// A request whose head or body comes too slowly, or not at all, holds no connection for ever, and three hundred of them
/// hold up nobody.
#[tokio::test]
async fn requests_that_never_end_are_given_up() {
    let mut scene = Scene::set(&IMPATIENT).await;
    let attack = async |node: &Process| {
        let requests: Vec<Slow> = (0..20).flat_map(|_| slow_requests()).collect();
        join_all(requests.iter().map(|slow| never_ends(node, slow))).await;
    };
    scene.survives(12 * MIB, attack).await;
}

async fn never_ends(node: &Process, slow: &Slow) {
    let mut raw = Raw::connect(node.address).await;
    raw.send(slow.begins.as_bytes()).await;
    let mut drops = interval(Duration::from_millis(100));
    let answer = loop {
        tokio::select! {
            more = raw.read_more() => {
                let answer = raw.read_to_the_end().await;
                assert_eq!(more, !answer.is_empty());
                break String::from_utf8(answer).unwrap();
            }
            _ = drops.tick() => {}
        }
        raw.try_send(slow.drips).await;
    };
    // A client whose last bytes were not read may be told by a reset that the answer is lost.
    // And where the machine was so busy that the node read the head too late, it may be told that.
    let is_told = [slow.answer, "HTTP/1.1 408 "]
        .iter()
        .any(|told| answer.starts_with(told));
    assert!(answer.is_empty() || is_told, "{:?}: {answer}", slow.begins);
}

/// Sessions that are begun and not used: no namespace is entered, by polling or on a WebSocket, or the body of a POST does
/// not come.
#[tokio::test]
async fn sessions_that_are_only_begun_are_given_up() {
    let mut scene = Scene::set(&["http.body_timeout_ms=2000", "socketio.connect_timeout_ms=2000"]).await;
    let attack = async |node: &Process| {
        let polls = (0..50).map(|_| async {
            let polling = Polling::open(&node.http).await;
            assert_eq!(polling.packets().await, ["1"]);
            polling.is_over().await;
        });
        let sockets = (0..50).map(|_| async {
            let mut raw = Raw::connect(node.address).await;
            raw.send(Door::SocketIo.handshake().as_bytes()).await;
            raw.head().await;
            assert!(super::text(&mut raw).await.starts_with("0{"));
            assert_eq!(raw.close_code().await, Some(1005));
        });
        let posts = (0..50).map(|_| async {
            let (polling, _) = Polling::enter(&node.http).await;
            let mut raw = Raw::connect(node.address).await;
            let path = polling.path();
            let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n4");
            raw.send(head.as_bytes()).await;
            let answer = String::from_utf8(raw.read_to_the_end().await).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            polling.is_over().await;
        });
        tokio::join!(join_all(polls), join_all(sockets), join_all(posts));
    };
    scene.survives(12 * MIB, attack).await;
}

/// What a client has sent when it ends its side, and stays to listen.
fn half_closed() -> Vec<String> {
    let whole = json!({"event": "note", "data": 1}).to_string();
    let length = whole.len();
    vec![
        String::new(),
        "GET /livez HT".into(),
        format!("{POST}content-length: 100\r\n\r\n{{"),
        format!("{POST}transfer-encoding: chunked\r\n\r\n5\r\n{{"),
        format!("{POST}content-length: {length}\r\n\r\n{whole}"),
        "GET /livez HTTP/1.1\r\nhost: test\r\n\r\n".into(),
        format!("GET /v1/rooms/{ROOM}/stream HTTP/1.1\r\nhost: test\r\n\r\n"),
        raw::HANDSHAKE.into(),
        Door::SocketIo.handshake(),
    ]
}

/// A client that ends its side is not served on: neither half a request nor a stream nor a session outlives it.
#[tokio::test]
async fn half_closed_connections_are_ended() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for request in half_closed().iter().cycle().take(90) {
            let mut raw = Raw::connect(node.address).await;
            raw.send(request.as_bytes()).await;
            raw.half_close().await;
            raw.read_to_the_end().await;
        }
        for door in DOORS.repeat(10) {
            let mut raw = door.open(node.address).await;
            door.join(&mut raw).await;
            // In the middle of a frame.
            raw.send(&raw::text(&door.question().0)[..9]).await;
            raw.half_close().await;
            raw.read_to_the_end().await;
        }
        let (polling, _) = Polling::enter(&node.http).await;
        let mut raw = Raw::connect(node.address).await;
        let poll = format!("GET {} HTTP/1.1\r\nhost: test\r\n\r\n", polling.path());
        raw.send(poll.as_bytes()).await;
        raw.half_close().await;
        raw.read_to_the_end().await;
        polling.post("1").await;
    };
    scene.survives(8 * MIB, attack).await;
}
