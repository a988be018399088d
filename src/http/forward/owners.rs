//! Which node has a session, by the mark with which its id begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_actors::broker::{NodeKey, NodeRow};
use greenroom_actors::ports::Bus;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ids::NodeMark;

/// The list of nodes is not asked for more often, however many ids there are that belong to none of them. A node that has
/// just begun is found after this time at the latest.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long the list may take to come.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// For how long a node that could not be reached is not tried again: only one request in a while waits for it.
const REST: Duration = Duration::from_secs(1);

/// Another node.
#[derive(Clone)]
pub struct Owner {
    mark: NodeMark,
    /// Where it is.
    pub base: Arc<str>,
    /// What it knows a node by.
    pub key: NodeKey,
}

/// See the module's description.
pub struct Owners {
    bus: Arc<dyn Bus>,
    own: NodeMark,
    known: Mutex<Known>,
    /// Held while the list is asked for.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    /// The other nodes. What is known of one is so for its whole life.
    nodes: HashMap<NodeMark, Owner>,
    /// Those that could not be reached, and until when they are left alone.
    resting: HashMap<NodeMark, Instant>,
}

impl Owners {
    /// Those that share this bus, as seen by the node of that mark.
    pub fn new(bus: Arc<dyn Bus>, own: NodeMark) -> Self {
        Self {
            bus,
            own,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// This node's own mark.
    pub fn own(&self) -> NodeMark {
        self.own
    }

    /// The other node to which the session of this id belongs, if it may be there.
    pub async fn of(&self, sid: &str) -> Option<Owner> {
        let mark = NodeMark::in_sid(sid).filter(|mark| *mark != self.own)?;
        let found = match self.find(mark) {
            None => self.look_for(mark).await,
            found => found,
        }?;
        let resting = self.lock().resting.get(&mark).copied();
        resting
            .is_none_or(|until| until <= Instant::now())
            .then_some(found)
    }

    /// A node could not be reached. Answers whether that is news.
    pub fn lost(&self, owner: &Owner) -> bool {
        let now = Instant::now();
        let mut known = self.lock();
        known.resting.retain(|_, until| *until > now);
        known.resting.insert(owner.mark, now + REST).is_none()
    }

    fn find(&self, mark: NodeMark) -> Option<Owner> {
        self.lock().nodes.get(&mark).cloned()
    }

    /// Asks who is there, once for all who want to know.
    async fn look_for(&self, mark: NodeMark) -> Option<Owner> {
        let came = Instant::now();
        let mut asked = self.asking.lock().await;
        if asked.is_none_or(|asked| asked < came) && self.find(mark).is_none() {
            if let Some(last) = *asked {
                sleep_until(last + ASK_AGAIN).await;
            }
            *asked = Some(Instant::now());
            self.ask().await;
        }
        self.find(mark)
    }

    async fn ask(&self) {
        // While the broker is away nobody but this node is known to be there: the last that was heard is better then.
        if let Ok(Ok(rows)) = timeout(ASK_WITHIN, self.bus.nodes()).await
            && self.bus.state().up
        {
            let nodes = rows
                .into_iter()
                .filter_map(|row| Some((NodeMark::of(row.tag), owner(row)?)));
            self.lock().nodes = nodes.collect();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node that says where it is.
fn owner(row: NodeRow) -> Option<Owner> {
    let base = row.card.advertise?;
    // Without a key, or with an empty one, nothing could be sealed for it.
    let is_safe = !row.card.key.0.is_empty();
    is_safe.then(|| Owner {
        mark: NodeMark::of(row.tag),
        base: base.trim_end_matches('/').into(),
        key: row.card.key,
    })
}
