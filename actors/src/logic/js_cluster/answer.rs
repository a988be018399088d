//! What is to be done about a request, and what is to be answered.

use super::{
    Ask, Channels, Event, Fetched, Publish, Request, Room, Who,
    opts::{Opts, Selection},
    responses,
};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

/// A socket of ours in the namespace.
#[derive(Clone, Copy, Debug)]
pub struct Socket<'a> {
    /// Its id: one of its rooms, too, for everyone but us.
    pub id: &'a str,
    /// The rooms it is in: by any names, since other servers choose some of them.
    pub rooms: &'a [Arc<str>],
}

/// What is to be done, and what is to be published. The sockets are ids of ours; none is an answer, too.
#[derive(Clone, Debug)]
#[must_use]
pub enum Answer {
    /// Nothing: the socket that is meant is not ours.
    Nothing,
    /// Publish this.
    Say(Publish),
    /// Let each of the sockets join each of the rooms, as far as they may have these names here.
    Join {
        /// The sockets.
        sockets: Vec<String>,
        /// The names of the rooms.
        rooms: Vec<String>,
        /// Publish this when it is done.
        then: Option<Publish>,
    },
    /// Let each of the sockets leave each of the rooms.
    Leave {
        /// The sockets.
        sockets: Vec<String>,
        /// The names of the rooms.
        rooms: Vec<String>,
        /// Publish this when it is done.
        then: Option<Publish>,
    },
    /// Put the sockets out of the namespace.
    Disconnect {
        /// The sockets.
        sockets: Vec<String>,
        /// Whether to close their connections, too.
        close: bool,
        /// Publish this when it is done.
        then: Option<Publish>,
    },
    /// Say what is known of the sockets: publish [`FetchReply::with`], also if there are none.
    Fetch {
        /// The sockets.
        found: Vec<Found>,
        /// Makes the answer.
        reply: FetchReply,
    },
    /// Give the arguments of a `serverSideEmit` to the program; if there is a reply, publish [`EmitReply::with`], also if
    /// the program does not know the event.
    Emit {
        /// The event's name and arguments: a JSON array.
        data: Box<RawValue>,
        /// Makes the answer, where one is wanted.
        reply: Option<EmitReply>,
    },
    /// Give the event to each of the sockets, with an ack id, and wait for their answers.
    Deliver {
        /// The sockets.
        sockets: Vec<String>,
        /// What they are asked.
        event: Event,
        /// How many milliseconds somebody waits for their answers; the server that asks says so, so it may be any number.
        timeout_ms: Option<u64>,
        /// Publish [`AckReply::count`] at once, also if it is 0, then [`AckReply::ack`] for each answer.
        reply: AckReply,
    },
}

/// A socket that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its rooms, its id first.
    pub rooms: Vec<String>,
}

/// The answer to who asks what is known of sockets.
#[derive(Clone, Debug)]
pub struct FetchReply(Reply);

impl FetchReply {
    /// The answer: these are our sockets.
    pub fn with(&self, sockets: &[Fetched]) -> Publish {
        self.0.publish(|id| responses::fetched(id, sockets))
    }
}

/// The answer to who asks the servers themselves.
#[derive(Clone, Debug)]
pub struct EmitReply(Reply);

impl EmitReply {
    /// The answer: this value, null where there is none. It goes as JSON, in which bytes stay what they are in ours.
    pub fn with(&self, value: &RawValue) -> Publish {
        self.0.publish(|id| responses::emitted(id, value))
    }
}

/// The answers to who asks sockets.
#[derive(Clone, Debug)]
pub struct AckReply(Reply);

impl AckReply {
    /// The first answer: so many sockets of ours were asked.
    pub fn count(&self, sockets: usize) -> Publish {
        self.0.publish(|id| responses::client_count(id, sockets))
    }

    /// The answer of one of them: the arguments of its ack, a JSON array, of which the first one counts.
    pub fn ack(&self, args: &RawValue) -> Publish {
        let values: Vec<&RawValue> = serde_json::from_str(args.get()).unwrap_or_default();
        let value = values.first().map(|value| value.get());
        self.0.publish(|id| responses::ack(id, value))
    }
}

/// Where an answer goes, and to which request.
#[derive(Clone, Debug)]
struct Reply {
    channel: String,
    id: String,
}

