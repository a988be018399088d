//! Publishing into rooms, and their history.

use actix_web::http::{StatusCode, header};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use greenroom_actors::logic::access::Action;
use greenroom_actors::logic::bus_log;
use greenroom_actors::logic::event::{Draft, Event};
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::logic::position::Position;
use greenroom_actors::logic::protocol::{Publication, View, event_json};
use greenroom_actors::logic::throttle::{Rules, same_key};
use greenroom_actors::messages::Publish;
use greenroom_actors::session::{bus_fault, mailbox_fault};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

use super::ApiError;
use super::client::Client;
use super::lent::LentBody;
use super::shapes::{
    Body, ErrorShape, Here, HistoryPage, PublishBody, Published, Query, read_json, receipt_json,
};

/// Events in a page where the caller does not say.
const PAGE_DEFAULT: usize = 100;
/// Events in a page at most.
const PAGE_MAX: usize = 1_000;
/// Bytes of payload in a page at most; one event always fits.
const PAGE_BYTES: usize = 4 << 20;

/// Publish an event into a room, and into more rooms if the body names them.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/events", tag = "rooms", request_body = PublishBody,
    params(
        ("room" = String, Path, description = "The room"),
        ("Idempotency-Key" = Option<String>, Header, description = "Stands for `id`"),
    ),
    responses(
        (status = 202, description = "Accepted", body = Published),
        (status = 400, description = "Not JSON, or a name that is none", body = ErrorShape),
        (status = 408, description = "The body did not come in time", body = ErrorShape),
        (status = 409, description = "`id_reused`", body = ErrorShape),
        (status = 413, description = "Over the limit", body = ErrorShape),
        (status = 415, description = "Not application/json", body = ErrorShape),
        (status = 422, description = "A known event's payload does not hold", body = ErrorShape),
        (status = 503, description = "Try again; safe with the same id", body = ErrorShape),
    ),
)]
pub async fn publish(
    here: Here,
    request: HttpRequest,
    room: Path<String>,
    Body(body): Body,
) -> Result<HttpResponse, ApiError> {
    let PublishBody {
        event,
        data,
        args,
        id,
        rooms: more,
    } = read_json(&request, &body)?;
    let id = idempotency_key(&request, id)?;
    let rooms = [room.into_inner()].into_iter().chain(more).collect();
    let draft = here.thread.desk.draft(
        Publication {
            rooms,
            event,
            data,
            args,
            id,
        },
        here.subject(),
    )?;
    send(&here, draft).await
}

/// The publisher's own id, from the body or the header.
pub fn idempotency_key(request: &HttpRequest, id: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(key) = request.headers().get("idempotency-key") else {
        return Ok(id);
    };
    let key = key
        .to_str()
        .map_err(|_| Fault::new(Code::EventIdInvalid, "Idempotency-Key is not text"))?;
    match id {
        Some(id) if id != key => Err(Fault::new(
            Code::BadRequest,
            "id and Idempotency-Key are two names for one thing, and differ",
        )
        .into()),
        _ => Ok(Some(key.to_owned())),
    }
}

/// Publishes a draft into rooms into which the request may publish, and answers with its receipt.
pub async fn send(here: &Here, draft: Draft) -> Result<HttpResponse, ApiError> {
    draft
        .rooms
        .iter()
        .try_for_each(|room| here.may(Action::Publish(room)))?;
    let answer = here
        .thread
        .desk
        .registry
        .send(Publish::from(draft))
        .await
        .map_err(mailbox_fault)?;
    let receipt = answer.map_err(|error| bus_fault(&error))?;
    Ok(HttpResponse::Accepted()
        .content_type("application/json")
        .body(receipt_json(&receipt)))
}

/// What part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// A position: only what came after it.
    since: Option<String>,
    /// Events at most, 1 to 1,000; 100 if left out.
    limit: Option<usize>,
}

/// A room's history, oldest first.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/events", tag = "rooms",
    params(("room" = String, Path, description = "The room"), HistoryQuery),
    responses(
        (status = 200, description = "A part of the history", body = HistoryPage),
        (status = 400, description = "`position_invalid`, `room_name_invalid`", body = ErrorShape),
        (status = 410, description = "`history_gone`: it no longer reaches back to `since`", body = ErrorShape),
        (status = 429, description = "`rate_limited`: this address was given too much history", body = ErrorShape),
        (status = 503, description = "`overloaded`: the node is full", body = ErrorShape),
    ),
)]
pub async fn history(
    here: Here,
    client: Client,
    room: Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<HttpResponse, ApiError> {
    let room = here.room(&room)?;
    here.may(Action::Read(&room))?;
    // It may come to megabytes, and its client may take its time.
    here.check_room()?;
    here.may_replay(&client)?;
    let bus = &here.thread.desk.bus;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Fault::new(Code::BadRequest, format!("limit is 1 to {PAGE_MAX}")).into());
    }
    let since = query.since.as_deref().map(parse_position).transpose()?;
    let gone = || Fault::new(Code::HistoryGone, Code::HistoryGone.row().meaning);
    if since
        .as_ref()
        .is_some_and(|since| since.life != bus.life() || since.seq > bus.gauges().head)
    {
        return Err(gone().into());
    }
    let base = since.as_ref().map_or(0, |since| since.seq);
    let firsts = since
        .as_ref()
        .map(|since| since.waiting.clone())
        .unwrap_or_default();
    let read = bus_log::Query {
        rooms: vec![(room.clone(), 0)],
        after: firsts.first().map_or(base, |first| first - 1),
        whole_from: base,
        gaps: Vec::new(),
        must: firsts.clone(),
        events_max: limit,
        bytes_max: PAGE_BYTES,
    };
    let page = bus.read(read).await.map_err(|error| bus_fault(&error))?;
    client.caller.replayed(page.cost(1));
    if since.is_some() && !page.whole {
        return Err(gone().into());
    }
    let events = lacking(&page.events, base, &firsts, &here.thread.settings.rules);
    let position = Position::at(bus.life(), page.upto.max(base));
    let body = page_json(room.as_str(), &events, &position, page.more);
    let lent = here.site.parts.memory.lend(body.len());
    let mut response = HttpResponse::with_body(StatusCode::OK, LentBody::new(body, lent));
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response.map_into_boxed_body())
}

/// Reads a position that a client gave.
pub fn parse_position(text: &str) -> Result<Position, ApiError> {
    text.parse()
        .map_err(|_| Fault::new(Code::PositionInvalid, Code::PositionInvalid.row().meaning).into())
}

/// The events that whoever is at `base` lacks: all after it, and up to it those that waited.
fn lacking(events: &[Arc<Event>], base: u64, firsts: &[u64], rules: &Rules) -> Vec<Arc<Event>> {
    let mut waited: Vec<Arc<Event>> = Vec::new();
    let mut lacks = Vec::new();
    for event in events {
        let same = |first: &Arc<Event>| rules.of(event).is_some_and(|rule| same_key(first, event, rule));
        if event.seq > base || firsts.contains(&event.seq) || waited.iter().any(same) {
            lacks.push(event.clone());
        }
        if firsts.contains(&event.seq) {
            waited.push(event.clone());
        }
    }
    lacks
}

fn page_json(room: &str, events: &[Arc<Event>], position: &Position, more: bool) -> Vec<u8> {
    // Room names and positions need no escaping.
    let mut body = format!("{{\"room\":\"{room}\",\"events\":[").into_bytes();
    for (i, event) in events.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&event_json(View { event, merged: None }));
    }
    body.extend_from_slice(format!("],\"position\":\"{position}\",\"more\":{more}}}").as_bytes());
    body
}
