//! The known events: their payloads, checked, and the rooms that each goes to.

use super::{
    fault::{Code, Fault},
    room_name::RoomName,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

/// A point in time as clients write it: RFC 3339.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Timestamp(String);

impl Timestamp {
    /// `ts_ms`: milliseconds since 1970.
    pub fn from_ms(ts_ms: i64) -> Self {
        Self(rfc3339(ts_ms))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse::<jiff::Timestamp>() {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(serde::de::Error::custom(
                "not an RFC 3339 timestamp such as 2026-01-31T12:00:00.000Z",
            )),
        }
    }
}

/// `ts_ms` (milliseconds since 1970) as RFC 3339 with milliseconds, in UTC.
pub fn rfc3339(ts_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ts_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident : $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {$(
            #[doc = concat!("The field `", stringify!($field), "`.")]
            $(#[$attr])* pub $field: $type,
        )*}
    )*};
}

payloads! {
    /// `agent-thought`: what an agent is thinking.
    AgentThought {
        agent_id: String,
        thought: String,
        timestamp: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")] agent_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] task_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] project_id: Option<String>,
    }
    /// `agent-status`: whether an agent is at work.
    AgentStatus {
        agent_id: String,
        status: AgentState,
        timestamp: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")] agent_name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] current_task_id: Option<String>,
    }
    /// `task-update`: how far a task is.
    TaskUpdate {
        task_id: String,
        status: TaskState,
        timestamp: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")] progress: Option<Progress>,
        #[serde(default, skip_serializing_if = "Option::is_none")] message: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")] project_id: Option<String>,
    }
    /// `project-event`: something happened in a project.
    ProjectEvent {
        project_id: String,
        event: String,
        timestamp: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")] data: Option<Value>,
    }
    /// `audit-event`: a stage of an audit.
    AuditEvent {
        task_id: String,
        project_id: String,
        stage: String,
        status: AuditState,
        timestamp: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")] result: Option<Value>,
    }
    /// `index-progress`: how far an index run is.
    IndexProgress {
        project_id: String,
        phase: String,
        files_done: u64,
        files_total: u64,
        chunks_done: u64,
        chunks_total: u64,
        eta_seconds: Option<f64>,
        timestamp: Timestamp,
    }
}

/// An agent's state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentState {
    /// Nothing to do.
    Idle,
    /// At work.
    Active,
    /// Stuck.
    Error,
}

/// A task's state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not begun.
    Pending,
    /// Under way.
    InProgress,
    /// Done.
    Completed,
    /// Ended without success.
    Failed,
}

/// The state of an audit stage.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditState {
    /// Under way.
    Started,
    /// Held.
    Passed,
    /// Did not hold.
    Failed,
}

/// Per cent, 0 to 100.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct Progress(f64);

impl<'de> Deserialize<'de> for Progress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom("progress is a number from 0 to 100"))
        }
    }
}

/// The events that have a payload of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// [`AgentThought`]
    AgentThought,
    /// [`AgentStatus`]
    AgentStatus,
    /// [`TaskUpdate`]
    TaskUpdate,
    /// [`ProjectEvent`]
    ProjectEvent,
    /// [`AuditEvent`]
    AuditEvent,
    /// [`IndexProgress`]
    IndexProgress,
}

/// What a known event's payload says about where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Whom it is about: what waits is merged per subject.
    pub about: String,
    /// The rooms it goes to by itself, the most particular first, as `kind:id` texts not yet checked as room names.
    pub rooms: Vec<String>,
}

impl Known {
    /// The known event of that name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "agent-thought" => Self::AgentThought,
            "agent-status" => Self::AgentStatus,
            "task-update" => Self::TaskUpdate,
            "project-event" => Self::ProjectEvent,
            "audit-event" => Self::AuditEvent,
            "index-progress" => Self::IndexProgress,
            _ => return None,
        })
    }

    /// Checks a payload. The fault names the field's path in its details.
    pub fn check(self, data: &RawValue) -> Result<Routing, Fault> {
        let agent = |id: &str| format!("agent:{id}");
        let task = |id: &str| format!("task:{id}");
        let project = |id: &str| format!("project:{id}");
        Ok(match self {
            Self::AgentThought => {
                let AgentThought {
                    agent_id: id,
                    project_id,
                    ..
                } = read(data)?;
                let rooms = [agent(&id)]
                    .into_iter()
                    .chain(project_id.as_deref().map(project))
                    .collect();
                Routing { about: id, rooms }
            }
            Self::AgentStatus => {
                let AgentStatus { agent_id: id, .. } = read(data)?;
                Routing {
                    rooms: vec![agent(&id)],
                    about: id,
                }
            }
            Self::TaskUpdate => {
                let TaskUpdate {
                    task_id: id,
                    project_id,
                    ..
                } = read(data)?;
                let rooms = [task(&id)]
                    .into_iter()
                    .chain(project_id.as_deref().map(project))
                    .collect();
                Routing { about: id, rooms }
            }
            Self::ProjectEvent => {
                let ProjectEvent { project_id: id, .. } = read(data)?;
                Routing {
                    rooms: vec![project(&id)],
                    about: id,
                }
            }
            Self::AuditEvent => {
                let AuditEvent {
                    task_id, project_id, ..
                } = read(data)?;
                Routing {
                    rooms: vec![task(&task_id), project(&project_id)],
                    about: task_id,
                }
            }
            Self::IndexProgress => {
                let IndexProgress { project_id: id, .. } = read(data)?;
                Routing {
                    rooms: vec![project(&id)],
                    about: id,
                }
            }
        })
    }
}

