//! What the server hands out.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use greenroom_actors::broker::Arrival;
use greenroom_actors::logic::cluster::told::Told;
use greenroom_actors::logic::position::Life;
use redis::Msg;
use redis::aio::PubSubStream;

use super::recent::Recent;

/// The messages of a connection as arrivals. What cannot be read is passed over, and said.
pub(super) fn arrivals(
    messages: PubSubStream,
    life: Life,
    recent: Arc<Recent>,
) -> Pin<Box<dyn Stream<Item = Arrival> + Send>> {
    Box::pin(messages.filter_map(move |message| {
        let arrival = arrival(&message, life, &recent);
        if arrival.is_none() {
            tracing::warn!(
                channel = message.get_channel_name(),
                "a message of another version is passed over"
            );
        }
        std::future::ready(arrival)
    }))
}

fn arrival(message: &Msg, life: Life, recent: &Recent) -> Option<Arrival> {
    let channel = message.get_channel_name();
    // Room names have any form: what comes behind the prefix tells first.
    let (_, name) = channel.split_once("}:")?;
    let payload = message.get_payload_bytes();
    if name.starts_with("room:") {
        let event = recent.read(Bytes::copy_from_slice(payload), life).ok()?;
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
