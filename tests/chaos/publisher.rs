//! Steady publishing, through whichever node answers, each event until it is accepted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::ROOMS;
use crate::book::Book;
use crate::kit::{Http, within};
use crate::stage::{Addresses, NODES, Stage};

/// One event so often.
const EVERY: Duration = Duration::from_millis(3);

/// See the module's description.
pub struct Publisher {
    stop: Option<oneshot::Sender<()>>,
    hold: watch::Sender<bool>,
    /// Held while an event is published.
    busy: Arc<Mutex<()>>,
    publishing: JoinSet<()>,
}

impl Publisher {
    pub fn start(stage: &Stage, book: &Book) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let hold = watch::Sender::new(false);
        let (book, addresses, busy) = (book.clone(), stage.addresses.clone(), Arc::<Mutex<()>>::default());
        let (mut held, is_busy) = (hold.subscribe(), busy.clone());
        let mut publishing = JoinSet::new();
        publishing.spawn(async move {
            let mut pace = interval(EVERY);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut nodes = BTreeMap::new();
            for count in 0.. {
                let go_on = async {
                    pace.tick().await;
                    // Its sender is there for as long as this runs.
                    let _ = held.wait_for(|held| !held).await;
                };
                tokio::select! {
                    _ = &mut stopped => return,
                    () = go_on => {}
                }
                let _busy = is_busy.lock().await;
                let room = count % ROOMS;
                publish(&addresses, &mut nodes, room, book.last(room) + 1, count).await;
                book.accepted(room);
            }
        });
        Self {
            stop: Some(stop),
            hold,
            busy,
            publishing,
        }
    }

    /// Publishes nothing more until it goes on; what was under way is accepted.
    pub async fn hold(&self) {
        self.hold.send_replace(true);
        drop(self.busy.lock().await);
    }

    pub fn go_on(&self) {
        self.hold.send_replace(false);
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        within("the publisher to stop", self.publishing.join_next())
            .await
            .unwrap()
            .unwrap();
    }
}

/// Publishes until a node says that it has accepted it.
async fn publish(
    addresses: &Addresses,
    nodes: &mut BTreeMap<SocketAddr, Http>,
    room: usize,
    number: u64,
    count: usize,
) {
    let body = json!({"event": "note", "data": number, "id": format!("r{room}-{number}")});
    for attempt in count.. {
        let address = addresses.lock().unwrap()[attempt % NODES];
        let Some(address) = address else { continue };
        // Making a client takes longer than its request.
        let http = nodes.entry(address).or_insert_with(|| Http::new(address));
        let request = http
            .request(reqwest::Method::POST, &format!("/v1/rooms/room:{room}/events"))
            .json(&body)
            .send();
        match request.await {
            Ok(answer) if answer.status() == 202 => return,
            Ok(answer) => panic!("{} to {body}", answer.status()),
            Err(_) => sleep(EVERY).await,
        }
    }
}
