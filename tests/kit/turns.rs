//! A balancer that keeps nobody anywhere: each connection goes to the next node that takes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// See the module's description. Dropping it cuts all that goes through it.
pub struct Turns {
    /// Where to connect to.
    pub address: SocketAddr,
    taken: Arc<AtomicUsize>,
    /// Ended with it.
    _carrying: JoinSet<()>,
}

impl Turns {
    /// A balancer in front of these nodes.
    pub async fn of(nodes: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::<AtomicUsize>::default();
        let turns = taken.clone();
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut through = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let first = turns.fetch_add(1, Ordering::Relaxed);
                let nodes = nodes.clone();
                through.spawn(async move {
                    for turn in 0..nodes.len() {
                        let node = nodes[(first + turn) % nodes.len()];
                        if let Ok(mut far) = TcpStream::connect(node).await {
                            // How it ends is for those at its ends to judge.
                            let _ = copy_bidirectional(&mut near, &mut far).await;
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            taken,
            _carrying: carrying,
        }
    }

    /// How many connections have come.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}
