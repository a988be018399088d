//! Where the node listens.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_server::ServerHandle;
use greenroom_actors::supervise::{Phase, Supervisor, Workers};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{StartError, workers};
use crate::config::Config;
use crate::http::{self, Site};
use crate::shards::Shards;

/// How long the node's threads may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// Listens: when this resolves, every part of the node works. Errors: the address is taken, or a thread did not begin.
pub(super) async fn serve(
    config: &Config,
    site: Site,
    (listener, address): (TcpListener, SocketAddr),
    shards: &Shards,
    supervisor: &Supervisor,
) -> Result<(ServerHandle, JoinHandle<io::Result<()>>), StartError> {
    let workers = workers(config);
    let limit = Duration::from_millis(config.shutdown.limit_ms);
    let server = http::serve(site, listener, workers, limit)
        .map_err(|source| StartError::Listen { address, source })?;
    let handle = server.handle();
    #[expect(
        clippy::disallowed_methods,
        reason = "the accepting server: its end is awaited by `run`"
    )]
    let served = actix_rt::spawn(server);
    let begun = async {
        shards.begun(workers).await;
        // So that whoever hears where it listens finds it ready.
        all_running(supervisor).await;
    };
    match timeout(BEGIN_WITHIN, begun).await {
        Ok(()) => Ok((handle, served)),
        Err(_) => Err(StartError::Thread("an HTTP worker".into())),
    }
}

/// Waits until each vital worker runs.
async fn all_running(supervisor: &Supervisor) {
    let run = |workers: &Workers| {
        let mut vital = workers.values().filter(|status| status.vital);
        vital.all(|status| status.phase == Phase::Running)
    };
    // The board is there for as long as the supervisor is.
    let _ = supervisor.workers().wait_for(run).await;
}

/// The listening socket as configured, and its address.
pub(super) fn listener(config: &Config) -> Result<(TcpListener, SocketAddr), StartError> {
    let fails = |source| StartError::Listen {
        address: config.listen,
        source,
    };
    let listener = listen(config.listen).map_err(fails)?;
    if let Some(name) = &config.tcp_congestion {
        // Connections that are accepted have it from the listener.
        let set = socket2::SockRef::from(&listener).set_tcp_congestion(name.as_bytes());
        set.map_err(|source| StartError::Congestion {
            name: name.clone(),
            source,
        })?;
    }
    let address = listener.local_addr().map_err(fails)?;
    Ok((listener, address))
}

/// Listens with an address that may be used again at once after a restart, and a backlog for a storm of clients.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}
