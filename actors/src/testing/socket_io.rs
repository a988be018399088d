//! Clients of Socket.IO in memory, over a WebSocket, by polling, or on their way from the one to the other.

use super::{
    universe::{Shard, next_client_ids},
    wire::{Client, MemoryWire, Message, WINDOW, connection},
};
use crate::{
    engine::{Answered, Attach, EngineActor, EngineDesk, Poll, Push, Pushed},
    logic::{
        engine_io::{Timing, payload},
        protocol::Protocol,
        socket_io::{Limits, take_out},
        ws::{self, Opcode},
    },
    peer::Line,
    socket_io::{Connection, Handler, Namespaces, rooms::RoomsHandler},
};
use actix::{Actor, Addr};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    io,
    rc::Rc,
};
use tokio::sync::oneshot;

/// Milliseconds a client may take to enter a namespace.
pub const CONNECT_TIMEOUT_MS: u64 = 45_000;

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 100_000;

/// A session, as HTTP requests reach it.
pub type Session = Addr<EngineActor<MemoryWire>>;

thread_local! {
    /// Sockets on their way to a session: what hands them over could be sent to another thread, and they could not.
    static ON_THEIR_WAY: RefCell<BTreeMap<u64, MemoryWire>> = RefCell::default();
    static SENT: Cell<u64> = const { Cell::new(0) };
}

impl Shard {
    /// The rooms as the main namespace, and no other one.
    pub fn namespaces(&self) -> Namespaces<MemoryWire> {
        let rooms: Rc<dyn Handler<MemoryWire>> = Rc::new(RoomsHandler {
            desk: self.desk.clone(),
            recovery: true,
            new_ids: next_client_ids,
        });
        Namespaces {
            handlers: [("/".to_owned(), rooms)].into(),
            gate: self.desk.gate.clone(),
            clock: self.desk.clock.clone(),
            expiring_ms: self.settings.expiring_ms,
            limits: Limits {
                attachments: 10,
                attachment_bytes: PAYLOAD_BYTES,
            },
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            acks: 16,
        }
    }

    fn engine_desk(&self) -> Rc<EngineDesk<MemoryWire>> {
        Rc::new(EngineDesk {
            hub: self.desk.hub.clone(),
            timing: Timing::default(),
            frames: ws::Limits {
                frame_bytes: PAYLOAD_BYTES as u32,
                message_bytes: PAYLOAD_BYTES as u32,
            },
            payload: payload::Limits {
                bytes: PAYLOAD_BYTES,
                packets: 100,
            },
            pace: self.desk.pace,
            in_flight: self.desk.commands_in_flight,
        })
    }

    /// A client of the rooms opens a session over a WebSocket.
    pub fn socket_io(&self) -> SocketIo {
        self.socket_io_with(self.namespaces(), WINDOW)
    }

    /// The same with other namespaces, and a connection that holds `window` bytes which it has not read.
    pub fn socket_io_with(&self, namespaces: Namespaces<MemoryWire>, window: usize) -> SocketIo {
        let (wire, client) = connection(window);
        let peer = self.peer(Protocol::SocketIo, Line::Engine(OnceCell::from(wire)));
        let peer = self.desk.hub.add(peer);
        let app = Connection::new(Rc::new(namespaces), self.desk.hub.now_ms());
        EngineActor::websocket(peer, self.engine_desk(), Box::new(app), BytesMut::new()).start();
        SocketIo::new(Reached::Socket(client))
    }

    /// A client of the rooms opens a session by polling.
    pub fn socket_io_polling(&self) -> SocketIo {
        let peer = self.peer(Protocol::SocketIo, Line::Engine(OnceCell::new()));
        let peer = self.desk.hub.add(peer);
        let app = Connection::new(Rc::new(self.namespaces()), self.desk.hub.now_ms());
        let session = EngineActor::polling(peer, self.engine_desk(), Box::new(app), || ()).start();
        SocketIo::new(Reached::Polling {
            session,
            get: None,
            is_over: false,
        })
    }
}

