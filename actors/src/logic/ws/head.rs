//! The 2 to 14 bytes before a payload (RFC 6455 section 5.2), and the mask over it (section 5.3).

use super::close::Violation;

/// The longest head: two bytes, a 64-bit length, the mask.
pub(super) const HEAD_BYTES: usize = 14;

/// The most a control frame carries (RFC 6455 section 5.5).
pub const CONTROL_BYTES: usize = 125;

/// What a frame is (RFC 6455 section 5.2); 3-7 and 11-15 are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0,
    /// A message in UTF-8, or its first fragment.
    Text = 1,
    /// A message of any bytes, or its first fragment.
    Binary = 2,
    /// The last frame of its sender.
    Close = 8,
    /// To be answered with a pong.
    Ping = 9,
    /// The answer, or an unasked sign of life.
    Pong = 10,
}

impl Opcode {
    /// Whether it may come between the fragments of a message: close, ping and pong (RFC 6455 section 5.5).
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn parse(first: u8) -> Option<Self> {
        Some(match first & 0x0f {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// A head that has passed every check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) len: u32,
    /// All zero on the way from server to client.
    pub(super) mask: [u8; 4],
}

/// What the connection admits as its next frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admit {
    /// Frames have to be masked (from a client), or must not be (from a server): RFC 6455 section 5.1.
    pub(super) masked: bool,
    /// A fragmented message is unfinished.
    pub(super) in_message: bool,
    /// The largest payload of one data frame.
    pub(super) frame_bytes: u32,
    /// How much longer the message may become.
    pub(super) message_room: u32,
}

/// Reads a head and returns it with its size, or `None` if more bytes are needed.
///
/// Everything is checked on the first byte that shows it, the limits before any of the payload is there. A
/// length in more bytes than it needs is accepted on data frames: section 5.2 forbids it to the sender, but
/// the meaning is plain, small clients do it, and the servers in wide use accept it.
pub(super) fn parse(bytes: &[u8], admit: &Admit) -> Result<Option<(Head, usize)>, Violation> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (opcode, fin) = check_first(first, admit.in_message)?;
    let Some((&second, rest)) = rest.split_first() else {
        return Ok(None);
    };
    check_second(second, opcode, admit.masked)?;
    let Some((len, len_bytes)) = payload_len(second & 0x7f, rest) else {
        return Ok(None);
    };
    let len = check_len(len, opcode, admit)?;
    let size = 2 + len_bytes;
    if !admit.masked {
        return Ok(Some((
            Head {
                opcode,
                fin,
                len,
                mask: [0; 4],
            },
            size,
        )));
    }
    let Some(&mask) = rest[len_bytes..].first_chunk() else {
        return Ok(None);
    };
    Ok(Some((
        Head {
            opcode,
            fin,
            len,
            mask,
        },
        size + 4,
    )))
}

fn check_first(first: u8, in_message: bool) -> Result<(Opcode, bool), Violation> {
    if first & 0x70 != 0 {
        return Err(Violation::protocol("reserved bit is set"));
    }
    let opcode = Opcode::parse(first).ok_or(Violation::protocol("reserved opcode"))?;
    let fin = first & 0x80 != 0;
    match opcode {
        Opcode::Continuation if !in_message => Err(Violation::protocol("continuation of no message")),
        Opcode::Text | Opcode::Binary if in_message => {
            Err(Violation::protocol("new message within a fragmented one"))
        }
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => {
            Err(Violation::protocol("fragmented control frame"))
        }
        _ => Ok((opcode, fin)),
    }
}

fn check_second(second: u8, opcode: Opcode, masked: bool) -> Result<(), Violation> {
    match second & 0x80 != 0 {
        false if masked => return Err(Violation::protocol("client frame without a mask")),
        true if !masked => return Err(Violation::protocol("server frame with a mask")),
        _ => {}
    }
    if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_BYTES {
        return Err(Violation::protocol("control frame above 125 bytes"));
    }
    Ok(())
}

/// The payload's length and how many bytes behind the second it took.
fn payload_len(short: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match short {
        126 => Some((u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2)),
        127 => Some((u64::from_be_bytes(*rest.first_chunk()?), 8)),
        _ => Some((u64::from(short), 0)),
    }
}

fn check_len(len: u64, opcode: Opcode, admit: &Admit) -> Result<u32, Violation> {
    if len >> 63 != 0 {
        return Err(Violation::protocol("length with its top bit set"));
    }
    match u32::try_from(len) {
        Ok(len) if opcode.is_control() => Ok(len),
        Ok(len) if len > admit.frame_bytes => Err(Violation::too_big("frame above its limit")),
        Ok(len) if len > admit.message_room => Err(Violation::too_big("message above its limit")),
        Ok(len) => Ok(len),
        Err(_) => Err(Violation::too_big("frame above its limit")),
    }
}

/// Lays the mask over bytes of a payload of which `done` have gone before, or takes it off: the same (RFC
/// 6455 section 5.3).
pub(super) fn apply_mask(bytes: &mut [u8], mut mask: [u8; 4], done: u32) {
    mask.rotate_left(done as usize % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
