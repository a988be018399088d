//! RFC 6455 frames by hand: as little work a frame as can be, and nothing lost however reads are split.

use std::io::{self, Read};

/// A text message.
pub const TEXT: u8 = 1;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping frame.
pub const PING: u8 = 9;
/// A pong frame.
pub const PONG: u8 = 10;

const CONTINUATION: u8 = 0;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Any mask does; one that is not zero makes the server do the work.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// The first bytes of a frame, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    last: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: usize,
    payload: u64,
}

/// The header at the start of `bytes`, or `None` while it is incomplete.
#[inline]
fn header(bytes: &[u8]) -> Option<Header> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (payload, mut length) = match second & 127 {
        126 => (
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let mask = if second & MASKED == 0 {
        None
    } else {
        length += 4;
        Some(bytes.get(length - 4..length)?.try_into().ok()?)
    };
    Some(Header {
        last: first & FINAL != 0,
        opcode: first & 15,
        mask,
        length,
        payload,
    })
}

/// Appends an unmasked frame, as servers send them.
pub fn encode_from_server(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len() as u64, 0);
    out.extend_from_slice(payload);
}

/// Appends a masked frame, as clients send them.
pub fn encode_from_client(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    announce_from_client(out, opcode, payload.len() as u64);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], MASK);
}

/// Appends the header alone of a client's frame of `length` bytes.
pub fn announce_from_client(out: &mut Vec<u8>, opcode: u8, length: u64) {
    put_header(out, opcode, length, MASKED);
    out.extend_from_slice(&MASK);
}

fn put_header(out: &mut Vec<u8>, opcode: u8, length: u64, masked: u8) {
    out.push(FINAL | opcode);
    if length < 126 {
        out.push(masked | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(masked | 126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&length.to_be_bytes());
    }
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    payload
        .iter_mut()
        .zip(mask.iter().cycle())
        .for_each(|(byte, mask)| *byte ^= mask);
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// How much of the scratch buffer is to be parsed: what was kept, and what came.
    pub length: usize,
    /// Bytes that came; none means that the peer has ended its side.
    pub fresh: usize,
    /// The read was short, so the socket is empty: an edge-triggered poll reports the next byte.
    pub drained: bool,
}

/// One connection's reading side. Between reads it keeps only what an incomplete frame left over.
#[derive(Default)]
pub struct Reader {
    kept: Vec<u8>,
    message: Vec<u8>,
}

impl Reader {
    /// Reads once from `source` into `scratch`, behind what was kept from before.
    pub fn fill(&mut self, source: &mut impl Read, scratch: &mut [u8]) -> io::Result<Filled> {
        let kept = self.kept.len();
        let Some(space) = scratch.get_mut(kept..).filter(|space| !space.is_empty()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame larger than the read buffer",
            ));
        };
        let fresh = source.read(space)?;
        let drained = fresh < space.len();
        scratch[..kept].copy_from_slice(&self.kept);
        self.kept.clear();
        Ok(Filled {
            length: kept + fresh,
            fresh,
            drained,
        })
    }

    /// Hands every whole message and control frame in `bytes` to `each` and keeps the rest. A message sent in pieces
    /// is handed over whole.
    #[inline]
    pub fn parse(&mut self, bytes: &mut [u8], mut each: impl FnMut(u8, &[u8])) {
        let mut at = 0;
        while let Some(header) = header(&bytes[at..]) {
            let start = at + header.length;
            let Some(payload) = usize::try_from(header.payload)
                .ok()
                .and_then(|length| start.checked_add(length))
                .and_then(|end| bytes.get_mut(start..end))
            else {
                break;
            };
            if let Some(mask) = header.mask {
                apply_mask(payload, mask);
            }
            at = start + payload.len();
            if header.last && header.opcode != CONTINUATION {
                each(header.opcode, payload);
            } else {
                self.message.extend_from_slice(payload);
                if header.last {
                    each(TEXT, &self.message);
                    self.message.clear();
                }
            }
        }
        self.kept.extend_from_slice(&bytes[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Heard = Vec<(u8, Vec<u8>)>;

    fn hear(reader: &mut Reader, mut source: &[u8], scratch: &mut [u8]) -> Heard {
        let mut heard = Heard::new();
        while !source.is_empty() {
            let filled = reader.fill(&mut source, scratch).expect("fits");
            reader.parse(&mut scratch[..filled.length], |opcode, payload| {
                heard.push((opcode, payload.to_vec()))
            });
        }
        heard
    }

    fn messages() -> impl Strategy<Value = Heard> {
        let opcode = prop_oneof![4 => Just(TEXT), 1 => Just(PING), 1 => Just(CLOSE)];
        let small = proptest::collection::vec(any::<u8>(), 0..140);
        let large = proptest::collection::vec(any::<u8>(), 65_500..65_600);
        proptest::collection::vec((opcode, prop_oneof![20 => small, 1 => large]), 0..12)
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            messages in messages(), masked: bool, cuts in proptest::collection::vec(1_usize..3_000, 1..40),
        ) {
            let mut stream = Vec::new();
            for (opcode, payload) in &messages {
                if masked {
                    encode_from_client(&mut stream, *opcode, payload);
                } else {
                    encode_from_server(&mut stream, *opcode, payload);
                }
            }
            let (mut reader, mut heard, mut scratch) = (Reader::default(), Heard::new(), vec![0; 70_000]);
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                heard.extend(hear(&mut reader, now, &mut scratch));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(heard, messages);
        }

        #[test]
        fn a_message_in_pieces_is_heard_whole_around_a_ping(pieces in proptest::collection::vec("[a-z]{0,200}", 2..6)) {
            let mut stream = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let start = stream.len();
                encode_from_server(&mut stream, if index == 0 { TEXT } else { CONTINUATION }, piece.as_bytes());
                if index + 1 < pieces.len() {
                    stream[start] &= !FINAL;
                    encode_from_server(&mut stream, PING, b"p");
                }
            }
            let heard = hear(&mut Reader::default(), &stream, &mut [0; 4_096]);
            let pings = vec![(PING, b"p".to_vec()); pieces.len() - 1];
            prop_assert_eq!(&heard[..pings.len()], pings.as_slice());
            prop_assert_eq!(&heard[pings.len()..], &[(TEXT, pieces.concat().into_bytes())]);
        }
    }

    #[test]
    fn an_announced_giant_is_neither_awaited_in_memory_nor_an_overflow() {
        let mut stream = Vec::new();
        announce_from_client(&mut stream, TEXT, u64::MAX);
        let mut reader = Reader::default();
        assert_eq!(hear(&mut reader, &stream, &mut [0; 64]), []);
        assert!(reader.fill(&mut [0_u8; 100].as_slice(), &mut [0; 14]).is_err());
    }
}
