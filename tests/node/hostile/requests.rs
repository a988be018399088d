//! Requests that are too large in one of their parts, or compressed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::{DOORS, MIB, Scene};
use crate::kit::http::send;
use crate::kit::{Polling, Process, Raw};

/// Sends a request on a connection of its own; returns the answer's status, 0 if there is none.
async fn status_of(node: &Process, request: &[u8]) -> u16 {
    let mut raw = Raw::connect(node.address).await;
    raw.try_send(request).await;
    let answer = raw.read_to_the_end().await;
    let status = answer.get(9..12).unwrap_or(b"0");
    std::str::from_utf8(status).unwrap().parse().unwrap()
}

/// Queries of any length are refused, or found nothing for; from 64 KiB on the whole address is.
#[tokio::test]
async fn giant_queries_are_refused() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for (path, expected) in [
            ("/v1/rooms?prefix=", 200),
            ("/v1/rooms?limit=", 400),
            ("/v1/rooms/a/events?since=", 400),
            ("/v1/rooms/a/events?nonsense=", 400),
            ("/v1/rooms/a/stream?since=", 400),
            ("/v1/rooms/a/stream?rooms=", 400),
            ("/socket.io/?EIO=4&transport=polling&sid=", 400),
            ("/socket.io/?EIO=4&transport=", 400),
        ] {
            for (length, expected) in [(60_000, expected), (70_000, 400), (200_000, 431)] {
                let value = "x".repeat(length);
                let request =
                    format!("GET {path}{value} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
                let status = status_of(node, request.as_bytes()).await;
                assert_eq!(status, expected, "{path} {length}");
            }
        }
        // Many rooms, each a good name; and many parameters.
        let rooms = (0..5_000).map(|room| format!("{room},")).collect::<String>();
        let path = format!("/v1/rooms/a/stream?rooms={rooms}");
        node.http.get(&path).await.error(422, "too_many_rooms");
        let path = format!("/v1/rooms/a/events?{}", "limit=1&".repeat(5_000));
        node.http.get(&path).await.error(400, "bad_request");
    };
    scene.survives(8 * MIB, attack).await;
}

/// Heads with too many fields or too many bytes, also of handshakes, and one that never ends.
#[tokio::test]
async fn floods_of_headers_are_refused() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let requests = DOORS.map(super::Door::handshake).into_iter();
        let close = "GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        for request in requests.chain([close.to_owned()]) {
            let with = |fields: String| request.replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
            for fields in [
                (0..100).map(|at| format!("x-{at}: y\r\n")).collect::<String>(),
                "x: y\r\n".repeat(20_000),
                format!("x: {}\r\n", "y".repeat(200_000)),
                format!("{}: y\r\n", "x".repeat(200_000)),
            ] {
                let status = status_of(node, with(fields).as_bytes()).await;
                // A client that sends on after the refusal may lose it to a reset; a name has a limit of its own.
                assert!(matches!(status, 431 | 400 | 0), "{status}");
            }
        }
        let mut raw = Raw::connect(node.address).await;
        raw.send(b"GET /livez HTTP/1.1\r\nhost: test\r\n").await;
        let fields = "x: y\r\n".repeat(10_000);
        let mut taken = 0;
        while raw.try_send(fields.as_bytes()).await {
            taken += fields.len();
            assert!(taken < 16 << 20, "it is taken for ever");
        }
    };
    scene.survives(8 * MIB, attack).await;
}

/// As many zeros as fill no body, compressed to less than a body may have.
fn bomb() -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![b' '; MIB as usize]).unwrap();
    // Members of a gzip stream may follow each other.
    gzip.finish().unwrap().repeat(500)
}

/// Half a gigabyte in half a megabyte. Nothing that is compressed is taken, so nothing is inflated.
#[tokio::test]
async fn compressed_bodies_are_refused() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let bomb = bomb();
        assert!(bomb.len() < MIB as usize, "{}", bomb.len());
        let (polling, _) = Polling::enter(&node.http).await;
        for path in [
            "/v1/rooms/a/events",
            "/v1/agents/1/thoughts",
            "/v1/tasks/1/updates",
            &polling.path(),
        ] {
            for encoding in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"] {
                let request = node.http.request(Method::POST, path);
                let request = request.header(CONTENT_TYPE, "application/json");
                let answer = send(request.header(CONTENT_ENCODING, encoding).body(bomb.clone())).await;
                answer.error(415, "unsupported_media_type");
            }
            let request = node.http.request(Method::POST, path);
            let request = request.header(CONTENT_ENCODING, "identity").body("{}");
            let answer = send(request).await;
            assert_ne!(answer.status, 200, "it says nothing: {answer:?}");
        }
        polling.is_over().await;
    };
    scene.survives(4 * MIB, attack).await;
}
