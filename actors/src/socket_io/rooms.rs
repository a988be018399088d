//! The node's rooms as the main namespace: what a front end asks of them, answered by acks.

use super::{Asked, Handler, Socket, Work};
use crate::{
    logic::{
        engine_io::Reason,
        fault::{Code, Fault},
        presence::{Card, Secret, SessionId},
        protocol::{Answer, Publication, Rooms, socket_io},
        publication,
        room_name::RoomName,
        sessions::SessionRecord,
    },
    messages::{Join, Leave, Publish, Restore},
    peer::{GREETED, Peer, Ticket},
    ports::Wire,
    reply::posted,
    session::{Desk, bus_fault, mailbox_fault},
};
use actix::MailboxError;
use futures_util::future::FutureExt as _;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use std::{rc::Rc, sync::Arc};

/// See the module's description.
pub struct RoomsHandler<W: Wire> {
    /// The thread's rooms.
    pub desk: Rc<Desk<W>>,
    /// Whether clients may come back to where they were.
    pub recovery: bool,
    /// Where ids and secrets come from.
    pub new_ids: fn() -> (SessionId, Secret),
}

/// What a client says when it connects.
#[derive(Default, Deserialize)]
struct Auth {
    pid: Option<String>,
    offset: Option<String>,
}

/// What a client publishes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishArgs {
    room: Option<String>,
    rooms: Option<Vec<String>>,
    event: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    args: Option<Box<RawValue>>,
    id: Option<String>,
}

impl<W: Wire> Handler<W> for RoomsHandler<W> {
    fn connect(&self, socket: Rc<Socket<W>>, auth: Option<Box<RawValue>>) -> Work {
        // What is not as the stock client has it is what the application says of itself.
        let auth: Auth = auth
            .and_then(|auth| serde_json::from_str(auth.get()).ok())
            .unwrap_or_default();
        let ids = (self.new_ids)();
        let secret = auth
            .pid
            .as_deref()
            .and_then(Secret::parse)
            .filter(|_| self.recovery);
        let Some(secret) = secret else {
            self.begin(&socket.peer, ids);
            return None;
        };
        let claim = self
            .desk
            .bus
            .claim_session(secret, socket.peer.card().subject.clone());
        let desk = self.desk.clone();
        let peer = socket.peer.clone();
        let begin = self.beginning();
        Some(
            async move {
                let Ok(Some(record)) = claim.await else {
                    return begin(&peer, ids);
                };
                let since = match auth.offset {
                    Some(offset) => offset.parse().ok(),
                    None => Some(record.start()),
                };
                let restore = Restore {
                    peer: peer.key.get(),
                    secret,
                    record,
                    since,
                    otherwise: ids,
                };
                if desk.registry.send(restore).await.is_err() {
                    // It comes back, and is told then.
                    peer.kill();
                }
            }
            .boxed_local(),
        )
    }

    fn event(&self, socket: Rc<Socket<W>>, asked: Asked) -> Work {
        self.desk.hub.stats.commands.add(1);
        let reference = asked.ack.and_then(|id| to_raw_value(&id).ok());
        match self.carry_out(&socket.peer, &asked, reference.as_deref()) {
            Ok(work) => work,
            Err(fault) => {
                refuse(&self.desk, &socket.peer, &fault, reference.as_deref());
                None
            }
        }
    }

    fn disconnect(&self, socket: &Rc<Socket<W>>, reason: Reason) {
        let peer = &socket.peer;
        if !reason.is_recoverable()
            && let Some(ticket) = peer.ticket.take()
        {
            self.desk.bus.part_session(ticket, true);
        }
        peer.clear(GREETED);
        let rooms: Vec<RoomName> = peer.rooms.borrow().iter().map(|(room, _)| room.clone()).collect();
        if reason == Reason::ClientNamespaceDisconnect && !rooms.is_empty() {
            let leave = Leave {
                peer: peer.key.get(),
                rooms,
                asked: Rooms::Many(Vec::new()),
                reference: None,
            };
            // A shard with a full mailbox hears it when the connection is over: the stock client ends that, too.
            let _ = self.desk.registry.try_send(leave);
        }
    }
}

