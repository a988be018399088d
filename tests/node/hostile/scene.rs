//! Where an attack takes place: a node of its own, and a witness who must notice nothing.

use std::cell::Cell;

use serde_json::json;
use tokio::time::{Duration, interval};

use crate::kit::{Http, Process, Sio, Sse, Ws, eventually, number};

pub const MIB: u64 = 1 << 20;
/// The room of the witness.
pub const ROOM: &str = "flood";
/// Events whose answers may be awaited at once: enough to keep the node busy, and far below a member's outbox.
const WINDOW: u64 = 16;
/// Bytes of filler in an event of a flood.
const FILLER: usize = 16 << 10;
/// How often the witness is told something while an attack runs.
const PACE: Duration = Duration::from_millis(10);

/// A publisher, and a member on each surface. Each hears every event, once, in order, or the test fails.
pub struct Witness {
    publisher: Ws,
    socket: Ws,
    stream: Sse,
    engine: Sio,
    sent: u64,
}

impl Witness {
    /// Sessions that it has.
    pub const SESSIONS: usize = 4;

    /// One that shows this token, if the node asks for one.
    async fn of(node: &Process, token: Option<&str>) -> Self {
        let connect = async || Ws::knock(node.address, "", token).await.unwrap();
        let publisher = connect().await;
        let mut socket = connect().await;
        socket.join(&[ROOM], None).await;
        let path = format!("/v1/rooms/{ROOM}/stream?token={}", token.unwrap_or_default());
        let mut stream = Sse::open(node.address, &path, None).await;
        stream.joined().await;
        let mut engine = Sio::open(node.address).await;
        engine.greet(&json!({"token": token})).await;
        engine.join(ROOM).await;
        Self {
            publisher,
            socket,
            stream,
            engine,
            sent: 0,
        }
    }

    /// Publishes that many bytes into the room, and hears all of it.
    pub async fn flood(&mut self, bytes: u64) {
        let filler = "x".repeat(FILLER);
        for _ in 0..bytes / (WINDOW * FILLER as u64) {
            self.hears(&filler).await;
        }
    }

    /// Publishes some events, and hears them.
    async fn hears(&mut self, filler: &str) {
        for number in self.sent..self.sent + WINDOW {
            let data = json!({"n": number, "filler": filler});
            let command = json!({"type": "publish", "room": ROOM, "event": "note", "data": data});
            self.publisher.send(&command).await;
        }
        for _ in 0..WINDOW {
            assert_eq!(self.publisher.frame().await["type"], "published");
            assert_eq!(number(&self.socket.event().await), self.sent);
            assert_eq!(number(&self.stream.event().await), self.sent);
            assert_eq!(self.engine.event().await[1]["n"], self.sent);
            self.sent += 1;
        }
    }
}

/// A node and its witness.
pub struct Scene {
    /// The node.
    pub node: Process,
    /// The witness.
    pub witness: Witness,
}

impl Scene {
    /// Starts a node with these settings. Its history is small, so that what it keeps is part of what was there before
    /// the attack, and a flood has filled every buffer there is.
    pub async fn set(settings: &[&str]) -> Self {
        Self::set_for(settings, None).await
    }

    /// The same with a node that asks for tokens: the witness, and who looks at the node, show this one.
    pub async fn guarded(settings: &[&str], token: &str) -> Self {
        Self::set_for(settings, Some(token)).await
    }

    async fn set_for(settings: &[&str], token: Option<&str>) -> Self {
        // How fast a client may send is not what most of these tests are about.
        let always = [
            "rooms.history_events=50",
            "workers=2",
            "limits.messages_per_second=0",
        ];
        let mut node = Process::start(&[&always, settings].concat());
        node.http = Http::without_keep_alive(node.address, token);
        let mut witness = Witness::of(&node, token).await;
        witness.flood(8 * MIB).await;
        Self { node, witness }
    }

    /// Carries an attack out while the witness hears what is published, at least once from beginning to end of a
    /// window, and again when it is over. The node's memory may grow by so many bytes, at any time; in the end it has
    /// given back every connection and every session.
    pub async fn survives<T>(&mut self, growth_max: u64, attack: impl AsyncFnOnce(&Process) -> T) -> T {
        let Self { node, witness } = self;
        let (before, files) = (node.rss(), node.open_files());
        let (peak, over) = (Cell::new(before), Cell::new(false));
        let look = || peak.set(peak.get().max(node.rss()));
        let attacked = async {
            let came_of_it = attack(node).await;
            until_all_is_back(node, files).await;
            over.set(true);
            came_of_it
        };
        let witnessed = async {
            let mut pace = interval(PACE);
            while !over.get() {
                pace.tick().await;
                witness.hears("").await;
                look();
            }
        };
        let (came_of_it, ()) = tokio::join!(attacked, witnessed);
        self.witness.flood(MIB).await;
        peak.set(peak.get().max(self.node.rss()));
        let grown = peak.get() - before;
        assert!(grown <= growth_max, "grown by {} KiB", grown >> 10);
        came_of_it
    }
}

/// Nobody is left but the witness, and who asks.
async fn until_all_is_back(node: &Process, files: usize) {
    eventually("all sessions but the witness' to be over", || async {
        let sessions = node.http.get("/v1/sessions").await.ok();
        sessions["sessions"].as_array().unwrap().len() == Witness::SESSIONS
    })
    .await;
    eventually("all connections to be given back", || async {
        node.open_files() <= files
    })
    .await;
}
