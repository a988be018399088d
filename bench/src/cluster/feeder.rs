//! Publishers that see to it that each event is accepted: whatever happens to a node, the same event is sent again, by its
//! own id, there or elsewhere.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::generator::room_name;
use crate::stamp::Stamp;

/// Events of one room are sent one after the other, so all of them by the same lane.
const LANES: usize = 4;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Then it is given up, and counted as refused.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(50);

/// See the module's description. Dropping it ends it, with what it still has.
pub struct Feeder {
    lanes: Vec<Sender<Stamp>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    sent: u64,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    accepted: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
    notes: Mutex<Vec<Accepted>>,
}

/// How an event was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Which.
    pub stamp: Stamp,
    /// By which node.
    pub node: usize,
    /// Whether that one alone has it, for the time being.
    pub local: bool,
    /// How often it was sent before.
    pub failed: u32,
}

impl Feeder {
    /// Publishers to these nodes.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            over: AtomicBool::new(false),
            notes: Mutex::default(),
        });
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for lane in 0..LANES {
            let (give, given) = channel();
            let shared = shared.clone();
            lanes.push(give);
            threads.push(spawn(move || shared.publish_all(lane, &given)));
        }
        Self {
            lanes,
            threads,
            shared,
            sent: 0,
        }
    }

    /// Publishes an event, some time.
    pub fn publish(&mut self, stamp: Stamp) {
        self.sent += 1;
        // A lane ends only with its feeder.
        let _ = self.lanes[stamp.room as usize % LANES].send(stamp);
    }

    /// Events that have not been accepted yet.
    pub fn waiting(&self) -> u64 {
        self.sent - self.accepted() - self.refused()
    }

    /// Events accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How each was accepted.
    pub fn notes(&self) -> Vec<Accepted> {
        let notes = self.shared.notes.lock();
        notes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events given up.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // It has panicked, if anything, and said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn publish_all(&self, lane: usize, events: &Receiver<Stamp>) {
        let (mut at, mut connection) = (lane, None);
        for stamp in events {
            let body = format!(
                r#"{{"event":"bench","id":"e-{}-{}","data":{}}}"#,
                stamp.room,
                stamp.sequence,
                stamp.data()
            );
            let request = format!(
                "POST /v1/rooms/{}/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                room_name(stamp.room),
                body.len(),
            );
            let begin = Instant::now();
            let mut failed = 0;
            loop {
                let node = at % self.addresses.len();
                if let Ok((202, body)) = ask(&mut connection, self.addresses[node], &request) {
                    let local = body.contains("\"local\"");
                    let note = Accepted {
                        stamp,
                        node,
                        local,
                        failed,
                    };
                    let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
                    notes.push(note);
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                if self.over.load(Ordering::Relaxed) || begin.elapsed() > ACCEPT_LIMIT {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                (at, connection, failed) = (at + 1, None, failed + 1);
                sleep(AGAIN);
            }
        }
    }
}

/// One request over a connection that is kept: status and body of the answer.
pub fn ask(kept: &mut Option<TcpStream>, address: SocketAddr, request: &str) -> Result<(u16, String)> {
    let stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            stream.set_nodelay(true)?;
            kept.insert(stream)
        }
    };
    let answered = exchange(stream, request);
    if answered.is_err() {
        *kept = None;
    }
    answered
}

fn exchange(stream: &mut TcpStream, request: &str) -> Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let bytes = stream.read(&mut buffer)?;
        ensure!(bytes > 0, "the server ended the connection");
        answer.extend_from_slice(&buffer[..bytes]);
        let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("no length")?.trim().parse()?;
        if answer.len() >= end + 4 + length {
            let status = head.split(' ').nth(1).context("no status")?.parse()?;
            let body = String::from_utf8_lossy(&answer[end + 4..end + 4 + length]);
            return Ok((status, body.into_owned()));
        }
    }
}
