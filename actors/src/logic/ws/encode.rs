//! From messages to frames (RFC 6455 section 5.2). A server's frames are whole and not masked.

use bytes::{BufMut, Bytes};

use super::close::allowed_on_the_wire;
use super::head::{CONTROL_BYTES, Opcode, apply_mask};

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// How many bytes [`encode_head`] writes for a payload of this length: 2, 4 or 10.
pub const fn head_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Writes the head of a server's whole frame; the payload goes behind it. The length takes as few bytes as it
/// can.
pub fn encode_head(buf: &mut impl BufMut, opcode: Opcode, len: usize) {
    put_head(buf, FIN | opcode as u8, 0, len);
}

/// A text message in one frame, in one allocation of its exact size. The payload has to be UTF-8; it is not
/// checked.
pub fn encode_text(payload: &[u8]) -> Bytes {
    frame(Opcode::Text, &[payload])
}

/// A binary message in one frame, in one allocation of its exact size.
pub fn encode_binary(payload: &[u8]) -> Bytes {
    frame(Opcode::Binary, &[payload])
}

/// A ping; of its payload the first 125 bytes (RFC 6455 section 5.5).
pub fn ping_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Ping, &[&payload[..payload.len().min(CONTROL_BYTES)]])
}

/// The answer to a ping, whose payload it repeats (RFC 6455 section 5.5.3); the first 125 bytes of it.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &[&payload[..payload.len().min(CONTROL_BYTES)]])
}

/// A close frame (RFC 6455 section 5.5.1). The reason is cut to 123 bytes, between two characters.
///
/// The code has to be one that is [allowed on the wire](allowed_on_the_wire).
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    debug_assert!(allowed_on_the_wire(code), "{code} must not be sent");
    let mut end = reason.len().min(CONTROL_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    frame(Opcode::Close, &[&code.to_be_bytes(), &reason.as_bytes()[..end]])
}

/// The answer to a peer's close frame: its code, or none if it gave none (RFC 6455 section 5.5.1).
pub fn close_reply(code: Option<u16>) -> Bytes {
    code.map_or_else(|| frame(Opcode::Close, &[]), |code| close_frame(code, ""))
}

/// The messages in frames that these functions have built, for a transport that is no WebSocket.
pub fn own_messages(mut frames: &[u8]) -> impl Iterator<Item = (Opcode, &[u8])> {
    std::iter::from_fn(move || {
        let (opcode, head, len) = own_head(frames)?;
        let message = frames.get(head..head + len)?;
        frames = &frames[head + len..];
        Some((opcode, message))
    })
}

/// What [`encode_head`] has written: the opcode, how long the head is, and the payload.
fn own_head(frames: &[u8]) -> Option<(Opcode, usize, usize)> {
    let (&first, rest) = frames.split_first()?;
    let opcode = if first & 0xf == Opcode::Binary as u8 {
        Opcode::Binary
    } else {
        Opcode::Text
    };
    let (&short, rest) = rest.split_first()?;
    let (head, len) = match short {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    Some((opcode, head, usize::try_from(len).ok()?))
}

/// A client's frame, masked: what tests and load generators send. It checks nothing, so that a test can break
/// every rule.
pub fn masked(opcode: Opcode, fin: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let head = head_len(payload.len()) + mask.len();
    let mut out = Vec::with_capacity(head + payload.len());
    put_head(
        &mut out,
        if fin { FIN } else { 0 } | opcode as u8,
        MASKED,
        payload.len(),
    );
    out.extend_from_slice(&mask);
    out.extend_from_slice(payload);
    apply_mask(&mut out[head..], mask, 0);
    out
}

fn put_head(buf: &mut impl BufMut, first: u8, mask_bit: u8, len: usize) {
    buf.put_u8(first);
    match len {
        0..=125 => buf.put_u8(mask_bit | len as u8),
        126..=0xffff => {
            buf.put_u8(mask_bit | 126);
            buf.put_u16(len as u16);
        }
        _ => {
            buf.put_u8(mask_bit | 127);
            buf.put_u64(len as u64);
        }
    }
}

fn frame(opcode: Opcode, parts: &[&[u8]]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(head_len(len) + len);
    encode_head(&mut out, opcode, len);
    for part in parts {
        out.extend_from_slice(part);
    }
    Bytes::from(out)
}
