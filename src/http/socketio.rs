//! Socket.IO's door: handshakes, long-polling, and WebSockets that are sessions of their own or take one over.

use std::cell::OnceCell;
use std::io::Write as _;
use std::sync::Arc;

use actix::prelude::SendError;
use actix::{Actor as _, Addr, Handler, Message};
use actix_web::http::{StatusCode, header};
use actix_web::web::{Payload, ThinData};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use actix_web_actors::ws::handshake;
use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_actors::callers::Waiting;
use greenroom_actors::engine::{Answered, App, EngineActor, Poll, Push, Pushed};
use greenroom_actors::gate::Standing;
use greenroom_actors::logic::engine_io::request::{Ask, Method, Query, verify};
use greenroom_actors::logic::engine_io::{Carrier, Fault, Transport, open_packet};
use greenroom_actors::logic::fault::{self, Code};
use greenroom_actors::logic::protocol::Protocol;
use greenroom_actors::logic::ws;
use greenroom_actors::peer::Line;
use greenroom_actors::socket_io::Connection;
use tokio::sync::oneshot;

use super::auth::{admitted, standing_of};
use super::client::Client;
use super::forward::{Asked, hand_on};
use super::shapes::{Here, check_plain};
use super::upgrade::{Becomes, TakeOver};
use super::{ApiError, Site};
use crate::adapters::tcp_wire::TcpWire;
use crate::extensions::EngineDoor;
use crate::ids;
use crate::shards::Thread;

/// From this size on, bytes, the answer to a poll is compressed where the client takes gzip, as by the stock server.
const COMPRESS_FROM: usize = 1_024;

/// What speaks over a session that begins in this thread.
pub type Begins = Arc<dyn Fn(&Thread) -> Box<dyn App<TcpWire>> + Send + Sync>;

/// Socket.IO.
pub fn socket_io(thread: &Thread) -> Box<dyn App<TcpWire>> {
    Box::new(Connection::new(
        thread.namespaces.clone(),
        thread.desk.hub.now_ms(),
    ))
}

/// A session, as it is reached from any thread.
pub type Session = Addr<EngineActor<TcpWire>>;

/// Engine.IO over HTTP: a GET without `sid` begins a session, with it waits for what is there; a POST brings what the
/// client says; a WebSocket handshake begins a session or takes one over.
pub async fn engine(
    here: Here,
    client: Client,
    door: ThinData<EngineDoor>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let query = Query::parse(request.query_string());
    let method = match *request.method() {
        actix_web::http::Method::GET => Method::Get,
        actix_web::http::Method::POST => Method::Post,
        _ => Method::Other,
    };
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let sessions = &here.site.parts.engine_sessions;
    let session = query.sid.as_deref().and_then(|sid| sessions.find(sid));
    let elsewhere = match (&here.site.forward, &session) {
        (Some(forward), None) => {
            let owner = forward.owner(&query, request.head()).await;
            owner.map(|owner| (forward, owner))
        }
        _ => None,
    };
    let is_known = session.is_some() || elsewhere.is_some();
    let known = |_: &str| is_known.then_some(Carrier::Polling);
    let ask = match verify(&query, method, upgrade, known) {
        Ok(ask) => ask,
        Err(fault) => return Ok(refused(fault)),
    };
    if let (Some((forward, owner)), Some(sid)) = (elsewhere, &query.sid) {
        let (here, request) = (&here, &request);
        let asked = Asked {
            here,
            client,
            request,
            sid,
        };
        return hand_on(forward, &owner, ask, asked, payload).await;
    }
    match (ask, session) {
        (Ask::Open(transport), _) => open(&here, client, &door.0, &request, transport),
        (Ask::Poll(_), Some(session)) => {
            let _waiting: Waiting = here.take(&client)?;
            Ok(poll(&session, &request).await)
        }
        (Ask::Push(_), Some(session)) => Ok(push(&here.site, &session, &request, payload).await),
        (Ask::Attach(_), Some(session)) => shake_hands(&request, client, Becomes::Attached(session), None),
        (_, None) => Ok(refused(Fault::UnknownSid)),
    }
}

