//! One WebSocket client: connects, upgrades, sends, and books what it hears.

mod hearing;
mod upgrade;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use crate::frame::{self, Reader};
use crate::ledger::Ledger;
use crate::protocol::{Protocol, Said};
use crate::socket;
use crate::stamp::Scanner;

pub use upgrade::{check_upgrade, upgrade_request};

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
}

/// Whether an I/O error only says "not now".
pub fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
