//! Clients that mean harm, against the real program: its memory, as the kernel counts it, stays what it was, and a
//! witness notices nothing.

use serde_json::json;
use tokio::time::{Duration, interval};

use crate::kit::raw::{self, CONTINUATION, TEXT};
use crate::kit::{Process, Raw, Sse, Ws, eventually, number};

const MIB: u64 = 1 << 20;
const JOIN: &str = r#"{"type":"join","room":"flood"}"#;

/// A client that counts what it hears in the room and checks that nothing is missing.
struct Witness {
    publisher: Ws,
    member: Ws,
    sent: u64,
}

/// Events whose answers may be awaited at once: enough to keep the node busy, and far below the member's outbox.
const WINDOW: u64 = 16;
/// Bytes of filler in an event.
const FILLER: usize = 16 << 10;

impl Witness {
    async fn of(node: &Process) -> Self {
        let publisher = Ws::connect(node.address).await;
        let mut member = Ws::connect(node.address).await;
        member.join(&["flood"], None).await;
        Self {
            publisher,
            member,
            sent: 0,
        }
    }

    /// Publishes that many bytes into the room, and hears every event of it in order.
    async fn flood(&mut self, bytes: u64) {
        let filler = "x".repeat(FILLER);
        for _ in 0..bytes / (WINDOW * FILLER as u64) {
            for number in self.sent..self.sent + WINDOW {
                let data = json!({"n": number, "filler": filler});
                let command = json!({"type": "publish", "room": "flood", "event": "note", "data": data});
                self.publisher.send(&command).await;
            }
            for _ in 0..WINDOW {
                assert_eq!(self.publisher.frame().await["type"], "published");
                assert_eq!(number(&self.member.event().await), self.sent);
                self.sent += 1;
            }
        }
    }
}

/// A node whose history is small, so that what the history keeps is part of the baseline, after a flood that has
/// filled every buffer there is.
async fn warmed_up() -> (Process, Witness) {
    let node = Process::start(&["rooms.history_events=50", "workers=2"]);
    let mut witness = Witness::of(&node).await;
    witness.flood(8 * MIB).await;
    (node, witness)
}

/// What the node's memory has grown by, at most, while something happened.
struct Growth<'a> {
    node: &'a Process,
    before: u64,
    peak: u64,
}

impl<'a> Growth<'a> {
    fn from_now(node: &'a Process) -> Self {
        let before = node.rss();
        Self {
            node,
            before,
            peak: before,
        }
    }

    fn look(&mut self) {
        self.peak = self.peak.max(self.node.rss());
    }

    fn at_most(mut self, limit: u64) {
        self.look();
        let grown = self.peak - self.before;
        assert!(grown <= limit, "grown by {} KiB", grown / 1_024);
    }
}

/// Two clients, a socket and a stream, stop reading while 64 MiB go through their room. Each may cost its outbox of
/// 1 MiB and what is on its way out of it; 8 MiB leave room for the allocator, and are an eighth of what would pile up
/// for one of them.
#[tokio::test]
async fn clients_that_stop_reading_leave_memory_flat_and_the_others_undisturbed() {
    let (node, mut witness) = warmed_up().await;
    let mut socket = Raw::connect_narrow(node.address).await;
    socket.shake_hands().await;
    socket.send(&raw::text(JOIN)).await;
    assert_eq!(socket.json().await["type"], "joined");
    let stream = Raw::connect_narrow(node.address).await;
    let mut stream = Sse::open_on(stream, "/v1/rooms/flood/stream", None).await;
    stream.joined().await;
    let mut growth = Growth::from_now(&node);
    for _ in 0..16 {
        witness.flood(4 * MIB).await;
        growth.look();
    }
    growth.at_most(8 * MIB);
    eventually("the two to be forgotten", || async {
        let sessions = node.http.get("/v1/sessions").await.ok();
        sessions["sessions"].as_array().unwrap().len() == 2
    })
    .await;
    // It may have been cut off in the middle of a frame.
    assert!(matches!(socket.close_code().await, Some(4000) | None));
    while stream.next().await.is_some() {}
}

/// Reading a large answer is all that a client would have to stop doing to hold a connection for ever.
#[tokio::test]
async fn connections_whose_clients_take_nothing_are_given_up() {
    let (node, mut witness) = warmed_up().await;
    let before = node.open_files();
    let stream = Raw::connect_narrow(node.address).await;
    let mut stream = Sse::open_on(stream, "/v1/rooms/flood/stream", None).await;
    stream.joined().await;
    let mut pages = Raw::connect_narrow(node.address).await;
    let request = "GET /v1/rooms/flood/events HTTP/1.1\r\nhost: test\r\n\r\n";
    pages.send(request.repeat(20).as_bytes()).await;
    witness.flood(8 * MIB).await;
    assert!(node.open_files() >= before + 2);
    eventually("both connections to be given up", || async {
        node.open_files() <= before
    })
    .await;
}

