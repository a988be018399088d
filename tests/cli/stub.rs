//! A node that says what a test tells it to: one connection, one answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// What the stub does with one connection.
pub enum Answer {
    /// Writes this and closes.
    Then(String),
    /// Writes this and keeps the connection open.
    Stay(String),
}

/// A request as it came.
#[derive(Debug)]
pub struct Request {
    /// `GET /v1/... HTTP/1.1` and the headers, names in small letters.
    pub head: String,
    pub body: String,
}

impl Request {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| -> Option<usize> {
            line.strip_prefix(name)?
                .starts_with(": ")
                .then_some(name.len() + 2)
        };
        self.head.lines().find_map(|line| Some(&line[value(line)?..]))
    }
}

pub struct Stub {
    pub url: String,
    requests: Receiver<Request>,
}

impl Stub {
    /// Answers the first connections with these, and is gone after the last.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<Answer> = answers.into_iter().collect();
        let (sender, requests) = channel();
        thread::spawn(move || {
            let mut open = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().unwrap();
                sender.send(read_request(&socket)).unwrap();
                match answer {
                    Answer::Then(text) => socket.write_all(text.as_bytes()).unwrap(),
                    Answer::Stay(text) => {
                        socket.write_all(text.as_bytes()).unwrap();
                        open.push(socket);
                    }
                }
            }
            drop(listener);
            thread::sleep(Duration::from_secs(60));
        });
        Self { url, requests }
    }

    /// The next request that came.
    pub fn request(&self) -> Request {
        self.requests
            .recv_timeout(Duration::from_secs(20))
            .expect("a request")
    }

    pub fn no_more_requests(&self) -> bool {
        matches!(
            self.requests.recv_timeout(Duration::from_millis(50)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)
        )
    }
}

fn read_request(socket: &TcpStream) -> Request {
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "cut off: {head}");
    }
    let mut lines: Vec<String> = head.trim_end().lines().map(str::to_owned).collect();
    for line in &mut lines[1..] {
        let (name, value) = line.split_once(':').unwrap();
        *line = format!("{}: {}", name.to_lowercase(), value.trim());
    }
    let mut request = Request {
        head: lines.join("\n"),
        body: String::new(),
    };
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.body = String::from_utf8(body).unwrap();
    request
}

/// A JSON answer.
pub fn json(status: &str, body: &str) -> Answer {
    json_with(status, "", body)
}

/// A JSON answer with headers, each ended by `\r\n`.
pub fn json_with(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Then(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

/// The beginning of an event stream that ends when the connection does.
pub fn stream(messages: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{messages}")
}
