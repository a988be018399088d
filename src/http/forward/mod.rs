//! Requests of Engine.IO whose session is on another node are handed on to it, so that no proxy has to keep a client on
//! one node.
//!
//! The node that a request came to judges what it can without the session: the connection, the head, how fast its address
//! asks, which page asks, how long the body takes and how long it is. The node that has the session judges the rest, by
//! the client's own address, which it is told under a [`seal`]. Whoever hands on does not wait for ever, and what was handed
//! on is not handed on again. If the other node is gone, its session is unknown, and the client begins anew: it recovers.

mod owners;
mod seal;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::RequestHead;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use actix_web_actors::ws::handshake;
use greenroom_actors::broker::NodeKey;
use greenroom_actors::logic::engine_io::Fault;
use greenroom_actors::logic::engine_io::request::{Ask, Query};
use greenroom_actors::logic::fault::{self, Code};
use greenroom_actors::ports::Bus;
use tokio::time::timeout;

use super::ApiError;
use super::client::Client;
use super::shapes::Here;
use super::socketio::refused;
use super::upgrade::{Becomes, TakeOver};
use crate::adapters::tls;
use crate::config::Config;
use crate::ids::NodeMark;

pub use owners::Owner;
use owners::Owners;
pub use seal::Sender;
pub use tunnel::Tunnel;

/// Fields of a request that its session may want to see. Not those by which proxies tell where it came from: what is true
/// of them is under the seal.
const ASKED: [&str; 14] = [
    "accept",
    "accept-encoding",
    "authorization",
    "content-encoding",
    "content-type",
    "cookie",
    "host",
    "origin",
    "user-agent",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "upgrade",
];
/// Fields of an answer that its client is to see; who may read it is said here, where the page's request came to.
const ANSWERED: [&str; 9] = [
    "cache-control",
    "content-encoding",
    "content-type",
    "retry-after",
    "set-cookie",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "upgrade",
];
/// An idle connection to another node is kept for so long, or half as long as that one keeps it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// A node that has vanished is noticed after about so long, while a request waits for it.
const ALIVE: Duration = Duration::from_secs(5);

/// What hands requests on.
pub struct Forward {
    owners: Owners,
    key: NodeKey,
    client: reqwest::Client,
    /// How long another node may take, beyond what a request itself waits for.
    patience: Duration,
    /// How long a poll may wait by itself.
    poll: Duration,
    /// Bytes in one answer.
    answer_bytes: usize,
}

impl Forward {
    /// Of a node on this bus; none where the bus is not shared. Errors: the machine's certificates cannot be used.
    pub fn new(config: &Config, bus: &Arc<dyn Bus>) -> Result<Option<Self>, reqwest::Error> {
        let Some(row) = bus.this_node() else {
            return Ok(None);
        };
        tls::provide();
        let (socketio, ms) = (&config.socketio, Duration::from_millis);
        let patience = ms(config.cluster.forward_timeout_ms);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience)
            .pool_idle_timeout(IDLE_MAX.min(ms(config.http.keep_alive_ms / 2)))
            .tcp_keepalive(ALIVE)
            .tcp_keepalive_interval(ALIVE / 4)
            .tcp_user_timeout(2 * ALIVE)
            .build()?;
        Ok(Some(Self {
            owners: Owners::new(bus.clone(), NodeMark::of(row.tag)),
            key: row.card.key,
            client,
            patience,
            poll: ms(socketio.ping_interval_ms + socketio.ping_timeout_ms),
            // As much as may wait for a client, and bytes as text take a third more.
            answer_bytes: 2 * (socketio.max_payload_bytes + config.rooms.outbox_bytes),
        }))
    }

    /// How ids of this node's sessions begin.
    pub fn mark(&self) -> NodeMark {
        self.owners.own()
    }

    /// This node's own secret.
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// The other node that has the session of a request, if it may be handed on.
    pub async fn owner(&self, query: &Query, head: &RequestHead) -> Option<Owner> {
        match head.headers().contains_key(seal::HEADER) {
            true => None,
            false => self.owners.of(query.sid.as_deref()?).await,
        }
    }

    /// The same request to another node, which waits no longer than that.
    fn request(&self, owner: &Owner, asked: &Asked<'_>) -> reqwest::RequestBuilder {
        let path = asked
            .request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let method = match *asked.request.method() {
            actix_web::http::Method::POST => reqwest::Method::POST,
            _ => reqwest::Method::GET,
        };
        let mut request = self.client.request(method, format!("{}{path}", owner.base));
        for name in ASKED {
            for value in asked.request.headers().get_all(name) {
                request = request.header(name, value.as_bytes());
            }
        }
        let sender = Sender {
            address: asked.client.address,
            https: asked.here.site.clients.https(asked.request.head()),
        };
        request.header(seal::HEADER, sender.sealed(&owner.key, asked.sid))
    }

    /// Asks another node, and reads its answer whole.
    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<HttpResponse, Lost> {
        let mut answer = request.timeout(self.poll + self.patience).send().await?;
        let mut response = begin(&answer);
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            if body.len() + part.len() > self.answer_bytes {
                return Err(Lost::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        Ok(response.body(body))
    }

    /// Asks another node for a WebSocket: the way to it, or its refusal.
    async fn knock(&self, request: reqwest::RequestBuilder) -> Result<Knocked, Lost> {
        let request = request.header("connection", "Upgrade");
        let knocked = timeout(self.patience, async {
            let answer = request.send().await?;
            let mut response = begin(&answer);
            if answer.status() == reqwest::StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Knocked::Open(response.finish(), answer.upgrade().await?));
            }
            let body = answer.bytes().await?;
            Ok(Knocked::Refused(response.body(body)))
        });
        knocked.await.unwrap_or(Err(Lost::Late))
    }
}

