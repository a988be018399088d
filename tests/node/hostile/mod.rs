//! Clients that mean harm, against the real program: what becomes of them, what a witness on every surface hears
//! meanwhile, and what the node keeps of them, as the kernel counts it.

mod crowds;
mod frames;
mod names;
mod readers;
mod requests;
mod scene;
mod senders;
mod smuggling;
mod strangers;

use std::net::SocketAddr;

use serde_json::json;

use crate::kit::raw::{self, Raw, TEXT};
use crate::kit::sio;

use scene::{MIB, ROOM, Scene};

/// The two doors that take frames.
#[derive(Clone, Copy, Debug)]
enum Door {
    /// The plain WebSocket.
    Plain,
    /// A WebSocket of Socket.IO.
    SocketIo,
}

const DOORS: [Door; 2] = [Door::Plain, Door::SocketIo];

impl Door {
    /// Completes a handshake, and enters the main namespace where there is one.
    async fn open(self, address: SocketAddr) -> Raw {
        self.open_on(Raw::connect(address).await).await
    }

    async fn open_on(self, mut raw: Raw) -> Raw {
        raw.send(self.handshake().as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        if let Self::SocketIo = self {
            for packet in ["0{", "40{"] {
                if packet == "40{" {
                    raw.send(&raw::text("40")).await;
                }
                assert!(text(&mut raw).await.starts_with(packet));
            }
        }
        raw
    }

    fn handshake(self) -> String {
        match self {
            Self::Plain => raw::HANDSHAKE.to_owned(),
            Self::SocketIo => sio::handshake("EIO=4&transport=websocket"),
        }
    }

    /// A question, and how its answer begins.
    fn question(self) -> (String, &'static str) {
        match self {
            Self::Plain => (
                json!({"type": "presence", "room": ROOM}).to_string(),
                r#"{"type":"presence""#,
            ),
            Self::SocketIo => (format!(r#"420["presence","{ROOM}"]"#), "430["),
        }
    }

    /// Joins the room of the witness.
    async fn join(self, raw: &mut Raw) {
        let join = match self {
            Self::Plain => json!({"type": "join", "room": ROOM}).to_string(),
            Self::SocketIo => format!(r#"420["join","{ROOM}"]"#),
        };
        raw.send(&raw::text(&join)).await;
        let answer = text(raw).await;
        assert!(
            answer.starts_with(r#"{"type":"joined""#) || answer.starts_with(r#"430[{"ok":true"#),
            "{answer}"
        );
    }
}

/// The next text frame.
async fn text(raw: &mut Raw) -> String {
    let (opcode, payload) = raw.frame().await.expect("a frame, not the end");
    let text = String::from_utf8(payload).unwrap();
    assert_eq!(opcode, TEXT, "{text}");
    text
}
