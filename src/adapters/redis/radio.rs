//! The radio on Redis: one connection to listen, one to speak.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::StreamExt;
use greenroom_actors::ports::PortFuture;
use greenroom_actors::radio::{Radio, RadioError, Said, Speaker, Tuned};
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{AsyncConnectionConfig, Msg, Pipeline, RedisError};

use super::place::Place;

/// See the module's description.
pub struct RedisRadio {
    place: Arc<Place>,
    timeout: Duration,
}

impl RedisRadio {
    /// The radio at an address of the forms that [`RedisBroker::new`](super::RedisBroker::new) takes, with the
    /// [`root`](super::Settings::root) that is trusted. An answer may take `timeout`. Nothing is reached yet. Errors: it is
    /// no such address.
    pub fn new(url: &str, root: Option<Vec<u8>>, timeout: Duration) -> Result<Self, RedisError> {
        // A Redis Cluster has what is published heard on each of its servers: any of them will do.
        Ok(Self {
            place: Arc::new(Place::new(url, "", root)?),
            timeout,
        })
    }
}

impl Radio for RedisRadio {
    fn tune_in(&self, channels: Vec<String>, patterns: Vec<String>) -> PortFuture<Result<Tuned, RadioError>> {
        let (place, timeout) = (self.place.clone(), self.timeout);
        Box::pin(async move {
            tune_in(&place, timeout, channels, patterns)
                .await
                .map_err(|failed| error(&failed))
        })
    }
}

async fn tune_in(
    place: &Place,
    timeout: Duration,
    channels: Vec<String>,
    patterns: Vec<String>,
) -> Result<Tuned, RedisError> {
    let client = place.client().await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    let speaking = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let (mut listening, messages) = client.get_async_pubsub().await?.split();
    listening.psubscribe(patterns).await?;
    listening.subscribe(channels).await?;
    let heard = messages.filter_map(|message| ready(said(&message)));
    let speaker = RedisSpeaker {
        speaking,
        _listening: listening,
    };
    Ok(Tuned {
        speaker: Arc::new(speaker),
        heard: Box::pin(heard),
    })
}

/// A channel's name that is no text is none that anybody here would have.
fn said(message: &Msg) -> Option<Said> {
    Some(Said {
        channel: message.get_channel().ok()?,
        message: Bytes::copy_from_slice(message.get_payload_bytes()),
    })
}

fn error(failed: &RedisError) -> RadioError {
    RadioError(failed.to_string())
}

struct RedisSpeaker {
    speaking: MultiplexedConnection,
    /// Without it the other connection would end.
    _listening: PubSubSink,
}

impl Speaker for RedisSpeaker {
    fn say(&self, all: Vec<Said>) -> PortFuture<Result<(), RadioError>> {
        let mut pipeline = Pipeline::with_capacity(all.len());
        for Said { channel, message } in &all {
            pipeline.cmd("PUBLISH").arg(channel).arg(&message[..]).ignore();
        }
        let mut speaking = self.speaking.clone();
        Box::pin(async move {
            let said: Result<(), RedisError> = pipeline.query_async(&mut speaking).await;
            said.map_err(|failed| error(&failed))
        })
    }
}
