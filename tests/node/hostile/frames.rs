//! Frames that break RFC 6455, announce too much, or never end.

use super::{DOORS, Door, MIB, Scene};
use crate::kit::Process;
use crate::kit::raw::{self, CLOSE, CONTINUATION, PING, Raw, TEXT};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// What ends a connection, and with which code.
fn forbidden() -> Vec<(Vec<u8>, u16)> {
    let piece = |opcode, bytes: &[u8]| raw::frame(false, opcode, bytes);
    let last = |bytes: &[u8]| raw::frame(true, CONTINUATION, bytes);
    let mut all = vec![
        // Without a mask: short, and with each longer length.
        (raw::head(true, TEXT, 2, None), 1002),
        (raw::head(true, TEXT, 200, None), 1002),
        (raw::head(true, TEXT, 70_000, None), 1002),
        (raw::head(true, TEXT, 1 << 63, MASK), 1002),
        (raw::head(true, TEXT, u64::MAX >> 1, MASK), 1009),
        (raw::head(true, TEXT, u64::from(u32::MAX) + 1, MASK), 1009),
        (raw::frame(true, CONTINUATION, b"x"), 1002),
        ([piece(TEXT, b"x"), raw::text("y")].concat(), 1002),
        ([piece(TEXT, b"3"), last(b""), last(b"z")].concat(), 1002),
        (piece(PING, b"x"), 1002),
        (piece(CLOSE, b""), 1002),
        (raw::frame(true, PING, &[0; 126]), 1002),
        (raw::frame(true, CLOSE, &[3]), 1002),
        (raw::frame(true, CLOSE, &[3, 0xe8, 0xff]), 1007),
    ];
    let bits = [0x40, 0x20, 0x10].map(|bit| (raw::head(true, TEXT | bit, 0, MASK), 1002));
    let opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|code| (raw::frame(true, code, b"x"), 1002));
    let codes = [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX]
        .map(|code| (raw::frame(true, CLOSE, &code.to_be_bytes()), 1002));
    all.extend(bits.into_iter().chain(opcodes).chain(codes));
    all.extend(not_text().into_iter().map(|bytes| (bytes, 1007)));
    all
}

/// Text that is none, in pieces that might each pass for a part of one.
fn not_text() -> Vec<Vec<u8>> {
    let texts: [&[&[u8]]; 9] = [
        &[b"4\xc3", b"x"],
        &[b"4\xf0\x9f", b"\x98", b""],
        &[b"4\xed", b"\xa0", b"\x80"],
        &[b"4\xc0", b"\xaf"],
        &[b"4\xe0", b"\x80\x80"],
        &[b"4\xf4", b"\x90\x80\x80"],
        &[b"4", b"", b"\x80"],
        &[b"4\xf0\x9f\x98\x80", b"\xff"],
        &[b"4\xef\xbf", b"\xbf\xfe"],
    ];
    let pings = [vec![], raw::frame(true, PING, b"between")];
    let cases = texts
        .into_iter()
        .flat_map(|pieces| pings.each_ref().map(|ping| (pieces, ping)));
    let message = |(pieces, ping): (&[&[u8]], &Vec<u8>)| {
        let frames = pieces.iter().enumerate().map(|(at, bytes)| {
            let opcode = if at == 0 { TEXT } else { CONTINUATION };
            [raw::frame(at + 1 == pieces.len(), opcode, bytes), ping.clone()].concat()
        });
        frames.collect::<Vec<_>>().concat()
    };
    cases.map(message).collect()
}

#[tokio::test]
async fn frames_that_are_forbidden_end_their_sender_and_nobody_else() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for door in DOORS {
            for (bytes, code) in forbidden() {
                let mut hostile = door.open(node.address).await;
                hostile.send(&bytes).await;
                // Nothing after it is heard.
                hostile.try_send(&raw::text(&door.question().0)).await;
                assert_eq!(hostile.close_code().await, Some(code), "{door:?}: {bytes:x?}");
            }
        }
    };
    scene.survives(4 * MIB, attack).await;
}

/// Of a frame that announces 8 GiB, 64 MiB are streamed: nothing of it may be kept. 4 MiB are what the read buffers of
/// all threads could come to many times over, and a sixteenth of what was sent.
#[tokio::test]
async fn a_frame_that_announces_eight_gigabytes_is_refused_at_its_head() {
    let mut scene = Scene::set(&[]).await;
    for door in DOORS {
        let attack = async |node: &Process| {
            let mut hostile = door.open(node.address).await;
            hostile.send(&raw::head(true, TEXT, 8 << 30, MASK)).await;
            assert_eq!(hostile.close_code_frame().await, Some(1009), "{door:?}");
            send_while_taken(&mut hostile, &vec![b'x'; MIB as usize], 64).await;
        };
        scene.survives(4 * MIB, attack).await;
    }
}

