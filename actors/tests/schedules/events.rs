//! Events as clients and programs publish them.

use greenroom_actors::logic::protocol::Publication;
use serde_json::{Value, json};

const STAMP: &str = "2026-01-01T00:00:00Z";

/// The data of `agent-thought`.
pub fn thought(agent: &str, text: &str) -> Value {
    json!({"agentId": agent, "thought": text, "timestamp": STAMP})
}

/// The data of `task-update`.
pub fn update(task: &str, text: &str) -> Value {
    json!({"taskId": task, "status": "pending", "message": text, "timestamp": STAMP})
}

/// What a program of the node's process publishes, where a client would send this frame.
pub fn publication(frame: &Value) -> Publication {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rooms = frame["rooms"].as_array().expect("rooms");
    Publication {
        rooms: rooms.iter().map(text).collect(),
        event: text(&frame["event"]),
        data: serde_json::value::to_raw_value(&frame["data"]).ok(),
        args: None,
        id: Some(text(&frame["id"])),
    }
}
