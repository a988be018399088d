//! The node's rooms as the main namespace: what a front end asks of them, answered by acks.

use super::{Asked, Handler, Socket, Work, shown};
use crate::{
    logic::{
        access::Action,
        engine_io::Reason,
        fault::{Code, Fault},
        position::Position,
        presence::{Secret, SessionId},
        protocol::{Answer, Publication, Rooms, socket_io},
        publication,
        room_name::RoomName,
    },
    messages::{Depart, Enter, Join, Leave, Publish},
    peer::{GREETED, Peer},
    ports::Wire,
    reply::posted,
    room_registry::{Claim, Newcomer},
    session::{Desk, bus_fault, mailbox_fault},
};
use actix::MailboxError;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::rc::Rc;

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
#[serde(default)]
struct Auth {
    pid: Said,
    offset: Said,
}

/// What stands in a field into which the stock client writes a text.
#[derive(Default)]
enum Said {
    #[default]
    Nothing,
    Text(String),
    SomethingElse,
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(from)? {
            Value::String(text) => Self::Text(text),
            _ => Self::SomethingElse,
        })
    }
}

impl Auth {
    /// What is not an object as the stock client has it is what the application says of itself.
    fn read(auth: Option<&RawValue>) -> Self {
        auth.and_then(|auth| serde_json::from_str(auth.get()).ok())
            .unwrap_or_default()
    }

    fn secret(&self) -> Option<Secret> {
        match &self.pid {
            Said::Text(text) => Secret::parse(text),
            Said::Nothing | Said::SomethingElse => None,
        }
    }

    /// What the client has, where it says so in our words.
    fn position(&self) -> Option<Position> {
        match &self.offset {
            Said::Text(text) => text.parse().ok(),
            Said::Nothing | Said::SomethingElse => None,
        }
    }
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

impl<W: Wire> Clone for RoomsHandler<W> {
    fn clone(&self) -> Self {
        Self {
            desk: self.desk.clone(),
            ..*self
        }
    }
}

impl<W: Wire> Handler<W> for RoomsHandler<W> {
    fn connect(&self, socket: Rc<Socket<W>>, auth: Option<Box<RawValue>>) -> Work {
        self.desk.hub.note_socket(&socket);
        let auth = Auth::read(auth.as_deref());
        let (id, secret) = (self.new_ids)();
        let newcomer = Newcomer {
            id,
            secret: Some(secret).filter(|_| self.recovery),
        };
        let Some(secret) = auth.secret().filter(|_| self.recovery) else {
            return Some(self.enter(&socket, None, auth.position(), newcomer));
        };
        let claimed = self
            .desk
            .bus
            .claim_session(secret, socket.peer.card().subject.clone());
        let handler = self.clone();
        Some(
            async move {
                let claimed = claimed.await.ok().flatten();
                let counted = handler.count_in(&socket.peer, claimed.is_some()).await;
                let claim = claimed.map(|claimed| Claim::new(handler.desk.bus.clone(), secret, claimed));
                // What it may do now may be less than it was.
                let claim = claim.filter(|claim| claim.may_be_taken(&socket.peer, (handler.desk.clock)()));
                let since = match (&auth.offset, &claim) {
                    (Said::Nothing, Some(claim)) => claim.start(),
                    _ => auth.position(),
                };
                match counted {
                    _ if socket.is_over() => {}
                    Ok(()) => handler.enter(&socket, claim, since, newcomer).await,
                    Err(fault) => socket.refuse(&fault.message, Some(&shown::error_data(&fault))),
                }
            }
            .boxed_local(),
        )
    }

    fn comes_back(&self, auth: Option<&RawValue>) -> bool {
        self.recovery && Auth::read(auth).secret().is_some()
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

    fn disconnect(&self, socket: &Rc<Socket<W>>, reason: Reason) -> Work {
        let peer = &socket.peer;
        if !reason.is_recoverable()
            && let Some(ticket) = peer.ticket.take()
        {
            self.desk.bus.part_session(ticket, true);
        }
        peer.clear(GREETED);
        // Behind all that the client has asked, and before it may enter again.
        let departed = posted(self.desk.registry.send(Depart(peer.key.get())));
        Some(departed.map(drop).boxed_local())
    }
}

impl<W: Wire> RoomsHandler<W> {
    /// Counts a client among the connections of its subject, if it is not yet. One that has taken over from an older
    /// connection waits for that one's place. Errors: `rate_limited`.
    async fn count_in(&self, peer: &Peer<W>, takes_over: bool) -> Result<(), Fault> {
        let Some(name) = peer.card().subject.clone() else {
            return Ok(());
        };
        if peer.subject.borrow().is_some() {
            return Ok(());
        }
        let subjects = &self.desk.hub.subjects;
        let subject = if takes_over {
            subjects.take_over(&name).await
        } else {
            subjects.take(&name)
        };
        let subject = subject.inspect_err(|_| self.desk.hub.stats.refused.add(1))?;
        *peer.subject.borrow_mut() = Some(subject);
        Ok(())
    }

    fn enter(
        &self,
        socket: &Rc<Socket<W>>,
        claim: Option<Claim>,
        since: Option<Position>,
        otherwise: Newcomer,
    ) -> LocalBoxFuture<'static, ()> {
        let peer = socket.peer.clone();
        let entered = posted(self.desk.registry.send(Enter {
            peer: peer.key.get(),
            claim,
            since,
            otherwise,
        }));
        async move {
            if entered.await.is_err() {
                // It comes back, and is told then.
                peer.kill();
            }
        }
        .boxed_local()
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
        if joins {
            self.desk.may(peer, Action::Join, &rooms)?;
        }
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
    ) -> LocalBoxFuture<'static, ()> {
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
        let draft = self.desk.draft_of(peer, publication)?;
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
        let room = [room];
        self.desk.may(peer, Action::Presence, &room)?;
        let [room] = room;
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
    let args: Vec<&RawValue> =
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
