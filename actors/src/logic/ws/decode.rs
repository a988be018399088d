//! From a peer's bytes to its messages (RFC 6455 sections 5 and 8.1).

use std::mem;
use std::ops::ControlFlow;

use super::close::{self, Violation};
use super::head::{self, Admit, CONTROL_BYTES, HEAD_BYTES, Head, Opcode, apply_mask};
use crate::logic::utf8::Utf8Check;

/// How much a peer may send before it is refused with close code 1009. Control frames have their own limit,
/// 125 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload of one data frame, in bytes; checked when its head is there.
    pub frame_bytes: u32,
    /// The largest message, all its fragments together, in bytes; checked at the head of every fragment.
    pub message_bytes: u32,
}

/// What a peer said: a whole message, or a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to a ping, or an unasked sign of life.
    Pong(&'a [u8]),
    /// The peer sends nothing after this.
    Close {
        /// Why, if the peer says so; always one of the codes that are allowed on the wire.
        code: Option<u16>,
        /// For people to read; may be empty.
        reason: &'a str,
    },
}

/// Puts a peer's messages together from bytes that are cut anywhere.
///
/// - A whole, unfragmented frame is unmasked and handed over in the buffer it was read into. Only an
///   unfinished message is copied, at a cost of O(n) however it is cut, into a buffer that is freed when the
///   message is complete: between messages the decoder holds no heap. An unfinished head is kept within the
///   struct.
/// - It buffers at most `message_bytes` and one control frame, whatever a peer announces, and no more than
///   about twice what has really arrived.
/// - Text is checked while it arrives: an invalid byte fails at once, also in the middle of a frame.
/// - After a close frame and after a violation it is deaf: further input is taken and ignored (RFC 6455
///   section 5.5.1).
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The unfinished message and, behind it, the control frame that has come half.
    buffer: Vec<u8>,
    phase: Phase,
    /// The text of the unfinished message so far; complete between messages, since only complete text ends
    /// one.
    utf8: Utf8Check,
    /// What message is unfinished, if any is.
    message: Option<Kind>,
    /// Frames have to be masked: this is the server's end.
    masked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A head, of which `len` bytes are here.
    Head { bytes: [u8; HEAD_BYTES - 1], len: u8 },
    /// A payload, of which the last `missing` bytes are not here.
    Payload { head: Head, missing: u32 },
    /// Nothing: no more is listened to.
    Deaf,
}

impl Phase {
    const NEXT: Self = Self::Head {
        bytes: [0; HEAD_BYTES - 1],
        len: 0,
    };
}

/// How many bytes a step has taken, and whether the receiver wants to go on.
type Step = (usize, ControlFlow<()>);

impl Decoder {
    /// For the server's end: every frame has to be masked (RFC 6455 section 5.1).
    pub fn new(limits: Limits) -> Self {
        let (buffer, utf8) = (Vec::new(), Utf8Check::default());
        Self {
            limits,
            buffer,
            phase: Phase::NEXT,
            utf8,
            message: None,
            masked: true,
        }
    }

    /// For the client's end, that of tests and load generators: no frame may be masked.
    pub fn for_client(limits: Limits) -> Self {
        Self {
            masked: false,
            ..Self::new(limits)
        }
    }

