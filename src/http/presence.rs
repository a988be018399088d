//! Rooms and who is in them.

use actix_web::HttpResponse;
use actix_web::web::Path;
use greenroom_actors::gate::nobody;
use greenroom_actors::logic::access::Action;
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::logic::position::Position;
use greenroom_actors::logic::room_name::RoomName;
use greenroom_actors::session::bus_fault;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::ApiError;
use super::shapes::{ErrorShape, Here, Query, RoomRow, RoomShape, RoomsPage};

/// Rooms in a page where the caller does not say.
const PAGE_DEFAULT: usize = 100;
/// Rooms in a page at most.
const PAGE_MAX: usize = 1_000;

/// Which rooms.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RoomsQuery {
    /// Only rooms whose name begins so.
    prefix: Option<String>,
    /// Only rooms after this name: the `next` of the page before.
    after: Option<String>,
    /// Rooms at most, 1 to 1,000; 100 if left out.
    limit: Option<usize>,
}

/// Rooms that have members and may be joined, by name.
#[utoipa::path(
    get, path = "/v1/rooms", tag = "rooms", params(RoomsQuery),
    responses(
        (status = 200, description = "A page of rooms", body = RoomsPage),
        (status = 400, description = "A limit out of range", body = ErrorShape),
    ),
)]
pub async fn rooms(here: Here, Query(query): Query<RoomsQuery>) -> Result<HttpResponse, ApiError> {
    let RoomsQuery { prefix, after, limit } = query;
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Fault::new(Code::BadRequest, format!("limit is 1 to {PAGE_MAX}")).into());
    }
    let found = joinable(&here, &prefix.unwrap_or_default(), after.as_deref(), limit + 1).await?;
    let next = (found.len() > limit).then(|| found[limit - 1].0.to_string());
    let rooms = found.into_iter().take(limit);
    let rooms = rooms
        .map(|(room, members)| RoomRow {
            room: room.to_string(),
            members,
        })
        .collect();
    Ok(HttpResponse::Ok().json(RoomsPage { rooms, next }))
}

/// Rooms that may be joined: those of each pattern one after the other, which is the order of their names.
async fn joinable(
    here: &Here,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(RoomName, usize)>, ApiError> {
    let Some(grant) = &here.grant else {
        return Err(nobody().into());
    };
    let mut found: Vec<(RoomName, usize)> = Vec::new();
    for pattern in grant.joinable_within(prefix) {
        if found.len() >= limit || pattern.is_exact() && after.is_some_and(|after| after >= pattern.text()) {
            continue;
        }
        // A room's own name comes before those that go on from it.
        let most = if pattern.is_exact() {
            1
        } else {
            limit - found.len()
        };
        let bus = &here.thread.desk.bus;
        let rooms = bus
            .rooms(pattern.text().to_owned(), after.map(str::to_owned), most)
            .await;
        let rooms = rooms.map_err(|error| bus_fault(&error))?;
        found.extend(
            rooms
                .into_iter()
                .filter(|(room, _)| pattern.covers(room.as_str())),
        );
    }
    Ok(found)
}

/// Who is in a room.
#[utoipa::path(
    get, path = "/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "The room")),
    responses(
        (status = 200, description = "The members; a room is there as soon as it has a name", body = RoomShape),
        (status = 400, description = "`room_name_invalid`", body = ErrorShape),
    ),
)]
pub async fn room(here: Here, room: Path<String>) -> Result<HttpResponse, ApiError> {
    let room = here.room(&room)?;
    here.may(Action::Presence(&room))?;
    let bus = &here.thread.desk.bus;
    let members = bus.members(&room).await.map_err(|error| bus_fault(&error))?;
    let position = Position::at(bus.life(), bus.gauges().head).to_string();
    let body = json!({"room": room, "count": members.len(), "members": members, "position": position});
    Ok(HttpResponse::Ok().json(body))
}
