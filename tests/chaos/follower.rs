//! Clients of ours: plain WebSockets that resume by their positions, at whichever node they find.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::ROOMS;
use crate::book::{Book, Entry};
use crate::kit::ws::Next;
use crate::kit::{LIMIT, Ws, eventually};
use crate::stage::{NODES, Stage};
use crate::stock::{LOOK, StockFollowers};

/// Between two attempts to come back.
const AGAIN: Duration = Duration::from_millis(50);

type Logs = Arc<Vec<Mutex<Vec<Entry>>>>;

/// See the module's description.
pub struct Followers {
    logs: Logs,
    returns: Arc<Mutex<usize>>,
    _following: JoinSet<()>,
}

impl Followers {
    /// Starts so many, each in one room.
    pub async fn start(count: usize, stage: &Stage, _: &Book) -> Self {
        let logs: Logs = Arc::new((0..count).map(|_| Mutex::default()).collect());
        let returns = Arc::<Mutex<usize>>::default();
        let joined = Arc::<Mutex<usize>>::default();
        let mut following = JoinSet::new();
        for number in 0..count {
            let (logs, addresses) = (logs.clone(), stage.addresses.clone());
            let (returns, joined) = (returns.clone(), joined.clone());
            following.spawn(async move {
                let mut position = None;
                for attempt in number.. {
                    let address = addresses.lock().unwrap()[attempt % NODES];
                    let is_first = position.is_none();
                    if let Some(address) = address
                        && let Ok(ws) = Ws::try_connect(address).await
                    {
                        follow(ws, number, &mut position, &logs[number], || {
                            *if is_first { &joined } else { &returns }.lock().unwrap() += 1;
                        })
                        .await;
                    }
                    sleep(AGAIN).await;
                }
            });
        }
        eventually("all followers to be there", || async {
            *joined.lock().unwrap() == count
        })
        .await;
        Self {
            logs,
            returns,
            _following: following,
        }
    }

    /// Waits until each has all that it is to have: what was missed in an outage may come after what was published last.
    pub async fn finish(self, book: &Book, mut stock: Option<&mut StockFollowers>) -> String {
        let since = Instant::now();
        let mut complaints = self.complaints(book);
        while !complaints.is_empty() && since.elapsed() < LIMIT {
            match &mut stock {
                Some(stock) => stock.follow_for(LOOK).await,
                None => sleep(LOOK).await,
            }
            complaints = self.complaints(book);
        }
        assert!(complaints.is_empty(), "{complaints:#?}");
        let took = since.elapsed();
        let (mut excused, mut told) = (0, 0);
        for (number, log) in self.logs.iter().enumerate() {
            let log = log.lock().unwrap();
            told += log.iter().filter(|entry| matches!(entry, Entry::Told(_))).count();
            excused += book.check(number % ROOMS, &log).unwrap_or(0);
        }
        let mut verdict = String::new();
        let returns = *self.returns.lock().unwrap();
        let _ = write!(
            verdict,
            "{} events; {} followers came back {returns} times, were told of a gap {told} times, {excused} events \
             excused, all there {took:?} after the last",
            book.all(),
            self.logs.len(),
        );
        verdict
    }

    fn complaints(&self, book: &Book) -> Vec<String> {
        let complaint = |(number, log): (usize, &Mutex<Vec<Entry>>)| {
            let complaint = book.check(number % ROOMS, &log.lock().unwrap()).err()?;
            Some(format!("follower {number}: {complaint}"))
        };
        self.logs.iter().enumerate().filter_map(complaint).collect()
    }
}

/// Joins, from the position on if there is one, and writes down what comes until the connection is over.
async fn follow(
    mut ws: Ws,
    number: usize,
    position: &mut Option<String>,
    log: &Mutex<Vec<Entry>>,
    mut joined: impl FnMut(),
) {
    let room = format!("room:{}", number % ROOMS);
    let mut join = json!({"type": "join", "room": room, "ref": 1});
    if let Some(position) = &position {
        join["since"] = json!(position);
    }
    if ws.try_send(&join).await.is_err() {
        return;
    }
    while let Next::Frame(frame) = ws.next().await {
        if frame["type"] == "error" {
            return;
        }
        if frame["type"] == "joined" {
            joined();
            let now = Instant::now();
            let entry = match frame["recovered"] == true {
                true => Entry::Back(now),
                false => Entry::Told(now),
            };
            log.lock().unwrap().push(entry);
        }
        if let Some(now) = frame["position"].as_str() {
            *position = Some(now.to_owned());
        }
        if let Value::Number(number) = &frame["data"]
            && frame["event"] == "note"
        {
            let (number, offset) = (number.as_u64().unwrap(), frame["offset"].as_u64().unwrap());
            log.lock().unwrap().push(Entry::Heard { number, offset });
        }
    }
}
