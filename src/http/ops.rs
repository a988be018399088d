//! For operators: is it there, does it work, what does it do.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::HttpResponse;
use greenroom_actors::logic::access::{Action, Scope};
use greenroom_actors::logic::known::rfc3339;
use greenroom_actors::memory::Memory;
use greenroom_actors::ports::BusState;
use greenroom_actors::supervise::{Phase, ages};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::shapes::{self, Here};
use super::{ApiError, auth, cache, events, nodes, presence, sessions, sse, typed, ws};
use crate::adapters::tls::Standing;
use crate::metrics;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Greenroom",
        description = "Rooms for agents and those who watch them: ordered, resumable events over WebSocket, SSE and HTTP."
    ),
    paths(
        events::publish,
        events::history,
        sse::stream,
        ws::open,
        presence::rooms,
        presence::room,
        typed::thought,
        typed::status,
        typed::update,
        typed::project_event,
        livez,
        readyz,
        metrics,
        workers,
        nodes::list,
        cache::metrics,
        cache::forget_found,
        cache::invalidate,
        cache::warm,
        cache::clear,
        sessions::list,
        sessions::end,
        auth::reload,
        openapi
    ),
    security(("bearer" = [])),
    modifiers(&Tokens),
    components(schemas(
        shapes::PublishBody,
        shapes::Published,
        shapes::EventShape,
        shapes::HistoryPage,
        shapes::RoomsPage,
        shapes::RoomShape,
        shapes::ErrorShape,
        nodes::NodesShape,
        cache::InvalidateBody,
        cache::InvalidatedShape,
        cache::FoundBody,
        cache::WarmedShape,
        Readiness
    ))
)]
struct Document;

/// How a token is shown, where the node asks for one.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut OpenApiDocument) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let query = ApiKey::Query(ApiKeyValue::with_description(
            "token",
            "Where a browser cannot set a header",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("query", SecurityScheme::ApiKey(query));
    }
}

/// The OpenAPI document.
pub fn openapi_json() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// What this API is.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", security(()), responses((status = 200, description = "This document", body = Object)))]
pub async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(openapi_json())
}

/// Who answers here.
pub async fn root(here: Here) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "name": "greenroom",
        "version": env!("CARGO_PKG_VERSION"),
        "node": &*here.site.node,
        "see": ["/openapi.json", "/readyz", "/metrics", "/v1/rooms", "/v1/workers"],
    }))
}

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "operations", security(()), responses((status = 200, description = "It does")))]
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// Whether the node should be given work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready`, `degraded` (serves, but not all of it), `restarting` or `draining`.
    status: &'static str,
    /// The node.
    node: String,
    /// What it depends on, each with its state and what that means.
    dependencies: Vec<Dependency>,
    /// Workers that are not running.
    workers: BTreeMap<String, String>,
}

/// Something that the node depends on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dependency {
    name: &'static str,
    kind: &'static str,
    state: &'static str,
    means: Cow<'static, str>,
}

/// Whether the node should be given work: 200 if it should.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "Ready, or degraded but serving", body = Readiness),
        (status = 503, description = "Draining, or a vital worker is not running", body = Readiness),
    ),
)]
pub async fn readyz(here: Here) -> HttpResponse {
    let board = here.site.parts.supervisor.workers().borrow().clone();
    let idle = board.iter().filter(|(_, status)| status.phase != Phase::Running);
    let down: BTreeMap<String, String> = idle
        .map(|(name, status)| (name.clone(), word(status.phase)))
        .collect();
    let vital_down = board
        .values()
        .any(|status| status.vital && status.phase != Phase::Running);
    let tls = here
        .site
        .tls
        .as_ref()
        .map(|certificates| certificate(&certificates.standing()));
    let memory = memory(&here.site.parts.memory);
    let bus = bus(&here.site.parts.bus.state());
    let is_up = |dependency: &Dependency| dependency.state == "up";
    let status = if here.site.stages.is_draining() {
        "draining"
    } else if vital_down {
        "restarting"
    } else if down.is_empty() && is_up(&memory) && is_up(&bus) && tls.as_ref().is_none_or(is_up) {
        "ready"
    } else {
        "degraded"
    };
    let body = Readiness {
        status,
        node: here.site.node.to_string(),
        dependencies: [bus, memory].into_iter().chain(tls).collect(),
        workers: down,
    };
    match status {
        "ready" | "degraded" => HttpResponse::Ok().json(body),
        _ => HttpResponse::ServiceUnavailable().json(body),
    }
}

/// The bus, and what it means that it is away.
fn bus(state: &BusState) -> Dependency {
    if !state.shared {
        return Dependency {
            name: "bus",
            kind: "embedded",
            state: "up",
            means: "rooms and their histories live in this process: they are lost when it ends, and no other node shares them".into(),
        };
    }
    let since = rfc3339(state.since_ms);
    let waiting = state.waiting;
    let (word, means) = match (state.up, state.refuses) {
        (true, _) if waiting == 0 => ("up", format!("Redis is reached since {since}")),
        (true, _) => (
            "up",
            format!("Redis is reached since {since}; {waiting} events are on their way to it"),
        ),
        (false, false) => (
            "down",
            format!(
                "Redis is away since {since} ({}): this node goes on with its own clients, {waiting} events wait to be relayed",
                state.reason
            ),
        ),
        (false, true) => (
            "down",
            format!(
                "Redis is away since {since} ({}): nothing can be published",
                state.reason
            ),
        ),
    };
    Dependency {
        name: "bus",
        kind: "redis",
        state: word,
        means: means.into(),
    }
}

/// What the node holds: a full one serves those it has.
fn memory(memory: &Memory) -> Dependency {
    let held = match memory.limit() {
        0 => format!("{} bytes are held; there is no limit", memory.held()),
        limit => format!("{} of {limit} bytes are held", memory.held()),
    };
    let (state, means) = match memory.is_full() {
        true => (
            "degraded",
            format!("{held}: publications and new connections are refused until a tenth is free"),
        ),
        false => ("up", held),
    };
    Dependency {
        name: "memory",
        kind: "limit",
        state,
        means: means.into(),
    }
}

/// The certificate, which serves even where it should be replaced.
fn certificate(standing: &Standing) -> Dependency {
    let ends = standing.not_after;
    let (state, means) = match &standing.problem {
        Some(problem) => (
            "degraded",
            format!("the one from before, until {ends}, is served still: {problem}"),
        ),
        None if standing.ends_soon => ("degraded", format!("it ends on {ends}: replace it")),
        None => ("up", format!("it ends on {ends}")),
    };
    Dependency {
        name: "certificate",
        kind: "tls",
        state,
        means: means.into(),
    }
}

/// A phase as it is written in JSON.
fn word(phase: Phase) -> String {
    serde_json::to_value(phase)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The supervision tree.
#[utoipa::path(
    get, path = "/v1/workers", tag = "operations",
    responses((status = 200, description = "Every worker: phase, restarts by cause, last exit, age", body = Object)),
)]
pub async fn workers(here: Here) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    let board = here.site.parts.supervisor.workers().borrow().clone();
    let rows: Vec<Value> = ages(&board, Instant::now())
        .into_iter()
        .map(|(name, status)| {
            let mut row = serde_json::to_value(status).unwrap_or_default();
            row["name"] = name.into();
            row
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({"node": &*here.site.node, "workers": rows})))
}

/// Counters and gauges for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", security((), ("bearer" = [])),
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)),
)]
pub async fn metrics(here: Here) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(metrics::text(&here.site).await)
}