/// Of a frame that announces 8 GiB, 64 MiB are streamed: nothing of it may be kept. 4 MiB are what the read buffers of
/// all threads could come to many times over, and a sixteenth of what was sent.
#[tokio::test]
async fn a_frame_that_announces_eight_gigabytes_is_refused_at_its_head() {
    let (node, mut witness) = warmed_up().await;
    let mut growth = Growth::from_now(&node);
    let mut hostile = Raw::websocket(node.address).await;
    hostile
        .send(&raw::head(true, TEXT, 8 << 30, Some([1, 2, 3, 4])))
        .await;
    let (code, ()) = tokio::join!(hostile.close_code_frame(), witness.flood(MIB));
    assert_eq!(code, Some(1009));
    let megabyte = vec![b'x'; MIB as usize];
    for _ in 0..64 {
        if !hostile.try_send(&megabyte).await {
            break;
        }
        growth.look();
    }
    witness.flood(MIB).await;
    growth.at_most(4 * MIB);
}

/// The same without waiting for the refusal, by a client that reads nothing at all.
#[tokio::test]
async fn a_sender_that_streams_without_reading_costs_nothing() {
    let (node, mut witness) = warmed_up().await;
    let mut growth = Growth::from_now(&node);
    let mut senders = Vec::new();
    for _ in 0..8 {
        senders.push(Raw::websocket(node.address).await);
    }
    let megabyte = vec![b'x'; MIB as usize];
    for sender in &mut senders {
        sender
            .send(&raw::head(true, TEXT, 8 << 30, Some([1, 2, 3, 4])))
            .await;
        for _ in 0..8 {
            if !sender.try_send(&megabyte).await {
                break;
            }
            growth.look();
        }
    }
    witness.flood(MIB).await;
    growth.at_most(4 * MIB);
    for sender in &mut senders {
        assert_eq!(sender.close_code().await, Some(1009));
    }
}

/// A message that never ends: bounded by the sum of its pieces, 256 KiB.
#[tokio::test]
async fn a_message_that_never_ends_is_refused() {
    let (node, mut witness) = warmed_up().await;
    let mut growth = Growth::from_now(&node);
    let mut hostile = Raw::websocket(node.address).await;
    hostile.send(&raw::frame(false, TEXT, b"x")).await;
    let piece = raw::frame(false, CONTINUATION, &[b'x'; 1_000]).repeat(64);
    for _ in 0..256 {
        if !hostile.try_send(&piece).await {
            break;
        }
        growth.look();
    }
    assert_eq!(hostile.close_code().await, Some(1009));
    witness.flood(MIB).await;
    growth.at_most(4 * MIB);
}

/// Pieces without content add nothing to a message, and must add nothing to memory.
#[tokio::test]
async fn a_message_of_empty_pieces_costs_nothing() {
    let (node, mut witness) = warmed_up().await;
    let mut growth = Growth::from_now(&node);
    let mut hostile = Raw::websocket(node.address).await;
    hostile.send(&raw::frame(false, TEXT, b"{\"type\":")).await;
    let pieces = raw::frame(false, CONTINUATION, b"").repeat(10_000);
    for _ in 0..50 {
        hostile.send(&pieces).await;
        growth.look();
    }
    hostile.send(&raw::frame(true, CONTINUATION, b"\"ping\"}")).await;
    assert_eq!(hostile.json().await["type"], "pong");
    witness.flood(MIB).await;
    growth.at_most(4 * MIB);
}

/// Commands whose answers nobody reads: 32 MiB of them fit no outbox, so the client is cut off.
#[tokio::test]
async fn a_client_that_asks_and_never_reads_the_answers_is_cut_off() {
    let (node, mut witness) = warmed_up().await;
    let mut growth = Growth::from_now(&node);
    let mut hostile = Raw::connect_narrow(node.address).await;
    hostile.shake_hands().await;
    let reference = "r".repeat(200);
    let command = json!({"type": "ping", "ref": reference}).to_string();
    let commands = raw::text(&command).repeat(1_000);
    for _ in 0..150 {
        if !hostile.try_send(&commands).await {
            break;
        }
        growth.look();
    }
    witness.flood(MIB).await;
    growth.at_most(4 * MIB);
    assert!(matches!(hostile.close_code().await, Some(4000) | None));
}

/// A request whose head or body comes too slowly, or not at all, holds no connection for ever.
#[tokio::test]
async fn a_request_that_does_not_come_holds_no_connection() {
    let node = Process::start(&["http.header_timeout_ms=500", "http.body_timeout_ms=500"]);
    let silent = async {
        let mut raw = Raw::connect(node.address).await;
        raw.read_to_the_end().await;
    };
    let begun = async {
        let mut raw = Raw::connect(node.address).await;
        raw.send(b"GET /livez HTTP/1.1\r\nho").await;
        let answer = String::from_utf8(raw.read_to_the_end().await).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
    };
    let drips = async {
        let mut raw = Raw::connect(node.address).await;
        raw.send(b"GET /livez HTTP/1.1\r\nx: ").await;
        let mut drops = interval(Duration::from_millis(100));
        while raw.try_send(b"x").await {
            drops.tick().await;
        }
    };
    let no_body = async {
        let mut raw = Raw::connect(node.address).await;
        let head = "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
            content-length: 100\r\n\r\n{\"event\":";
        raw.send(head.as_bytes()).await;
        let answer = String::from_utf8(raw.read_to_the_end().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"request_timeout\""), "{answer}");
    };
    tokio::join!(silent, begun, drips, no_body);
}
