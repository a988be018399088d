//! A client of the event stream, on a plain TCP connection, so that it can be slow and can be cut.

use std::net::SocketAddr;

use serde_json::Value;

use super::Raw;

/// A stream of events.
pub struct Sse {
    raw: Raw,
    text: String,
    /// The last `id` that came: what a browser would send as `Last-Event-ID`.
    pub last_id: Option<String>,
    /// Comments that came.
    pub comments: usize,
}

/// One message of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `event:`
    pub event: String,
    /// `data:`, which is JSON.
    pub data: Value,
    /// `id:`
    pub id: Option<String>,
    /// `retry:`
    pub retry: Option<u64>,
}

impl Sse {
    /// Opens a stream that has to be granted.
    pub async fn open(address: SocketAddr, path: &str, last_event_id: Option<&str>) -> Self {
        Self::open_on(Raw::connect(address).await, path, last_event_id).await
    }

    /// Opens a stream on a connection.
    pub async fn open_on(mut raw: Raw, path: &str, last_event_id: Option<&str>) -> Self {
        let resume = last_event_id.map_or(String::new(), |id| format!("last-event-id: {id}\r\n"));
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n{resume}\r\n");
        raw.send(request.as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
        Self {
            raw,
            text: String::new(),
            last_id: None,
            comments: 0,
        }
    }

    /// The next message; `None` when the node has ended the stream or the connection.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            while let Some(at) = self.text.find("\n\n") {
                let block: String = self.text.drain(..at + 2).collect();
                if let Some(message) = self.read(&block) {
                    return Some(message);
                }
            }
            let size = self.raw.line().await?;
            let size = usize::from_str_radix(&size, 16).unwrap();
            let chunk = self.raw.take(size + 2).await?;
            if size == 0 {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    fn read(&mut self, block: &str) -> Option<Message> {
        let mut message = Message {
            event: "message".into(),
            data: Value::Null,
            id: None,
            retry: None,
        };
        let mut has_data = false;
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("id", id)) => message.id = Some(id.to_owned()),
                Some(("event", name)) => message.event = name.to_owned(),
                Some(("retry", ms)) => message.retry = Some(ms.parse().unwrap()),
                Some(("data", json)) => {
                    assert!(!has_data, "one line of data: {block:?}");
                    has_data = true;
                    message.data = serde_json::from_str(json).unwrap();
                }
                _ if line.starts_with(':') => self.comments += 1,
                _ => panic!("not a field: {line:?}"),
            }
        }
        self.last_id = message.id.clone().or(self.last_id.take());
        has_data.then_some(message)
    }

    /// The first message of every stream.
    pub async fn joined(&mut self) -> Value {
        let first = self.next().await.unwrap();
        assert_eq!(first.event, "joined", "{first:?}");
        assert_eq!(first.id.as_deref(), first.data["position"].as_str());
        first.data
    }

    /// The next message, which has to be an event of a room: the whole event.
    pub async fn event(&mut self) -> Value {
        let message = self.next().await.unwrap();
        assert_eq!(message.data["event"], *message.event, "{message:?}");
        assert!(message.id.is_some(), "{message:?}");
        message.data
    }

    /// The next events.
    pub async fn events(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The connection, to be read otherwise.
    pub fn into_raw(self) -> Raw {
        self.raw
    }

    /// Cuts the connection; returns what a browser would come back with.
    pub fn cut(self) -> Option<String> {
        self.last_id
    }
}
