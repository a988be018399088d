//! The outbox of a peer: frames wait in it until the socket, the poll or the stream takes them.

use super::{BLOCKED, CLOSED, CLOSING, Peer};
use crate::{
    logic::{
        engine_io::{
            Control,
            payload::{self, Part},
        },
        fault::CloseCode,
        few::Few,
        protocol::Protocol,
        ws,
    },
    ports::Wire,
};
use bytes::Bytes;
use std::io::{self, IoSlice};

/// Frames written in one call. The kernel takes up to 1,024; 64 keeps the array on the stack small.
const FRAMES_PER_WRITE: usize = 64;

/// The frame did not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is left to write.
    Empty,
    /// The socket takes no more now.
    Blocked,
    /// The connection is broken.
    Broken,
}

impl<W: Wire> Peer<W> {
    /// Bytes that wait to be written.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Whether its client is behind: it takes no more now, or has not come for what waits.
    pub(crate) fn is_behind(&self) -> bool {
        self.bytes() > 0 && (self.is(BLOCKED) || self.line.socket().is_none())
    }

    /// Something was taken by a client that was behind. It is not any more, if it has all of it.
    pub(crate) fn caught_up(&self) {
        if self.bytes() == 0 {
            self.behind_ms.set(u64::MAX);
        }
    }

    /// Below this it wants the next page of the history.
    pub fn low_water(&self) -> usize {
        self.limit / 4
    }

    /// Up to this the history is put into the outbox: there is still room for one event more, whatever its size.
    pub fn high_water(&self) -> usize {
        self.limit / 2
    }

    /// Queues a frame. Full means: nothing was queued, and the client must be closed as too slow.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Full> {
        if self.is(CLOSING | CLOSED) {
            return Ok(());
        }
        let bytes = self.bytes.get() + frame.len();
        if bytes > self.limit {
            return Err(Full);
        }
        self.bytes.set(bytes);
        self.queue.borrow_mut().push_back(frame);
        Ok(())
    }

    /// Drops what is queued, but for the frame that is half written: the client is too slow to read it.
    pub(crate) fn shed(&self) {
        let mut queue = self.queue.borrow_mut();
        queue.truncate(usize::from(self.written.get() > 0));
        let left: usize = queue.iter().map(Bytes::len).sum();
        self.bytes.set(left - self.written.get());
    }

    /// Queues a close frame, after all that is queued.
    pub(crate) fn queue_close(&self, code: CloseCode, reason: &str) {
        let mut queue = self.queue.borrow_mut();
        let frame = match self.protocol {
            Protocol::GreenroomV1 | Protocol::Own => Some(ws::close_frame(code.wire().0, reason)),
            // Its clients know the codes of the WebSocket itself only.
            Protocol::SocketIo => Some(match code {
                CloseCode::ProtocolError | CloseCode::InvalidUtf8 | CloseCode::TooBig => {
                    ws::close_frame(code.wire().0, "")
                }
                _ => ws::close_reply(None),
            }),
            Protocol::Sse => None,
        };
        if let Some(frame) = frame.filter(|_| self.line.socket().is_some()) {
            self.bytes.set(self.bytes.get() + frame.len());
            queue.push_back(frame);
        }
        self.set(CLOSING);
    }

    /// Cuts the line: a socket's reader sees its end and cleans up.
    pub(crate) fn kill(&self) {
        self.set(CLOSED);
        self.clear(BLOCKED);
        self.queue.take();
        self.bytes.set(0);
        self.written.set(0);
        if let Some(wire) = self.line.socket() {
            wire.shutdown(true);
        }
        self.wake();
    }

    /// Writes all that is queued, as far as the socket takes it.
    pub(crate) fn flush(&self) -> Flushed {
        let Some(wire) = self.line.socket() else {
            return Flushed::Empty;
        };
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            match write_once(wire, &queue, self.written.get()) {
                Ok(0) => return Flushed::Broken,
                Ok(bytes) => self.advance(&mut queue, bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Broken,
            }
        }
        match wire.try_flush() {
            Ok(()) => Flushed::Empty,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Flushed::Blocked,
            Err(_) => Flushed::Broken,
        }
    }

    fn advance(&self, queue: &mut Few<Bytes>, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        let mut done = self.written.get() + bytes;
        while let Some(first) = queue.front() {
            if done < first.len() {
                break;
            }
            done -= first.len();
            queue.pop_front();
        }
        self.written.set(done);
    }

    /// Takes queued messages for the answer to a poll: as many as fit into `bytes_max`, and one in any case.
    pub(crate) fn take_payload(&self, first: Option<Control>, bytes_max: usize) -> Vec<u8> {
        let mut queue = self.queue.borrow_mut();
        let control = first.map(|control| Part::Text(control.text().as_bytes()));
        let mut body = payload::encode(control, bytes_max).body;
        while let Some(frames) = queue.front() {
            let parts = ws::own_messages(frames).map(|(opcode, message)| match opcode {
                ws::Opcode::Binary => Part::Binary(message),
                _ => Part::Text(message),
            });
            // An event and its attachments stay together.
            let next = payload::encode(parts, usize::MAX).body;
            if !body.is_empty() && body.len() + 1 + next.len() > bytes_max {
                break;
            }
            if !body.is_empty() {
                body.push(payload::SEPARATOR as u8);
            }
            body.extend_from_slice(&next);
            self.bytes.set(self.bytes.get() - frames.len());
            queue.pop_front();
        }
        self.caught_up();
        body
    }

    /// Takes queued frames for a stream, about `bytes_max` of them, as one chunk.
    pub(crate) fn take_chunk(&self, bytes_max: usize) -> Option<Bytes> {
        let mut queue = self.queue.borrow_mut();
        let first = queue.pop_front()?;
        let mut bytes = first.len();
        let mut chunk = vec![first];
        while queue.front().is_some_and(|next| bytes + next.len() <= bytes_max) {
            let Some(next) = queue.pop_front() else { break };
            bytes += next.len();
            chunk.push(next);
        }
        self.bytes.set(self.bytes.get() - bytes);
        self.caught_up();
        Some(if chunk.len() == 1 {
            chunk.swap_remove(0)
        } else {
            chunk.concat().into()
        })
    }
}

fn write_once<W: Wire>(wire: &W, queue: &Few<Bytes>, written: usize) -> io::Result<usize> {
    if let Few::One(frame) = queue {
        return wire.try_write_vectored(&[IoSlice::new(&frame[written..])]);
    }
    let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
    let mut count = 0;
    for (slice, frame) in slices.iter_mut().zip(queue.iter()) {
        *slice = IoSlice::new(if count == 0 { &frame[written..] } else { frame });
        count += 1;
    }
    wire.try_write_vectored(&slices[..count])
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
