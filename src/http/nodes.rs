//! The nodes that share rooms.

use actix_web::HttpResponse;
use greenroom_actors::broker::NodeRow;
use greenroom_actors::logic::access::{Action, Scope};
use greenroom_actors::logic::known::rfc3339;
use greenroom_actors::session::bus_fault;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiError;
use super::shapes::{ErrorShape, Here};

/// The nodes that share rooms with this one.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "operations",
    responses(
        (status = 200, description = "Every node: name, address for others, version, age, and when it was last heard of", body = NodesShape),
        (status = 503, description = "`unavailable`: Redis does not answer", body = ErrorShape),
    ),
)]
pub async fn list(here: Here) -> Result<HttpResponse, ApiError> {
    here.may(Action::Use(Scope::Admin))?;
    let bus = &here.site.parts.bus;
    let mut rows = bus.nodes().await.map_err(|error| bus_fault(&error))?;
    rows.sort_by(|one, other| one.card.name.cmp(&other.card.name));
    let shared = bus.state().shared;
    let mut nodes: Vec<NodeShape> = rows
        .into_iter()
        .map(|row| NodeShape::of(row, here.site.dead_ms))
        .collect();
    if !shared {
        nodes.push(NodeShape::alone(&here.site.node));
    }
    Ok(HttpResponse::Ok().json(NodesShape { shared, nodes }))
}

/// The nodes of a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodesShape {
    /// Whether rooms are shared at all.
    shared: bool,
    /// The nodes, by name.
    nodes: Vec<NodeShape>,
}

/// A node of a cluster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeShape {
    /// Its name.
    node: String,
    /// Its life: a node that is started again has another one.
    life: Option<String>,
    /// `alive`, or `dead` if it says nothing any more.
    state: &'static str,
    /// Where other nodes reach it.
    advertise: Option<String>,
    /// Its version.
    version: String,
    /// When it started, RFC 3339.
    started_at: Option<String>,
    /// Its clients that may come back.
    connections: Option<usize>,
    /// How long ago it was heard of, milliseconds.
    silent_ms: u64,
}

impl NodeShape {
    fn of(row: NodeRow, dead_ms: u64) -> Self {
        Self {
            node: row.card.name,
            life: Some(row.tag.to_string()),
            state: if row.silent_ms > dead_ms { "dead" } else { "alive" },
            advertise: row.card.advertise,
            version: row.card.version,
            started_at: Some(rfc3339(row.card.started_ms)),
            connections: Some(row.card.connections),
            silent_ms: row.silent_ms,
        }
    }

    /// A node that shares nothing.
    fn alone(name: &str) -> Self {
        Self {
            node: name.to_owned(),
            life: None,
            state: "alive",
            advertise: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: None,
            connections: None,
            silent_ms: 0,
        }
    }
}
