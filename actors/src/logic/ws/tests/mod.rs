//! The codec against tables of cases and against a naive model. A case plays the client.

mod frames;
mod model;
mod rules;
mod streams;

use std::ops::ControlFlow;

use super::*;

/// An [`Incoming`] that outlives its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Incoming<'_>> for Event {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(payload) => Self::Ping(payload.to_vec()),
            Incoming::Pong(payload) => Self::Pong(payload.to_vec()),
            Incoming::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// What came out of a connection: the messages, and the close code of the violation that ended it, if one
/// did.
type Outcome = (Vec<Event>, Option<u16>);

const LIMITS: Limits = Limits {
    frame_bytes: 1 << 17,
    message_bytes: 1 << 17,
};
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn server() -> Decoder {
    Decoder::new(LIMITS)
}

/// Feeds copies of the chunks until one fails.
fn feed<'a>(decoder: &mut Decoder, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut events = Vec::new();
    for chunk in chunks {
        let fed = decoder.feed(&mut chunk.to_vec(), &mut |incoming| {
            events.push(Event::from(incoming));
            ControlFlow::Continue(())
        });
        match fed {
            Ok(taken) => assert_eq!(taken, chunk.len(), "nothing broke, so everything is taken"),
            Err(violation) => return (events, Some(violation.code)),
        }
    }
    (events, None)
}

/// What the server's end makes of these bytes, read at once.
fn outcome(bytes: &[u8]) -> Outcome {
    feed(&mut server(), [bytes])
}

/// The same, read byte by byte.
fn outcome_bytewise(bytes: &[u8]) -> Outcome {
    feed(&mut server(), bytes.chunks(1))
}

/// A client's frame with the usual mask.
fn client(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    masked(opcode, fin, payload, MASK)
}

/// A client's text frame.
fn text(payload: &str) -> Vec<u8> {
    client(Opcode::Text, true, payload.as_bytes())
}
