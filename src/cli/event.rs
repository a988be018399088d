//! How an event looks on the terminal.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::out::tame;

/// An event as the node gives it; what is not shown is not read.
#[derive(Deserialize)]
pub struct Event {
    room: String,
    rooms: Option<Vec<String>>,
    event: String,
    data: Option<Box<RawValue>>,
    args: Option<Box<RawValue>>,
    ts: Option<Value>,
}

impl Event {
    /// One line: time, room, event, data.
    pub fn line(&self) -> String {
        let time = self.ts.as_ref().map_or_else(|| "-".to_owned(), time);
        let rooms = self
            .rooms
            .as_ref()
            .map_or_else(|| self.room.clone(), |rooms| rooms.join(","));
        let data = self
            .data
            .as_ref()
            .or(self.args.as_ref())
            .map_or("", |raw| raw.get());
        tame(&format!("{time} {rooms} {} {data}", self.event))
    }
}

fn time(ts: &Value) -> String {
    let moment = ts.as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match (moment, ts.as_str()) {
        (Some(moment), _) => format!("{moment:.3}"),
        (None, Some(text)) => text.to_owned(),
        (None, None) => ts.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        serde_json::from_str::<Event>(json).unwrap().line()
    }

    #[test]
    fn a_line_has_time_room_event_and_data() {
        let json =
            r#"{"id":"1","room":"agent:42","event":"note","data":{"n":12345678901234567890.10},"ts":0}"#;
        assert_eq!(
            line(json),
            r#"1970-01-01T00:00:00.000Z agent:42 note {"n":12345678901234567890.10}"#
        );
    }

    #[test]
    fn all_rooms_are_named_and_arguments_stand_for_data() {
        let json =
            r#"{"room":"a","rooms":["a","b"],"event":"note","args":[1,"x"],"ts":"2026-01-02T03:04:05Z"}"#;
        assert_eq!(line(json), r#"2026-01-02T03:04:05Z a,b note [1,"x"]"#);
    }
}
