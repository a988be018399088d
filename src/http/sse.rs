//! Rooms as a stream of server-sent events.

use actix_web::http::header;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt as _;
use greenroom_actors::callers::Waiting;
use greenroom_actors::event_stream::EventStream;
use greenroom_actors::logic::access::Action;
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::logic::position::Position;
use greenroom_actors::logic::protocol::{Protocol, Rooms};
use greenroom_actors::logic::publication::check_rooms;
use greenroom_actors::messages::Join;
use greenroom_actors::peer::Line;
use greenroom_actors::session::mailbox_fault;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiError;
use super::client::Client;
use super::events::parse_position;
use super::shapes::{ErrorShape, Here, Query};

/// Which rooms, from where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// A position to resume from, where there is no `Last-Event-ID`.
    since: Option<String>,
    /// More rooms, separated by commas.
    rooms: Option<String>,
    /// A token, where a browser cannot set a header.
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// A room's events as they come, each with its position as `id`.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/stream", tag = "rooms", security(("bearer" = []), ("query" = [])),
    params(
        ("room" = String, Path, description = "The room"), StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "A position to resume from"),
    ),
    responses(
        (status = 200, description = "First `joined` with `recovered`, then what was missed, then what comes",
            content_type = "text/event-stream", body = String),
        (status = 400, description = "`room_name_invalid`, `position_invalid`", body = ErrorShape),
        (status = 429, description = "`rate_limited`: the address or the subject has too many", body = ErrorShape),
        (status = 503, description = "The node is full or shutting down", body = ErrorShape),
    ),
)]
pub async fn stream(
    here: Here,
    client: Client,
    request: HttpRequest,
    room: Path<String>,
    Query(query): Query<StreamQuery>,
) -> Result<HttpResponse, ApiError> {
    here.check_open()?;
    let more = query
        .rooms
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let names: Vec<String> = [room.as_str()]
        .into_iter()
        .chain(more)
        .map(str::to_owned)
        .collect();
    let desk = &here.thread.desk;
    let rooms = check_rooms(&names, &desk.publish)?;
    let limit = here.thread.settings.rooms_per_connection;
    if rooms.len() > limit {
        return Err(Fault::new(Code::TooManyRooms, format!("a stream may have {limit} rooms")).into());
    }
    rooms.iter().try_for_each(|room| here.may(Action::Read(room)))?;
    let waiting: Waiting = here.take(&client)?;
    let since = since(&request, query.since.as_deref(), &here)?;
    let standing = here.grant.clone().map(Ok);
    let peer = here.connect(
        Protocol::Sse,
        Line::Stream,
        standing,
        here.place(&client, here.subject().as_ref())?,
    );
    let key = peer.key.get();
    // From here on the stream owns the connection: dropping it takes it out of the rooms.
    let stream = EventStream::new(peer, desk.hub.clone());
    let asked = if names.len() == 1 {
        Rooms::One(names[0].clone())
    } else {
        Rooms::Many(names)
    };
    desk.registry
        .send(Join {
            peer: key,
            rooms,
            asked,
            since,
            reference: None,
        })
        .await
        .map_err(mailbox_fault)?;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Asks nginx not to hold events back.
        .insert_header(("x-accel-buffering", "no"))
        // Counted for as long as it is there.
        .streaming(stream.map(move |chunk| (&waiting, chunk).1)))
}

/// A browser that reconnects by itself sends the header, which is then newer than the address it was given.
fn since(request: &HttpRequest, query: Option<&str>, here: &Here) -> Result<Option<Position>, ApiError> {
    let header = request
        .headers()
        .get("last-event-id")
        .map(|id| id.to_str().unwrap_or_default());
    match header {
        // An EventSource does not come back after an error: what is no position of ours is one of which nothing is left.
        Some(id) => Ok(Some(
            id.parse().unwrap_or_else(|_| Position::at(other_life(here), 0)),
        )),
        None => query.map(parse_position).transpose(),
    }
}

/// A life that is not the bus's.
fn other_life(here: &Here) -> greenroom_actors::logic::position::Life {
    let now = here.thread.desk.bus.life();
    std::iter::repeat_with(crate::ids::life)
        .find(|life| *life != now)
        .unwrap_or(now)
}
