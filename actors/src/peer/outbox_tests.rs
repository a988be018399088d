//! The outbox of a connection that polls.

use super::*;
use crate::{
    logic::{
        engine_io::Packet,
        presence::{Card, SessionId},
        protocol::socket_io::frames,
        socket_io::encode::Message,
    },
    peer::Line,
    testing::wire::MemoryWire,
};
use proptest::{collection::vec, prelude::*};
use std::{
    cell::{Cell, OnceCell, RefCell},
    sync::Arc,
    task::{Context, Poll},
};

const LIMIT: usize = 10_000;

fn polling() -> Peer<MemoryWire> {
    let card = Card {
        id: SessionId(1),
        generation: 0,
        subject: None,
        node: "n".into(),
        connected_ms: 0,
    };
    Peer::new(
        Arc::new(card),
        Protocol::SocketIo,
        Line::Engine(OnceCell::new()),
        LIMIT,
    )
}

fn text(text: &str) -> Bytes {
    ws::encode_text(text.as_bytes())
}

/// An event with its attachments, as one frame of the outbox.
fn message(text: &str, attachments: &[&'static [u8]]) -> Bytes {
    frames(&Message {
        text: Bytes::from(text.to_owned()),
        attachments: attachments.iter().copied().map(Bytes::from_static).collect(),
    })
}

fn body(peer: &Peer<MemoryWire>, first: Option<Control>, bytes_max: usize) -> String {
    String::from_utf8(peer.take_payload(first, bytes_max)).unwrap()
}

#[test]
fn what_waits_goes_out_as_far_as_it_fits_and_is_counted_off() {
    let peer = polling();
    for number in 0..3 {
        assert_eq!(peer.push(text(&format!("42[\"{number}\"]"))), Ok(()));
    }
    // Two packets of 7 bytes and what stands between them.
    assert_eq!(body(&peer, None, 15), "42[\"0\"]\u{1e}42[\"1\"]");
    assert_eq!(peer.bytes(), text("42[\"2\"]").len());
    assert_eq!(body(&peer, None, 1), "42[\"2\"]", "one goes in any case");
    assert_eq!((peer.bytes(), body(&peer, None, 100)), (0, String::new()));
}

#[test]
fn a_ping_goes_first_and_takes_along_what_fits() {
    let peer = polling();
    assert_eq!(body(&peer, Some(Control::Ping), 100), "2");
    assert_eq!(peer.push(text("42[]")), Ok(()));
    assert_eq!(
        body(&peer, Some(Control::Ping), 5),
        "2",
        "there is no room for it"
    );
    assert_eq!(body(&peer, Some(Control::Ping), 6), "2\u{1e}42[]");
}

#[test]
fn an_event_and_its_attachments_stay_together_as_base64() {
    let peer = polling();
    assert_eq!(peer.push(message("451-[1]", &[b"\x01\x02\x03\x04"])), Ok(()));
    assert_eq!(peer.push(message("452-[2]", &[b"", b"\xff"])), Ok(()));
    assert_eq!(body(&peer, None, 20), "451-[1]\u{1e}bAQIDBA==");
    assert_eq!(body(&peer, None, 0), "452-[2]\u{1e}b\u{1e}b/w==");
    assert_eq!(peer.bytes(), 0);
}

#[test]
fn an_outbox_that_is_full_takes_nothing_more_until_somebody_polls() {
    let peer = polling();
    let large = text(&"x".repeat(LIMIT / 2));
    assert_eq!(peer.push(large.clone()), Ok(()));
    assert_eq!(peer.push(large.clone()), Err(Full));
    assert_eq!(body(&peer, None, LIMIT).len(), LIMIT / 2);
    assert_eq!(peer.push(large), Ok(()));
}

proptest! {
    /// Whatever is queued comes out once, in order, however little fits; and nothing of it is left in the count.
    #[test]
    fn nothing_is_lost_or_comes_twice(texts in vec("[a-z]{0,30}", 0..20), bytes_max in 0usize..80) {
        let peer = polling();
        for text in &texts {
            prop_assert_eq!(peer.push(ws::encode_text(format!("4{text}").as_bytes())), Ok(()));
        }
        let mut heard = Vec::new();
        while peer.bytes() > 0 {
            let body = body(&peer, None, bytes_max);
            let packets: Vec<&str> = body.split(payload::SEPARATOR).collect();
            prop_assert!(packets.len() == 1 || body.len() <= bytes_max);
            for packet in packets {
                match Packet::decode_text(packet) {
                    Ok(Packet::Text(text)) => heard.push(text.to_owned()),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
        prop_assert_eq!(heard, texts);
    }
}

/// A wire that takes everything, and hands it on only while it is open, as one that encrypts does.
#[derive(Default)]
struct Holding {
    open: Cell<bool>,
    held: RefCell<Vec<u8>>,
    gone_out: RefCell<Vec<u8>>,
}

impl Wire for Holding {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn try_read(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        self.held.borrow_mut().extend(&bytes);
        Ok(bytes.len())
    }

    fn try_flush(&self) -> io::Result<()> {
        if !self.open.get() && !self.held.borrow().is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.gone_out.borrow_mut().append(&mut self.held.borrow_mut());
        Ok(())
    }

    fn shutdown(&self, _: bool) {}
}

#[test]
fn an_outbox_is_written_only_when_the_wire_holds_nothing_back() {
    let line = Line::Socket(Holding::default());
    let card = polling().card();
    let peer = Peer::new(card, Protocol::GreenroomV1, line, LIMIT);
    assert_eq!(peer.push(text("first")), Ok(()));
    assert_eq!(peer.flush(), Flushed::Blocked);
    assert_eq!(peer.bytes(), 0, "what the wire took counts no more");
    assert_eq!(peer.push(text("second")), Ok(()));
    let Line::Socket(wire) = &peer.line else {
        unreachable!("it was made so")
    };
    wire.open.set(true);
    assert_eq!(peer.flush(), Flushed::Empty);
    let expected = [text("first"), text("second")].concat();
    assert_eq!(*wire.gone_out.borrow(), expected);
}
