//! A network that fails on command, between a client and a node.
//!
//! One proxy a client: whatever happens to it then happens to that client alone. A fault strikes at once, or after so
//! many more bytes have gone towards the client: with a seeded number, at the same place of the conversation each time.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

const BUFFER_BYTES: usize = 16 * 1_024;

/// What happens to the connections that a proxy carries. Those that come later are carried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both sides are closed in an orderly way.
    Close,
    /// Both sides are reset.
    Reset,
    /// The client's side is reset, the node's stays open and silent for as long as the proxy lives. Nothing more reaches
    /// the node of the sessions that there were, nor a goodbye by another request.
    HalfOpen,
}

/// A proxy. Dropping it ends all that it carries.
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    /// Ended with it.
    _carrying: JoinSet<()>,
}

struct Shared {
    upstream: Mutex<SocketAddr>,
    network: watch::Sender<Network>,
    armed: Mutex<Option<Armed>>,
    /// How many faults had struck when a request first named a session of Engine.IO.
    sessions: Mutex<BTreeMap<String, u64>>,
    /// Node sides that stay open without a client.
    ghosts: Mutex<Vec<TcpStream>>,
}

/// What every connection watches.
#[derive(Clone, Copy)]
struct Network {
    /// How many faults have struck; a connection minds those after its own beginning.
    strikes: u64,
    last: Fault,
    /// How many faults had struck with the last one that the node did not notice.
    half_open: u64,
    stalled: bool,
    refusing: bool,
    /// How much longer than it would what is sent takes, each way.
    delay: Duration,
}

/// A fault that waits for its moment.
struct Armed {
    fault: Fault,
    bytes_left: usize,
}

impl Proxy {
    /// A proxy in front of that address.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = Network {
            strikes: 0,
            last: Fault::Close,
            half_open: 0,
            stalled: false,
            refusing: false,
            delay: Duration::ZERO,
        };
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            network: watch::Sender::new(network),
            armed: Mutex::default(),
            sessions: Mutex::default(),
            ghosts: Mutex::default(),
        });
        let mut carrying = JoinSet::new();
        carrying.spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            _carrying: carrying,
        }
    }

    /// Strikes at once. One who polls may have nothing open just then: refuse what comes next, too, and it will notice.
    pub fn strike(&self, fault: Fault) {
        *self.shared.armed.lock().unwrap() = None;
        self.shared.strike(fault);
    }

    /// Strikes after so many more bytes towards the client, over all of its connections; what is returned awaits that.
    pub fn arm(&self, fault: Fault, bytes: usize) -> impl Future<Output = ()> + use<> {
        let mut network = self.shared.network.subscribe();
        let before = network.borrow().strikes;
        *self.shared.armed.lock().unwrap() = Some(Armed {
            fault,
            bytes_left: bytes,
        });
        async move {
            let _ = network
                .wait_for(|network| network.strikes > before)
                .await
                .unwrap();
        }
    }

    /// Carries nothing in either direction, and closes nothing, until [`Self::flow`].
    pub fn stall(&self) {
        self.shared.network.send_modify(|network| network.stalled = true);
    }

    /// Carries again, first what came meanwhile.
    pub fn flow(&self) {
        self.shared.network.send_modify(|network| network.stalled = false);
    }

    /// Carries what is sent so much later from now on, each way.
    pub fn slow_down(&self, delay: Duration) {
        self.shared.network.send_modify(|network| network.delay = delay);
    }

    /// Whether new connections are reset instead of carried.
    pub fn refuse(&self, refusing: bool) {
        self.shared
            .network
            .send_modify(|network| network.refusing = refusing);
    }

    /// New connections go there: another node, or one that has started anew.
    pub fn route_to(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap() = upstream;
    }

    /// How many connections the node still believes in.
    pub fn ghosts(&self) -> usize {
        self.shared.ghosts.lock().unwrap().len()
    }
}

impl Shared {
    fn strike(&self, fault: Fault) {
        self.network.send_modify(|network| {
            network.strikes += 1;
            network.last = fault;
            if fault == Fault::HalfOpen {
                network.half_open = network.strikes;
            }
        });
    }

    /// Whether a request is for a session whose connections look alive to the node alone.
    fn is_lost(&self, request: &[u8]) -> bool {
        let Some(session) = session_of(request) else {
            return false;
        };
        let network = *self.network.borrow();
        let mut sessions = self.sessions.lock().unwrap();
        *sessions.entry(session).or_insert(network.strikes) < network.half_open
    }

    /// How many of these bytes may still go to the client, and the fault that comes right after them.
    fn allow(&self, bytes: usize) -> (usize, Option<Fault>) {
        let mut armed = self.armed.lock().unwrap();
        match armed.as_mut() {
            Some(waiting) if waiting.bytes_left > bytes => {
                waiting.bytes_left -= bytes;
                (bytes, None)
            }
            Some(waiting) => {
                let now = (waiting.bytes_left, Some(waiting.fault));
                *armed = None;
                now
            }
            None => (bytes, None),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        let (client, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            Some(ended) = links.join_next() => {
                ended.unwrap();
                continue;
            }
        };
        let network = *shared.network.borrow();
        if network.refusing {
            reset(&client);
        } else {
            // A fault that strikes before the node is reached is this connection's too.
            links.spawn(carry(client, network.strikes, shared.clone()));
        }
    }
}

async fn carry(mut client: TcpStream, born: u64, shared: Arc<Shared>) {
    let upstream = *shared.upstream.lock().unwrap();
    let mut network = shared.network.subscribe();
    let Ok(mut node) = TcpStream::connect(upstream).await else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let fault = {
        let (from_client, to_client) = client.split();
        let (from_node, to_node) = node.split();
        let lost = Notify::new();
        let up = carry_up(from_client, to_node, network.clone(), &shared, &lost);
        let down = carry_down(from_node, to_client, network.clone(), &shared);
        tokio::select! {
            () = lost.notified() => Ok(Fault::HalfOpen),
            struck = network.wait_for(|network| network.strikes > born) => struck.map(|network| network.last),
            _ = async { tokio::join!(up, down) } => return,
        }
    };
    match fault {
        Ok(Fault::Reset) => {
            reset(&client);
            reset(&node);
        }
        Ok(Fault::HalfOpen) => {
            reset(&client);
            shared.ghosts.lock().unwrap().push(node);
        }
        Ok(Fault::Close) | Err(_) => {}
    }
}

/// Waits until what was sent is carried on.
async fn carried(network: &mut watch::Receiver<Network>) {
    let flows = network.wait_for(|network| !network.stalled).await;
    let delay = flows.map_or(Duration::ZERO, |network| network.delay);
    // What a slow network does is to take time; a timer of no length takes a millisecond.
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

/// Carries what the client sends.
async fn carry_up(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
    shared: &Shared,
    lost: &Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        carried(&mut network).await;
        if read == 0 {
            return to.shutdown().await;
        }
        if shared.is_lost(&buffer[..read]) {
            lost.notify_one();
            return pending().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Carries what the node sends, which is where an armed fault counts.
async fn carry_down(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        carried(&mut network).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let (allowed, fault) = shared.allow(read);
        to.write_all(&buffer[..allowed]).await?;
        if let Some(fault) = fault {
            shared.strike(fault);
            // Not a byte more: the connection is ended from outside.
            return pending().await;
        }
    }
}

/// The session of Engine.IO that a request is for.
fn session_of(request: &[u8]) -> Option<String> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (_, rest) = line.split_once("&sid=")?;
    rest.split(['&', ' ']).next().map(str::to_owned)
}

/// Makes the connection end by a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // It may be gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