impl<W: Wire> RoomsHandler<W> {
    /// A client that is new here, in no room.
    fn begin(&self, peer: &Rc<Peer<W>>, ids: (SessionId, Secret)) {
        self.beginning()(peer, ids);
    }

    fn beginning(&self) -> impl Fn(&Rc<Peer<W>>, (SessionId, Secret)) + use<W> {
        let (desk, recovery) = (self.desk.clone(), self.recovery);
        move |peer, (id, secret)| {
            let card = peer.card();
            peer.set_card(Arc::new(Card {
                id,
                generation: 0,
                subject: card.subject.clone(),
                node: card.node.clone(),
                ..*card
            }));
            if recovery {
                let ticket = Ticket {
                    secret,
                    generation: 0,
                };
                peer.ticket.set(Some(ticket));
                let record = SessionRecord {
                    id,
                    subject: card.subject.clone(),
                    generation: 0,
                    life: desk.bus.life(),
                    rooms: Vec::new(),
                };
                desk.bus.keep_session(secret, record);
            }
            peer.set(GREETED);
            let secret = recovery.then_some(secret);
            desk.hub.send(peer, socket_io::connected(id, secret));
        }
    }

    fn carry_out(
        &self,
        peer: &Rc<Peer<W>>,
        asked: &Asked,
        reference: Option<&RawValue>,
    ) -> Result<Work, Fault> {
        let name = asked.name.as_str();
        let does = name.strip_prefix("un").map_or((name, true), |rest| (rest, false));
        if let (Some(kind), joins) = (subscribed_kind(does.0), does.1) {
            let room = format!("{kind}:{}", first_text(&asked.args)?);
            return self.join_or_leave(peer, room, joins, reference);
        }
        match name {
            "join" => self.join_or_leave(peer, first_text(&asked.args)?, true, reference),
            "leave" => self.join_or_leave(peer, first_text(&asked.args)?, false, reference),
            "publish" => self.publish(peer, first(&asked.args)?, reference),
            "presence" => self.presence(peer, &first_text(&asked.args)?, reference),
            _ => Err(Fault::new(
                Code::BadRequest,
                format!(
                    "there is no event {name:?}; there are join, leave, publish, presence, subscribe-agent, ..."
                ),
            )),
        }
    }

    fn join_or_leave(
        &self,
        peer: &Rc<Peer<W>>,
        room: String,
        joins: bool,
        reference: Option<&RawValue>,
    ) -> Result<Work, Fault> {
        let asked = Rooms::One(room);
        let rooms = publication::check_rooms(asked.names(), &self.desk.publish)?;
        let (key, reference) = (peer.key.get(), reference.map(ToOwned::to_owned));
        let kept = reference.clone();
        let registry = &self.desk.registry;
        let told = if joins {
            posted(registry.send(Join {
                peer: key,
                rooms,
                asked,
                since: None,
                reference,
            }))
            .boxed_local()
        } else {
            posted(registry.send(Leave {
                peer: key,
                rooms,
                asked,
                reference,
            }))
            .boxed_local()
        };
        // The shard answers by itself; only the loss of the message is answered here.
        Ok(Some(self.unless_told(peer, told, kept)))
    }

