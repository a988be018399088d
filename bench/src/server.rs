//! A small single-threaded WebSocket and HTTP server: what the floor and the test servers stand on.

use anyhow::{Context, Result};
use base64::Engine as _;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sha1::{Digest, Sha1};
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::is_not_now;
use crate::frame::{self, Reader};
use crate::socket;

const LISTENER: Token = Token(usize::MAX);
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What a client that does not read may leave unwritten.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What a server does with what it hears.
pub trait Service {
    /// A connection has become a WebSocket.
    fn came(&mut self, _who: usize, _hall: &mut Hall) {}
    /// A text message came.
    fn hear(&mut self, from: usize, text: &[u8], hall: &mut Hall);
    /// Somebody publishes over HTTP: the answer's body, or `None` for a bad request.
    fn post(&mut self, room: &str, body: &[u8], hall: &mut Hall) -> Option<String>;
    /// A connection is gone.
    fn left(&mut self, who: usize);
    /// All that one poll reported has been heard.
    fn turn_over(&mut self, _hall: &mut Hall) {}
}

/// The connections, by number.
#[derive(Default)]
pub struct Hall {
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    doomed: Vec<usize>,
}

struct Connection {
    stream: TcpStream,
    upgraded: bool,
    request: Vec<u8>,
    reader: Reader,
    /// What the socket did not take. Empty unless the client is slow.
    unwritten: Vec<u8>,
}

impl Hall {
    /// One `write()` of these bytes to a connection.
    #[inline]
    pub fn send(&mut self, to: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(to).and_then(Option::as_mut) else {
            return;
        };
        if !connection.send(bytes) {
            self.doomed.push(to);
        }
    }

    /// Sends a text message.
    pub fn say(&mut self, to: usize, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 10);
        frame::encode_from_server(&mut bytes, frame::TEXT, text.as_bytes());
        self.send(to, &bytes);
    }

    /// Ends a connection at the end of the turn.
    pub fn end(&mut self, who: usize) {
        self.doomed.push(who);
    }

    fn admit(&mut self, stream: TcpStream, poll: &Poll) -> io::Result<()> {
        let index = self.free.pop().unwrap_or(self.connections.len());
        let (request, reader, unwritten) = (Vec::new(), Reader::default(), Vec::new());
        let mut connection = Connection {
            stream,
            upgraded: false,
            request,
            reader,
            unwritten,
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut connection.stream, Token(index), interest)?;
        if index == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[index] = Some(connection);
        Ok(())
    }

    fn bury(&mut self, service: &mut impl Service) {
        while let Some(index) = self.doomed.pop() {
            if self.connections[index].take().is_some() {
                self.free.push(index);
                service.left(index);
            }
        }
    }
}

impl Connection {
    /// False when the connection is broken or the client too slow.
    #[inline]
    fn send(&mut self, bytes: &[u8]) -> bool {
        let written = if self.unwritten.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => written,
                Err(error) if is_not_now(&error) => 0,
                Err(_) => return false,
            }
        } else {
            0
        };
        self.unwritten.extend_from_slice(&bytes[written..]);
        self.unwritten.len() <= UNWRITTEN_BYTES_MAX
    }

    fn retry(&mut self) -> bool {
        while !self.unwritten.is_empty() {
            match self.stream.write(&self.unwritten) {
                Ok(written) => {
                    self.unwritten.drain(..written);
                }
                Err(error) => return is_not_now(&error),
            }
        }
        self.unwritten = Vec::new();
        true
    }
}

/// Serves until `stop`, which is looked at ten times a second; without one, until the process ends.
pub fn serve(
    listener: std::net::TcpListener,
    service: &mut impl Service,
    stop: Option<&AtomicBool>,
) -> Result<()> {
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new().context("cannot poll")?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut hall, mut events) = (Hall::default(), Events::with_capacity(1_024));
    let mut scratch = vec![0; 256 * 1024];
    let timeout = stop.map(|_| Duration::from_millis(100));
    while !stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
        match poll.poll(&mut events, timeout) {
            Err(error) if is_not_now(&error) => continue,
            other => other.context("cannot poll")?,
        }
        for event in events.iter() {
            if event.token() == LISTENER {
                accept(&listener, &mut hall, &poll)?;
            } else {
                attend(
                    event.token().0,
                    event.is_writable(),
                    &mut hall,
                    service,
                    &mut scratch,
                );
            }
        }
        service.turn_over(&mut hall);
        hall.bury(service);
    }
    Ok(())
}

