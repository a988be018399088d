//! Several events of the kind `append` as one.

use super::event::{Event, Payload};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// The payload of several events merged, in the newest one's form; `None` if one of them has no `thought`.
///
/// The newest one's fields, `thought` all texts joined by a line break, `merged` their number, `thoughts` the
/// originals in order: each its own fields without those that say who thinks, and the `id` of its event.
pub fn merged_payload(events: &[&Event]) -> Option<Vec<u8>> {
    let mut texts = Vec::with_capacity(events.len());
    let mut thoughts = Vec::with_capacity(events.len());
    let mut merged = Fields::new();
    for event in events {
        let mut one = fields(event)?;
        texts.push(serde_json::from_str::<String>(one.get("thought")?.get()).ok()?);
        merged.clone_from(&one);
        for who in ["agentId", "agentName", "projectId"] {
            one.remove(who);
        }
        one.insert("id".into(), to_raw_value(event.id.as_str()).ok()?);
        thoughts.push(one);
    }
    merged.insert("thought".into(), to_raw_value(&texts.join("\n")).ok()?);
    merged.insert("merged".into(), to_raw_value(&events.len()).ok()?);
    merged.insert("thoughts".into(), to_raw_value(&thoughts).ok()?);
    match events.last()?.payload {
        Payload::Data(_) => serde_json::to_vec(&merged).ok(),
        Payload::Args(_) => serde_json::to_vec(&[merged]).ok(),
    }
}

/// An event's payload, field by field as it was written, whether it came as data or as the only argument.
type Fields = BTreeMap<String, Box<RawValue>>;

fn fields(event: &Event) -> Option<Fields> {
    match &event.payload {
        Payload::Data(json) => serde_json::from_slice(json).ok(),
        Payload::Args(json) => {
            let [only]: [Fields; 1] = serde_json::from_slice(json).ok()?;
            Some(only)
        }
    }
}
