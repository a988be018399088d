//! A broker in memory, for many nodes in one thread on virtual time: it can be away, be deaf, be full, be cut off from all,
//! and come back with all it had, with less, or with nothing.

mod link;
mod server;

use crate::{
    broker::{Broker, BrokerError, Hello, Opened},
    logic::{
        bus_log::Limits,
        event::{Draft, NodeTag},
        sessions,
    },
    ports::{PortFuture, WallClock},
};
use futures_util::{future::pending, stream};
use link::MemoryLink;
pub use server::RECORD_MS;
use server::{Line, Server};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};

/// How a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It does what it is asked.
    Well,
    /// Nobody reaches it.
    Away,
    /// It takes what it is told, and does and says nothing.
    Deaf,
    /// It refuses everything that would be kept.
    Full,
}
/// See the module's description.
pub struct MemoryBroker {
    server: Mutex<Server>,
    mood: watch::Sender<Mood>,
    takes: Duration,
    clock: WallClock,
}
/// What a broker has when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// All it had.
    All,
    /// What it had when it was saved.
    Saved,
    /// Nothing.
    Nothing,
}

impl MemoryBroker {
    /// An empty broker, of which each answer takes so long.
    pub fn new(limits: Limits, kept: sessions::Limits, takes: Duration, clock: WallClock) -> Arc<Self> {
        let server = Server {
            limits,
            kept,
            data: None,
            saved: None,
            replaced: false,
            presence: BTreeMap::new(),
            nodes: BTreeMap::new(),
            lines: Vec::new(),
            links: 0,
            eras: 0,
            dead: BTreeSet::new(),
            shut_out: BTreeSet::new(),
            accepted: Vec::new(),
        };
        Arc::new(Self {
            server: Mutex::new(server),
            mood: watch::Sender::new(Mood::Well),
            takes,
            clock,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is like this.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
        if mood == Mood::Away {
            self.cut();
        }
    }

    /// All links end.
    pub fn cut(&self) {
        self.lock().lines.clear();
    }

    /// The links of one node end.
    pub fn cut_off(&self, tag: NodeTag) {
        self.lock().lines.retain(|line| line.tag != tag);
    }

    /// A node is dead: it is not heard again.
    pub fn bury(&self, tag: NodeTag) {
        self.cut_off(tag);
        self.lock().dead.insert(tag);
    }

    /// A node does not get in, or it does again.
    pub fn shut_out(&self, tag: NodeTag, is_out: bool) {
        self.cut_off(tag);
        let mut server = self.lock();
        if is_out {
            server.shut_out.insert(tag);
        } else {
            server.shut_out.remove(&tag);
        }
    }

    /// Writes down what it has, for [`Has::Saved`].
    pub fn save(&self) {
        let mut server = self.lock();
        server.saved = server.data.clone();
    }

    /// It is another one from now on.
    pub fn restart(&self, has: Has) {
        let mut server = self.lock();
        server.lines.clear();
        server.replaced = true;
        match has {
            Has::All => {}
            Has::Saved => server.data = server.saved.clone(),
            Has::Nothing => server.data = None,
        }
        if has != Has::All {
            server.presence.clear();
        }
        if has == Has::Nothing {
            server.nodes.clear();
        }
    }

    /// What was accepted, with its number, since this was asked last.
    pub fn accepted(&self) -> Vec<(u64, Draft)> {
        std::mem::take(&mut self.lock().accepted)
    }
}
/// The broker as nodes see it.
#[derive(Clone)]
pub struct Door(pub Arc<MemoryBroker>);

impl Broker for Door {
    fn open(&self, hello: Hello) -> PortFuture<Result<Opened, BrokerError>> {
        let broker = self.0.clone();
        Box::pin(async move {
            sleep(broker.takes).await;
            if broker.lock().dead.contains(&hello.tag) {
                return pending().await;
            }
            let mut mood = *broker.mood.borrow();
            if broker.lock().shut_out.contains(&hello.tag) {
                mood = Mood::Away;
            }
            match mood {
                Mood::Well => {}
                Mood::Away => return Err(BrokerError::Away("nobody there".into())),
                Mood::Deaf => return pending().await,
                Mood::Full => return Err(BrokerError::Refuses("full".into())),
            }
            let (out, arrivals) = mpsc::unbounded_channel();
            let (number, (life, head)) = {
                let mut server = broker.lock();
                server.links += 1;
                let number = server.links;
                server.lines.push(Line {
                    number,
                    tag: hello.tag,
                    rooms: BTreeSet::new(),
                    out,
                    is_stalled: false,
                    has_refused: false,
                });
                (number, server.open(hello))
            };
            let mood = broker.mood.subscribe();
            let server = broker.clone();
            let arrivals = stream::unfold(
                (arrivals, mood, server),
                move |(mut arrivals, mut mood, server)| async move {
                    let (at, arrival) = arrivals.recv().await?;
                    sleep_until(at).await;
                    let _ = mood.wait_for(|mood| *mood != Mood::Deaf).await;
                    // What was on its way over a link that was cut is lost.
                    MemoryLink::own(&mut server.lock(), number)?;
                    Some((arrival, (arrivals, mood, server)))
                },
            );
            let tag = hello.tag;
            Ok(Opened {
                link: Arc::new(MemoryLink { broker, number, tag }),
                arrivals: Box::pin(arrivals),
                life,
                head,
            })
        })
    }
}
