//! Keep-alive HTTP connections that publish, one request at a time each.
//!
//! A room always publishes over the same connection: requests under way at the same time have no order.

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::client::{Tally, is_not_now};
use crate::socket;

/// Publishers over HTTP.
#[derive(Default)]
pub struct Publishers {
    connections: Vec<Publisher>,
}

struct Publisher {
    stream: TcpStream,
    connected: bool,
    busy: bool,
    waiting: VecDeque<Vec<u8>>,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Publishers {
    /// Opens a connection; `index` is its number among the publishers.
    pub fn connect(&mut self, registry: &Registry, address: SocketAddr, token: Token) -> Result<()> {
        let mut stream = socket::connect(address, None).context("cannot connect to publish")?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let (waiting, out, answer) = Default::default();
        self.connections.push(Publisher {
            stream,
            connected: false,
            busy: false,
            waiting,
            out,
            answer,
        });
        Ok(())
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Publishes over the connection that `lane` falls to, as soon as it is free.
    pub fn publish(&mut self, lane: u32, room: &str, data: &str, tally: &mut Tally) {
        let index = lane as usize % self.connections.len().max(1);
        let Some(publisher) = self.connections.get_mut(index) else {
            return tally.refuse("no publisher is connected");
        };
        let body = format!(r#"{{"event":"bench","data":{data}}}"#);
        let request = format!(
            "POST /v1/rooms/{room}/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        publisher.waiting.push_back(request.into_bytes());
        publisher.dispatch(tally);
    }

    /// Requests sent or waiting, and not yet answered.
    pub fn unanswered(&self) -> usize {
        self.connections
            .iter()
            .map(|publisher| publisher.waiting.len() + usize::from(publisher.busy))
            .sum()
    }

    /// The poll has reported something for a connection.
    pub fn attend(&mut self, index: usize, writable: bool, scratch: &mut [u8], tally: &mut Tally) {
        let Some(publisher) = self.connections.get_mut(index) else {
            return;
        };
        publisher.connected |= writable;
        publisher.flush(tally);
        publisher.listen(scratch, tally);
        publisher.dispatch(tally);
    }
}

impl Publisher {
    fn dispatch(&mut self, tally: &mut Tally) {
        if self.connected && !self.busy {
            let Some(request) = self.waiting.pop_front() else {
                return;
            };
            self.busy = true;
            self.out = request;
            self.flush(tally);
        }
    }

    fn flush(&mut self, tally: &mut Tally) {
        while self.connected && !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(written) => {
                    self.out.drain(..written);
                }
                Err(error) if is_not_now(&error) => return,
                Err(error) => {
                    self.out.clear();
                    return tally.refuse(error.to_string());
                }
            }
        }
    }

    fn listen(&mut self, scratch: &mut [u8], tally: &mut Tally) {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => {
                    self.connected = false;
                    return tally.refuse("the server ended a publisher's connection");
                }
                Ok(length) => self.answer.extend_from_slice(&scratch[..length]),
                Err(error) if is_not_now(&error) => break,
                Err(_) if !self.connected => return,
                Err(error) => {
                    self.connected = false;
                    return tally.refuse(error.to_string());
                }
            }
        }
        while let Some((status, length)) = answer(&self.answer) {
            self.answer.drain(..length);
            self.busy = false;
            match status {
                200..=299 => tally.published += 1,
                other => tally.refuse(format!("a publish was answered with {other}")),
            }
        }
    }
}

/// The status of the answer at the start of `bytes` and its whole length, once it is there.
fn answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let length = head + body.unwrap_or(0);
    (bytes.len() >= length).then_some((status, length))
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let whole = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 404";
        let length = whole.len() - "HTTP/1.1 404".len();
        for cut in 0..length {
            assert_eq!(answer(&whole[..cut]), None);
        }
        assert_eq!(answer(whole), Some((202, length)));
    }

    #[test]
    fn an_answer_without_a_body_is_whole_at_its_head() {
        assert_eq!(answer(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((204, 27)));
    }
}
