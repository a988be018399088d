//! A WebSocket whose session is on another node: bytes are carried to and fro, and nobody looks into them.

use std::io;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::Response;
use actix_http::body::BoxBody;
use actix_http::h1;
use reqwest::Upgraded;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::super::patience::Patience;
use super::super::shapes::Place;
use super::super::stage::{Stage, Stages};
use super::super::upgrade;

/// Bytes that are under way in either direction.
const BUFFER_BYTES: usize = 8 << 10;

/// The way to the other node.
pub struct Tunnel {
    /// The connection to it.
    pub upstream: Upgraded,
    /// What the client takes up here.
    pub place: Place,
    /// How long either side may take nothing.
    pub send: Duration,
    /// How long one side may go on when the other has ended.
    pub close: Duration,
    /// When the node shuts down, it ends: its client comes back by another one.
    pub stages: Stages,
}

impl Tunnel {
    /// Carries until either side has ended. `response` is the other node's, `framed` the client's connection.
    pub async fn carry(self, response: &Response<BoxBody>, framed: Framed<Patience, h1::Codec>) {
        let Self {
            upstream,
            place: _place,
            send,
            close,
            stages,
        } = self;
        let parts = framed.into_parts();
        let (client, _socket) = parts.io.into_inner();
        let (mut from_client, mut to_client) = split(client);
        let (from_node, mut to_node) = split(upstream);
        let mut first = parts.write_buf.to_vec();
        first.extend_from_slice(&upgrade::head(response));
        let begins = async {
            put(&mut to_client, &first, send).await?;
            put(&mut to_node, &parts.read_buf, send).await
        };
        if begins.await.is_err() {
            return;
        }
        let down = one_way(from_node, &mut to_client, send);
        let up = one_way(&mut from_client, &mut to_node, send);
        tokio::pin!(down, up);
        // Whichever ends first has been told to the other side, which may have something to say to it.
        let _ = tokio::select! {
            _ = &mut down => timeout(close, up).await.map(drop),
            _ = &mut up => timeout(close, down).await.map(drop),
            () = stages.reached(Stage::Draining) => Ok(()),
        };
    }
}

/// Carries one way up to the end, and tells the end.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    send: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer).await? {
            0 => return timeout(send, to.shutdown()).await?,
            bytes => put(to, &buffer[..bytes], send).await?,
        }
    }
}

async fn put(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], send: Duration) -> io::Result<()> {
    timeout(send, async {
        to.write_all(bytes).await?;
        to.flush().await
    })
    .await?
}
