//! What other servers ask of all servers.

use super::{
    DEPTH_MAX, DecodeError, Event, Opts, Room,
    broadcast::Packet,
    msgpack::Reader,
    opts::{rooms, truth},
};
use crate::logic::socket_io::{JSON_DEPTH_MAX, depth_within};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What another server asks, or tells us to do. The types 8 and 9 are answers only: [`Answered`](super::Answered).
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks; redis-emitter does not say.
    pub uid: Option<String>,
    /// What.
    pub ask: Ask,
}

/// The kinds of requests. An `id` comes back in the answer.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Which sockets are in any of these rooms? Type 0, of old versions.
    Sockets {
        /// Its id.
        id: String,
        /// The rooms; none for all sockets.
        rooms: Vec<Room>,
    },
    /// Which rooms are there? Type 1.
    AllRooms {
        /// Its id.
        id: String,
    },
    /// Let sockets join rooms. Type 2.
    Join {
        /// The sockets.
        who: Who,
        /// The rooms.
        rooms: Vec<Room>,
    },
    /// Let sockets leave rooms. Type 3.
    Leave {
        /// The sockets.
        who: Who,
        /// The rooms.
        rooms: Vec<Room>,
    },
    /// Put sockets out of the namespace. Type 4.
    Disconnect {
        /// The sockets.
        who: Who,
        /// Whether to close their connections, too, with all other namespaces.
        close: bool,
    },
    /// Which sockets are there, and what is known of them? Type 5.
    Fetch {
        /// Its id.
        id: String,
        /// The sockets.
        to: Opts,
    },
    /// An event for the servers themselves. Type 6.
    Emit {
        /// Its id, where an answer is wanted.
        id: Option<String>,
        /// The arguments of `serverSideEmit`, the event's name first: a JSON array.
        data: Box<RawValue>,
    },
    /// An event for sockets that are to answer. Type 7.
    Broadcast {
        /// Its id.
        id: String,
        /// What it says.
        event: Event,
        /// The sockets, and how long to wait.
        to: Opts,
    },
}

impl Ask {
    /// Which sockets it is about; `None` where it is about none.
    pub fn meant(&self) -> Option<Opts> {
        match self {
            Self::Sockets { rooms, .. } => Some(Opts {
                rooms: rooms.clone(),
                ..Opts::default()
            }),
            Self::AllRooms { .. } => Some(Opts::default()),
            Self::Join { who, .. } | Self::Leave { who, .. } | Self::Disconnect { who, .. } => {
                Some(match who {
                    Who::All(to) => to.clone(),
                    Who::One { sid, .. } => Opts::to([sid.as_str()]),
                })
            }
            Self::Fetch { to, .. } | Self::Broadcast { to, .. } => Some(to.clone()),
            Self::Emit { .. } => None,
        }
    }
}

/// The sockets that are to do something.
#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    /// All of these.
    All(Opts),
    /// This one, if it is ours. Asked so by old versions, which want to be told when it is done.
    One {
        /// The socket's id.
        sid: String,
        /// The request's id.
        id: Option<String>,
    },
}

/// All that requests have, whichever they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    uid: Option<String>,
    request_id: Option<String>,
    r#type: u64,
    opts: Option<Opts>,
    #[serde(default, deserialize_with = "rooms")]
    rooms: Vec<Room>,
    room: Option<Room>,
    sid: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    close: bool,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<Packet<'a>>,
}

/// The JSON of a request or an answer, perhaps not valid: it begins with `{`, or it was a map of MessagePack.
pub(super) fn json(message: &[u8]) -> Result<Cow<'_, str>, DecodeError> {
    if message.first() == Some(&b'{') {
        let json = String::from_utf8_lossy(message);
        let fits = depth_within(&json, DEPTH_MAX);
        return fits.then_some(json).ok_or(DecodeError::TooDeep);
    }
    let mut reader = Reader::new(message);
    let json = reader.json()?;
    match (reader.is_at_end(), json.starts_with('{')) {
        (true, true) => Ok(Cow::Owned(json)),
        (true, false) => Err(DecodeError::Shape),
        (false, _) => Err(DecodeError::NotMessagePack),
    }
}

/// Reads a request.
pub(super) fn decode(message: &[u8]) -> Result<Request, DecodeError> {
    let json = json(message)?;
    let raw: Raw<'_> = serde_json::from_str(&json).map_err(DecodeError::of_json)?;
    let uid = raw.uid.clone();
    Ok(Request { uid, ask: raw.ask()? })
}

impl Raw<'_> {
    fn ask(self) -> Result<Ask, DecodeError> {
        Ok(match self.r#type {
            0 => Ask::Sockets {
                id: self.request_id.ok_or(DecodeError::Shape)?,
                rooms: self.rooms,
            },
            1 => Ask::AllRooms {
                id: self.request_id.ok_or(DecodeError::Shape)?,
            },
            2 | 3 => self.moving()?,
            4 => Ask::Disconnect {
                close: self.close,
                who: who(self.opts, self.sid, self.request_id)?,
            },
            5 => Ask::Fetch {
                id: self.request_id.ok_or(DecodeError::Shape)?,
                to: self.opts.ok_or(DecodeError::Shape)?,
            },
            6 => Ask::Emit {
                id: self.request_id,
                data: server_event(self.data)?.to_owned(),
            },
            7 => Ask::Broadcast {
                id: self.request_id.ok_or(DecodeError::Shape)?,
                event: self.packet.ok_or(DecodeError::Shape)?.event()?,
                to: self.opts.ok_or(DecodeError::Shape)?,
            },
            other => return Err(DecodeError::UnknownType(other)),
        })
    }

    fn moving(self) -> Result<Ask, DecodeError> {
        let Self { opts, sid, .. } = self;
        let rooms = if opts.is_some() {
            self.rooms
        } else {
            self.room.into_iter().collect()
        };
        let who = who(opts, sid, self.request_id)?;
        Ok(if self.r#type == 2 {
            Ask::Join { who, rooms }
        } else {
            Ask::Leave { who, rooms }
        })
    }
}

fn who(opts: Option<Opts>, sid: Option<String>, id: Option<String>) -> Result<Who, DecodeError> {
    match (opts, sid) {
        (Some(opts), _) => Ok(Who::All(opts)),
        (None, Some(sid)) => Ok(Who::One { sid, id }),
        (None, None) => Err(DecodeError::Shape),
    }
}

fn server_event(data: Option<&RawValue>) -> Result<&RawValue, DecodeError> {
    let data = data.filter(|data| data.get().starts_with('['));
    let data = data.ok_or(DecodeError::Shape)?;
    if depth_within(data.get(), JSON_DEPTH_MAX) {
        Ok(data)
    } else {
        Err(DecodeError::TooDeep)
    }
}