impl Reply {
    fn publish(&self, message: impl FnOnce(&str) -> bytes::Bytes) -> Publish {
        Publish {
            channel: self.channel.clone(),
            message: message(&self.id),
        }
    }
}

/// Decides about a request. `reply_to` is the channel for answers.
pub(super) fn answer(
    request: Request,
    sockets: &[Socket<'_>],
    channels: &Channels,
    reply_to: String,
) -> Answer {
    let reply = |id| Reply {
        channel: reply_to.clone(),
        id,
    };
    match request.ask {
        Ask::Sockets { id, rooms } => {
            let to = Opts {
                rooms,
                ..Opts::default()
            };
            let ids = ids(&to, sockets);
            Answer::Say(reply(id).publish(|id| responses::sockets(id, &ids)))
        }
        Ask::AllRooms { id } => {
            let rooms = all_rooms(sockets);
            Answer::Say(reply(id).publish(|id| responses::all_rooms(id, &rooms)))
        }
        Ask::Join { who, rooms } => meant(who, sockets, reply).map_or(Answer::Nothing, |(sockets, then)| {
            let rooms = names(&rooms);
            Answer::Join { sockets, rooms, then }
        }),
        Ask::Leave { who, rooms } => meant(who, sockets, reply).map_or(Answer::Nothing, |(sockets, then)| {
            let rooms = names(&rooms);
            Answer::Leave { sockets, rooms, then }
        }),
        Ask::Disconnect { who, close } => {
            meant(who, sockets, reply).map_or(Answer::Nothing, |(sockets, then)| Answer::Disconnect {
                sockets,
                close,
                then,
            })
        }
        Ask::Fetch { id, to } => Answer::Fetch {
            found: selected(&to.selection(), sockets).map(found).collect(),
            reply: FetchReply(reply(id)),
        },
        Ask::Emit { id, data } => {
            // The adapter has this one answer go to all servers, however it is set up.
            let channel = channels.response().to_owned();
            let reply = id.map(|id| EmitReply(Reply { channel, id }));
            Answer::Emit { data, reply }
        }
        Ask::Broadcast { id, event, to } => Answer::Deliver {
            sockets: ids(&to, sockets),
            event,
            timeout_ms: to.flags.timeout_ms,
            reply: AckReply(reply(id)),
        },
    }
}

/// The sockets that are to do something, and what to say then; `None` where one is meant that is not ours.
fn meant(
    who: Who,
    sockets: &[Socket<'_>],
    reply: impl FnOnce(String) -> Reply,
) -> Option<(Vec<String>, Option<Publish>)> {
    match who {
        Who::All(to) => Some((ids(&to, sockets), None)),
        Who::One { sid, id } => {
            sockets.iter().find(|socket| socket.id == sid)?;
            let then = id.map(|id| reply(id).publish(responses::done));
            Some((vec![sid], then))
        }
    }
}

fn selected<'a>(selection: &'a Selection, sockets: &'a [Socket<'a>]) -> impl Iterator<Item = &'a Socket<'a>> {
    sockets
        .iter()
        .filter(|socket| selection.has(socket.id, socket.rooms))
}

fn ids(to: &Opts, sockets: &[Socket<'_>]) -> Vec<String> {
    let selection = to.selection();
    selected(&selection, sockets)
        .map(|socket| socket.id.to_owned())
        .collect()
}

fn names(rooms: &[Room]) -> Vec<String> {
    rooms.iter().filter_map(Room::name).map(Cow::into_owned).collect()
}

fn found(socket: &Socket<'_>) -> Found {
    let rooms = socket.rooms.iter().map(|room| &**room);
    let others = rooms.filter(|room| *room != socket.id);
    Found {
        id: socket.id.to_owned(),
        rooms: [socket.id].into_iter().chain(others).map(str::to_owned).collect(),
    }
}

/// Each room once, ids among them.
fn all_rooms<'a>(sockets: &[Socket<'a>]) -> Vec<&'a str> {
    let rooms = sockets.iter().flat_map(|socket| {
        let rooms = socket.rooms.iter().map(|room| &**room);
        rooms.chain([socket.id])
    });
    rooms.collect::<BTreeSet<_>>().into_iter().collect()
}
