//! The doors of the plain WebSocket.

use actix_web::web::ThinData;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{HandshakeError, handshake_with_protocols};
use greenroom_actors::logic::fault::{Code, Fault};

use super::ApiError;
use super::client::Client;
use super::shapes::{ErrorShape, Here};
use super::upgrade::{Becomes, TakeOver};
use crate::extensions::Speaks;

/// The sub-protocol.
const GREENROOM_V1: &str = "greenroom.v1";

/// Open a WebSocket that speaks `greenroom.v1`.
#[utoipa::path(
    get, path = "/v1/ws", tag = "rooms", security(("bearer" = []), ("query" = [])),
    description = "JSON text frames, sub-protocol `greenroom.v1`: join, leave, publish, presence, ping. See README.",
    responses(
        (status = 101, description = "Switching to the WebSocket protocol"),
        (status = 401, description = "No token that holds, neither in the head nor as `?token=`", body = ErrorShape),
        (status = 426, description = "Not a WebSocket handshake", body = ErrorShape),
        (status = 429, description = "`rate_limited`: the address or the subject has too many", body = ErrorShape),
        (status = 503, description = "The node is full or shutting down", body = ErrorShape),
    ),
)]
pub async fn open(here: Here, client: Client, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    here.check_open()?;
    let place = here.place(&client, here.subject().as_ref())?;
    shake_hands(
        &here,
        &request,
        client,
        &[GREENROOM_V1],
        Becomes::GreenroomV1(place),
    )
}

/// Opens a WebSocket on which an embedding program speaks.
pub async fn open_own(
    here: Here,
    client: Client,
    speaks: ThinData<Speaks>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    here.check_open()?;
    let becomes = Becomes::Own(
        here.place(&client, here.subject().as_ref())?,
        speaks(&here.thread),
    );
    shake_hands(&here, &request, client, &[], becomes)
}

fn shake_hands(
    here: &Here,
    request: &HttpRequest,
    client: Client,
    protocols: &[&str],
    becomes: Becomes,
) -> Result<HttpResponse, ApiError> {
    let mut response = handshake_with_protocols(request, protocols).map_err(|error| refuse(&error))?;
    let mut response = response.finish();
    let standing = here.grant.clone().map(Ok);
    response.extensions_mut().insert(TakeOver {
        becomes,
        standing,
        client,
    });
    Ok(response)
}

fn refuse(error: &HandshakeError) -> Fault {
    let code = match error {
        HandshakeError::NoWebsocketUpgrade | HandshakeError::NoConnectionUpgrade => Code::UpgradeRequired,
        _ => Code::BadRequest,
    };
    Fault::new(code, format!("not a WebSocket handshake: {error}"))
}
