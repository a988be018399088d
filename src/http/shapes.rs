//! What requests and answers look like, for the OpenAPI document and for reading them; and what handlers share.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use greenroom_actors::callers::{Held, Refused, Session};
use greenroom_actors::gate::{Caller, Standing, nobody};
use greenroom_actors::logic::access::{Action, Grant};
use greenroom_actors::logic::event::Receipt;
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::logic::presence::Card;
use greenroom_actors::logic::protocol::{Protocol, push_receipt_fields};
use greenroom_actors::logic::room_name::RoomName;
use greenroom_actors::peer::{Line, Peer};
use greenroom_actors::session::full;
use greenroom_actors::subjects::Subject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::auth::{Granted, address_of};
use super::client::Client;
use super::{ApiError, Site, turn_away};
use crate::adapters::tcp_wire::TcpWire;
use crate::ids;
use crate::shards::Thread;

/// The thread and the site that a request is on.
pub struct Here {
    /// The thread.
    pub thread: Rc<Thread>,
    /// The site.
    pub site: Rc<Site>,
    /// What the request may do; `None` where nobody was asked.
    pub grant: Option<Arc<Grant>>,
    /// Where its client is.
    pub address: Option<IpAddr>,
}

impl FromRequest for Here {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let here = || {
            let thread = request.app_data::<Rc<Thread>>()?.clone();
            Some(Self {
                thread,
                site: request.app_data::<Rc<Site>>()?.clone(),
                grant: request
                    .extensions()
                    .get::<Granted>()
                    .map(|granted| granted.0.clone()),
                address: address_of(request),
            })
        };
        ready(here().ok_or_else(|| Fault::new(Code::Internal, "the application has no thread").into()))
    }
}

impl Here {
    /// Checks a room name from a path or query.
    pub fn room(&self, name: &str) -> Result<RoomName, ApiError> {
        let parsed = RoomName::parse(name, self.thread.desk.publish.name_chars);
        parsed.map_err(|error| Fault::new(Code::RoomNameInvalid, error.to_string()).into())
    }

    /// Whether one more connection may come.
    pub fn check_open(&self) -> Result<(), ApiError> {
        if self.site.stages.is_draining() || self.thread.desk.hub.draining.get() {
            return Err(Fault::new(Code::Draining, Code::Draining.row().meaning).into());
        }
        if self.site.parts.shards.connections() >= self.site.connections {
            self.thread.desk.hub.stats.refused.add(1);
            let message = format!("the node has its {} connections", self.site.connections);
            return Err(Fault::new(Code::Overloaded, message).into());
        }
        self.check_room()
    }

    /// Whether the node holds less than it may.
    pub fn check_room(&self) -> Result<(), ApiError> {
        if self.site.parts.memory.is_full() {
            self.thread.desk.hub.stats.refused.add(1);
            return Err(full().into());
        }
        Ok(())
    }

    /// One thing more that a client has open, if it may.
    pub fn take<const KIND: usize>(&self, client: &Client) -> Result<Held<KIND>, ApiError> {
        Held::take(&client.caller).map_err(|refused| self.refuse(refused))
    }

    /// Whether a client may be given history now.
    pub fn may_replay(&self, client: &Client) -> Result<(), ApiError> {
        client.caller.may_replay().map_err(|refused| self.refuse(refused))
    }

    fn refuse(&self, refused: Refused) -> ApiError {
        self.thread.desk.hub.stats.refused.add(1);
        turn_away::fault(refused).into()
    }

    /// What a new connection takes up of a client address and of its subject, where that is known already, if it may.
    /// Errors: `rate_limited`.
    pub fn place(&self, client: &Client, subject: Option<&Arc<str>>) -> Result<Place, ApiError> {
        let session = self.take(client)?;
        let hub = &self.thread.desk.hub;
        let subject = subject.map(|subject| hub.subjects.take(subject)).transpose();
        let subject = subject.inspect_err(|_| hub.stats.refused.add(1))?;
        Ok(Place { session, subject })
    }

    /// Whether the request may do this. Errors: `forbidden`, `unauthenticated`.
    pub fn may(&self, action: Action<'_>) -> Result<(), ApiError> {
        let Some(grant) = &self.grant else {
            return Err(nobody().into());
        };
        let caller = Caller {
            grant,
            surface: "http",
            address: self.address,
        };
        let desk = &self.thread.desk;
        Ok(caller.may(&*desk.gate, action, (desk.clock)())?)
    }

    /// Who asks.
    pub fn subject(&self) -> Option<Arc<str>> {
        self.grant.as_ref()?.subject.clone()
    }

    /// A new connection, in the hub. `standing` is `None` where it has yet to show who it is.
    pub fn connect(
        &self,
        protocol: Protocol,
        line: Line<TcpWire>,
        standing: Option<Standing>,
        place: Place,
    ) -> Rc<Peer<TcpWire>> {
        let grant = standing.as_ref().and_then(|standing| standing.as_ref().ok());
        let subject = grant.and_then(|grant| grant.subject.clone());
        let mut peer = self.peer(protocol, line, subject);
        peer.caller = Some(place.session);
        *peer.subject.get_mut() = place.subject;
        if let Some(standing) = standing {
            peer.stand(standing, self.thread.settings.expiring_ms);
        }
        self.thread.desk.welcome(peer)
    }

    fn peer(&self, protocol: Protocol, line: Line<TcpWire>, subject: Option<Arc<str>>) -> Peer<TcpWire> {
        let card = Card {
            id: ids::session_id(),
            generation: 0,
            subject,
            node: self.site.node.clone(),
            connected_ms: (self.thread.desk.clock)(),
        };
        Peer::new(Arc::new(card), protocol, line, self.thread.settings.outbox_bytes)
    }
}

