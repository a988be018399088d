//! One packet: a digit for its type, then its data; or bytes.

use super::heartbeat::Timing;
use crate::logic::protocol::push_json_str;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, general_purpose::PAD},
};
use std::{borrow::Cow, io::Write as _};

/// The base64 of this protocol and of binary values in JSON: the standard alphabet; padded when written, read with and
/// without padding.
pub(in crate::logic) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a packet travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling: the server speaks in the answer to a GET, the client in the body of a POST.
    Polling,
    /// A WebSocket.
    WebSocket,
}

impl Transport {
    /// As the query string of a request names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// What one side says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The first packet of a session: a JSON object, see [`open_packet`].
    Open(&'a str),
    /// The session ends.
    Close,
    /// Are you there? From the server without data; from a client only as a probe of a new transport, with `probe`.
    Ping(&'a str),
    /// I am here; with the data of the ping.
    Pong(&'a str),
    /// A message of text: of Socket.IO, one of its packets.
    Text(&'a str),
    /// A message of bytes: of Socket.IO, an attachment.
    Binary(Cow<'a, [u8]>),
    /// The client speaks on this transport from now on.
    Upgrade,
    /// Nothing; it ends a waiting GET.
    Noop,
}

/// Why bytes are not a packet, or not a payload of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A packet has at least the character of its type.
    #[error("a packet is empty")]
    Empty,
    /// Not one of `0` to `6` and `b`.
    #[error("{0:?} is no packet type")]
    UnknownType(char),
    /// What follows a `b` is not base64.
    #[error("a binary packet is not base64")]
    NotBase64,
    /// A payload is text.
    #[error("a payload is not UTF-8")]
    NotUtf8,
    /// The payload has more bytes than one may have.
    #[error("a payload has at most {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The payload has more packets than one may have.
    #[error("a payload has at most {limit} packets")]
    TooManyPackets {
        /// The limit.
        limit: usize,
    },
}

impl<'a> Packet<'a> {
    /// A packet as text: that of a text frame of a WebSocket, or one packet of a payload. `b` and base64 are allowed in
    /// both: a client that was told to force base64 sends it over a WebSocket too.
    ///
    /// What follows a close, upgrade or noop is ignored, as the stock server does.
    ///
    /// # Errors
    ///
    /// An unknown type, no type at all, bad base64.
    pub fn decode_text(text: &'a str) -> Result<Self, DecodeError> {
        let first = text.chars().next().ok_or(DecodeError::Empty)?;
        let data = &text[first.len_utf8()..];
        Ok(match first {
            '0' => Self::Open(data),
            '1' => Self::Close,
            '2' => Self::Ping(data),
            '3' => Self::Pong(data),
            '4' => Self::Text(data),
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            'b' => Self::Binary(BASE64.decode(data).map_err(|_| DecodeError::NotBase64)?.into()),
            other => return Err(DecodeError::UnknownType(other)),
        })
    }

    /// A binary frame of a WebSocket: it has no type, it is a message.
    pub const fn decode_binary(frame: &'a [u8]) -> Self {
        Self::Binary(Cow::Borrowed(frame))
    }

    /// Appends the packet as text, bytes as `b` and base64. In a WebSocket, bytes go out as they are, in a binary frame,
    /// unless the client asked for base64 ([`request::Query::base64`](super::request::Query::base64)).
    pub fn encode_text(&self, out: &mut Vec<u8>) {
        let (digit, data) = match self {
            Self::Open(data) => (b'0', *data),
            Self::Close => (b'1', ""),
            Self::Ping(data) => (b'2', *data),
            Self::Pong(data) => (b'3', *data),
            Self::Text(data) => (b'4', *data),
            Self::Upgrade => (b'5', ""),
            Self::Noop => (b'6', ""),
            Self::Binary(bytes) => return push_base64(out, bytes),
        };
        out.push(digit);
        out.extend_from_slice(data.as_bytes());
    }
}

/// Appends `b` and the bytes in base64.
pub(super) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len() + 1;
    out.push(b'b');
    out.resize(start + base64_len(bytes.len()), 0);
    // The room is exact, so nothing can fail; were it wrong, the packet would be too short and not the process gone.
    let written = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

/// How long these bytes are in base64.
pub(super) const fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// What the server itself says in the course of a session, beside messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The heartbeat.
    Ping,
    /// The answer to a probe.
    ProbePong,
    /// Ends a GET that waits.
    Noop,
    /// The session is over.
    Close,
}

impl Control {
    /// The packet's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ping => "2",
            Self::ProbePong => "3probe",
            Self::Noop => "6",
            Self::Close => "1",
        }
    }
}

/// The first packet of a session as text. `transport` is the one it opens on: a WebSocket cannot be upgraded.
///
/// The clients insist on all five keys. `max_payload` is in bytes: what a client may put into one POST or frame.
pub fn open_packet(sid: &str, transport: Transport, timing: &Timing, max_payload: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"0{\"sid\":");
    push_json_str(&mut out, sid);
    let upgrades = match transport {
        Transport::Polling => "[\"websocket\"]",
        Transport::WebSocket => "[]",
    };
    let Timing {
        ping_interval_ms,
        ping_timeout_ms,
        ..
    } = timing;
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        ",\"upgrades\":{upgrades},\"pingInterval\":{ping_interval_ms},\"pingTimeout\":{ping_timeout_ms},\"maxPayload\":{max_payload}}}",
    );
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    pub fn packets() -> impl Strategy<Value = Packet<'static>> {
        // Leaked: a strategy's value cannot borrow from its neighbour, and these are tests.
        let text = "[^\u{1e}]{0,20}".prop_map(|text: String| &*text.leak());
        let bytes = vec(any::<u8>(), 0..20);
        prop_oneof![
            text.clone().prop_map(Packet::Open),
            Just(Packet::Close),
            text.clone().prop_map(Packet::Ping),
            text.clone().prop_map(Packet::Pong),
            text.prop_map(Packet::Text),
            bytes.prop_map(|bytes| Packet::Binary(bytes.into())),
            Just(Packet::Upgrade),
            Just(Packet::Noop),
        ]
    }

    pub fn text_of(packet: &Packet<'_>) -> String {
        let mut out = Vec::new();
        packet.encode_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn packets_have_the_texts_of_the_protocol_document() {
        for (packet, text) in [
            (Packet::Text("hello"), "4hello"),
            (Packet::Text("€"), "4€"),
            (Packet::Ping(""), "2"),
            (Packet::Pong(""), "3"),
            (Packet::Ping("probe"), "2probe"),
            (Packet::Pong("probe"), "3probe"),
            (Packet::Upgrade, "5"),
            (Packet::Noop, "6"),
            (Packet::Close, "1"),
            (Packet::Binary(vec![1, 2, 3, 4].into()), "bAQIDBA=="),
            (Packet::Binary(vec![].into()), "b"),
        ] {
            assert_eq!(text_of(&packet), text);
            assert_eq!(Packet::decode_text(text), Ok(packet));
        }
        for control in [Control::Ping, Control::ProbePong, Control::Noop, Control::Close] {
            assert!(Packet::decode_text(control.text()).is_ok());
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for (text, error) in [
            ("", DecodeError::Empty),
            ("abc", DecodeError::UnknownType('a')),
            ("7", DecodeError::UnknownType('7')),
            ("€", DecodeError::UnknownType('€')),
            ("b*", DecodeError::NotBase64),
            ("bA", DecodeError::NotBase64),
        ] {
            assert_eq!(Packet::decode_text(text), Err(error), "{text:?}");
        }
        assert_eq!(
            Packet::decode_text("bAQIDBA"),
            Ok(Packet::Binary(vec![1, 2, 3, 4].into())),
            "padding may be left out"
        );
    }

    #[test]
    fn the_open_packet_has_all_five_keys_in_order() {
        let open = |transport| {
            let timing = Timing::default();
            String::from_utf8(open_packet("lv_VI97HAXpY6yYWAAAC", transport, &timing, 1_000_000)).unwrap()
        };
        assert_eq!(
            open(Transport::Polling),
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
        assert_eq!(
            open(Transport::WebSocket),
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(packet in packets()) {
            let text = text_of(&packet);
            prop_assert_eq!(Packet::decode_text(&text), Ok(packet));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), digit in "[0-9b]?") {
            let _ = Packet::decode_text(&format!("{digit}{text}"));
        }
    }
}
