//! WebSockets on which an embedding program speaks: RFC 6455 on the wire by the echo of `examples/conformance.rs`, case
//! by case as in the public test suite, and that such a connection is one like others.

use std::ops::RangeInclusive;
use std::sync::Arc;

use greenroom::actors::logic::fault::CloseCode;
use greenroom::actors::ports::Wire;
use greenroom::actors::speaker::{Client, Speaker};
use greenroom::buses;
use greenroom::config::Config;
use greenroom::extensions::{Extensions, Speaks};
use serde_json::json;

use crate::kit::raw::{self, BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, PONG, TEXT, frame};
use crate::kit::{Raw, TestNode, config, eventually, within};

#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../../examples/conformance.rs"]
pub mod conformance;

/// Frames that are sent or heard: opcode and payload.
type Frames<'a> = Vec<(u8, &'a [u8])>;

/// What a client sends, what it hears, and the code with which the node closes then, if it does.
struct Case<'a> {
    about: &'a str,
    sends: Vec<Vec<u8>>,
    hears: Frames<'a>,
    closes: Option<u16>,
}

fn case<'a>(about: &'a str, sends: Vec<Vec<u8>>, hears: Frames<'a>, closes: Option<u16>) -> Case<'a> {
    Case {
        about,
        sends,
        hears,
        closes,
    }
}

async fn node_with(change: impl FnOnce(&mut Config), extensions: Extensions) -> TestNode {
    let mut config = config();
    change(&mut config);
    let bus = buses::embedded(&config);
    TestNode::extended(config, bus, extensions).await
}

async fn echo_with(change: impl FnOnce(&mut Config)) -> TestNode {
    node_with(change, conformance::extensions()).await
}

async fn connect(node: &TestNode) -> Raw {
    Raw::websocket_at(node.address, "/echo").await
}

/// Goes through the cases, each in one piece and byte by byte.
async fn assert_kept(cases: &[Case<'_>]) {
    let node = echo_with(|_| {}).await;
    for Case {
        about,
        sends,
        hears,
        closes,
    } in cases
    {
        let bytes = sends.concat();
        for piece in [bytes.len(), 1] {
            let mut client = connect(&node).await;
            for bytes in bytes.chunks(piece) {
                client.send(bytes).await;
            }
            for (opcode, payload) in hears {
                assert_eq!(client.frame().await, Some((*opcode, payload.to_vec())), "{about}");
            }
            if closes.is_none() {
                client.send(&close(1000)).await;
            }
            assert_eq!(client.close_code().await, closes.or(Some(1000)), "{about}");
        }
    }
}

fn close(code: u16) -> Vec<u8> {
    frame(true, CLOSE, &code.to_be_bytes())
}

#[tokio::test]
async fn messages_of_every_length_come_back() {
    let node = echo_with(conformance::configure).await;
    let mut client = connect(&node).await;
    let boundaries = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 16 << 20];
    for (length, opcode) in boundaries
        .into_iter()
        .flat_map(|length| [(length, TEXT), (length, BINARY)])
    {
        let payload = vec![b'*'; length];
        client.send(&frame(true, opcode, &payload)).await;
        let (heard, back) = client.frame().await.unwrap();
        assert_eq!((heard, back == payload), (opcode, true), "{length} bytes");
        let (head, tail) = payload.split_at(length / 2);
        client.send(&frame(false, opcode, head)).await;
        client.send(&frame(true, CONTINUATION, tail)).await;
        let (heard, back) = client.frame().await.unwrap();
        assert_eq!((heard, back == payload), (opcode, true), "{length} bytes in two");
    }
}