/// What a connection takes up; given back with it.
pub struct Place {
    session: Session,
    /// `None` where it has no subject, or has yet to show it.
    subject: Option<Subject>,
}

/// What stands behind the question mark, with an error that names the parameter.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let pairs = form_urlencoded::parse(request.query_string().as_bytes());
        let read = serde_urlencoded::Deserializer::new(pairs);
        let query = serde_path_to_error::deserialize(read).map(Self);
        ready(query.map_err(|error| {
            let at = error.path().to_string();
            let message = match at.as_str() {
                "." => format!("query: {}", error.inner()),
                parameter => format!("query parameter {parameter}: {}", error.inner()),
            };
            Fault::new(Code::BadRequest, message).into()
        }))
    }
}

/// The whole body of a request, which has to come in time, and not compressed.
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        if let Err(fault) = check_plain(request) {
            return Box::pin(ready(Err(ApiError(fault).into())));
        }
        let site = request.app_data::<Rc<Site>>();
        let within = site.map_or(Duration::ZERO, |site| site.times.body);
        let comes = timeout(within, Bytes::from_request(request, payload));
        Box::pin(async move {
            let late = |_| {
                ApiError(Fault::new(
                    Code::RequestTimeout,
                    Code::RequestTimeout.row().meaning,
                ))
            };
            comes.await.map_err(late)?.map(Self)
        })
    }
}

/// Reads a JSON body. Errors: `unsupported_media_type`, `bad_json`, `bad_request`.
pub fn read_json<T: DeserializeOwned>(request: &HttpRequest, body: &Bytes) -> Result<T, ApiError> {
    check_json(request)?;
    // serde would also take an array for a struct, field by field.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Fault::new(Code::BadRequest, "the body is not a JSON object").into());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let code = if error.inner().is_data() {
            Code::BadRequest
        } else {
            Code::BadJson
        };
        Fault::new(code, error.to_string())
    })?;
    // Something after the value is not JSON either.
    json.end()
        .map_err(|error| Fault::new(Code::BadJson, error.to_string()))?;
    Ok(value)
}

/// Refuses a body that does not say it is JSON: browsers send other types to foreign origins without asking.
pub fn check_json(request: &HttpRequest) -> Result<(), ApiError> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be JSON and say so: content-type: application/json";
    Err(Fault::new(Code::UnsupportedMedia, message).into())
}

/// Refuses a compressed body: it might unfold to a thousand times its size, so nothing is ever inflated.
pub fn check_plain(request: &HttpRequest) -> Result<(), Fault> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let message = "the node takes no compressed bodies: send it without content-encoding";
    Err(Fault::new(Code::UnsupportedMedia, message))
}

/// `POST /v1/rooms/{room}/events`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBody {
    /// The event's name.
    #[schema(example = "message")]
    pub event: String,
    /// What it says: any JSON value. Known events have a payload of their own, which is checked.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    /// The arguments of a Socket.IO event, instead of `data`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub args: Option<Box<RawValue>>,
    /// The publisher's own id: the same id is accepted once.
    pub id: Option<String>,
    /// More rooms.
    #[serde(default)]
    pub rooms: Vec<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The answer to a publisher.
#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    /// The event's id.
    pub id: String,
    /// Its number in each room.
    pub rooms: BTreeMap<String, u64>,
}

/// A receipt as the body of an answer, rooms in the order in which they were named.
pub fn receipt_json(receipt: &Receipt) -> Vec<u8> {
    let mut body = vec![b'{'];
    push_receipt_fields(&mut body, receipt);
    body.push(b'}');
    body
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventShape {
    /// Its id.
    pub id: String,
    /// The first room that its publisher named.
    pub room: String,
    /// All rooms, where there are several.
    pub rooms: Option<Vec<String>>,
    /// Its name.
    pub event: String,
    /// What it says.
    #[schema(value_type = Option<Object>)]
    pub data: Option<serde_json::Value>,
    /// The arguments of a Socket.IO event, instead of `data`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub args: Option<serde_json::Value>,
    /// Its number in `room`, from 1.
    pub offset: u64,
    /// When the node accepted it, RFC 3339 with milliseconds.
    pub ts: String,
}

/// A part of a room's history.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryPage {
    /// The room.
    pub room: String,
    /// Events, oldest first.
    pub events: Vec<EventShape>,
    /// To be given as `since` to go on.
    pub position: String,
    /// Whether there is more.
    pub more: bool,
}

/// A room in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomRow {
    /// Its name.
    pub room: String,
    /// How many connections are in it.
    pub members: usize,
}

/// A page of rooms.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomsPage {
    /// The rooms, by name.
    pub rooms: Vec<RoomRow>,
    /// To be given as `after` to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A member of a room.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberShape {
    /// The connection's id.
    pub id: String,
    /// Who it is, where that is known.
    pub subject: Option<String>,
    /// The node it is on.
    pub node: String,
    /// When it joined, RFC 3339.
    pub joined_at: String,
}

/// Who is in a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomShape {
    /// The room.
    pub room: String,
    /// How many members it has.
    pub count: usize,
    /// The members.
    pub members: Vec<MemberShape>,
    /// The bus's position now.
    pub position: String,
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorShape {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A code of the catalogue.
    #[schema(example = "room_name_invalid")]
    pub code: String,
    /// One sentence.
    pub message: String,
    /// Details for a program.
    #[schema(value_type = Option<Object>)]
    pub details: Option<serde_json::Value>,
}