    fn unless_told(
        &self,
        peer: &Rc<Peer<W>>,
        told: impl Future<Output = Result<(), MailboxError>> + 'static,
        reference: Option<Box<RawValue>>,
    ) -> futures_util::future::LocalBoxFuture<'static, ()> {
        let (desk, peer) = (self.desk.clone(), peer.clone());
        async move {
            if let Err(error) = told.await {
                refuse(&desk, &peer, &mailbox_fault(error), reference.as_deref());
            }
        }
        .boxed_local()
    }

    fn publish(
        &self,
        peer: &Rc<Peer<W>>,
        args: PublishArgs,
        reference: Option<&RawValue>,
    ) -> Result<Work, Fault> {
        let rooms = match (args.room, args.rooms) {
            (Some(room), None) => vec![room],
            (Some(room), Some(more)) => [room].into_iter().chain(more).collect(),
            (None, Some(rooms)) => rooms,
            (None, None) => return Err(Fault::new(Code::BadRequest, "publish needs the field \"room\"")),
        };
        let publication = Publication {
            rooms,
            event: args.event,
            data: args.data,
            args: args.args,
            id: args.id,
        };
        let draft = self.desk.draft(publication, peer.card().subject.clone())?;
        let answer = posted(self.desk.registry.send(Publish {
            draft,
            behind: Some(peer.key.get()),
        }));
        let (desk, peer) = (self.desk.clone(), peer.clone());
        let reference = reference.map(ToOwned::to_owned);
        let work = async move {
            let reference = reference.as_deref();
            match answer.await {
                Ok(Ok(receipt)) => say(&desk, &peer, &Answer::Published(&receipt), reference),
                Ok(Err(error)) => refuse(&desk, &peer, &bus_fault(&error), reference),
                Err(error) => refuse(&desk, &peer, &mailbox_fault(error), reference),
            }
        };
        Ok(Some(work.boxed_local()))
    }

    fn presence(&self, peer: &Rc<Peer<W>>, room: &str, reference: Option<&RawValue>) -> Result<Work, Fault> {
        let room = RoomName::parse(room, self.desk.publish.name_chars)
            .map_err(|error| Fault::new(Code::RoomNameInvalid, error.to_string()))?;
        let members = self.desk.bus.members(&room);
        let (desk, peer) = (self.desk.clone(), peer.clone());
        let reference = reference.map(ToOwned::to_owned);
        let work = async move {
            let reference = reference.as_deref();
            match members.await {
                Ok(members) => {
                    let (room, members) = (&room, members.as_slice());
                    say(&desk, &peer, &Answer::Presence { room, members }, reference);
                }
                Err(error) => refuse(&desk, &peer, &bus_fault(&error), reference),
            }
        };
        Ok(Some(work.boxed_local()))
    }
}

/// `subscribe-agent` and `subscribe:agent` are the room `agent:{id}`, and so on.
fn subscribed_kind(name: &str) -> Option<&str> {
    let kind = name.strip_prefix("subscribe")?.strip_prefix(['-', ':'])?;
    ["agent", "project", "task", "run", "user"]
        .contains(&kind)
        .then_some(kind)
}

/// The first argument.
fn first<T: DeserializeOwned>(args: &RawValue) -> Result<T, Fault> {
    let refused = |why: String| Fault::new(Code::BadRequest, why);
    let args: Vec<Box<RawValue>> =
        serde_json::from_str(args.get()).map_err(|error| refused(error.to_string()))?;
    let first = args
        .first()
        .ok_or_else(|| refused("an argument is missing".into()))?;
    // serde would also take an array for a struct, field by field.
    if first.get().starts_with('[') {
        return Err(refused("the first argument is an array".into()));
    }
    serde_json::from_str(first.get()).map_err(|error| refused(format!("the first argument: {error}")))
}

/// The first argument as a text; a number is written as one, as ids often are.
fn first_text(args: &RawValue) -> Result<String, Fault> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(u64),
    }
    let wanted = |_| {
        Fault::new(
            Code::BadRequest,
            "the first argument is a name or an id: a string or a whole number",
        )
    };
    Ok(match first(args).map_err(wanted)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

fn say<W: Wire>(desk: &Desk<W>, peer: &Rc<Peer<W>>, answer: &Answer<'_>, reference: Option<&RawValue>) {
    if let Some(frame) = socket_io::answer(answer, reference) {
        desk.hub.send(peer, frame);
    }
}

fn refuse<W: Wire>(desk: &Desk<W>, peer: &Rc<Peer<W>>, fault: &Fault, reference: Option<&RawValue>) {
    desk.hub.stats.command_errors.add(1);
    say(desk, peer, &Answer::Error(fault), reference);
}
