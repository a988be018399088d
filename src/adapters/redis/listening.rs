//! The connection of what the server hands out.
//!
//! A Redis Cluster repeats what is published to all of its servers. There, sharded channels are used (Redis 7), which stay
//! with the server that has their slot; the client library has them for connections of RESP3.

use std::future::ready;
use std::sync::Arc;

use futures_util::future::FutureExt as _;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use greenroom_actors::broker::{Arrival, BrokerError};
use greenroom_actors::ports::PortFuture;
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::sync::mpsc;

use super::arrivals::Reader;
use super::value::error;
use super::{Shared, connection_config, link};

/// See the module's description.
#[derive(Clone)]
pub(super) enum Listening {
    /// To channels that each server of a cluster has.
    Everywhere(PubSubSink),
    /// To channels of one slot.
    Sharded(MultiplexedConnection),
}

/// Connects. Answers what subscribes, and what it hears.
pub(super) async fn listen(
    client: &Client,
    shared: &Shared,
    reader: Reader,
) -> Result<(Listening, BoxStream<'static, Arrival>), RedisError> {
    let reader = Arc::new(reader);
    if !shared.sharded {
        let (sink, messages) = client.get_async_pubsub().await?.split();
        let heard = messages.filter_map(move |message| {
            let name = message.get_channel_name();
            ready(reader.read(name, message.get_payload_bytes()))
        });
        return Ok((Listening::Everywhere(sink), heard.boxed()));
    }
    let client = resp3(client)?;
    let (out, pushed) = mpsc::unbounded_channel();
    let config = connection_config(shared.settings.timeout).set_push_sender(out);
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let heard = unfold(pushed, |mut pushed| async move {
        // Without its sender the connection is over, and this says so too.
        let pushed_now = pushed.recv().await?;
        (pushed_now.kind != PushKind::Disconnection).then_some((pushed_now, pushed))
    });
    let heard = heard.filter_map(move |pushed| ready(read(&reader, &pushed)));
    Ok((Listening::Sharded(connection), heard.boxed()))
}

/// The same server, by the protocol that has messages among the answers.
pub(super) fn resp3(client: &Client) -> Result<Client, RedisError> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings))
}

fn read(reader: &Reader, pushed: &PushInfo) -> Option<Arrival> {
    let (PushKind::SMessage, [Value::BulkString(channel), Value::BulkString(payload)]) =
        (&pushed.kind, &pushed.data[..])
    else {
        return None;
    };
    reader.read(std::str::from_utf8(channel).ok()?, payload)
}

impl Listening {
    /// Hears these too.
    pub fn subscribe(&self, channels: Vec<String>) -> PortFuture<Result<(), BrokerError>> {
        match self.clone() {
            Self::Everywhere(mut sink) => {
                Box::pin(async move { sink.subscribe(channels).await.map_err(|failed| error(&failed)) })
            }
            Self::Sharded(connection) => each(connection, "SSUBSCRIBE", &channels),
        }
    }

    /// Hears these no more.
    pub fn unsubscribe(&self, channels: Vec<String>) -> PortFuture<Result<(), BrokerError>> {
        match self.clone() {
            Self::Everywhere(mut sink) => Box::pin(async move {
                let done = sink.unsubscribe(channels).await;
                done.map_err(|failed| error(&failed))
            }),
            Self::Sharded(connection) => each(connection, "SUNSUBSCRIBE", &channels),
        }
    }
}

/// A command for each channel, in one go: each is confirmed once.
fn each(
    connection: MultiplexedConnection,
    name: &str,
    channels: &[String],
) -> PortFuture<Result<(), BrokerError>> {
    let command = |channel: &String| {
        let mut cmd = redis::cmd(name);
        cmd.arg(channel);
        cmd
    };
    let confirmed = link::send(connection, channels.iter().map(command).collect());
    Box::pin(confirmed.map(|confirmed| confirmed.and_then(link::all_done)))
}