/// The same without waiting for the refusal, by clients that read nothing at all.
#[tokio::test]
async fn a_sender_that_streams_without_reading_costs_nothing() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for door in DOORS.repeat(4) {
            let mut sender = door.open(node.address).await;
            sender.send(&raw::head(true, TEXT, 8 << 30, MASK)).await;
            send_while_taken(&mut sender, &vec![b'x'; MIB as usize], 8).await;
            assert_eq!(sender.close_code().await, Some(1009), "{door:?}");
        }
    };
    scene.survives(4 * MIB, attack).await;
}

/// A message that never ends: bounded by the sum of its pieces, 256 KiB here and 1 MB over Socket.IO.
#[tokio::test]
async fn a_message_that_never_ends_is_refused() {
    let mut scene = Scene::set(&[]).await;
    for door in DOORS {
        let attack = async |node: &Process| {
            let mut hostile = door.open(node.address).await;
            hostile.send(&raw::frame(false, TEXT, b"4")).await;
            let pieces = raw::frame(false, CONTINUATION, &[b'x'; 1_000]).repeat(64);
            send_while_taken(&mut hostile, &pieces, 256).await;
            assert_eq!(hostile.close_code().await, Some(1009), "{door:?}");
        };
        scene.survives(4 * MIB, attack).await;
    }
}

/// Pieces without content add nothing to a message, and must add nothing to memory; the message counts.
#[tokio::test]
async fn a_message_of_empty_pieces_costs_nothing() {
    let mut scene = Scene::set(&[]).await;
    for door in DOORS {
        let attack = async |node: &Process| {
            let mut hostile = door.open(node.address).await;
            let (question, answer) = door.question();
            hostile
                .send(&raw::frame(false, TEXT, &question.as_bytes()[..9]))
                .await;
            let pieces = raw::frame(false, CONTINUATION, b"").repeat(10_000);
            for _ in 0..50 {
                hostile.send(&pieces).await;
            }
            hostile
                .send(&raw::frame(true, CONTINUATION, &question.as_bytes()[9..]))
                .await;
            assert!(super::text(&mut hostile).await.starts_with(answer), "{door:?}");
        };
        scene.survives(4 * MIB, attack).await;
    }
}

/// The node takes no compressed frames: it agrees to no extension, and a frame that is marked as compressed is one with
/// a reserved bit.
#[tokio::test]
async fn an_offer_to_compress_is_passed_over() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for door in DOORS {
            let mut raw = Raw::connect(node.address).await;
            let offer = "\r\nsec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
            let handshake = door.handshake().replace("\r\n\r\n", offer);
            raw.send(handshake.as_bytes()).await;
            let head = raw.head().await.to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 101 "), "{head}");
            assert!(!head.contains("sec-websocket-extensions"), "{head}");
            raw.send(&raw::head(true, TEXT | 0x40, 8, MASK)).await;
            assert_eq!(raw.close_code().await, Some(1002), "{door:?}");
        }
    };
    scene.survives(4 * MIB, attack).await;
}

/// Sends that many times, or until the node takes no more.
async fn send_while_taken(raw: &mut Raw, bytes: &[u8], times: usize) {
    for _ in 0..times {
        if !raw.try_send(bytes).await {
            break;
        }
    }
}

/// What is allowed is heard all the same: the table above is not refused for being unusual.
#[tokio::test]
async fn characters_may_be_cut_anywhere() {
    let scene = Scene::set(&[]).await;
    for door in [Door::Plain, Door::SocketIo] {
        let mut raw = door.open(scene.node.address).await;
        let (question, answer) = match door {
            Door::Plain => (
                r#"{"type":"ping","ref":"größer 😀"}"#,
                r#"{"type":"pong","ref":"größer 😀"}"#,
            ),
            Door::SocketIo => (r#"420["presence","größer 😀"]"#, r#"430[{"ok":false"#),
        };
        let bytes = question.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let opcode = if at == 0 { TEXT } else { CONTINUATION };
            raw.send(&raw::frame(at + 1 == bytes.len(), opcode, &[*byte]))
                .await;
        }
        assert!(super::text(&mut raw).await.starts_with(answer), "{door:?}");
    }
}
