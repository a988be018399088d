//! Who sends a request.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, RequestHead, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::ThinData;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use greenroom_actors::broker::NodeKey;
use greenroom_actors::callers::{Caller, Callers};
use greenroom_actors::logic::fault::{Code, Fault};

use super::ApiError;
use super::forward::Sender;
use super::proxies::Proxies;
use super::turn_away::fault;
use crate::shards::Thread;

/// See the module's description.
#[derive(Clone)]
pub struct Client {
    /// Its own address, not a trusted proxy's.
    pub address: IpAddr,
    /// The same as it is counted.
    pub caller: Arc<Caller>,
}

/// What tells who sends a request.
#[derive(Clone)]
pub struct Clients {
    /// The proxies that are believed.
    pub proxies: Proxies,
    /// The addresses.
    pub callers: Arc<Callers>,
    /// Whether connections are by TLS.
    pub tls: bool,
    /// By what other nodes are known that hand requests on, where there may be some.
    pub key: Option<NodeKey>,
}

impl Clients {
    /// Whether a request came by HTTPS, if anybody who is trusted says so.
    pub fn https(&self, head: &RequestHead) -> Option<bool> {
        if let Some(sender) = self.handed_on(head) {
            return sender.https;
        }
        let told = head
            .peer_addr
            .and_then(|peer| self.proxies.origin(peer.ip(), head.headers()).https);
        told.or(self.tls.then_some(true))
    }

    /// What another node says of who sends a request that it hands on.
    fn handed_on(&self, head: &RequestHead) -> Option<Sender> {
        Sender::of(self.key.as_ref()?, head)
    }

    fn of(&self, request: &ServiceRequest) -> Client {
        // A connection that was reset at once has no address any more.
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = request.peer_addr().map_or(nobody, |peer| peer.ip());
        let address = match self.handed_on(request.head()) {
            Some(sender) => sender.address,
            None => self.proxies.origin(peer, request.headers()).address,
        };
        Client {
            address,
            caller: self.callers.get(address),
        }
    }
}

/// Notes who sends a request, for whoever wants to know.
pub async fn identify(
    clients: ThinData<Clients>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let client = clients.0.of(&request);
    request.extensions_mut().insert(client);
    next.call(request).await
}

/// Refuses who asks too fast.
pub async fn pace(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let asked = request
        .extensions()
        .get::<Client>()
        .map(|client| client.caller.ask());
    if let Some(Err(refused)) = asked {
        if let Some(thread) = request.app_data::<Rc<Thread>>() {
            thread.desk.hub.stats.refused.add(1);
        }
        return Err(ApiError(fault(refused)).into());
    }
    next.call(request).await
}

impl FromRequest for Client {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let client = request.extensions().get::<Self>().cloned();
        ready(client.ok_or_else(|| Fault::new(Code::Internal, "the request has no sender").into()))
    }
}
