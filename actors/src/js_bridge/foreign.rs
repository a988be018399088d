//! What other servers say, as the shards are told it.

use crate::{
    logic::{
        js_cluster::{Ask, Channel, Event, Heard, Node, Opts, Request, Room},
        protocol::{self, Protocol},
        room_name::RoomName,
    },
    radio::Said,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};
use tokio::sync::mpsc::UnboundedSender;

/// Something for sockets, read by the first shard that has somebody in its room.
pub struct Foreign {
    node: Arc<Node>,
    said: Said,
    ts_ms: i64,
    read: OnceLock<Option<ForeignEvent>>,
}

impl Foreign {
    /// What was said, at `ts_ms` (milliseconds since 1970).
    pub fn new(node: Arc<Node>, said: Said, ts_ms: i64) -> Self {
        Self {
            node,
            said,
            ts_ms,
            read: OnceLock::new(),
        }
    }

    /// The one room it is for, as its channel says; `None` where only the message tells.
    pub fn room(&self) -> Option<&str> {
        match self.node.channels().parse(&self.said.channel) {
            Some(Channel::Broadcast { room }) => room,
            _ => None,
        }
    }

    /// The event, if it is one.
    pub fn event(&self) -> Option<&ForeignEvent> {
        self.read.get_or_init(|| self.read()).as_ref()
    }

    fn read(&self) -> Option<ForeignEvent> {
        match self.node.hear(&self.said.channel, &self.said.message) {
            Ok(Heard::Broadcast(broadcast)) => {
                Some(ForeignEvent::new(broadcast.event, broadcast.to, self.ts_ms))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "an event of a JavaScript server is not understood");
                None
            }
        }
    }
}

/// An event of another server.
pub struct ForeignEvent {
    /// What it says.
    pub event: Event,
    /// For whom it is.
    pub to: Opts,
    ts_ms: i64,
    /// The frames that clients share, one a form.
    frames: [OnceLock<Option<Bytes>>; Protocol::FORMS],
}

impl ForeignEvent {
    /// An event that was heard at `ts_ms`.
    pub fn new(event: Event, to: Opts, ts_ms: i64) -> Self {
        Self {
            event,
            to,
            ts_ms,
            frames: Default::default(),
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&protocol::foreign::Foreign<'_>) -> T) -> T {
        let names: Vec<Cow<'_, str>> = self.to.rooms.iter().filter_map(Room::name).collect();
        let rooms: Vec<&str> = names.iter().map(|name| &**name).collect();
        use_it(&protocol::foreign::Foreign {
            name: &self.event.name,
            args: self.event.args.get(),
            rooms: &rooms,
            ts_ms: self.ts_ms,
        })
    }

    /// The frame that every client of this protocol gets, encoded once; `None` where there is none.
    pub fn shared(&self, protocol: Protocol) -> Option<Bytes> {
        let frame =
            self.frames[protocol.form()].get_or_init(|| self.with(|foreign| foreign.shared(protocol)));
        frame.clone()
    }

    /// The frame for a client of Socket.IO that has this.
    pub fn socket_io(&self, position: &str) -> Bytes {
        self.with(|foreign| foreign.socket_io(position))
    }
}

/// What another server asks of sockets, or wants done with them.
pub struct Order {
    /// What.
    pub request: Request,
    /// Which sockets.
    pub to: Opts,
    /// The rooms to join or to leave that may have their names here.
    pub names: Vec<RoomName>,
    /// What they are to answer.
    pub event: Option<ForeignEvent>,
    /// Where their answers go, each a JSON array.
    pub answers: UnboundedSender<Box<RawValue>>,
}

impl Order {
    /// The order of a request; `None` where that is about no sockets.
    pub fn of(
        request: Request,
        name_chars: usize,
        ts_ms: i64,
        answers: UnboundedSender<Box<RawValue>>,
    ) -> Option<Self> {
        let to = request.ask.meant()?;
        let names = match &request.ask {
            Ask::Join { rooms, .. } | Ask::Leave { rooms, .. } => rooms
                .iter()
                .filter_map(Room::name)
                .filter_map(|name| RoomName::parse(&name, name_chars).ok())
                .collect(),
            _ => Vec::new(),
        };
        let event = match &request.ask {
            Ask::Broadcast { event, to, .. } => Some(ForeignEvent::new(event.clone(), to.clone(), ts_ms)),
            _ => None,
        };
        Some(Self {
            request,
            to,
            names,
            event,
            answers,
        })
    }
}
