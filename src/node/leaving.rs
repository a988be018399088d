//! How the node ends.

use std::time::Duration;

use greenroom_actors::messages::Drain;
use greenroom_actors::ports::{Bus, BusState};
use tokio::time::{Instant, sleep, timeout};

use super::Node;
use crate::http::Stage;
use crate::js_cluster::JsCluster;

/// How often draining looks whether everybody has gone.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

impl Node {
    /// Drains: lets nobody into a room any more, tells every client to come back elsewhere, waits until the broker has what
    /// was accepted and for what is in flight, within the configured limit.
    pub async fn stop(self) {
        let began = Instant::now();
        let limit = Duration::from_millis(self.shutdown.limit_ms);
        self.stage.send_replace(Stage::Draining);
        tracing::info!(connections = self.shards.connections(), "draining");
        for door in self.shards.all() {
            // A shard that cannot hear this is broken, and its connections end with the process.
            let _ = timeout(
                limit,
                door.drain.send(Drain {
                    spread_ms: self.shutdown.retry_ms,
                }),
            )
            .await;
        }
        while self.shards.connections() > 0 && began.elapsed() < limit {
            sleep(DRAIN_LOOK).await;
        }
        let left = || {
            let left = limit.saturating_sub(began.elapsed());
            left.max(Duration::from_millis(100))
        };
        // While that takes long, requests are answered still.
        let _ = timeout(left(), relayed(&*self.bus)).await;
        self.stage.send_replace(Stage::Ending);
        if timeout(left(), self.server.stop(true)).await.is_err() {
            tracing::warn!("requests were still in flight when the time was up");
        }
        let _ = timeout(Duration::from_secs(1), self.served).await;
        part(&*self.bus, left()).await;
        self.js_cluster.into_iter().for_each(JsCluster::leave);
        self.bridge_thread.stop();
        tracing::info!(took_ms = began.elapsed().as_millis() as u64, "stopped");
    }
}

/// Waits until the broker has what this node has accepted.
async fn relayed(bus: &dyn Bus) {
    let BusState { up, waiting, .. } = bus.state();
    if !up && waiting > 0 {
        tracing::warn!(waiting, "events wait for the broker, which is away");
    }
    bus.relayed().await;
}

/// Takes leave of the other nodes, when nothing is accepted any more.
async fn part(bus: &dyn Bus, limit: Duration) {
    let parts = async {
        bus.relayed().await;
        bus.leave().await;
    };
    if timeout(limit, parts).await.is_err() {
        match bus.state().waiting {
            0 => tracing::info!("the broker does not answer: the other nodes find out by themselves"),
            lost => tracing::error!(
                lost,
                "events that the broker has not taken are lost with this node"
            ),
        }
    }
}
