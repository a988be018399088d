//! What the server hands out.

use std::sync::Arc;

use bytes::Bytes;
use greenroom_actors::broker::Arrival;
use greenroom_actors::logic::cluster::told::Told;
use greenroom_actors::logic::position::Life;

use super::recent::Recent;

/// Reads messages as arrivals.
pub(super) struct Reader {
    /// The life of the numbers.
    pub life: Life,
    /// Events that were read already: one that is for several rooms comes by several channels.
    pub recent: Arc<Recent>,
}

impl Reader {
    /// A message of a channel. What cannot be read is passed over, and said.
    pub fn read(&self, channel: &str, payload: &[u8]) -> Option<Arrival> {
        let arrival = self.arrival(channel, payload);
        if arrival.is_none() {
            tracing::warn!(channel, "a message of another version is passed over");
        }
        arrival
    }

    fn arrival(&self, channel: &str, payload: &[u8]) -> Option<Arrival> {
        // Room names have any form: what comes behind the prefix tells first.
        let (_, name) = channel.split_once("}:")?;
        if name.starts_with("room:") {
            let event = self
                .recent
                .read(Bytes::copy_from_slice(payload), self.life)
                .ok()?;
            return Some(Arrival::Event(event));
        }
        let text = std::str::from_utf8(payload).ok()?;
        if name == "all" {
            return Told::read(text).map(Arrival::Told);
        }
        let (number, seq) = text.split_once(' ')?;
        Some(Arrival::Mark {
            number: number.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    }
}