    /// Takes the next bytes of the connection, hands over what they complete, and returns how many were
    /// taken.
    ///
    /// That is all of them unless `on` breaks. Then the rest is untouched behind the frame that was handed
    /// over last: the caller drops it, or feeds it again later. What has been taken is unmasked in place and
    /// worth nothing more.
    ///
    /// # Errors
    ///
    /// The first violation; what came before it has been handed over.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        on: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        while at < input.len() {
            let (taken, flow) = self
                .step(&mut input[at..], on)
                .inspect_err(|_| self.turn_deaf())?;
            at += taken;
            if flow.is_break() {
                break;
            }
        }
        Ok(at)
    }

    /// How many bytes of heap the decoder holds: none between messages, at most `message_bytes` + 125.
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes one frame, or as much of it as is there.
    fn step(
        &mut self,
        input: &mut [u8],
        on: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<Step, Violation> {
        let (head, size) = match self.phase {
            Phase::Deaf => return Ok((input.len(), ControlFlow::Continue(()))),
            Phase::Payload { head, missing } => return self.take_payload(head, missing, input, on),
            Phase::Head { bytes, len } => match self.take_head(bytes, usize::from(len), input)? {
                Some(found) => found,
                None => return Ok((input.len(), ControlFlow::Continue(()))),
            },
        };
        let rest = &mut input[size..];
        let alone = head.opcode.is_control() || (head.fin && head.opcode != Opcode::Continuation);
        let (taken, flow) = match rest.get_mut(..head.len as usize) {
            Some(payload) if alone => {
                apply_mask(payload, head.mask, 0);
                self.phase = Phase::NEXT;
                (payload.len(), self.hand_over(head.opcode, payload, on)?)
            }
            _ => {
                self.begin_message(head.opcode);
                self.take_payload(head, head.len, rest, on)?
            }
        };
        Ok((size + taken, flow))
    }

    /// Reads a head of which `kept` bytes have come earlier; returns it with how much of the input it took.
    fn take_head(
        &mut self,
        bytes: [u8; HEAD_BYTES - 1],
        kept: usize,
        input: &[u8],
    ) -> Result<Option<(Head, usize)>, Violation> {
        let admit = Admit {
            masked: self.masked,
            in_message: self.message.is_some(),
            frame_bytes: self.limits.frame_bytes,
            // Between two frames the buffer holds the unfinished message alone.
            message_room: self.limits.message_bytes - self.buffer.len() as u32,
        };
        if kept == 0
            && let Some(found) = head::parse(input, &admit)?
        {
            return Ok(Some(found));
        }
        let mut joined = [0; HEAD_BYTES];
        let len = (kept + input.len()).min(HEAD_BYTES);
        joined[..kept].copy_from_slice(&bytes[..kept]);
        joined[kept..len].copy_from_slice(&input[..len - kept]);
        match head::parse(&joined[..len], &admit)? {
            Some((head, size)) => Ok(Some((head, size - kept))),
            None => {
                let [bytes @ .., _] = joined;
                self.phase = Phase::Head {
                    bytes,
                    len: len as u8,
                };
                Ok(None)
            }
        }
    }

    /// Notes that a message begins which has to be put together, if this opcode begins one.
    fn begin_message(&mut self, opcode: Opcode) {
        match opcode {
            Opcode::Text => self.message = Some(Kind::Text),
            Opcode::Binary => self.message = Some(Kind::Binary),
            _ => {}
        }
    }

    /// Takes what has come of a payload that does not stand alone or is not whole.
    fn take_payload(
        &mut self,
        head: Head,
        missing: u32,
        input: &mut [u8],
        on: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<Step, Violation> {
        let taken = input.len().min(missing as usize);
        let piece = &mut input[..taken];
        apply_mask(piece, head.mask, head.len - missing);
        if self.message == Some(Kind::Text) && !head.opcode.is_control() {
            self.utf8.feed(piece).map_err(|_| NOT_TEXT)?;
        }
        self.keep(&head, missing, piece);
        let missing = missing - taken as u32;
        if missing > 0 {
            self.phase = Phase::Payload { head, missing };
            return Ok((taken, ControlFlow::Continue(())));
        }
        self.phase = Phase::NEXT;
        let flow = match (head.opcode.is_control(), head.fin) {
            (true, _) => self.finish_control(&head, on)?,
            (false, true) => self.finish_message(on)?,
            (false, false) => ControlFlow::Continue(()),
        };
        Ok((taken, flow))
    }

    /// Appends to the buffer. It grows by doubling, so that n bytes cost O(n) however they are cut, but not
    /// beyond what the frame or the limits say can still come.
    fn keep(&mut self, head: &Head, missing: u32, piece: &[u8]) {
        let len = self.buffer.len();
        let needed = len + piece.len();
        if needed > self.buffer.capacity() {
            let last = head.fin && !head.opcode.is_control();
            let most = if last {
                len + missing as usize
            } else {
                self.limits.message_bytes as usize + CONTROL_BYTES
            };
            let capacity = needed.max(most.min(2 * self.buffer.capacity()));
            self.buffer.reserve_exact(capacity - len);
        }
        self.buffer.extend_from_slice(piece);
    }

    fn finish_control(
        &mut self,
        head: &Head,
        on: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let start = self.buffer.len() - head.len as usize;
        let mut payload = [0; CONTROL_BYTES];
        let payload = &mut payload[..head.len as usize];
        payload.copy_from_slice(&self.buffer[start..]);
        self.buffer.truncate(start);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        self.hand_over(head.opcode, payload, on)
    }

    fn finish_message(
        &mut self,
        on: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let message = mem::take(&mut self.buffer);
        match self.message.take() {
            Some(Kind::Text) => self.hand_over(Opcode::Text, &message, on),
            _ => self.hand_over(Opcode::Binary, &message, on),
        }
    }

    /// Gives a whole message or control frame to the receiver.
    fn hand_over(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        on: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        let incoming = match opcode {
            Opcode::Text => Incoming::Text(std::str::from_utf8(payload).map_err(|_| NOT_TEXT)?),
            Opcode::Binary | Opcode::Continuation => Incoming::Binary(payload),
            Opcode::Ping => Incoming::Ping(payload),
            Opcode::Pong => Incoming::Pong(payload),
            Opcode::Close => {
                let incoming = close::parse(payload)?;
                self.turn_deaf();
                incoming
            }
        };
        Ok(on(incoming))
    }

    /// Listens to no more, and gives the memory back.
    fn turn_deaf(&mut self) {
        self.phase = Phase::Deaf;
        self.message = None;
        self.buffer = Vec::new();
    }
}

const NOT_TEXT: Violation = Violation::not_text("text is not UTF-8");
