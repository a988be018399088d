//! A payload of HTTP long-polling: packets as text, joined by the record separator.

use super::packet::{DecodeError, Packet, base64_len, push_base64};

/// Stands between two packets. Nothing escapes it: a text with this character in it falls apart. JSON has no such
/// character, hence no packet of Socket.IO has.
pub const SEPARATOR: char = '\x1e';

/// How much a client may put into one payload. The stock server limits the bytes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body.
    pub bytes: usize,
    /// Packets in it.
    pub packets: usize,
}

/// The packets of a payload, one after the other; what stands before a bad one has been handed out by then.
///
/// Texts are borrowed from the body. After an error nothing more comes.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: Option<&'a str>,
    left: usize,
    limit: usize,
}

/// Reads the body of a POST. There is always at least one item: an empty body is an empty packet, which is an error.
///
/// # Errors
///
/// Too many bytes, or not UTF-8: both before any packet is looked at.
pub fn decode(body: &[u8], limits: Limits) -> Result<Packets<'_>, DecodeError> {
    if body.len() > limits.bytes {
        return Err(DecodeError::TooLarge { limit: limits.bytes });
    }
    let text = std::str::from_utf8(body).map_err(|_| DecodeError::NotUtf8)?;
    Ok(Packets {
        rest: Some(text),
        left: limits.packets,
        limit: limits.packets,
    })
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        if self.left == 0 {
            return Some(Err(DecodeError::TooManyPackets { limit: self.limit }));
        }
        self.left -= 1;
        let (first, rest) = match text.split_once(SEPARATOR) {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        let packet = Packet::decode_text(first);
        self.rest = rest.filter(|_| packet.is_ok());
        Some(packet)
    }
}

/// A packet that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A packet's text with its type, such as `42["hello"]`.
    Text(&'a [u8]),
    /// A message of bytes.
    Binary(&'a [u8]),
}

impl Part<'_> {
    /// How long it is in a payload, bytes.
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => 1 + base64_len(bytes.len()),
        }
    }

    /// Whether there is nothing in it, not even a type.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The answer to a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The body.
    pub body: Vec<u8>,
    /// How many of the packets are in it.
    pub packets: usize,
}

/// As many of the packets, from the first, as fit into `max_bytes`; the first one in any case, or it would never go.
pub fn encode<'a>(parts: impl IntoIterator<Item = Part<'a>>, max_bytes: usize) -> Payload {
    let (mut body, mut packets) = (Vec::new(), 0);
    for part in parts {
        if packets > 0 {
            if body.len() + 1 + part.len() > max_bytes {
                break;
            }
            body.push(SEPARATOR as u8);
        }
        match part {
            Part::Text(text) => body.extend_from_slice(text),
            Part::Binary(bytes) => push_base64(&mut body, bytes),
        }
        packets += 1;
    }
    Payload { body, packets }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{packets, text_of};
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const LIMITS: Limits = Limits {
        bytes: 1_000_000,
        packets: 100,
    };

    fn read(body: &[u8]) -> Vec<Result<Packet<'_>, DecodeError>> {
        decode(body, LIMITS).unwrap().collect()
    }

    #[test]
    fn payloads_have_the_texts_of_the_protocol_document() {
        assert_eq!(
            read(b"4hello\x1e2\x1e4world"),
            [
                Ok(Packet::Text("hello")),
                Ok(Packet::Ping("")),
                Ok(Packet::Text("world"))
            ]
        );
        assert_eq!(
            read(b"4hello\x1ebAQIDBA=="),
            [
                Ok(Packet::Text("hello")),
                Ok(Packet::Binary(vec![1, 2, 3, 4].into()))
            ]
        );
        let written = encode([Part::Text(b"4hello"), Part::Binary(&[1, 2, 3, 4])], 1_000);
        assert_eq!(
            (&written.body[..], written.packets),
            (&b"4hello\x1ebAQIDBA=="[..], 2)
        );
    }

    #[test]
    fn what_comes_before_a_bad_packet_counts_and_nothing_after_it() {
        assert_eq!(
            read(b"4a\x1eabc\x1e4b"),
            [Ok(Packet::Text("a")), Err(DecodeError::UnknownType('a'))]
        );
        assert_eq!(read(b"4a\x1e"), [Ok(Packet::Text("a")), Err(DecodeError::Empty)]);
        assert_eq!(read(b""), [Err(DecodeError::Empty)]);
    }

    #[test]
    fn a_payload_is_bounded_and_text() {
        let limits = Limits { bytes: 6, packets: 2 };
        assert_eq!(
            decode(b"4aaaaaa", limits).err(),
            Some(DecodeError::TooLarge { limit: 6 })
        );
        let all: Vec<_> = decode(b"1\x1e1\x1e1", limits).unwrap().collect();
        let refused = Err(DecodeError::TooManyPackets { limit: 2 });
        assert_eq!(all, [Ok(Packet::Close), Ok(Packet::Close), refused]);
        assert_eq!(decode(b"4\xff", LIMITS).err(), Some(DecodeError::NotUtf8));
    }

    #[test]
    fn one_packet_goes_out_however_large_it_is() {
        let (large, small) = (Part::Text(b"4hello world"), Part::Text(b"4a"));
        assert_eq!(encode([large, small], 5).packets, 1);
        assert_eq!(encode([small, large, small], 5).packets, 1);
        assert_eq!(encode([small, small, small], 5).packets, 2);
        assert_eq!(encode([], 5).packets, 0);
    }

    proptest! {
        #[test]
        fn packets_go_out_in_payloads_within_the_bound_and_come_back(
            packets in vec(packets(), 1..20), max_bytes in 1usize..100
        ) {
            let texts: Vec<String> = packets.iter().map(text_of).collect();
            let parts: Vec<Part<'_>> = packets
                .iter()
                .zip(&texts)
                .map(|(packet, text)| match packet {
                    Packet::Binary(bytes) => Part::Binary(bytes),
                    _ => Part::Text(text.as_bytes()),
                })
                .collect();
            let (mut sent, mut back) = (0, Vec::new());
            while sent < parts.len() {
                let payload = encode(parts[sent..].iter().copied(), max_bytes);
                prop_assert!(payload.packets == 1 || payload.body.len() <= max_bytes);
                let fits = parts.get(sent + payload.packets);
                prop_assert!(fits.is_none_or(|next| payload.body.len() + 1 + next.len() > max_bytes));
                let read: Vec<_> = decode(&payload.body, LIMITS).unwrap().map(Result::unwrap).collect();
                prop_assert_eq!(read.len(), payload.packets);
                back.extend(read.iter().map(text_of));
                sent += payload.packets;
            }
            prop_assert_eq!(back, texts);
        }

        #[test]
        fn no_body_makes_it_panic_or_go_on_after_an_error(body in vec(prop_oneof![any::<u8>(), Just(b'4'), Just(0x1e)], 0..60)) {
            if let Ok(packets) = decode(&body, LIMITS) {
                let all: Vec<_> = packets.collect();
                prop_assert!(!all.is_empty());
                prop_assert!(all.iter().rev().skip(1).all(Result::is_ok));
            }
        }
    }
}
