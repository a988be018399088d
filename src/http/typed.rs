//! Publishing known events: into every room they belong to, with the id of the path and the time filled in.

use actix_web::web::{Bytes, Path};
use actix_web::{HttpRequest, HttpResponse};
use greenroom_actors::logic::known::{Known, room_names};
use greenroom_actors::logic::protocol::Publication;
use greenroom_actors::logic::publication::{self, Typed};

use super::ApiError;
use super::events::{idempotency_key, send};
use super::shapes::{Body, ErrorShape, Here, Published, check_json};

async fn publish(
    here: Here,
    request: HttpRequest,
    typed: Typed<'_>,
    body: Bytes,
) -> Result<HttpResponse, ApiError> {
    check_json(&request)?;
    let desk = &here.thread.desk;
    let data = publication::complete(&typed, &body, (desk.clock)())?;
    let routing = typed.known.check(&data)?;
    let rooms = room_names(&routing, desk.publish.name_chars)?;
    let id = idempotency_key(&request, None)?;
    let publication = Publication {
        event: typed.event.to_owned(),
        data: Some(data),
        id,
        ..Publication::default()
    };
    let mut draft = publication::check_to(publication, rooms, desk.stamp(here.subject()), &desk.publish)?;
    draft.written = Some(body);
    send(&here, draft).await
}

macro_rules! typed_routes {
    ($($name:ident $path:literal $known:ident $event:literal $field:literal $what:literal $rooms:literal;)*) => {$(
        #[doc = $what]
        #[utoipa::path(
            post, path = $path, tag = "typed", description = $rooms,
            request_body(content = Object, description = "The event's payload; the id of the path and `timestamp` may be left out"),
            params(("id" = String, Path, description = "Whom it is about")),
            responses(
                (status = 202, description = "Accepted", body = Published),
                (status = 400, description = "Not a JSON object, or an id that makes no room name", body = ErrorShape),
                (status = 408, description = "The body did not come in time", body = ErrorShape),
                (status = 415, description = "Not application/json", body = ErrorShape),
                (status = 422, description = "The payload does not hold; details name the field", body = ErrorShape),
                (status = 503, description = "Try again", body = ErrorShape),
            ),
        )]
        pub async fn $name(here: Here, request: HttpRequest, id: Path<String>, Body(body): Body) -> Result<HttpResponse, ApiError> {
            let typed = Typed { known: Known::$known, event: $event, field: $field, id: &id };
            publish(here, request, typed, body).await
        }
    )*};
}

typed_routes! {
    thought "/v1/agents/{id}/thoughts" AgentThought "agent-thought" "agentId"
        "Publish what an agent thinks." "Into `agent:{id}`, and into `project:{projectId}` if the body names one.";
    status "/v1/agents/{id}/status" AgentStatus "agent-status" "agentId"
        "Publish an agent's status." "Into `agent:{id}`.";
    update "/v1/tasks/{id}/updates" TaskUpdate "task-update" "taskId"
        "Publish how far a task is." "Into `task:{id}`, and into `project:{projectId}` if the body names one.";
    project_event "/v1/projects/{id}/events" ProjectEvent "project-event" "projectId"
        "Publish what happened in a project." "Into `project:{id}`.";
}