fn read<T: DeserializeOwned>(data: &RawValue) -> Result<T, Fault> {
    // serde would also take an array for a struct, field by field.
    if !data.get().starts_with('{') {
        let reason = "expected an object";
        return Err(Fault::new(Code::PayloadInvalid, reason).with(json!({"path": ".", "reason": reason})));
    }
    let mut json = serde_json::Deserializer::from_str(data.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let mut path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // serde_json appends " at line 1 column n", of no use to whoever wrote an object.
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        // Of a missing field serde's path names only what it is missing from, which is the payload itself.
        if let Some(field) = reason.strip_prefix("missing field `") {
            path = field.trim_end_matches('`').to_owned();
        }
        Fault::new(Code::PayloadInvalid, format!("{path}: {reason}"))
            .with(json!({"path": path, "reason": reason}))
    })
}

/// The rooms of a routing as checked names.
pub fn room_names(routing: &Routing, limit: usize) -> Result<Vec<RoomName>, Fault> {
    let parse = |room: &String| {
        RoomName::parse(room, limit)
            .map_err(|error| Fault::new(Code::RoomNameInvalid, format!("the room {room:?}: {error}")))
    };
    routing.rooms.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(known: Known, value: Value) -> Result<Routing, Fault> {
        known.check(&serde_json::value::to_raw_value(&value).unwrap())
    }

    #[test]
    fn a_thought_goes_to_its_agent_and_its_project() {
        let now = rfc3339(1_700_000_000_000);
        assert_eq!(now, "2023-11-14T22:13:20.000Z");
        let alone = check(
            Known::AgentThought,
            json!({"agentId": "42", "thought": "hm", "timestamp": now}),
        )
        .unwrap();
        assert_eq!(alone.rooms, ["agent:42"]);
        let both = json!({"agentId": "42", "thought": "hm", "timestamp": now, "projectId": "7", "mood": "any other field"});
        assert_eq!(
            check(Known::AgentThought, both).unwrap().rooms,
            ["agent:42", "project:7"]
        );
    }

    #[test]
    fn the_field_that_does_not_hold_is_named() {
        let now = rfc3339(0);
        for (known, value, path) in [
            (
                Known::AgentThought,
                json!({"agentId": 42, "thought": "hm", "timestamp": now}),
                "agentId",
            ),
            (
                Known::AgentThought,
                json!({"agentId": "4", "thought": "hm", "timestamp": "noon"}),
                "timestamp",
            ),
            (
                Known::AgentStatus,
                json!({"agentId": "4", "status": "asleep", "timestamp": now}),
                "status",
            ),
            (
                Known::TaskUpdate,
                json!({"taskId": "4", "status": "pending", "timestamp": now, "progress": 101}),
                "progress",
            ),
            (Known::AgentThought, json!([1]), "."),
        ] {
            let fault = check(known, value).unwrap_err();
            assert_eq!(fault.code, Code::PayloadInvalid);
            assert_eq!(fault.details.unwrap()["path"], path, "{}", fault.message);
        }
        let fault = check(Known::TaskUpdate, json!({"taskId": "4", "timestamp": now})).unwrap_err();
        assert!(
            fault.message.contains("missing field `status`"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn every_known_event_has_its_rooms() {
        let t = rfc3339(0);
        let rooms = |known, value| check(known, value).unwrap().rooms;
        assert_eq!(
            rooms(
                Known::TaskUpdate,
                json!({"taskId":"1","status":"failed","timestamp":t,"projectId":"p"})
            ),
            ["task:1", "project:p"]
        );
        assert_eq!(
            rooms(
                Known::AuditEvent,
                json!({"taskId":"1","projectId":"p","stage":"lint","status":"passed","timestamp":t})
            ),
            ["task:1", "project:p"]
        );
        assert_eq!(
            rooms(
                Known::ProjectEvent,
                json!({"projectId":"p","event":"opened","timestamp":t})
            ),
            ["project:p"]
        );
        assert_eq!(
            rooms(
                Known::IndexProgress,
                json!({"projectId":"p","phase":"embed","filesDone":1,"filesTotal":2,"chunksDone":3,"chunksTotal":4,
                       "etaSeconds":1.5,"timestamp":t})
            ),
            ["project:p"]
        );
    }
}
