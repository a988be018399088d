//! The cache, for operators and for who builds indexes.

use actix_web::web::{Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use greenroom_actors::cache::{Invalidate, Report, Warm};
use greenroom_actors::logic::access::{Action, Scope};
use greenroom_actors::logic::cache::Name;
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::session::mailbox_fault;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiError;
use super::shapes::{Body, ErrorShape, Here, read_json};

/// What is told of the cache.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MetricsQuery {
    /// Whether the entries in Redis are counted too: that looks at all keys there, a few at a time.
    #[serde(default)]
    counts: bool,
}

/// What the cache of this node has found, holds and saves.
#[utoipa::path(
    get, path = "/v1/cache/metrics", tag = "operations", description = "Asks for the scope `admin`.",
    params(MetricsQuery),
    responses((status = 200, description = "Hits and misses by kind over a minute, an hour and all time; both tiers; what was saved; growth", body = Object)),
)]
pub async fn metrics(here: Here, query: Query<MetricsQuery>) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    let counts = query.counts;
    let report = here
        .site
        .cache
        .send(Report { counts })
        .await
        .map_err(mailbox_fault)?;
    let gone = || Fault::new(Code::Unavailable, "the cache is being restarted");
    Ok(HttpResponse::Ok().json(report.ok_or_else(gone)?))
}

/// What has changed: one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidateBody {
    /// Paths of the files that have changed: what was made of them is forgotten, and nothing else.
    #[schema(example = json!(["src/lib.rs"]))]
    files: Option<Vec<String>>,
    /// The commit that is new: the project's fingerprint and manifest are forgotten.
    commit: Option<String>,
}

/// What forgetting has come to.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvalidatedShape {
    /// How many entries there were.
    removed: u64,
    /// Whether every node has forgotten them: if not, Redis is away, and is told when it is back.
    everywhere: bool,
}

/// Forget what depends on files or on the commit of a project.
#[utoipa::path(
    post, path = "/v1/projects/{id}/invalidate", tag = "cache", description = "Asks for the scope `index`.",
    params(("id" = String, Path, description = "The project: 1 to 128 of A-Z a-z 0-9 . _ -")),
    request_body = InvalidateBody,
    responses(
        (status = 200, description = "It is forgotten", body = InvalidatedShape),
        (status = 400, description = "`bad_request`: neither or both of `files` and `commit`, or no such name", body = ErrorShape),
        (status = 408, description = "The body did not come in time", body = ErrorShape),
        (status = 413, description = "Over the limit", body = ErrorShape),
        (status = 415, description = "Not application/json", body = ErrorShape),
    ),
)]
pub async fn invalidate(
    here: Here,
    id: Path<String>,
    request: HttpRequest,
    Body(body): Body,
) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Index))?;
    let project = name(&id)?;
    let InvalidateBody { files, commit } = read_json(&request, &body)?;
    let what = match (files, commit) {
        (Some(files), None) => Invalidate::Files(project, files),
        (None, Some(_)) => Invalidate::Commit(project),
        _ => return Err(Fault::new(Code::BadRequest, "give either files or commit").into()),
    };
    forget(&here, what).await
}

/// Forget everything of a project.
#[utoipa::path(
    delete, path = "/v1/projects/{id}/cache", tag = "cache",
    description = "Asks for the scope `index`. Vectors belong to whoever has the same text, and are kept for as long as they live.",
    params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "It is forgotten", body = InvalidatedShape),
        (status = 400, description = "`bad_request`: no name of a project", body = ErrorShape),
    ),
)]
pub async fn clear(here: Here, id: Path<String>) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Index))?;
    forget(&here, Invalidate::Project(name(&id)?)).await
}

/// Which entries: one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FoundBody {
    /// Keys of the cache, behind the prefix, with `*` and `?`.
    #[schema(example = "embedding:old-model:*")]
    pattern: Option<String>,
    /// What entries were said to depend on when they were put.
    #[schema(example = "image-python-3.11")]
    dependency: Option<String>,
}

/// Forget all entries whose keys match a pattern, or that depend on something.
#[utoipa::path(
    post, path = "/v1/cache/invalidate", tag = "cache",
    description = "Asks for the scope `admin`. With a pattern, looks through all keys of Redis, a few at a time.",
    request_body = FoundBody,
    responses(
        (status = 200, description = "They are forgotten", body = InvalidatedShape),
        (status = 400, description = "`bad_request`: neither or both, or no such name; `bad_json`", body = ErrorShape),
        (status = 408, description = "The body did not come in time", body = ErrorShape),
        (status = 413, description = "Over the limit", body = ErrorShape),
        (status = 415, description = "Not application/json", body = ErrorShape),
    ),
)]
pub async fn forget_found(
    here: Here,
    request: HttpRequest,
    Body(body): Body,
) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    let FoundBody { pattern, dependency } = read_json(&request, &body)?;
    let what = match (pattern, dependency) {
        (Some(pattern), None) => Invalidate::Matching(pattern),
        (None, Some(on)) => Invalidate::Dependents(name(&on)?),
        _ => return Err(Fault::new(Code::BadRequest, "give either pattern or dependency").into()),
    };
    forget(&here, what).await
}

/// What is in the process by now.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarmedShape {
    /// How many entries.
    entries: usize,
}

/// Have a project's fingerprint and manifest in the process before they are asked for.
#[utoipa::path(
    post, path = "/v1/projects/{id}/warm", tag = "cache", description = "Asks for the scope `index`.",
    params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "They are, as far as there are any", body = WarmedShape),
        (status = 400, description = "`bad_request`: no name of a project", body = ErrorShape),
    ),
)]
pub async fn warm(here: Here, id: Path<String>) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Index))?;
    let warm = Warm {
        project: name(&id)?,
        besides: Vec::new(),
    };
    let entries = here.site.cache.send(warm).await.map_err(mailbox_fault)?;
    Ok(HttpResponse::Ok().json(WarmedShape { entries }))
}

fn name(id: &str) -> Result<Name, ApiError> {
    Name::parse(id).map_err(|error| Fault::new(Code::BadRequest, error.to_string()).into())
}

async fn forget(here: &Here, what: Invalidate) -> Result<HttpResponse, ApiError> {
    let done = here.site.cache.send(what).await.map_err(mailbox_fault)?;
    Ok(HttpResponse::Ok().json(InvalidatedShape {
        removed: done.removed,
        everywhere: done.everywhere,
    }))
}
