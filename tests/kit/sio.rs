//! A client of Socket.IO that knows the wire and nothing else: over a WebSocket, or by polling.

use std::collections::VecDeque;
use std::net::SocketAddr;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::http::{Answer, Http, send};
use super::raw::{self, BINARY, CLOSE, PING, PONG, Raw, TEXT};

/// The handshake of a WebSocket with this query.
pub fn handshake(query: &str) -> String {
    format!(
        "GET /socket.io/?{query} HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// What comes next on a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A packet.
    Packet(String),
    /// An attachment.
    Bytes(Vec<u8>),
    /// The end, with the code of the close frame: 1005 if it had none, `None` if there was no close frame.
    End(Option<u16>),
}

/// A session over a WebSocket.
pub struct Sio {
    raw: Raw,
    next_ack: u64,
    early: VecDeque<Vec<Value>>,
    /// Its public id.
    pub sid: String,
    /// Its secret.
    pub pid: Option<String>,
    /// What the stock client would keep as its offset.
    pub offset: Option<String>,
}

impl Sio {
    /// Opens a session.
    pub async fn open(address: SocketAddr) -> Self {
        let mut sio = Self::attach(address, "EIO=4&transport=websocket").await;
        let open = sio.packet().await;
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!([]), "{open}");
        sio
    }

    /// Completes a handshake that has to be granted.
    pub async fn attach(address: SocketAddr, query: &str) -> Self {
        let mut raw = Raw::connect(address).await;
        raw.send(handshake(query).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self {
            raw,
            next_ack: 0,
            early: VecDeque::new(),
            sid: String::new(),
            pid: None,
            offset: None,
        }
    }

    /// Opens a session and enters the main namespace.
    pub async fn enter(address: SocketAddr) -> Self {
        let mut sio = Self::open(address).await;
        let greeting = sio.greet(&json!({})).await;
        assert!(greeting["pid"].is_string(), "{greeting}");
        sio
    }

    /// Opens a session and comes back with what another one had. Returns whether it is where that one was.
    pub async fn back(address: SocketAddr, pid: &str, offset: Option<&str>) -> (Self, bool) {
        let mut sio = Self::open(address).await;
        let auth = match offset {
            Some(offset) => json!({"pid": pid, "offset": offset}),
            None => json!({"pid": pid}),
        };
        let greeting = sio.greet(&auth).await;
        (sio, greeting["pid"] == pid)
    }

    /// Enters the main namespace.
    pub async fn greet(&mut self, auth: &Value) -> Value {
        self.send(&format!("40{auth}")).await;
        let greeting = self.packet().await;
        let greeting: Value = serde_json::from_str(greeting.strip_prefix("40").unwrap()).unwrap();
        self.sid = greeting["sid"].as_str().unwrap().to_owned();
        self.pid = greeting["pid"].as_str().map(str::to_owned);
        greeting
    }

    /// Opens a session that is in these rooms.
    pub async fn joined(address: SocketAddr, rooms: &[&str]) -> Self {
        let mut sio = Self::enter(address).await;
        for room in rooms {
            sio.join(room).await;
        }
        sio
    }

    /// Joins a room.
    pub async fn join(&mut self, room: &str) -> Value {
        let answer = self.ask("join", &json!(room)).await;
        assert_eq!(
            (&answer["ok"], &answer["room"]),
            (&json!(true), &json!(room)),
            "{answer}"
        );
        answer
    }

    /// Sends a packet of Engine.IO.
    pub async fn send(&mut self, packet: &str) {
        self.raw.send(&raw::text(packet)).await;
    }

    /// Sends it, if the node still takes it.
    pub async fn try_send(&mut self, packet: &str) {
        self.raw.try_send(&raw::text(packet)).await;
    }

    /// Sends bytes in one message.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.raw.send(&raw::frame(true, BINARY, bytes)).await;
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.raw.send(bytes).await;
    }

    /// What comes next, past pings, which are answered.
    pub async fn next(&mut self) -> Next {
        loop {
            match self.heard().await {
                Next::Packet(packet) if packet == "2" => self.try_send("3").await,
                next => return next,
            }
        }
    }

    /// What comes next, whatever it is.
    pub async fn heard(&mut self) -> Next {
        loop {
            return match self.raw.frame().await {
                Some((TEXT, text)) => Next::Packet(String::from_utf8(text).unwrap()),
                Some((BINARY, bytes)) => Next::Bytes(bytes),
                Some((CLOSE, payload)) => Next::End(Some(match payload[..] {
                    [high, low, ..] => u16::from_be_bytes([high, low]),
                    _ => 1005,
                })),
                Some((PING | PONG, _)) => continue,
                Some((opcode, _)) => panic!("opcode {opcode}"),
                None => Next::End(None),
            };
        }
    }

    /// The next packet.
    pub async fn packet(&mut self) -> String {
        match self.next().await {
            Next::Packet(packet) => packet,
            other => panic!("a packet was to come, not {other:?}"),
        }
    }

    /// The next event without its offset, its attachments left aside.
    pub async fn event(&mut self) -> Vec<Value> {
        if let Some(event) = self.early.pop_front() {
            return event;
        }
        let packet = self.packet().await;
        self.event_in(&packet)
    }

    fn event_in(&mut self, packet: &str) -> Vec<Value> {
        let json = packet
            .strip_prefix("42")
            .unwrap_or_else(|| panic!("no event: {packet}"));
        let mut event: Vec<Value> = serde_json::from_str(json).unwrap();
        let Some(Value::String(offset)) = event.pop() else {
            panic!("an event has an offset: {packet}");
        };
        self.offset = Some(offset);
        event
    }

    /// The numbers of the next events that somebody published: past what the node says of itself.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            let event = self.event().await;
            if event[0] != "greenroom" {
                numbers.push(event[1].as_u64().unwrap());
            }
        }
        numbers
    }

    /// Sends an event and returns its ack; events that come first are kept for later.
    pub async fn ask(&mut self, name: &str, argument: &Value) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        let name = Value::from(name);
        self.send(&format!("42{id}[{name},{argument}]")).await;
        let ack = format!("43{id}[");
        loop {
            let packet = self.packet().await;
            if let Some(json) = packet.strip_prefix(&ack) {
                let answer: Vec<Value> = serde_json::from_str(&format!("[{json}")).unwrap();
                assert_eq!(answer.len(), 1, "{packet}");
                return answer.into_iter().next().unwrap();
            }
            let event = self.event_in(&packet);
            self.early.push_back(event);
        }
    }

    /// Asserts that nothing has come before the answer to a question that is asked now.
    pub async fn hears_nothing(&mut self) {
        assert!(self.early.is_empty(), "{:?}", self.early);
        let answer = self.ask("presence", &json!("nobody")).await;
        assert_eq!(answer["ok"], true, "{answer}");
        assert!(self.early.is_empty(), "{:?}", self.early);
    }

    /// Reads to the end: what came, and the close frame's code.
    pub async fn ended(&mut self) -> (Vec<String>, Option<u16>) {
        let mut packets = Vec::new();
        loop {
            match self.next().await {
                Next::Packet(packet) => packets.push(packet),
                Next::Bytes(bytes) => packets.push(format!("{} bytes", bytes.len())),
                Next::End(code) => return (packets, code),
            }
        }
    }

    /// Cuts the connection by a reset.
    pub fn reset(self) {
        self.raw.reset();
    }
}

