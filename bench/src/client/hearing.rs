//! A client's conversation: what its socket takes and gives, and the books of it.

use mio::net::TcpStream;
use std::io::{ErrorKind, Write};

use super::{Client, Ears, Fate, Note, Phase, Shared, check_upgrade};
use crate::frame;
use crate::ledger::Ledger;
use crate::protocol::Said;

const HEAD_BYTES_MAX: usize = 16 * 1024;

impl Client {
    /// Sends what is queued, as far as the socket takes it.
    pub fn flush(&mut self, shared: &mut Shared) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.phase != Phase::Connecting) else {
            return;
        };
        while !self.out.is_empty() {
            match stream.write(&self.out) {
                Ok(written) => {
                    self.out.drain(..written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // The reason may have been said before the connection was ended.
                    self.listen(shared);
                    return self.end(Fate::Cut, &error.to_string(), shared);
                }
            }
        }
    }

    /// The poll has reported something for this client.
    #[inline]
    pub fn attend(&mut self, writable: bool, shared: &mut Shared) {
        if self.phase == Phase::Connecting && writable {
            self.connected(shared);
        }
        if writable && !self.out.is_empty() {
            self.flush(shared);
        }
        self.listen(shared);
    }

    /// Reads all there is.
    #[inline]
    pub fn listen(&mut self, shared: &mut Shared) {
        while !self.stalled && self.phase != Phase::Connecting {
            let Some(stream) = self.stream.as_mut() else {
                return;
            };
            let filled = match self.reader.fill(stream, &mut shared.scratch) {
                Ok(filled) => filled,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.end(Fate::Cut, &error.to_string(), shared),
            };
            if filled.fresh == 0 {
                return self.end(Fate::Cut, "the server ended the connection", shared);
            }
            if self.phase == Phase::Upgrading {
                self.upgrade(filled.length, shared);
            } else {
                self.hear(filled.length, shared);
            }
            if filled.drained {
                return;
            }
        }
    }

    fn connected(&mut self, shared: &mut Shared) {
        match self.stream.as_ref().map(TcpStream::take_error) {
            Some(Ok(None)) => {
                self.phase = Phase::Upgrading;
                self.flush(shared);
            }
            Some(Ok(Some(error)) | Err(error)) => self.end(Fate::Cut, &error.to_string(), shared),
            None => {}
        }
    }

    /// Collects the answer to the upgrade; what follows it are frames already.
    fn upgrade(&mut self, length: usize, shared: &mut Shared) {
        self.head.extend_from_slice(&shared.scratch[..length]);
        let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
            if self.head.len() > HEAD_BYTES_MAX {
                self.end(Fate::Cut, "an endless answer to the upgrade", shared);
            }
            return;
        };
        let early = self.head.split_off(end + 4);
        if let Err(error) = check_upgrade(&self.head) {
            return self.end(Fate::Cut, &error.to_string(), shared);
        }
        self.head = Vec::new();
        self.phase = Phase::Greeting;
        if self.ears.protocol.ready_when_upgraded() {
            self.become_ready(shared);
        }
        shared.scratch[..early.len()].copy_from_slice(&early);
        self.hear(early.len(), shared);
    }

    #[inline]
    fn hear(&mut self, length: usize, shared: &mut Shared) {
        let now_ns = shared.now_ns();
        let Shared {
            scratch,
            ledger,
            notes,
            ..
        } = shared;
        let Self { reader, ears, .. } = self;
        reader.parse(&mut scratch[..length], |opcode, payload| {
            ears.hear(opcode, payload, now_ns, ledger, notes)
        });
        if !shared.notes.is_empty() {
            self.take_notes(shared);
        }
        if self.ears.keeps_position && self.caught_up_ns.is_none() {
            let behind = self
                .ears
                .places
                .iter()
                .any(|(_, place)| shared.ledger.behind(*place) > 0);
            self.caught_up_ns = (!behind).then_some(now_ns);
        }
    }

    fn take_notes(&mut self, shared: &mut Shared) {
        let mut notes = std::mem::take(&mut shared.notes);
        for note in notes.drain(..) {
            match note {
                Note::Said(said) => self.take_answer(said, shared),
                Note::Ping(payload) => frame::encode_from_client(&mut self.out, frame::PONG, &payload),
                Note::Close(code) => {
                    self.end(
                        Fate::Code(code),
                        &format!("the server closed with {code}"),
                        shared,
                    );
                }
            }
        }
        shared.notes = notes;
        self.flush(shared);
    }

    fn take_answer(&mut self, said: Said, shared: &mut Shared) {
        match said {
            Said::Opened => {
                let position = self.position();
                let credentials = self.ears.pid.as_deref().zip(position.as_deref());
                let greeting = self.ears.protocol.greet(credentials);
                frame::encode_from_client(&mut self.out, frame::TEXT, greeting.as_bytes());
            }
            Said::Ready { pid } if self.phase == Phase::Greeting => {
                let comes_back = self.ears.keeps_position && !self.ears.places.is_empty();
                let is_recovered = pid.is_some() && pid == self.ears.pid;
                shared.tally.unrecovered += usize::from(comes_back && !is_recovered);
                self.ears.pid = pid;
                self.become_ready(shared);
            }
            Said::Joined { recovered, position } => {
                shared.tally.joined += 1;
                shared.tally.unrecovered += usize::from(recovered == Some(false));
                self.ears.joined_at = position;
            }
            Said::Published => shared.tally.published += 1,
            Said::Refused(code) => shared.tally.refuse(code),
            Said::Reply(text) => frame::encode_from_client(&mut self.out, frame::TEXT, text.as_bytes()),
            Said::Ready { .. } | Said::Nothing => {}
        }
    }

    fn become_ready(&mut self, shared: &mut Shared) {
        self.phase = Phase::Ready;
        shared.tally.ready += 1;
        self.out.append(&mut self.waiting);
        self.flush(shared);
    }

    fn end(&mut self, fate: Fate, why: &str, shared: &mut Shared) {
        if self.stream.take().is_some() {
            shared.tally.ended += 1;
            shared.tally.complaint = Some(why.to_owned());
        }
        self.fate.get_or_insert(fate);
        self.phase = Phase::Idle;
        self.out.clear();
        self.waiting.clear();
    }
}

impl Ears {
    #[inline]
    fn hear(&mut self, opcode: u8, payload: &[u8], now_ns: u64, ledger: &mut Ledger, notes: &mut Vec<Note>) {
        if opcode != frame::TEXT {
            return hear_control(opcode, payload, notes);
        }
        let Some(stamp) = self.scanner.find(payload) else {
            return notes.push(Note::Said(self.protocol.understand(payload)));
        };
        if self.keeps_position {
            self.last_event.clear();
            self.last_event.extend_from_slice(payload);
        }
        match self.places.iter().find(|(room, _)| *room == stamp.room) {
            Some((_, place)) => ledger.deliver(*place, stamp, now_ns),
            None if self.guest => {}
            None => ledger.stray(),
        }
    }
}

fn hear_control(opcode: u8, payload: &[u8], notes: &mut Vec<Note>) {
    match opcode {
        frame::PING => notes.push(Note::Ping(payload.to_vec())),
        frame::CLOSE => {
            let code = payload
                .get(..2)
                .map_or(1_005, |code| u16::from_be_bytes([code[0], code[1]]));
            notes.push(Note::Close(code));
        }
        _ => {}
    }
}