/// A request that is to be handed on.
pub struct Asked<'a> {
    pub here: &'a Here,
    pub client: Client,
    pub request: &'a HttpRequest,
    pub sid: &'a str,
}

enum Knocked {
    Open(HttpResponse, reqwest::Upgraded),
    Refused(HttpResponse),
}

/// Why another node has not answered.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("it did not answer in time")]
    Late,
    #[error("its answer is too large")]
    TooLarge,
}

/// Hands a request on, and answers as the other node does.
pub async fn hand_on(
    forward: &Forward,
    owner: &Owner,
    ask: Ask<'_>,
    asked: Asked<'_>,
    payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let request = forward.request(owner, &asked);
    let stats = &asked.here.thread.desk.hub.stats;
    stats.handed_on.add(1);
    let answered = match ask {
        Ask::Attach(_) => attach(forward, request, &asked).await?,
        Ask::Push(_) => match body(&asked, payload).await? {
            Ok(body) => forward.ask(request.body(body)).await,
            Err(refused) => return Ok(refused),
        },
        Ask::Poll(_) | Ask::Open(_) => {
            let _waiting: greenroom_actors::callers::Waiting = asked.here.take(&asked.client)?;
            forward.ask(request).await
        }
    };
    answered.or_else(|lost| {
        stats.handed_on_failed.add(1);
        let is_gone = !matches!(lost, Lost::TooLarge);
        if is_gone && forward.owners.lost(owner) {
            tracing::warn!(node = &*owner.base, %lost, "a node that has sessions cannot be reached");
        } else {
            tracing::debug!(node = &*owner.base, %lost, "a request could not be handed on");
        }
        Ok(refused(Fault::UnknownSid))
    })
}

/// The body of a POST, or the answer to one that is too large or does not come.
async fn body(asked: &Asked<'_>, payload: Payload) -> Result<Result<Bytes, HttpResponse>, ApiError> {
    let site = &asked.here.site;
    asked.here.check_room()?;
    let comes = timeout(site.times.body, payload.to_bytes_limited(site.max_payload));
    Ok(match comes.await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Err(_)) => {
            return Err(fault::Fault::new(Code::BodyTooLarge, Code::BodyTooLarge.row().meaning).into());
        }
        Ok(Ok(Err(_))) | Err(_) => Err(refused(Fault::BadRequest)),
    })
}

/// A WebSocket for a session of another node: what goes over it is carried there.
async fn attach(
    forward: &Forward,
    request: reqwest::RequestBuilder,
    asked: &Asked<'_>,
) -> Result<Result<HttpResponse, Lost>, ApiError> {
    if handshake(asked.request).is_err() {
        return Ok(Ok(refused(Fault::BadRequest)));
    }
    asked.here.check_open()?;
    let place = asked.here.place(&asked.client, None)?;
    let site = &asked.here.site;
    Ok(forward.knock(request).await.map(|knocked| match knocked {
        Knocked::Refused(response) => response,
        Knocked::Open(mut response, upstream) => {
            let tunnel = Tunnel {
                upstream,
                place,
                send: site.times.send,
                close: Duration::from_millis(site.parts.close_ms),
                stages: site.stages.clone(),
            };
            response.extensions_mut().insert(TakeOver {
                becomes: Becomes::Tunnel(Box::new(tunnel)),
                standing: None,
                client: asked.client.clone(),
            });
            response
        }
    }))
}

/// The head of an answer, as far as it is the other node's to say.
fn begin(answer: &reqwest::Response) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for name in ANSWERED {
        for value in answer.headers().get_all(name) {
            if let Ok(value) = header::HeaderValue::from_bytes(value.as_bytes()) {
                response.append_header((name, value));
            }
        }
    }
    response
}
