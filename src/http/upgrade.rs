//! Taking the raw connection over from the HTTP server.
//!
//! actix-http hands requests with an Upgrade header to a service of ours, together with the connection. The same
//! application answers them; if it answers 101 and marks the response, the connection becomes a session's, and nothing
//! of HTTP stays behind: holding this service's future open would cost some kilobytes a connection.

use std::rc::Rc;

use actix::Actor;
use actix_codec::Framed;
use actix_http::body::BoxBody;
use actix_http::{ConnectionType, Request, Response, StatusCode, h1};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, fn_service};
use actix_web::error::ErrorInternalServerError;
use bytes::{Bytes, BytesMut};
use greenroom_actors::callers::Socket;
use greenroom_actors::engine::{App, Attach, EngineActor};
use greenroom_actors::gate::Standing;
use greenroom_actors::logic::protocol::Protocol;
use greenroom_actors::peer::Line;
use greenroom_actors::session::SessionActor;
use greenroom_actors::speaker::{self, Speaker, SpeakerActor};

use super::client::Client;
use super::forward::Tunnel;
use super::patience::Patience;
use super::shapes::{Here, Place};
use super::socketio;
use super::{Site, app};
use crate::adapters::stream::Stream;
use crate::adapters::tcp_wire::TcpWire;
use crate::shards::Thread;

/// The mark that a handler puts into its 101: the connection is to be taken over.
pub struct TakeOver {
    /// What it becomes.
    pub becomes: Becomes,
    /// What it may do, where that is known already.
    pub standing: Option<Standing>,
    /// Who is at the other end.
    pub client: Client,
}

/// What a connection that is taken over becomes.
pub enum Becomes {
    /// A session of `greenroom.v1`.
    GreenroomV1(Place),
    /// A WebSocket of an embedding program, with what speaks over it.
    Own(Place, Box<dyn Speaker<TcpWire>>),
    /// A session of Engine.IO, with what speaks over it.
    Engine(Place, Box<dyn App<TcpWire>>),
    /// The socket of a session that has polled until now, perhaps in another thread.
    Attached(socketio::Session),
    /// The socket of a session that has polled until now, on another node.
    Tunnel(Box<Tunnel>),
}

type Connection = Framed<Patience, h1::Codec>;
type Upgraded = (Request, Connection);

/// The service for requests with an Upgrade header.
pub fn service(
    site: Site,
    thread: Rc<Thread>,
) -> impl ServiceFactory<Upgraded, Config = (), Response = (), Error = actix_web::Error, InitError = ()> {
    fn_factory(move || {
        let here = Rc::new(Here {
            thread: thread.clone(),
            site: Rc::new(site.clone()),
            grant: None,
            address: None,
        });
        let app = app(&site, &thread).into_factory().new_service(());
        async move {
            let app = Rc::new(app.await?);
            Ok::<_, ()>(fn_service(move |(request, framed): Upgraded| {
                let (app, here) = (app.clone(), here.clone());
                // Boxed, as is what mostly does not happen in it: every connection has room for it, upgraded or not.
                Box::pin(async move { answer(&*app, &here, request, framed).await })
            }))
        }
    })
}

async fn answer<S>(app: &S, here: &Here, request: Request, framed: Connection) -> Result<(), actix_web::Error>
where
    S: Service<Request, Response = Response<BoxBody>, Error = Response<BoxBody>>,
{
    let mut response = app.call(request).await.unwrap_or_else(|error| error);
    let take_over = match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => response.extensions_mut().remove::<TakeOver>(),
        _ => None,
    };
    match take_over {
        Some(TakeOver {
            becomes: Becomes::Tunnel(tunnel),
            ..
        }) => {
            tunnel.carry(&response, framed).await;
            Ok(())
        }
        Some(take_over) => {
            begin(here, take_over, &response, framed);
            Ok(())
        }
        None => Box::pin(refuse(response, framed)).await,
    }
}

/// Sends an ordinary answer and ends the connection.
async fn refuse(response: Response<BoxBody>, framed: Connection) -> Result<(), actix_web::Error> {
    let (mut response, body) = response.into_parts();
    response.head_mut().set_connection_type(ConnectionType::Close);
    let body = actix_http::body::to_bytes(body)
        .await
        .map_err(ErrorInternalServerError)?;
    h1::SendResponse::new(framed, response.set_body(body))
        .await
        .map_err(ErrorInternalServerError)?;
    Ok(())
}

/// Starts the session, or hands the connection over to the one that is there.
fn begin(here: &Here, take_over: TakeOver, response: &Response<BoxBody>, framed: Connection) {
    let parts = framed.into_parts();
    let (stream, socket) = parts.io.into_inner();
    let mut first = parts.write_buf.to_vec();
    first.extend_from_slice(&head(response));
    let desk = &here.thread.desk;
    let early = &parts.read_buf;
    let connect = |protocol, line, place, first: Vec<u8>| {
        let peer = here.connect(protocol, line, take_over.standing, place);
        tracing::debug!(session = %peer.card().id, address = %take_over.client.address, "connected");
        desk.hub.send(&peer, first.into());
        peer
    };
    match take_over.becomes {
        Becomes::GreenroomV1(place) => {
            let line = Line::Socket(TcpWire::new(stream, socket));
            let peer = connect(Protocol::GreenroomV1, line, place, first);
            SessionActor::new(peer, desk.clone(), into_exact(early)).start();
        }
        Becomes::Own(place, speaker) => {
            let line = Line::Socket(TcpWire::new(stream, socket));
            let peer = connect(Protocol::Own, line, place, first);
            let limits = speaker::Limits {
                frames: desk.frames,
                pace: desk.pace,
            };
            let hub = desk.hub.clone();
            SpeakerActor::new(speaker::Client { peer, hub }, speaker, limits, into_exact(early)).start();
        }
        Becomes::Engine(place, app) => {
            let line = Line::Engine(TcpWire::new(stream, socket).into());
            let peer = connect(Protocol::SocketIo, line, place, first);
            desk.hub.send(&peer, socketio::open_frame(here));
            EngineActor::websocket(peer, here.thread.engine.clone(), app, into_exact(early)).start();
        }
        // Carried by `answer`.
        Becomes::Tunnel(_) => {}
        Becomes::Attached(session) => attach(&session, (stream, socket), first.into(), early.to_vec()),
    }
}

/// Hands a connection to its session, which takes it into its own thread.
fn attach(session: &socketio::Session, (stream, socket): (Stream, Socket), head: Bytes, early: Vec<u8>) {
    let Ok(stream) = stream.detach() else { return };
    let wire = move || stream.attach().map(|stream| TcpWire::new(stream, socket));
    // A session whose mailbox is full goes on polling.
    let _ = session.try_send(Attach {
        wire: Box::new(wire),
        head,
        early,
    });
}

/// Bytes that came with the handshake; the large buffer of the HTTP server is given back.
fn into_exact(read: &BytesMut) -> BytesMut {
    if read.is_empty() {
        BytesMut::new()
    } else {
        BytesMut::from(&read[..])
    }
}

/// The head of the 101: what the application set, and the connection header, which the server would have written.
pub fn head(response: &Response<BoxBody>) -> Bytes {
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n".to_vec();
    for (name, value) in response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "connection")
    {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}
