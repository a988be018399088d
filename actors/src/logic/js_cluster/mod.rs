//! A node in a cluster of JavaScript Socket.IO servers, as pure functions: what `@socket.io/redis-adapter` 8.3.0 (the
//! classic one, by PUBLISH and SUBSCRIBE) and `@socket.io/redis-emitter` 5.1.0 say, and what they are answered.
//!
//! # How to use it
//!
//! One [`Node`] a namespace. Subscribe to [`Channels::pattern`] (PSUBSCRIBE) and, exactly once a node, to
//! [`Channels::request`] (SUBSCRIBE): JavaScript counts the subscribers of that channel, waits for as many answers, and
//! fails after five seconds without them. The channels of answers are needed only by who asks others. Give each message to
//! [`Node::hear`]; before that, [`Channels::parse`] tells whether it is for a room that nobody here is in, and then it need
//! not be read. A [`Heard::Broadcast`] is for the sockets here that its [`Opts::selection`] has. A [`Heard::Request`] goes
//! to [`Node::answer`] with all sockets of the namespace on this node, of every thread: do what the [`Answer`] says and
//! publish what it gives or makes, also where nobody is meant: who asks counts the answers. What fails to decode is logged
//! and forgotten. For an event of our own, [`Node::publish`] gives what to publish; sockets here do not get it by that.
//!
//! # Who ignores whom
//!
//! Greenroom nodes have a bus of their own. So their ids begin with [`Uid::MARKER`], and whatever such an id says is
//! [`Heard::Ours`], unread, be it from another node or an echo of our own. JavaScript servers take any text for an id; their
//! own are six characters of `[A-Za-z0-9_-]` and have no dot, that of the emitter is `emitter`. (The adapter obeys its own
//! commands when it hears them; a Greenroom node that ever gives some carries them out before.)
//!
//! # Bounds
//!
//! A message has at most [`Options::message_bytes`]; its JSON is at most nine times as long and [`DEPTH_MAX`] deep, a list
//! of rooms has at most [`ROOMS_MAX`]. No tree of values is built: that is why `rmpv` is not used here, whose values take 32
//! bytes and more for one byte of a message, and which looks for a maintainer.
//!
//! Facts from `lib/index.ts` of the adapter, and from notepack.io 3.0.1, which it uses.

mod answer;
mod broadcast;
mod channels;
mod msgpack;
mod opts;
mod requests;
mod responses;
mod side_rooms;
#[cfg(test)]
mod tests;

pub use answer::{AckReply, Answer, EmitReply, FetchReply, Found, Socket};
pub use broadcast::{Broadcast, Event};
pub use channels::{Channel, Channels};
pub use opts::{Flags, Opts, ROOMS_MAX, Room, Selection};
pub use requests::{Ask, Request, Who};
pub use responses::{Answered, Fetched, Response};
pub use side_rooms::SideRooms;

use super::socket_io::{JSON_DEPTH_MAX, encode::Args};
use bytes::Bytes;
use std::fmt;

/// How deep arrays and maps of a message may go: as deep as what clients may send, and what is around it.
pub const DEPTH_MAX: usize = JSON_DEPTH_MAX + 3;

/// The largest message that is read by default, in bytes: a few times what a client may send to a JavaScript server.
pub const MESSAGE_BYTES_DEFAULT: usize = 4 << 20;

/// The id of a Greenroom node among JavaScript servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uid(String);

impl Uid {
    /// What the ids of all Greenroom nodes begin with.
    pub const MARKER: &'static str = "grn.";

    /// An id from random bits: the marker and 16 digits.
    pub fn from_random(bits: u64) -> Self {
        Self(format!("{}{bits:016x}", Self::MARKER))
    }

    /// Whether this is the id of a Greenroom node.
    pub fn is_ours(uid: &str) -> bool {
        uid.starts_with(Self::MARKER)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the cluster is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The adapter's `key`.
    pub prefix: String,
    /// The namespace with its slash.
    pub namespace: String,
    /// The adapter's `publishOnSpecificResponseChannel`: answers go to who asks only. Servers hear them in both ways.
    pub answers_to_one: bool,
    /// The largest message that is read.
    pub message_bytes: usize,
}

/// The adapter's defaults, and the main namespace.
impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "socket.io".to_owned(),
            namespace: "/".to_owned(),
            answers_to_one: false,
            message_bytes: MESSAGE_BYTES_DEFAULT,
        }
    }
}

/// This node's part in the cluster, for one namespace.
#[derive(Clone, Debug)]
pub struct Node {
    uid: Uid,
    options: Options,
    channels: Channels,
}

