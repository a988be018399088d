//! One WebSocket client: connects, upgrades, sends, and books what it hears.

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Instant;

use crate::frame::{self, Reader};
use crate::ledger::Ledger;
use crate::protocol::{Protocol, Said};
use crate::socket;
use crate::stamp::Scanner;

/// The handshake's example key, so that the answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What all clients of a generator use.
pub struct Shared {
    pub scratch: Box<[u8]>,
    pub ledger: Ledger,
    pub epoch: Instant,
    pub tally: Tally,
    notes: Vec<Note>,
}

impl Shared {
    /// A fresh ledger and one read buffer.
    pub fn new() -> Self {
        Self {
            scratch: vec![0; 256 * 1024].into_boxed_slice(),
            ledger: Ledger::default(),
            epoch: Instant::now(),
            tally: Tally::default(),
            notes: Vec::new(),
        }
    }

    /// Nanoseconds since the generator began.
    pub fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// What the clients of a generator were told, besides events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub ready: usize,
    pub joined: usize,
    /// Joins answered with `recovered: false`, and clients that were given another secret when they came back.
    pub unrecovered: usize,
    pub published: u64,
    pub refused: u64,
    pub ended: usize,
    /// The latest refusal or unexpected end, for the error message.
    pub complaint: Option<String>,
}

impl Tally {
    /// Books a refusal.
    pub fn refuse(&mut self, why: impl Into<String>) {
        self.refused += 1;
        self.complaint = Some(why.into());
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By a close frame with this code.
    Code(u16),
    /// Without a close frame.
    Cut,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Connecting,
    Upgrading,
    Greeting,
    Ready,
}

enum Note {
    Said(Said),
    Ping(Vec<u8>),
    Close(u16),
}

/// What a client listens for and what it has heard; apart from the socket, so that both can be borrowed.
struct Ears {
    protocol: Protocol,
    scanner: Scanner,
    /// (room, place in the ledger)
    places: Vec<(u32, u32)>,
    /// Hears events without being owed any.
    guest: bool,
    keeps_position: bool,
    /// The position that the last join was answered with, and the last event: it has a later one.
    joined_at: Option<String>,
    last_event: Vec<u8>,
    /// With which it may come back, where the protocol has that.
    pid: Option<String>,
}

/// A WebSocket client.
pub struct Client {
    address: SocketAddr,
    token: Token,
    phase: Phase,
    stream: Option<TcpStream>,
    reader: Reader,
    head: Vec<u8>,
    out: Vec<u8>,
    /// Messages queued before the connection may be used.
    waiting: Vec<u8>,
    ears: Ears,
    stalled: bool,
    fate: Option<Fate>,
    began_ns: u64,
    caught_up_ns: Option<u64>,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(address: SocketAddr, protocol: Protocol, token: Token) -> Self {
        let ears = Ears {
            protocol,
            scanner: Scanner::default(),
            places: Vec::new(),
            guest: false,
            keeps_position: false,
            joined_at: None,
            last_event: Vec::new(),
            pid: None,
        };
        Self {
            address,
            token,
            phase: Phase::Idle,
            stream: None,
            reader: Reader::default(),
            head: Vec::new(),
            out: Vec::new(),
            waiting: Vec::new(),
            ears,
            stalled: false,
            fate: None,
            began_ns: 0,
            caught_up_ns: None,
        }
    }

    /// Begins to connect.
    pub fn connect(&mut self, registry: &Registry, now_ns: u64, receive_buffer: Option<usize>) -> Result<()> {
        let mut stream = socket::connect(self.address, receive_buffer).context("cannot connect")?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.phase = Phase::Connecting;
        self.reader = Reader::default();
        self.began_ns = now_ns;
        self.caught_up_ns = None;
        self.fate = None;
        self.head.clear();
        self.out = upgrade_request(self.ears.protocol, self.address);
        Ok(())
    }

    /// From now on it connects to another address.
    pub fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Whether it has no connection, and is not about to have one.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// What it is owed and has not heard: room and numbers.
    pub fn missing(&self, ledger: &Ledger) -> Vec<(u32, (u32, u32))> {
        let places = self.ears.places.iter();
        let missing =
            places.flat_map(|(room, place)| ledger.missing(*place).into_iter().map(|gap| (*room, gap)));
        missing.collect()
    }

    /// How it stands, for whoever looks for a fault: deliveries missing, where it is, and from where on it would go on.
    pub fn describe(&self, ledger: &Ledger) -> Option<String> {
        let behind = self.ears.places.iter().map(|(_, place)| ledger.behind(*place));
        let behind: u64 = behind.sum();
        let joined_at = self.ears.joined_at.as_deref().unwrap_or("-");
        (behind > 0).then(|| {
            format!(
                "{behind} missing: {:?} at {}, joined at {joined_at}, has {:?}",
                self.phase,
                self.address,
                self.position()
            )
        })
    }

    /// Drops the connection without a word, as a lost network does.
    pub fn cut(&mut self) {
        self.stream = None;
        self.phase = Phase::Idle;
        self.out.clear();
        self.waiting.clear();
    }

    /// From now on this client is owed the events of `room`.
    pub fn owe(&mut self, room: u32, place: u32) {
        self.ears.places.push((room, place));
    }

    /// From now on this client may hear anything, and is owed nothing.
    pub fn be_guest(&mut self) {
        self.ears.guest = true;
    }

    /// From now on this client remembers its position.
    pub fn keep_position(&mut self) {
        self.ears.keeps_position = true;
    }

    /// The position after everything heard.
    pub fn position(&self) -> Option<String> {
        let in_event = self.ears.protocol.position_in(&self.ears.last_event);
        in_event.or_else(|| self.ears.joined_at.clone())
    }

    /// Stops reading, or reads again.
    pub fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// How the connection ended, if it did.
    pub fn fate(&self) -> Option<Fate> {
        self.fate
    }

    /// From the connect call to the last event owed, if both have been.
    pub fn catch_up_ns(&self) -> Option<u64> {
        self.caught_up_ns.map(|caught_up| caught_up - self.began_ns)
    }

    /// Queues a text message; `flush` sends it, if the connection may be used by then.
    pub fn queue(&mut self, text: &str) {
        let out = if self.phase == Phase::Ready {
            &mut self.out
        } else {
            &mut self.waiting
        };
        frame::encode_from_client(out, frame::TEXT, text.as_bytes());
    }

    /// Queues bytes as they are.
    pub fn queue_raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

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

/// The request that begins a WebSocket.
pub fn upgrade_request(protocol: Protocol, address: SocketAddr) -> Vec<u8> {
    let sub_protocol = protocol.sub_protocol().map_or(String::new(), |name| {
        format!("Sec-WebSocket-Protocol: {name}\r\n")
    });
    format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{sub_protocol}\r\n",
        protocol.path(),
    )
    .into_bytes()
}

/// Whether this is the answer that grants the upgrade.
pub fn check_upgrade(head: &[u8]) -> Result<()> {
    let head = String::from_utf8_lossy(head);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        bail!("the upgrade was answered with {status:?}");
    }
    if !head.contains(ACCEPT) {
        bail!("the upgrade was accepted with a wrong key");
    }
    Ok(())
}

/// Whether an I/O error only says "not now".
pub fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