fn accept(listener: &TcpListener, hall: &mut Hall, poll: &Poll) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                socket::tune(SockRef::from(&stream))?;
                hall.admit(stream, poll)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(nix::Error::EMFILE as i32) => return Err(error.into()),
            Err(_) => {}
        }
    }
}

fn attend(index: usize, writable: bool, hall: &mut Hall, service: &mut impl Service, scratch: &mut [u8]) {
    let Some(connection) = hall.connections.get_mut(index).and_then(Option::as_mut) else {
        return;
    };
    if writable && !connection.retry() {
        return hall.end(index);
    }
    loop {
        let Some(connection) = hall.connections.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        if connection.upgraded {
            let mut reader = std::mem::take(&mut connection.reader);
            let filled = reader.fill(&mut connection.stream, scratch);
            let goes_on = match &filled {
                Ok(filled) if filled.fresh > 0 => {
                    hear(index, &mut reader, &mut scratch[..filled.length], hall, service)
                }
                Ok(_) => false,
                Err(error) => is_not_now(error),
            };
            if !goes_on {
                return hall.end(index);
            }
            if let Some(connection) = hall.connections.get_mut(index).and_then(Option::as_mut) {
                connection.reader = reader;
            }
            if !filled.is_ok_and(|filled| !filled.drained) {
                return;
            }
        } else {
            match connection.stream.read(scratch) {
                Ok(0) => return hall.end(index),
                Ok(length) => connection.request.extend_from_slice(&scratch[..length]),
                Err(error) if is_not_now(&error) => return,
                Err(_) => return hall.end(index),
            }
            if !answer_requests(index, hall, service) {
                return hall.end(index);
            }
        }
    }
}

/// False when the client wants to end.
fn hear(
    index: usize,
    reader: &mut Reader,
    bytes: &mut [u8],
    hall: &mut Hall,
    service: &mut impl Service,
) -> bool {
    let mut goes_on = true;
    reader.parse(bytes, |opcode, payload| match opcode {
        frame::TEXT => service.hear(index, payload, hall),
        frame::CLOSE => goes_on = false,
        _ => {}
    });
    goes_on
}

/// Answers the whole requests that a connection has sent. False when one is bad.
fn answer_requests(index: usize, hall: &mut Hall, service: &mut impl Service) -> bool {
    while let Some(connection) = hall.connections[index]
        .as_mut()
        .filter(|connection| !connection.upgraded)
    {
        let Some(head) = memchr::memmem::find(&connection.request, b"\r\n\r\n").map(|end| end + 4) else {
            return connection.request.len() <= REQUEST_BYTES_MAX;
        };
        let Ok(text) = std::str::from_utf8(&connection.request[..head]) else {
            return false;
        };
        if let Some(key) = field(text, "sec-websocket-key") {
            let answer = upgrade(key, field(text, "sec-websocket-protocol"));
            connection.upgraded = true;
            connection.request = Vec::new();
            hall.send(index, answer.as_bytes());
            service.came(index, hall);
            return true;
        }
        let body = field(text, "content-length")
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap_or(0);
        if connection.request.len() < head + body {
            return body <= REQUEST_BYTES_MAX;
        }
        let mut request: Vec<u8> = connection.request.drain(..head + body).collect();
        let body = request.split_off(head);
        let answer = respond(&String::from_utf8_lossy(&request), &body, hall, service);
        hall.send(index, answer.as_bytes());
    }
    true
}

fn respond(head: &str, body: &[u8], hall: &mut Hall, service: &mut impl Service) -> String {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let room = path
        .strip_prefix("/v1/rooms/")
        .and_then(|rest| rest.strip_suffix("/events"));
    let (status, body) = match (path, room) {
        ("/livez", _) => ("200 OK", Some("{}".to_owned())),
        (_, Some(room)) => ("202 Accepted", service.post(room, body, hall)),
        _ => ("404 Not Found", Some(String::new())),
    };
    let (status, body) = body.map_or(("400 Bad Request", String::new()), |body| (status, body));
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn upgrade(key: &str, sub_protocol: Option<&str>) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let sub_protocol = sub_protocol.map_or(String::new(), |name| {
        format!("Sec-WebSocket-Protocol: {name}\r\n")
    });
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{sub_protocol}\r\n"
    )
}
