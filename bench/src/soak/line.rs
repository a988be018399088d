//! A visitor's connection: a WebSocket by hand, which can be treated as badly as a client may treat one.

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{check_upgrade, is_not_now, upgrade_request};
use crate::frame::{self, Reader};
use crate::protocol::Protocol;
use crate::socket;

/// See the module's description.
pub struct Line {
    stream: TcpStream,
    reader: Reader,
    /// The answer to the upgrade, until it is whole.
    head: Option<Vec<u8>>,
    out: Vec<u8>,
}

/// What one look at a connection brought.
pub enum Heard {
    /// All there was.
    All,
    /// The end.
    End,
}

impl Line {
    /// Begins to connect.
    pub fn open(
        registry: &Registry,
        address: SocketAddr,
        protocol: Protocol,
        token: Token,
        receive_buffer: Option<usize>,
    ) -> Result<Self> {
        let mut stream = socket::connect(address, receive_buffer).context("cannot connect")?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            reader: Reader::default(),
            head: Some(Vec::new()),
            out: upgrade_request(protocol, address),
        })
    }

    /// Queues a text message.
    pub fn say(&mut self, text: &str) {
        frame::encode_from_client(&mut self.out, frame::TEXT, text.as_bytes());
    }

    /// Queues the answer to a ping.
    pub fn pong(&mut self, payload: &[u8]) {
        frame::encode_from_client(&mut self.out, frame::PONG, payload);
    }

    /// Sends what is queued, as far as the socket takes it. False when it is broken.
    pub fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) => return is_not_now(&error) || error.kind() == io::ErrorKind::NotConnected,
            }
        }
        true
    }

    /// Reads all there is; `each` is given every message, and the empty one when the connection may be used.
    pub fn listen(&mut self, scratch: &mut [u8], mut each: impl FnMut(u8, &[u8])) -> Heard {
        loop {
            let filled = match self.reader.fill(&mut self.stream, scratch) {
                Ok(filled) if filled.fresh > 0 => filled,
                Err(error) if is_not_now(&error) || error.kind() == io::ErrorKind::NotConnected => {
                    return Heard::All;
                }
                Ok(_) | Err(_) => return Heard::End,
            };
            let mut length = filled.length;
            if let Some(head) = &mut self.head {
                head.extend_from_slice(&scratch[..length]);
                let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
                    continue;
                };
                let early = head.split_off(end + 4);
                if check_upgrade(head).is_err() {
                    return Heard::End;
                }
                self.head = None;
                each(frame::TEXT, b"");
                length = early.len();
                scratch[..length].copy_from_slice(&early);
            }
            self.reader.parse(&mut scratch[..length], &mut each);
            if filled.drained {
                return Heard::All;
            }
        }
    }

    /// Ends it with a word.
    pub fn farewell(mut self) {
        frame::encode_from_client(&mut self.out, frame::CLOSE, &1_000_u16.to_be_bytes());
        self.flush();
    }

    /// Ends it by a reset.
    pub fn reset(self) {
        // A socket that is broken already needs no reset.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Never looks at it again.
    pub fn forget(&mut self, registry: &Registry) {
        // Not to be told of it is all that is wanted.
        let _ = registry.deregister(&mut self.stream);
    }
}
