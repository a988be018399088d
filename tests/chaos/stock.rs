//! The stock clients of Socket.IO, each behind a proxy of its own that leads to a node that lives.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::ROOMS;
use crate::book::{Book, Entry};
use crate::kit::{Fault, KINDS, LIMIT, Proxy, Stock, StockClient, Transport, Version};
use crate::stage::{Addresses, Stage};

/// How often it is looked whether all have everything.
pub const LOOK: Duration = Duration::from_millis(100);

/// One client.
struct Follower {
    proxy: Proxy,
    node: usize,
    client: StockClient,
    room: usize,
    joined: bool,
    log: Vec<Entry>,
    returns: usize,
}

/// See the module's description.
pub struct StockFollowers {
    followers: Vec<Follower>,
    _stock: Stock,
}

impl StockFollowers {
    /// Starts so many, of every kind that comes back by itself.
    pub async fn start(count: usize, stage: &Stage) -> Self {
        let stock = Stock::start();
        let mut followers = Vec::new();
        for number in 0..count {
            let addresses = stage.addresses.lock().unwrap().clone();
            let node = number % addresses.len();
            let proxy = Proxy::to(addresses[node].unwrap()).await;
            let kind: (Version, Transport) = KINDS[number % KINDS.len()];
            let mut client = stock.client(proxy.address, kind);
            client.connect().await;
            let room = number % ROOMS;
            client.join(&format!("room:{room}")).await;
            followers.push(Follower {
                proxy,
                node,
                client,
                room,
                joined: true,
                log: Vec::new(),
                returns: 0,
            });
        }
        Self {
            followers,
            _stock: stock,
        }
    }

    /// Clients of a node that was killed find another one.
    pub fn move_away(&mut self, from: usize, addresses: &Addresses) {
        let addresses = addresses.lock().unwrap().clone();
        let alive: Vec<usize> = (0..addresses.len())
            .filter(|node| addresses[*node].is_some())
            .collect();
        for (number, follower) in self.followers.iter_mut().enumerate() {
            if follower.node == from {
                follower.node = alive[number % alive.len()];
                follower.proxy.route_to(addresses[follower.node].unwrap());
                follower.proxy.strike(Fault::Reset);
            }
        }
    }

    /// Follows for some time.
    pub async fn follow_for(&mut self, time: Duration) {
        self.follow_while(tokio::time::sleep(time)).await;
    }

    /// Follows while something else happens.
    pub async fn follow_while(&mut self, happens: impl Future<Output = ()>) {
        let mut happens = std::pin::pin!(happens);
        loop {
            self.note_all();
            let look_again = timeout(Duration::from_millis(20), &mut happens);
            if look_again.await.is_ok() {
                return;
            }
        }
    }

    fn note_all(&mut self) {
        for follower in &mut self.followers {
            while let Some(report) = follower.client.try_next() {
                follower.note(&report);
            }
        }
    }

    /// Waits until each has all that it is to have.
    pub async fn finish(mut self, book: &Book) -> String {
        let since = Instant::now();
        let mut complaints = self.complaints(book);
        while !complaints.is_empty() && since.elapsed() < LIMIT {
            self.follow_for(LOOK).await;
            complaints = self.complaints(book);
        }
        assert!(complaints.is_empty(), "{complaints:#?}");
        let (mut returns, mut told, mut excused) = (0, 0, 0);
        for follower in &self.followers {
            returns += follower.returns;
            let is_told = |entry: &&Entry| matches!(entry, Entry::Told(_));
            told += follower.log.iter().filter(is_told).count();
            excused += book.check(follower.room, &follower.log).unwrap_or(0);
        }
        format!("stock clients came back {returns} times, were new {told} times, {excused} events excused")
    }

    fn complaints(&self, book: &Book) -> Vec<String> {
        let complaint = |(number, follower): (usize, &Follower)| {
            let complaint = book.check(follower.room, &follower.log).err()?;
            Some(format!("stock client {number}: {complaint}"))
        };
        self.followers.iter().enumerate().filter_map(complaint).collect()
    }
}

impl Follower {
    fn note(&mut self, report: &Value) {
        match report["on"].as_str().unwrap() {
            "event" if report["event"] == "note" => {
                // Which offset it has is not part of what a listener is given.
                let number = report["args"][0].as_u64().unwrap();
                self.log.push(Entry::Heard { number, offset: 0 });
            }
            "connect" => {
                self.returns += 1;
                let recovered = report["recovered"] == true;
                let now = Instant::now();
                self.log.push(match recovered {
                    true => Entry::Back(now),
                    false => Entry::Told(now),
                });
                self.joined &= recovered;
                if !self.joined {
                    let room = format!("room:{}", self.room);
                    self.client.ask_later("join", json!([room]));
                }
            }
            "ack" if report["args"][0]["ok"] == true => {
                if !self.joined {
                    // What came between the greeting and this is missing too.
                    self.log.push(Entry::Told(Instant::now()));
                }
                self.joined = true;
            }
            _ => {}
        }
    }
}
