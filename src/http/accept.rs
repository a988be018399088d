//! What becomes of a connection that was accepted, before there is a request on it.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Protocol;
use actix_http::error::DispatchError;
use greenroom_actors::callers::{Refused, Socket};
use greenroom_actors::stats::ShardStats;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::patience::Patience;
use super::stage::{Stage, Stages};
use super::turn_away::TurnAway;
use super::{Clients, Site};
use crate::adapters::stream::Stream;
use crate::adapters::tls::{self, Certificates, TlsStream};

/// How often a thread's log is told of handshakes that fail and of connections that are refused: whoever scans ports must not fill it.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A connection as the HTTP server takes it.
type Welcomed = (Patience, Protocol, Option<SocketAddr>);

/// A thread's way from an accepted connection to one that speaks HTTP.
pub struct Accept {
    tls: Option<Arc<Certificates>>,
    clients: Clients,
    away: TurnAway,
    /// How long a handshake may take.
    handshake: Duration,
    /// How long a client may take nothing.
    send: Duration,
    /// How long it may take for the head of its next request. A body that was asked to come by a `100 Continue` counts as
    /// what follows an answer.
    request: Duration,
    stages: Stages,
    stats: Arc<ShardStats>,
    /// When the log was last told of one that failed or was refused.
    said: Cell<Option<Instant>>,
}

impl Accept {
    /// For a thread that counts there.
    pub fn new(site: &Site, stats: Arc<ShardStats>) -> Rc<Self> {
        Rc::new(Self {
            tls: site.tls.clone(),
            clients: site.clients.clone(),
            away: TurnAway::default(),
            handshake: site.times.handshake,
            send: site.times.send,
            request: site.times.header + site.times.body,
            stages: site.stages.clone(),
            stats,
            said: Cell::new(None),
        })
    }

    /// Welcomes a connection. An error is one that was told of already, and ends it. What most connections do without is
    /// boxed: the task of each is made with room for the largest thing that may happen, twice over.
    pub async fn welcome(&self, tcp: TcpStream) -> Result<Welcomed, DispatchError> {
        let address = tcp.peer_addr().ok();
        let socket = match self.count(address) {
            Ok(socket) => socket,
            Err(refused) => return Err(Box::pin(self.refuse(tcp, refused, address)).await),
        };
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(certificates) => Stream::Tls(Box::pin(self.shake_hands(certificates, tcp, address)).await?),
        };
        let patient = Patience::new(stream, socket, self.send, self.request);
        Ok((patient, Protocol::Http1, address))
    }

    fn count(&self, address: Option<SocketAddr>) -> Result<Socket, Refused> {
        // A connection that was reset at once has no address any more.
        let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        let is_proxy = self.clients.proxies.trust(address);
        self.clients.callers.accept(address, is_proxy)
    }

    /// One connection too many. Over TLS it is just ended: an answer would cost the handshake that is to be spared.
    async fn refuse(&self, tcp: TcpStream, refused: Refused, address: Option<SocketAddr>) -> DispatchError {
        self.stats.refused.add(1);
        if self.is_to_be_said() {
            let refused_so_far = self.stats.refused.get();
            tracing::warn!(%refused, ?address, refused_so_far, "a connection was refused");
        } else {
            tracing::debug!(%refused, ?address, "a connection was refused");
        }
        if self.tls.is_none() {
            self.away.tell(tcp, refused).await;
        }
        DispatchError::DisconnectTimeout
    }

    /// Whether the log has not been told for a while.
    fn is_to_be_said(&self) -> bool {
        let is_said = self.said.get().is_some_and(|said| said.elapsed() < SAY_AGAIN);
        if !is_said {
            self.said.set(Some(Instant::now()));
        }
        !is_said
    }

    /// The handshake of TLS, which is not waited for when the node ends.
    async fn shake_hands(
        &self,
        certificates: &Certificates,
        tcp: TcpStream,
        address: Option<SocketAddr>,
    ) -> Result<Box<TlsStream>, DispatchError> {
        let refused = |error: rustls::Error| DispatchError::Io(io::Error::other(error));
        let stream = Box::new(TlsStream::new(tcp, certificates.config()).map_err(refused)?);
        let shaken = tokio::select! {
            shaken = timeout(self.handshake, std::future::poll_fn(|task| stream.poll_handshake(task))) => shaken,
            () = self.stages.clone().reached(Stage::Ending) => return Err(DispatchError::DisconnectTimeout),
        };
        let error = match shaken {
            Ok(Ok(())) => {
                self.stats.tls_handshakes.add(1);
                return Ok(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        self.stats.tls_failures.add(1);
        self.tell(&error, address);
        if tls::is_plaintext(&error) {
            tls::answer_plaintext(stream.tcp());
        }
        Err(DispatchError::Io(error))
    }

    /// Says why a handshake failed: each time to those who look closely, now and then to all.
    fn tell(&self, error: &io::Error, address: Option<SocketAddr>) {
        let why = match error.kind() {
            _ if tls::is_plaintext(error) => "the client speaks no TLS on this port, which does".to_owned(),
            io::ErrorKind::TimedOut => "it was not done in time (tls.handshake_timeout_ms)".to_owned(),
            io::ErrorKind::UnexpectedEof => "the client went away".to_owned(),
            _ => error.to_string(),
        };
        if error.kind() == io::ErrorKind::UnexpectedEof || !self.is_to_be_said() {
            tracing::debug!(why, ?address, "a TLS handshake failed");
        } else {
            let failures = self.stats.tls_failures.get();
            tracing::warn!(why, ?address, failures, "a TLS handshake failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(&'static Accept, TcpStream) -> F) -> usize {
        size_of::<F>()
    }

    /// It was 4,616 bytes, most of them a buffer for those who are turned away, and twice that in the task of each
    /// connection.
    #[test]
    fn a_connection_is_no_larger_for_what_may_become_of_others() {
        let size = size_of_future(|accept, tcp| accept.welcome(tcp));
        assert!(size <= 256, "{size} bytes");
    }
}
