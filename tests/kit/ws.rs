//! A client of the plain WebSocket, by an implementation that is not ours.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::within;

/// A connection.
pub struct Ws {
    socket: WebSocketStream<TcpStream>,
    /// Events that came while an answer was awaited.
    early: VecDeque<Value>,
    next_ref: u64,
}

/// What comes next on a connection.
#[derive(Debug)]
pub enum Next {
    /// A text frame.
    Frame(Value),
    /// The node's close frame.
    Closed(u16, String),
    /// The end, without a close frame.
    Cut,
}

impl Ws {
    /// Connects and asks for the sub-protocol.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// Connects, if the node lets it.
    pub async fn try_connect(address: SocketAddr) -> Result<Self, Error> {
        Self::knock(address, "", None).await
    }

    /// The same with a query behind the path, and a token in the head.
    pub async fn knock(address: SocketAddr, query: &str, token: Option<&str>) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        let mut request = format!("ws://{address}/v1/ws{query}").into_client_request()?;
        let headers = request.headers_mut();
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse()?);
        }
        headers.insert("sec-websocket-protocol", "greenroom.v1".parse()?);
        let (socket, response) = within("a handshake", client_async(request, stream)).await?;
        assert_eq!(response.headers()["sec-websocket-protocol"], "greenroom.v1");
        Ok(Self {
            socket,
            early: VecDeque::new(),
            next_ref: 0,
        })
    }

    /// The next event that somebody published: past what the node says of itself.
    pub async fn heard(&mut self) -> Value {
        loop {
            let event = self.event().await;
            if event["event"] != "greenroom" {
                return event;
            }
        }
    }

    /// The numbers of the next events that somebody published.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(super::number(&self.heard().await));
        }
        numbers
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Value) {
        self.send_raw(Message::text(frame.to_string())).await;
    }

    /// Sends a frame, if the connection still takes it.
    pub async fn try_send(&mut self, frame: &Value) -> Result<(), Error> {
        let message = Message::text(frame.to_string());
        within("a frame to be sent", self.socket.send(message)).await
    }

    /// Sends any message.
    pub async fn send_raw(&mut self, message: Message) {
        within("a frame to be sent", self.socket.send(message))
            .await
            .unwrap();
    }

    /// The next thing that comes, past pings and pongs.
    pub async fn next(&mut self) -> Next {
        if let Some(frame) = self.early.pop_front() {
            return Next::Frame(frame);
        }
        self.receive().await
    }

    async fn receive(&mut self) -> Next {
        loop {
            match within("a frame", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Next::Frame(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return Next::Closed(code.into(), reason.to_string());
                }
                Some(Ok(Message::Close(None))) => return Next::Closed(1005, String::new()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Next::Cut,
            }
        }
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Value {
        match self.next().await {
            Next::Frame(frame) => frame,
            other => panic!("a frame was to come, not {other:?}"),
        }
    }

    /// The next frame, which has to be an event.
    pub async fn event(&mut self) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "event", "{frame}");
        frame
    }

    /// The next events.
    pub async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// Sends a command with a `ref` and returns its answer; events that come first are kept for later.
    pub async fn ask(&mut self, mut command: Value) -> Value {
        self.next_ref += 1;
        command["ref"] = self.next_ref.into();
        self.send(&command).await;
        let mut before = VecDeque::new();
        loop {
            match self.receive().await {
                Next::Frame(frame) if frame["ref"] == self.next_ref => {
                    self.early.append(&mut before);
                    return frame;
                }
                Next::Frame(frame) => before.push_back(frame),
                other => panic!("{command} was to be answered, not {other:?}"),
            }
        }
    }

    /// Joins rooms; from `since` if there is one.
    pub async fn join(&mut self, rooms: &[&str], since: Option<&str>) -> Value {
        let mut command = json!({"type": "join", "rooms": rooms});
        if let Some(since) = since {
            command["since"] = since.into();
        }
        let answer = self.ask(command).await;
        assert_eq!(answer["type"], "joined", "{answer}");
        answer
    }

    /// Publishes an event that has to be accepted.
    pub async fn publish(&mut self, room: &str, event: &str, data: impl Into<Value>) -> Value {
        let command = json!({"type": "publish", "room": room, "event": event, "data": data.into()});
        let answer = self.ask(command).await;
        assert_eq!(answer["type"], "published", "{answer}");
        answer
    }

    /// Asserts that nothing has come before the answer to a ping that is sent now.
    pub async fn hears_nothing(&mut self) {
        assert!(self.early.is_empty(), "{:?}", self.early);
        let pong = self.ask(json!({"type": "ping"})).await;
        assert_eq!(pong["type"], "pong");
        assert!(self.early.is_empty(), "{:?}", self.early);
    }

    /// Reads to the end: what came, and the close frame if there was one.
    pub async fn read_to_the_end(&mut self) -> (Vec<Value>, Option<(u16, String)>) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Next::Frame(frame) => frames.push(frame),
                Next::Closed(code, reason) => {
                    // Answers the close frame and awaits the end of the connection.
                    assert!(matches!(self.receive().await, Next::Cut));
                    return (frames, Some((code, reason)));
                }
                Next::Cut => return (frames, None),
            }
        }
    }

    /// Cuts the connection, without a close frame.
    pub fn cut(self) {
        drop(self);
    }

    /// Cuts the connection by a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.socket.get_ref());
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}
