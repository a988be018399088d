//! The token of a request, looked at before anything else of it: what is not open to everybody is closed.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, FORWARDED, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use greenroom_actors::gate::{Caller, Standing};
use greenroom_actors::logic::access::{Action, Grant, Scope, unauthenticated};
use greenroom_actors::logic::fault::Fault;
use greenroom_actors::ports::Refusal;

use super::client::Client;
use super::shapes::{ErrorShape, Here};
use super::{ApiError, Site};
use crate::auth::Reloaded;
use crate::config::sections::OpenMetrics;

/// Paths that are open to everybody.
pub const OPEN: [&str; 4] = ["/", "/livez", "/readyz", "/openapi.json"];

/// What a request may do, in its extensions.
#[derive(Clone)]
pub struct Granted(pub Arc<Grant>);

/// Lets a request through that is open to everybody, or that shows a token that holds; handlers judge what it may do.
pub async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let Some(site) = request.app_data::<Rc<Site>>().cloned() else {
        return Err(ApiError(greenroom_actors::gate::nobody()).into());
    };
    if !is_open(&site, request.request()) {
        let granted = granted(&site, request.request())?;
        request.extensions_mut().insert(granted);
    }
    next.call(request).await
}

/// Whether nobody has to show anything for this. Whoever knocks at a door of Engine.IO is asked when he opens a session, or
/// enters a namespace.
fn is_open(site: &Site, request: &HttpRequest) -> bool {
    let path = request.path();
    OPEN.contains(&path) || site.engine_paths().any(|door| is_door(door, path)) || {
        path == "/metrics" && are_metrics_open(site.open_metrics, request)
    }
}

/// With or without the slash at the end, as the routes have it.
fn is_door(door: &str, path: &str) -> bool {
    path == door || path == door.trim_end_matches('/')
}

fn are_metrics_open(to: OpenMetrics, request: &HttpRequest) -> bool {
    match to {
        OpenMetrics::Nobody => false,
        OpenMetrics::Everyone => true,
        OpenMetrics::Loopback => {
            let forwards = |name: &str| request.headers().contains_key(name);
            let is_here = address_of(request).is_some_and(|address| address.to_canonical().is_loopback());
            is_here && !forwards(FORWARDED.as_str()) && !forwards("x-forwarded-for")
        }
    }
}

fn granted(site: &Site, request: &HttpRequest) -> Result<Granted, ApiError> {
    let gate = &*site.parts.gate;
    let now_ms = (site.parts.clock)();
    let admitted = shown(site, request).and_then(|token| gate.admit(token.as_deref(), now_ms));
    let grant = admitted.inspect_err(|fault| {
        gate.refused(&Refusal {
            fault,
            surface: "http",
            address: address_of(request),
            subject: None,
            action: None,
        });
    })?;
    let granted = Granted(grant);
    if request.path() == "/metrics" {
        let caller = caller(&granted.0, request);
        caller.may(gate, Action::Use(Scope::Admin), now_ms)?;
    }
    Ok(granted)
}

fn caller<'g>(grant: &'g Grant, request: &HttpRequest) -> Caller<'g> {
    Caller {
        grant,
        surface: "http",
        address: address_of(request),
    }
}

/// Where the client is.
pub fn address_of(request: &HttpRequest) -> Option<IpAddr> {
    request.extensions().get::<Client>().map(|client| client.address)
}

/// The token that a request shows: in its head, or in its query where a browser cannot set a head.
fn shown(site: &Site, request: &HttpRequest) -> Result<Option<String>, Fault> {
    let path = request.path();
    let own = &site.parts.extensions.sockets;
    let is_socket = path == "/v1/ws" || own.iter().any(|(door, _)| path == door);
    let takes_query = is_socket || path.starts_with("/v1/rooms/") && path.ends_with("/stream");
    match bearer(request.headers())? {
        None if takes_query => Ok(in_query(request)),
        token => Ok(token),
    }
}

/// How a client of Engine.IO stands by its handshake, if it has shown anything in it.
pub fn standing_of(here: &Here, request: &HttpRequest) -> Option<Standing> {
    let token = match bearer(request.headers()) {
        Ok(token) => token.or_else(|| in_query(request))?,
        Err(fault) => return Some(Err(Box::new(fault))),
    };
    let desk = &here.thread.desk;
    Some(desk.gate.admit(Some(&token), (desk.clock)()).map_err(Box::new))
}

/// What whoever opens a session of Engine.IO may do by the token that he shows. Errors: `unauthenticated`.
pub fn admitted(here: &Here, request: &HttpRequest) -> Result<Arc<Grant>, ApiError> {
    let desk = &here.thread.desk;
    let nothing = || desk.gate.admit(None, (desk.clock)()).map_err(Box::new);
    let standing = standing_of(here, request).unwrap_or_else(nothing);
    standing.map_err(|fault| {
        desk.gate.refused(&Refusal {
            fault: &fault,
            surface: "http",
            address: address_of(request),
            subject: None,
            action: None,
        });
        ApiError(*fault)
    })
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let malformed = || unauthenticated("malformed", "the header is to be: Authorization: Bearer <token>");
    let mut values = headers.get_all(AUTHORIZATION);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(malformed)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(Some(token.trim().to_owned())),
        false => Err(malformed()),
    }
}

fn in_query(request: &HttpRequest) -> Option<String> {
    let mut pairs = form_urlencoded::parse(request.query_string().as_bytes());
    pairs.find_map(|(name, value)| (name == "token").then(|| value.into_owned()))
}

/// Read the files of keys and of those who are denied again.
#[utoipa::path(
    post, path = "/v1/auth/reload", tag = "operations",
    description = "Asks for the scope `admin`. Ends the connections of those who are denied now.",
    responses(
        (status = 200, description = "What was read, and how many connections were ended", body = Reloaded),
        (status = 409, description = "`reload_failed`: a file does not hold; nothing has changed", body = ErrorShape),
    ),
)]
pub async fn reload(here: Here) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    let reloaded = here.site.guard.reload().await?;
    Ok(HttpResponse::Ok().json(reloaded))
}
