//! Socket.IO as a client meets it on the wire: what the two public protocol suites ask for, what a client may do wrong,
//! and coming back. Beside each client that does something wrong, another one in the same room notices nothing.

mod engine;
mod packets;
mod polling;
mod recovery;
mod rooms;
mod upgrade;

use serde_json::json;

use crate::kit::{Sio, TestNode};

/// A client in a room, to whom nothing must happen.
struct Witness {
    sio: Sio,
    told: u64,
}

/// Where the witness is.
const ROOM: &str = "witnessed";

impl Witness {
    async fn of(node: &TestNode) -> Self {
        let sio = Sio::joined(node.address, &[ROOM]).await;
        Self { sio, told: 0 }
    }

    /// Asserts that it hears what is published, and nothing else has come.
    async fn is_undisturbed(&mut self, node: &TestNode) {
        self.told += 1;
        node.publish(ROOM, "note", self.told).await;
        assert_eq!(self.sio.event().await, [json!("note"), json!(self.told)]);
    }
}

/// A node whose clients must be quick, so that a test need not wait for those that are not.
async fn impatient() -> TestNode {
    TestNode::with(|config| {
        config.socketio.connect_timeout_ms = 1_500;
        config.socketio.upgrade_timeout_ms = 1_500;
    })
    .await
}
