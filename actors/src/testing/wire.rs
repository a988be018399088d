//! A connection in memory: the node's end is a [`Wire`], the test plays the client at the other.

use crate::{
    logic::ws::{self, Decoder, Incoming, Limits, Opcode},
    ports::Wire,
};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    ops::ControlFlow,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// What the kernel would buffer for a client that does not read, bytes.
pub const WINDOW: usize = 64 << 10;

#[derive(Default)]
struct Pipe {
    window: usize,
    to_node: VecDeque<u8>,
    to_client: VecDeque<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    client_gone: bool,
    node_closed: bool,
    node_shut: bool,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

/// The node's end.
pub struct MemoryWire(Rc<RefCell<Pipe>>);

impl Wire for MemoryWire {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if !pipe.to_node.is_empty() || pipe.client_gone || pipe.node_closed {
            return Poll::Ready(Ok(()));
        }
        pipe.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.node_closed || (pipe.to_node.is_empty() && pipe.client_gone) {
            return Ok(0);
        }
        let bytes = buffer.len().min(pipe.to_node.len());
        if bytes == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for slot in &mut buffer[..bytes] {
            *slot = pipe.to_node.pop_front().unwrap_or_default();
        }
        Ok(bytes)
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.to_client.len() < pipe.window || pipe.client_gone || pipe.node_closed {
            return Poll::Ready(Ok(()));
        }
        pipe.writer = Some(task.waker().clone());
        Poll::Pending
    }

    fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.client_gone || pipe.node_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = pipe.window - pipe.to_client.len().min(pipe.window);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = pipe.to_client.len();
        let bytes = buffers
            .iter()
            .flat_map(|buffer| buffer.iter().copied())
            .take(room);
        pipe.to_client.extend(bytes);
        Ok(pipe.to_client.len() - before)
    }

    fn shutdown(&self, both: bool) {
        let mut pipe = self.0.borrow_mut();
        pipe.node_shut = true;
        pipe.node_closed |= both;
        pipe.wake();
    }
}

/// The client's end, speaking `greenroom.v1`.
pub struct Client {
    pipe: Rc<RefCell<Pipe>>,
    decoder: Decoder,
    /// The close code and reason that the node sent.
    pub closed: Option<(u16, String)>,
}

/// What the node has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// The two ends of a connection that holds `window` bytes which the client has not read.
pub fn connection(window: usize) -> (MemoryWire, Client) {
    let pipe = Rc::<RefCell<Pipe>>::default();
    pipe.borrow_mut().window = window;
    let limits = Limits {
        frame_bytes: 16 << 20,
        message_bytes: 16 << 20,
    };
    let client = Client {
        pipe: pipe.clone(),
        decoder: Decoder::for_client(limits),
        closed: None,
    };
    (MemoryWire(pipe), client)
}

impl Client {
    /// Sends a command.
    pub fn send(&self, json: &Value) {
        self.send_raw(&ws::masked(
            Opcode::Text,
            true,
            json.to_string().as_bytes(),
            [1, 2, 3, 4],
        ));
    }

    /// Sends bytes as they are.
    pub fn send_raw(&self, bytes: &[u8]) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.to_node.extend(bytes);
        pipe.wake();
    }

    /// Reads what is there, at most `bytes`; whole frames are returned, an incomplete one is read on next time.
    pub fn read_at_most(&mut self, bytes: usize) -> Vec<Value> {
        let json = |message| match message {
            Message::Text(text) => serde_json::from_str(&text).expect("the node sends JSON"),
            Message::Binary(_) => unreachable!("the protocol has text frames only"),
        };
        self.messages(bytes).into_iter().map(json).collect()
    }

    /// The same as messages of whatever protocol.
    pub fn messages(&mut self, bytes: usize) -> Vec<Message> {
        let mut input: Vec<u8> = {
            let mut pipe = self.pipe.borrow_mut();
            let bytes = bytes.min(pipe.to_client.len());
            let input = pipe.to_client.drain(..bytes).collect();
            pipe.wake();
            input
        };
        let mut messages = Vec::new();
        let mut pongs = Vec::new();
        let closed = &mut self.closed;
        let fed = self.decoder.feed(&mut input, &mut |incoming| {
            match incoming {
                Incoming::Text(text) => messages.push(Message::Text(text.to_owned())),
                Incoming::Binary(bytes) => messages.push(Message::Binary(bytes.to_vec())),
                Incoming::Ping(payload) => pongs.push(ws::masked(Opcode::Pong, true, payload, [0; 4])),
                Incoming::Close { code, reason } => *closed = Some((code.unwrap_or(1005), reason.to_owned())),
                Incoming::Pong(_) => {}
            }
            ControlFlow::Continue(())
        });
        fed.expect("the node sends frames that hold");
        pongs.iter().for_each(|pong| self.send_raw(pong));
        messages
    }

    /// Reads one frame, byte for byte; `null` if there is none.
    pub fn read_one(&mut self) -> Value {
        while self.unread() > 0 {
            if let Some(frame) = self.read_at_most(1).pop() {
                return frame;
            }
        }
        Value::Null
    }

    /// Reads all that is there.
    pub fn read(&mut self) -> Vec<Value> {
        self.read_at_most(usize::MAX)
    }

    /// Bytes that wait for the client.
    pub fn unread(&self) -> usize {
        self.pipe.borrow().to_client.len()
    }

    /// Whether the node has ended the connection.
    pub fn is_over(&self) -> bool {
        self.pipe.borrow().node_shut
    }

    /// The node sees the end of the connection.
    pub fn hang_up(&self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.client_gone = true;
        pipe.wake();
    }
}
