//! Connections, for operators: which there are, and ending one.

use actix_web::HttpResponse;
use actix_web::web::Path;
use greenroom_actors::logic::access::{Action, Scope};
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::messages::{EndSession, ListSessions, SessionRow};
use greenroom_actors::session::mailbox_fault;
use serde_json::json;

use super::ApiError;
use super::shapes::{ErrorShape, Here};

/// What is connected to this node.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "operations", description = "Asks for the scope `admin`.",
    responses((status = 200, description = "Connections: subject, transport, rooms, age, bytes waiting", body = Object)),
)]
pub async fn list(here: Here) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    let mut rows: Vec<SessionRow> = Vec::new();
    for door in here.site.parts.shards.all() {
        rows.extend(door.sessions.send(ListSessions).await.map_err(mailbox_fault)?);
    }
    rows.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(HttpResponse::Ok().json(json!({"node": &*here.site.node, "sessions": rows})))
}

/// End a connection to this node, so that its client does not come back by itself.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "operations", description = "Asks for the scope `admin`.",
    params(("id" = String, Path, description = "The connection's id")),
    responses(
        (status = 204, description = "It is being closed"),
        (status = 404, description = "`not_found`: there is no such connection to this node", body = ErrorShape),
    ),
)]
pub async fn end(here: Here, id: Path<String>) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    for door in here.site.parts.shards.all() {
        if door
            .end_session
            .send(EndSession(id.to_string()))
            .await
            .map_err(mailbox_fault)?
        {
            return Ok(HttpResponse::NoContent().finish());
        }
    }
    Err(Fault::new(Code::NotFound, "there is no such connection to this node").into())
}