#[tokio::test]
async fn control_frames_are_answered_in_order_and_between_fragments() {
    let ping = |payload: &[u8]| frame(true, PING, payload);
    let numbered: Vec<[u8; 1]> = (0..10).map(|number| [number]).collect();
    let full = [0xfe; 125];
    assert_kept(&[
        case("an empty ping", vec![ping(b"")], vec![(PONG, b"")], None),
        case("a full one", vec![ping(&full)], vec![(PONG, &full)], None),
        case(
            "ten in a row",
            numbered.iter().map(|number| ping(number)).collect(),
            numbered.iter().map(|number| (PONG, &number[..])).collect(),
            None,
        ),
        case(
            "pongs that nobody asked for",
            vec![frame(true, PONG, b"here"), ping(b"1")],
            vec![(PONG, b"1")],
            None,
        ),
        case(
            "pings between fragments, some of them empty",
            vec![
                frame(false, BINARY, b""),
                ping(b"1"),
                frame(false, CONTINUATION, b"two "),
                ping(b"2"),
                frame(false, CONTINUATION, b"halves"),
                frame(true, CONTINUATION, b""),
                frame(true, TEXT, b"next"),
            ],
            vec![
                (PONG, b"1"),
                (PONG, b"2"),
                (BINARY, b"two halves"),
                (TEXT, b"next"),
            ],
            None,
        ),
        case(
            "a message that is empty in all its fragments",
            vec![frame(false, TEXT, b""), frame(true, CONTINUATION, b"")],
            vec![(TEXT, b"")],
            None,
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_came_before_a_violation_is_answered_and_nothing_after_it() {
    let hello = || frame(true, TEXT, b"hello");
    let with_first_byte = |first: u8| {
        let mut bytes = hello();
        bytes[0] = first;
        bytes
    };
    let cases = [
        ("a reserved bit", with_first_byte(0x80 | 0x20 | TEXT)),
        ("a reserved opcode", with_first_byte(0x80 | 7)),
        ("a reserved control opcode", with_first_byte(0x80 | 15)),
        ("a ping in fragments", with_first_byte(PING)),
        ("a continuation of nothing", with_first_byte(0x80 | CONTINUATION)),
        (
            "another continuation after the last",
            [
                frame(false, CONTINUATION | TEXT, b""),
                frame(true, CONTINUATION, b""),
                frame(true, CONTINUATION, b""),
            ]
            .concat(),
        ),
    ];
    let pong: (u8, &[u8]) = (PONG, b"1");
    let cases: Vec<Case<'_>> = cases
        .into_iter()
        .map(|(about, violation)| {
            let mut hears: Frames<'_> = vec![(TEXT, b"hello"), pong];
            // Its first two frames are a message.
            hears.extend(about.starts_with("another").then_some((TEXT, &b""[..])));
            let sends = vec![hello(), frame(true, PING, b"1"), violation, hello()];
            case(about, sends, hears, Some(1002))
        })
        .collect();
    assert_kept(&cases).await;
}

#[tokio::test]
async fn text_is_whole_characters_however_it_is_cut() {
    let text = "κόσμε \u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\u{10000}\u{10ffff}";
    let last = text.len() - 1;
    let fragments = text.bytes().enumerate().map(|(at, byte)| {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        frame(at == last, opcode, &[byte])
    });
    let fragments: Vec<Vec<u8>> = fragments.collect();
    assert_kept(&[case(text, fragments, vec![(TEXT, text.as_bytes())], None)]).await;
    let node = echo_with(|_| {}).await;
    let wrong: [&[u8]; 6] = [
        b"\xce\xba\x80\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90",
        b"\xfe",
    ];
    for wrong in wrong {
        let mut client = connect(&node).await;
        // More is announced than ever comes.
        let begun = frame(false, TEXT, &[wrong, &[b'x'; 100]].concat());
        client.send(&begun[..begun.len() - 100]).await;
        assert_eq!(client.close_code().await, Some(1007), "{wrong:x?}");
    }
}

#[tokio::test]
async fn a_close_frame_ends_it_with_its_own_code() {
    let mut cases = Vec::new();
    let allowed: [RangeInclusive<u16>; 3] = [1000..=1003, 1007..=1011, 3000..=3000];
    for code in allowed.into_iter().flatten().chain([3999, 4000, 4999]) {
        cases.push(case("a code for the wire", vec![close(code)], vec![], Some(code)));
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        cases.push(case("a code that is not", vec![close(code)], vec![], Some(1002)));
    }
    let reason = |bytes: usize| frame(true, CLOSE, &[&[3, 232], &vec![b'*'; bytes][..]].concat());
    let message = || frame(true, TEXT, b"late");
    cases.extend([
        case("no code", vec![frame(true, CLOSE, b"")], vec![], Some(1005)),
        case("the longest reason", vec![reason(123)], vec![], Some(1000)),
        case("a longer one", vec![reason(124)], vec![], Some(1002)),
        case(
            "a message, a ping and a close behind it",
            vec![close(1001), message(), frame(true, PING, b""), close(1000)],
            vec![],
            Some(1001),
        ),
        case(
            "a message that has not ended",
            vec![
                frame(false, TEXT, b"early"),
                close(1000),
                frame(true, CONTINUATION, b""),
            ],
            vec![],
            Some(1000),
        ),
    ]);
    assert_kept(&cases).await;
}

#[tokio::test]
async fn it_is_a_connection_like_others() {
    let mut node = echo_with(|config| {
        config.limits.connections = 2;
        config.websocket.ping_interval_ms = 50;
    })
    .await;
    let mut client = Raw::connect(node.address).await;
    let handshake = HANDSHAKE.replace("/v1/ws", "/echo");
    let early = [handshake.as_bytes(), &raw::text("early")].concat();
    client.send(&early).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.frame().await, Some((TEXT, b"early".to_vec())));
    assert_eq!(client.frame().await, Some((PING, vec![])));
    let sessions = node.http.get("/v1/sessions").await.ok();
    assert_eq!(sessions["sessions"][0]["transport"], "websocket");
    node.http.get("/echo").await.error(426, "upgrade_required");
    let _second = connect(&node).await;
    let mut third = Raw::connect(node.address).await;
    third.send(handshake.as_bytes()).await;
    assert!(third.head().await.starts_with("HTTP/1.1 503 "));
    node.tell_to_stop();
    // The node says nothing in a protocol that it does not know.
    loop {
        match client.frame().await {
            Some((PING, _)) => {}
            other => {
                break assert_eq!(
                    other.map(|(opcode, payload)| (opcode, payload[..2].to_vec())),
                    Some((CLOSE, vec![3, 244]))
                );
            }
        }
    }
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off() {
    let node = echo_with(|config| config.workers = 1).await;
    let mut slow = Raw::connect_narrow(node.address).await;
    slow.send(HANDSHAKE.replace("/v1/ws", "/echo").as_bytes()).await;
    assert!(slow.head().await.starts_with("HTTP/1.1 101 "));
    let message = frame(true, BINARY, &[0; 65_536]);
    let is_counted = async || {
        let metrics = node.http.get("/metrics").await.text;
        metrics.contains("greenroom_slow_clients_total{shard=\"0\"} 1\n")
    };
    within("the node to cut it off", async {
        while !is_counted().await {
            slow.try_send(&message).await;
        }
    })
    .await;
}

/// Closes at "bye", after which it hears nothing more, and has a bug.
struct Moody;

impl<W: Wire> Speaker<W> for Moody {
    fn text(&mut self, text: &str, client: &Client<W>) {
        assert_ne!(text, "bug");
        client.clone().text("said");
        if text == "bye" {
            client.close(CloseCode::Normal, "it said bye");
        }
    }

    fn bytes(&mut self, _: &[u8], _: &Client<W>) {}
}

#[tokio::test]
async fn a_program_may_close_and_its_panic_costs_one_connection() {
    let speaks: Speaks = Arc::new(|_| Box::new(Moody));
    let extensions = Extensions {
        sockets: vec![("/moody".into(), speaks)],
        ..Extensions::default()
    };
    let node = node_with(|config| config.workers = 1, extensions).await;
    let open = || Raw::websocket_at(node.address, "/moody");
    let (mut polite, mut unlucky) = (open().await, open().await);
    unlucky.send(&raw::text("bug")).await;
    assert_eq!(unlucky.frame().await, None);
    polite.send(&[raw::text("bye"), raw::text("bug")].concat()).await;
    assert_eq!(polite.frame().await, Some((TEXT, b"said".to_vec())));
    let told = polite
        .frame()
        .await
        .map(|(opcode, payload)| (opcode, payload[2..].to_vec()));
    assert_eq!(told, Some((CLOSE, b"normal: it said bye".to_vec())));
    assert_eq!(polite.frame().await, None);
    drop(polite);
    eventually("the sessions to be over", || async {
        node.http.get("/v1/sessions").await.ok()["sessions"] == json!([])
    })
    .await;
}