enum Reached {
    Socket(Client),
    Polling {
        session: Session,
        get: Option<oneshot::Receiver<Answered>>,
        is_over: bool,
    },
}

/// One session of a client, as the client sees it.
pub struct SocketIo {
    reached: Reached,
    /// The socket to which it is upgraded, from the probe on.
    upgrade: Option<Client>,
    next_ack: u64,
    binary: Option<Binary>,
    /// What it was told when it entered the main namespace.
    pub greeting: Option<Value>,
    /// The events that came, name first, with their offsets.
    pub events: Vec<Vec<Value>>,
    /// The acks that came.
    pub answers: BTreeMap<u64, Value>,
    /// Whatever else came, but for pings.
    pub others: Vec<String>,
}

/// An event whose attachments have not all come.
struct Binary {
    text: String,
    attachments: Vec<Vec<u8>>,
    count: usize,
}

impl SocketIo {
    fn new(reached: Reached) -> Self {
        Self {
            reached,
            upgrade: None,
            next_ack: 0,
            binary: None,
            greeting: None,
            events: Vec::new(),
            answers: BTreeMap::new(),
            others: Vec::new(),
        }
    }

    /// Sends a packet of Engine.IO.
    pub fn send(&mut self, packet: &str) {
        match &self.reached {
            Reached::Socket(client) => {
                client.send_raw(&ws::masked(Opcode::Text, true, packet.as_bytes(), [1, 2, 3, 4]))
            }
            Reached::Polling { session, .. } => drop(post(session, packet)),
        }
    }

    /// Sends bytes over a socket.
    pub fn send_binary(&mut self, bytes: &[u8]) {
        if let Reached::Socket(client) = &self.reached {
            client.send_raw(&ws::masked(Opcode::Binary, true, bytes, [1, 2, 3, 4]));
        }
    }