/// Something to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub channel: String,
    /// What.
    pub message: Bytes,
}

/// What a message says.
#[derive(Clone, Debug)]
pub enum Heard {
    /// An event for sockets.
    Broadcast(Broadcast),
    /// A question or a command: see [`Node::answer`].
    Request(Request),
    /// An answer, to us or to somebody else.
    Response(Response),
    /// A Greenroom node says it, perhaps this one.
    Ours,
    /// It is on a channel of something else, or for another namespace.
    NotForUs,
}

/// Why a message is not understood. None of them is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than this node reads.
    #[error("a message has at most {limit} bytes, this one has {bytes}")]
    TooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested more than [`DEPTH_MAX`] deep, or an event more than [`JSON_DEPTH_MAX`].
    #[error("the message is nested too deep")]
    TooDeep,
    /// No MessagePack, only a part of a value, or something behind it.
    #[error("the message is not one value of MessagePack")]
    NotMessagePack,
    /// It begins with `{` and is not JSON.
    #[error("the message is not JSON")]
    NotJson,
    /// Something is missing, of another kind, or too long a list.
    #[error("the message is not as it should be")]
    Shape,
    /// A request or an answer of a type that there is not.
    #[error("messages of type {0} are not known here")]
    UnknownType(u64),
}

impl DecodeError {
    fn of_json(error: serde_json::Error) -> Self {
        if error.is_data() {
            Self::Shape
        } else {
            Self::NotJson
        }
    }
}

/// Why an event is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Its name and arguments are an array more than [`JSON_DEPTH_MAX`] deep: JavaScript reads with a stack.
    #[error("the event's data is nested too deep")]
    TooDeep,
}

impl Node {
    /// A node that calls itself so.
    pub fn new(uid: Uid, options: Options) -> Self {
        let channels = Channels::new(&options.prefix, &options.namespace);
        Self {
            uid,
            options,
            channels,
        }
    }

    /// The channels of its namespace.
    pub const fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Whether a message of a [`Channel::Broadcast`] is of a Greenroom node. Quick: the rest of it is not read.
    pub fn is_ours(&self, message: &[u8]) -> bool {
        broadcast::is_ours(message, Uid::is_ours)
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// It is not understood.
    pub fn hear(&self, channel: &str, message: &[u8]) -> Result<Heard, DecodeError> {
        let Some(channel) = self.channels.parse(channel) else {
            return Ok(Heard::NotForUs);
        };
        let (bytes, limit) = (message.len(), self.options.message_bytes);
        if bytes > limit {
            return Err(DecodeError::TooLarge { bytes, limit });
        }
        Ok(match channel {
            Channel::Broadcast { .. } => match broadcast::decode(message, Uid::is_ours)? {
                None => Heard::Ours,
                Some(broadcast) if broadcast.namespace == self.options.namespace => {
                    Heard::Broadcast(broadcast)
                }
                Some(_) => Heard::NotForUs,
            },
            Channel::Request => {
                let request = requests::decode(message)?;
                let is_ours = request.uid.as_deref().is_some_and(Uid::is_ours);
                if is_ours {
                    Heard::Ours
                } else {
                    Heard::Request(request)
                }
            }
            Channel::Response { .. } => Heard::Response(responses::decode(message)?),
        })
    }

    /// What to do about a request, and what to publish. `sockets` are those of the namespace here, all of them.
    pub fn answer(&self, request: Request, sockets: &[Socket<'_>]) -> Answer {
        let one = request.uid.as_deref().filter(|_| self.options.answers_to_one);
        let reply_to = match one {
            Some(uid) => self.channels.response_to(uid),
            None => self.channels.response().to_owned(),
        };
        answer::answer(request, sockets, &self.channels, reply_to)
    }

    /// What to publish for an event of ours, so that sockets of other servers get it. `event` is valid JSON, with bytes as
    /// `{"$binary":"<base64>"}`.
    ///
    /// # Errors
    ///
    /// Its data is nested too deep.
    pub fn publish(&self, event: Args<'_>, to: &Opts) -> Result<Publish, EncodeError> {
        let channel = match to.rooms.as_slice() {
            [room] => room.name().map(|name| self.channels.room(&name)),
            _ => None,
        };
        Ok(Publish {
            channel: channel.unwrap_or_else(|| self.channels.broadcast().to_owned()),
            message: broadcast::encode(self.uid.as_str(), &self.options.namespace, event, to)?,
        })
    }
}