/// A session by polling.
#[derive(Clone)]
pub struct Polling {
    http: Http,
    /// Its secret id.
    pub sid: String,
    /// What it was told when it began.
    pub open: Value,
}

impl Polling {
    /// Opens a session.
    pub async fn open(http: &Http) -> Self {
        let answer = http.get("/socket.io/?EIO=4&transport=polling").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let open: Value = serde_json::from_str(answer.text.strip_prefix('0').unwrap()).unwrap();
        Self {
            http: http.clone(),
            sid: open["sid"].as_str().unwrap().to_owned(),
            open,
        }
    }

    /// Opens a session and enters the main namespace.
    pub async fn enter(http: &Http) -> (Self, Value) {
        let polling = Self::open(http).await;
        polling.say("40").await;
        let greeting = polling.get().await.text;
        (
            polling,
            serde_json::from_str(greeting.strip_prefix("40").unwrap()).unwrap(),
        )
    }

    /// The same session by another node.
    pub fn by(&self, http: &Http) -> Self {
        Self {
            http: http.clone(),
            ..self.clone()
        }
    }

    /// Where its requests go.
    pub fn path(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    /// Polls once.
    pub async fn get(&self) -> Answer {
        self.http.get(&self.path()).await
    }

    /// Polls until there is something other than a ping, which is answered.
    pub async fn packets(&self) -> Vec<String> {
        loop {
            let answer = self.get().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let packets = answer.text.split('\u{1e}').map(str::to_owned);
            let (pings, packets): (Vec<String>, Vec<String>) = packets.partition(|packet| packet == "2");
            if !pings.is_empty() {
                self.say("3").await;
            }
            if !packets.is_empty() {
                return packets;
            }
        }
    }

    /// Posts.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        self.post_as("text/plain;charset=UTF-8", body).await
    }

    /// Posts something of that type.
    pub async fn post_as(&self, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.request(Method::POST, &self.path());
        send(request.header(CONTENT_TYPE, kind).body(body)).await
    }

    /// Posts what has to be taken.
    pub async fn say(&self, packets: &str) {
        let answer = self.post(packets.to_owned()).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "ok"), "{answer:?}");
    }

    /// Asserts that the session is over.
    pub async fn is_over(&self) {
        fault(&self.get().await, 1, "Session ID unknown");
    }
}

/// Asserts that this is the fault with that number.
pub fn fault(answer: &Answer, code: u64, message: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json(), json!({"code": code, "message": message}));
}