    /// Sends an event and returns the id of the answer.
    pub fn emit(&mut self, name: &str, argument: &Value) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        let name = Value::from(name);
        self.send(&format!("42{id}[{name},{argument}]"));
        id
    }

    /// Takes what has come; a polling client polls again.
    pub fn listen(&mut self) {
        self.listen_to(usize::MAX);
    }

    /// The same, but only so many bytes of a socket.
    pub fn listen_to(&mut self, bytes: usize) {
        let messages = match &mut self.reached {
            Reached::Socket(client) => client.messages(bytes),
            // Once it has probed another transport it does not poll again.
            Reached::Polling {
                session,
                get,
                is_over,
            } => poll(session, get, is_over, self.upgrade.is_none()),
        };
        for message in messages {
            self.hear(message);
        }
    }

    fn hear(&mut self, message: Message) {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => return self.attachment(bytes),
        };
        assert!(self.binary.is_none(), "{text} instead of an attachment");
        if text == "2" {
            return self.send("3");
        }
        if let Some(json) = text.strip_prefix("40{") {
            let greeting = serde_json::from_str(&format!("{{{json}")).expect("JSON");
            let before = self.greeting.replace(greeting);
            assert!(before.is_none(), "greeted twice: {before:?}");
        } else if text.starts_with("42[") {
            self.event(&text[2..]);
        } else if let Some(rest) = text.strip_prefix("45") {
            let (count, json) = rest.split_once('-').expect("a number of attachments");
            self.binary = Some(Binary {
                text: json.to_owned(),
                attachments: Vec::new(),
                count: count.parse().expect("a number"),
            });
        } else if let Some(rest) = text.strip_prefix("43") {
            let (id, json) = rest.split_once('[').expect("an array");
            let array: Value = serde_json::from_str(&format!("[{json}")).expect("JSON");
            let id = id.parse().expect("an id");
            let before = self.answers.insert(id, array[0].clone());
            assert!(before.is_none(), "{id} was answered twice");
        } else {
            self.others.push(text);
        }
    }

    fn attachment(&mut self, bytes: Vec<u8>) {
        let mut binary = self.binary.take().expect("an attachment that was announced");
        binary.attachments.push(bytes);
        if binary.attachments.len() == binary.count {
            self.event(&binary.text);
        } else {
            self.binary = Some(binary);
        }
    }

    fn event(&mut self, json: &str) {
        assert!(self.greeting.is_some(), "{json} before the greeting");
        assert!(take_out(json).is_none(), "{json}: bytes are attachments");
        self.events.push(serde_json::from_str(json).expect("an array"));
    }

    /// Whether the node has ended it.
    pub fn is_over(&self) -> bool {
        match &self.reached {
            Reached::Socket(client) => client.is_over(),
            Reached::Polling { is_over, session, .. } => *is_over || !session.connected(),
        }
    }

    /// The connection breaks, and the node sees it: a polling session's pending GET is gone.
    pub fn hang_up(&mut self) {
        match &mut self.reached {
            Reached::Socket(client) => client.hang_up(),
            Reached::Polling { session, get, .. } => {
                // One that polls no more is noticed when it does not answer a ping.
                if get.is_none() {
                    drop(poll(session, get, &mut false, true));
                }
                *get = None;
            }
        }
    }

    /// The session, if it is reached by polling.
    pub fn session(&self) -> Option<&Session> {
        match &self.reached {
            Reached::Socket(_) => None,
            Reached::Polling { session, .. } => Some(session),
        }
    }

    /// A polling client opens a WebSocket and probes it.
    pub fn probe(&mut self) {
        let Some(session) = self.session() else { return };
        let client = attach(session);
        client.send_raw(&ws::masked(Opcode::Text, true, b"2probe", [1, 2, 3, 4]));
        self.upgrade = Some(client);
    }

    /// It goes on over the WebSocket, once the node has answered the probe and the last GET.
    pub fn upgrade(&mut self) {
        let Some(mut client) = self.upgrade.take() else {
            return;
        };
        let heard = client.messages(usize::MAX);
        assert_eq!(heard, [Message::Text("3probe".into())]);
        client.send_raw(&ws::masked(Opcode::Text, true, b"5", [1, 2, 3, 4]));
        self.reached = Reached::Socket(client);
    }
}