/// Begins a session.
fn open(
    here: &Here,
    client: Client,
    door: &EngineDoor,
    request: &HttpRequest,
    transport: Transport,
) -> Result<HttpResponse, ApiError> {
    here.check_open()?;
    // Behind an open door who it is counts when the client enters.
    let (standing, subject) = match door.is_open {
        true => (standing_of(here, request), None),
        false => {
            let grant = admitted(here, request)?;
            let subject = grant.subject.clone();
            (Some(Ok(grant)), subject)
        }
    };
    let place = here.place(&client, subject.as_ref())?;
    if transport == Transport::WebSocket {
        let becomes = Becomes::Engine(place, (door.begins)(&here.thread));
        return shake_hands(request, client, becomes, standing);
    }
    let thread = &here.thread;
    let sid = ids::engine_sid(here.site.forward.as_ref().map(|forward| forward.mark()));
    let line = Line::Engine(OnceCell::new());
    let peer = here.connect(Protocol::SocketIo, line, standing, place);
    let app = (door.begins)(thread);
    let sessions = here.site.parts.engine_sessions.clone();
    let gone = {
        let (sessions, sid) = (sessions.clone(), sid.clone());
        move || sessions.remove(&sid)
    };
    let session = EngineActor::polling(peer, thread.engine.clone(), app, gone).start();
    sessions.add(&sid, session);
    let packet = open_packet(
        &sid,
        transport,
        &thread.engine.timing,
        thread.engine.payload.bytes,
    );
    let mut response = payload_response(packet);
    if let Some(name) = &here.site.cookie {
        let cookie = format!("{name}={sid}; Path=/; HttpOnly; SameSite=Strict");
        if let Ok(cookie) = cookie.parse() {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

/// The first frame of a session that begins on a WebSocket.
pub fn open_frame(here: &Here) -> bytes::Bytes {
    let engine = &here.thread.engine;
    // No request is made with it.
    let sid = ids::engine_sid(None);
    let packet = open_packet(&sid, Transport::WebSocket, &engine.timing, engine.payload.bytes);
    ws::encode_text(&packet)
}

fn shake_hands(
    request: &HttpRequest,
    client: Client,
    becomes: Becomes,
    standing: Option<Standing>,
) -> Result<HttpResponse, ApiError> {
    let Ok(mut response) = handshake(request) else {
        return Ok(refused(Fault::BadRequest));
    };
    let mut response = response.finish();
    response.extensions_mut().insert(TakeOver {
        becomes,
        standing,
        client,
    });
    Ok(response)
}

/// A GET waits for what is there. When its connection breaks, this is dropped, and with it the receiver.
async fn poll(session: &Session, request: &HttpRequest) -> HttpResponse {
    let (answer, answered) = oneshot::channel();
    if !tell(session, Poll(answer)).await {
        return refused(Fault::UnknownSid);
    }
    match answered.await {
        Ok(Answered::Payload(body)) if body.len() >= COMPRESS_FROM && takes_gzip(request) => compressed(body),
        answered => answer_of(answered),
    }
}

/// Tells a session of a request; false if it has ended. It must hear of one whose connection breaks in this moment too,
/// and an actor passes over what somebody waited for who is gone: so nobody waits, unless the mailbox is full.
async fn tell<M>(session: &Session, message: M) -> bool
where
    M: Message<Result = ()> + Send + 'static,
    EngineActor<TcpWire>: Handler<M>,
{
    match session.try_send(message) {
        Ok(()) => true,
        Err(SendError::Full(message)) => session.send(message).await.is_ok(),
        Err(SendError::Closed(_)) => false,
    }
}

async fn push(site: &Site, session: &Session, request: &HttpRequest, payload: Payload) -> HttpResponse {
    if let Err(fault) = check_plain(request) {
        return ApiError(fault).error_response();
    }
    let (answer, mut answered) = oneshot::channel();
    let kind = request.headers().get(header::CONTENT_TYPE);
    let octets = kind.is_some_and(|kind| kind == "application/octet-stream");
    if !tell(session, Push { octets, answer }).await {
        return refused(Fault::UnknownSid);
    }
    let mut unfinished = Unfinished(Some(session.clone()));
    let body = tokio::time::timeout(site.times.body, payload.to_bytes_limited(site.max_payload));
    let pushed = tokio::select! {
        biased;
        // It was refused, or the session has ended, before the body was there.
        answered = &mut answered => {
            unfinished.0 = None;
            return answer_of(answered);
        }
        body = body => match body {
            Ok(Ok(Ok(body))) => Pushed::Body(body),
            Ok(Err(_)) => Pushed::TooLarge,
            Ok(Ok(Err(_))) | Err(_) => return refused(Fault::BadRequest),
        },
    };
    unfinished.0 = None;
    let too_large = matches!(pushed, Pushed::TooLarge);
    if session.send(pushed).await.is_err() {
        // It may have said something before it ended.
        return answered
            .try_recv()
            .map_or_else(|_| refused(Fault::UnknownSid), |said| answer_of(Ok(said)));
    }
    if too_large {
        return HttpResponse::PayloadTooLarge().content_type("text/html").finish();
    }
    answer_of(answered.await)
}

/// A POST whose body is not there yet: when its connection breaks, its session hears of it.
struct Unfinished(Option<Session>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            // A session whose mailbox is full ends when its client polls no more.
            let _ = session.try_send(Pushed::Aborted);
        }
    }
}

fn answer_of(answered: Result<Answered, oneshot::error::RecvError>) -> HttpResponse {
    match answered {
        Ok(Answered::Payload(body)) => payload_response(body),
        Ok(Answered::Taken) => HttpResponse::Ok().content_type("text/html").body("ok"),
        Ok(Answered::Refused(fault)) => refused(fault),
        Ok(Answered::TooFast(too_fast)) => {
            ApiError(fault::Fault::new(Code::RateLimited, too_fast.to_string())).error_response()
        }
        // The session has ended without a word for it.
        Err(_) => refused(Fault::BadRequest),
    }
}

/// Whether the client says that it takes gzip.
fn takes_gzip(request: &HttpRequest) -> bool {
    let accepts = |value: &header::HeaderValue| {
        let words = value.to_str().unwrap_or_default().split(',');
        let mut gzip = words.filter(|word| word.trim_start().starts_with("gzip"));
        gzip.any(|word| !word.replace(' ', "").ends_with(";q=0"))
    };
    request.headers().get_all(header::ACCEPT_ENCODING).any(accepts)
}

fn compressed(body: Vec<u8>) -> HttpResponse {
    let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to a Vec does not fail; if it did, the answer would go as it is.
    let written = gzip.write_all(&body).and_then(|()| gzip.finish());
    let Ok(small) = written else {
        return payload_response(body);
    };
    let mut response = payload_response(small);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, header::HeaderValue::from_static("accept-encoding"));
    response
}

fn payload_response(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=UTF-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// The answer of the protocol to a request that makes no sense.
pub fn refused(fault: Fault) -> HttpResponse {
    let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST);
    HttpResponse::build(status)
        .content_type("application/json")
        .body(fault.body())
}
