//! How far a node has got with shutting down.

use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use tokio::sync::watch;

use super::Site;

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It does not shut down.
    Serving,
    /// No connection is let into a room any more, and those that are there are told to go. Requests are answered, so that
    /// nobody waits for a node that goes, and a load balancer hears from `/readyz` that it does.
    Draining,
    /// What is under way is finished, and nothing new is begun.
    Ending,
}

/// Follows how far the node has got.
#[derive(Clone)]
pub struct Stages(watch::Receiver<Stage>);

impl Stages {
    /// Follows what is sent there.
    pub fn of(node: &watch::Sender<Stage>) -> Self {
        Self(node.subscribe())
    }

    /// Whether the node shuts down.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Stage::Draining
    }

    /// Resolves when the node has got so far, or is no longer there to say so.
    pub async fn reached(mut self, stage: Stage) {
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}

/// Has clients of a node that goes open their next connection elsewhere.
pub async fn part(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut response = next.call(request).await?;
    let site = response.request().app_data::<Rc<Site>>();
    if site.is_some_and(|site| site.stages.is_draining()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