/// Opens a WebSocket with the id of this session; the head of an HTTP answer is left out.
pub fn attach(session: &Session) -> Client {
    let (wire, client) = connection(WINDOW);
    let number = SENT.replace(SENT.get() + 1);
    ON_THEIR_WAY.with_borrow_mut(|wires| wires.insert(number, wire));
    let wire = move || {
        let wire = ON_THEIR_WAY.with_borrow_mut(|wires| wires.remove(&number));
        wire.ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let attach = Attach {
        wire: Box::new(wire),
        head: Bytes::new(),
        early: Vec::new(),
    };
    assert!(session.try_send(attach).is_ok(), "a session");
    client
}

/// Posts a payload.
pub fn post(session: &Session, payload: &str) -> oneshot::Receiver<Answered> {
    let (answer, answered) = oneshot::channel();
    // A session that is over answers nothing.
    if session
        .try_send(Push {
            octets: false,
            answer,
        })
        .is_ok()
    {
        let _ = session.try_send(Pushed::Body(Bytes::from(payload.to_owned())));
    }
    answered
}

/// Takes what a GET has brought, if there is one, and sees to it that there is one if it is to poll again.
fn poll(
    session: &Session,
    get: &mut Option<oneshot::Receiver<Answered>>,
    is_over: &mut bool,
    again: bool,
) -> Vec<Message> {
    let mut messages = Vec::new();
    if let Some(answered) = get {
        match answered.try_recv() {
            Ok(Answered::Payload(body)) => {
                messages = payload_messages(&body);
                *get = None;
            }
            Ok(_) | Err(oneshot::error::TryRecvError::Closed) => *is_over = true,
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
    }
    *is_over |= messages.contains(&Message::Text("1".into()));
    if again && get.is_none() && !*is_over {
        let (answer, answered) = oneshot::channel();
        *is_over |= session.try_send(Poll(answer)).is_err();
        *get = Some(answered);
    }
    messages
}

fn payload_messages(body: &[u8]) -> Vec<Message> {
    use crate::logic::engine_io::Packet;
    let text = std::str::from_utf8(body).expect("a payload is text");
    let packets = text.split(payload::SEPARATOR);
    let message = |packet: &str| match Packet::decode_text(packet).expect("a packet") {
        Packet::Binary(bytes) => Message::Binary(bytes.into_owned()),
        _ => Message::Text(packet.to_owned()),
    };
    packets.map(message).collect()
}

/// A client that comes back by itself, with what the stock client remembers of the sessions before.
#[derive(Default)]
pub struct Stock {
    /// The session that it is in now.
    pub now: Option<SocketIo>,
    /// Its secret.
    pub pid: Option<String>,
    /// Its public id.
    pub sid: Option<String>,
    /// The last text that came as the last argument of an event.
    pub offset: Option<String>,
    /// Whether it is where it was: `None` before it was told.
    pub recovered: Option<bool>,
    /// The events since it was new, without their offsets.
    pub events: Vec<Vec<Value>>,
    /// How often it was new.
    pub lives: u32,
}

impl Stock {
    /// Enters the main namespace over a session. What it was in before is left as it is, as one that is half open.
    pub fn enter(&mut self, mut session: SocketIo) -> Option<SocketIo> {
        let auth = match &self.pid {
            None => serde_json::json!({}),
            Some(pid) => match &self.offset {
                None => serde_json::json!({"pid": pid}),
                Some(offset) => serde_json::json!({"pid": pid, "offset": offset}),
            },
        };
        session.send(&format!("40{auth}"));
        self.recovered = None;
        self.now.replace(session)
    }

    /// Takes what has come.
    pub fn listen(&mut self) {
        self.listen_to(usize::MAX);
    }

    /// The same, but only so many bytes.
    pub fn listen_to(&mut self, bytes: usize) {
        let Some(now) = &mut self.now else { return };
        now.listen_to(bytes);
        if let Some(greeting) = now.greeting.as_ref().filter(|_| self.recovered.is_none()) {
            let text = |name: &str| greeting[name].as_str().map(str::to_owned);
            let recovered = self.pid.is_some() && self.pid == text("pid");
            self.recovered = Some(recovered);
            (self.pid, self.sid) = (text("pid"), text("sid"));
            if !recovered {
                self.events.clear();
                self.lives += 1;
            }
        }
        for mut event in std::mem::take(&mut now.events) {
            if let Some(Value::String(offset)) = event.last() {
                self.offset = Some(offset.clone());
                event.pop();
            }
            self.events.push(event);
        }
    }

    /// The session that it is in.
    pub fn now(&mut self) -> &mut SocketIo {
        self.now.as_mut().expect("a session")
    }

    /// The numbers that its events say: `e` with a number, or thoughts, merged or not.
    pub fn numbers(&self) -> Vec<u64> {
        self.events.iter().flat_map(|event| numbers_of(event)).collect()
    }
}

/// The numbers that an event says.
pub fn numbers_of(event: &[Value]) -> Vec<u64> {
    let data = event.get(1).unwrap_or(&Value::Null);
    let thought = |data: &Value| data["thought"].as_str().and_then(|text| text.parse().ok());
    match (data.as_u64(), data["thoughts"].as_array()) {
        (Some(number), _) => vec![number],
        (None, Some(thoughts)) => thoughts.iter().filter_map(thought).collect(),
        (None, None) => thought(data).into_iter().collect(),
    }
}
