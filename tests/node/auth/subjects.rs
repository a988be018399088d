//! What the connections of one subject have in common, on whichever surface and thread they are.

use std::time::Instant;

use greenroom::config::sections::{Kind, Merge};
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use super::{Guarded, token};
use crate::kit::{Polling, Sio, Sse, TestNode, Ws, eventually};

/// A connection, in one room.
enum Member {
    Ws(Ws),
    Sse(Sse),
    Sio(Sio),
}

impl Member {
    /// Two WebSockets, a stream and a client of Socket.IO of this subject, in these rooms.
    async fn four(node: &TestNode, subject: &str, rooms: [&str; 4]) -> [Self; 4] {
        [
            Self::ws(node, subject, rooms[0]).await,
            Self::ws(node, subject, rooms[1]).await,
            Self::sse(node, subject, rooms[2]).await,
            Self::sio(node, subject, rooms[3]).await,
        ]
    }

    async fn ws(node: &TestNode, subject: &str, room: &str) -> Self {
        let mut ws = Ws::knock(node.address, "", Some(&of(subject))).await.unwrap();
        ws.join(&[room], None).await;
        Self::Ws(ws)
    }

    async fn sse(node: &TestNode, subject: &str, room: &str) -> Self {
        let path = format!("/v1/rooms/{room}/stream?token={}", of(subject));
        let mut sse = Sse::open(node.address, &path, None).await;
        sse.joined().await;
        Self::Sse(sse)
    }

    async fn sio(node: &TestNode, subject: &str, room: &str) -> Self {
        let mut sio = Sio::open(node.address).await;
        sio.greet(&json!({"token": of(subject)})).await;
        sio.join(room).await;
        Self::Sio(sio)
    }

    /// The next event: its name, and what it says.
    async fn next(&mut self) -> (String, u64) {
        let event = match self {
            Self::Ws(ws) => ws.event().await,
            Self::Sse(sse) => sse.event().await,
            Self::Sio(sio) => {
                let event = sio.event().await;
                json!({"event": event[0], "data": event[1]})
            }
        };
        let name = event["event"].as_str().unwrap().to_owned();
        (name, event["data"].as_u64().unwrap())
    }

    /// The throttled events that come before the next one that is not throttled.
    async fn ticks(&mut self) -> Vec<u64> {
        let mut ticks = Vec::new();
        loop {
            match self.next().await {
                (name, number) if name == "tick" => ticks.push(number),
                _ => return ticks,
            }
        }
    }
}

/// A token of this subject, for every room.
fn of(subject: &str) -> String {
    token(json!({"sub": subject, "rooms": {"join": ["*"], "publish": ["*"]}}))
}

/// A node on which events `tick` are throttled, and nothing is merged of them.
async fn ticking() -> Guarded {
    Guarded::changed(|config| {
        let kind = Kind {
            merge: Merge::None,
            ..Kind::default()
        };
        config.throttle.kinds.insert("tick".into(), kind);
    })
    .await
}

/// Ten in any second are at most ten times the seconds begun since the first was published.
#[actix_rt::test]
async fn what_reaches_a_subject_in_a_second_is_counted_over_all_its_connections() {
    let guarded = ticking().await;
    let node = &guarded.node;
    let rooms = ["a", "b", "c", "d"];
    let mut adas = Member::four(node, "ada", rooms).await;
    let mut bobs = Member::ws(node, "bob", "a").await;
    let mut publisher = Ws::knock(node.address, "", Some(&of("root"))).await.unwrap();
    let since = Instant::now();
    for number in 0..10 {
        for room in rooms {
            publisher.publish(room, "tick", number).await;
        }
    }
    for room in rooms {
        publisher.publish(room, "note", 0).await;
    }
    let mut got = Vec::new();
    for ada in &mut adas {
        got.push(ada.ticks().await);
    }
    let count: usize = got.iter().map(Vec::len).sum();
    let most = 10 * (since.elapsed().as_secs() as usize + 1);
    assert!(count <= most, "{count} of 40, {most} were allowed");
    assert_eq!(bobs.ticks().await, (0..10).collect::<Vec<_>>(), "another subject");
    for (ada, got) in adas.iter_mut().zip(&mut got) {
        while got.len() < 10 {
            got.push(ada.next().await.1);
        }
        assert_eq!(
            *got,
            (0..10).collect::<Vec<_>>(),
            "each, in order, up to the last"
        );
    }
}

#[actix_rt::test]
async fn an_event_counts_once_for_a_subject_however_many_connections_get_it() {
    let guarded = ticking().await;
    let node = &guarded.node;
    let mut adas = Member::four(node, "ada", ["a"; 4]).await;
    let mut publisher = Ws::knock(node.address, "", Some(&of("root"))).await.unwrap();
    let since = Instant::now();
    for number in 0..10 {
        publisher.publish("a", "tick", number).await;
    }
    publisher.publish("a", "note", 0).await;
    for ada in &mut adas {
        let none_waits = ada.ticks().await == (0..10).collect::<Vec<_>>();
        // On a machine that stands still for so long, it counts again.
        assert!(none_waits || since.elapsed().as_secs() >= 1);
    }
}

/// Enters by polling; what it is told.
async fn polls(node: &TestNode, subject: &str) -> String {
    let polling = Polling::open(&node.http).await;
    polling.say(&format!("40{}", json!({"token": of(subject)}))).await;
    polling.packets().await.concat()
}

/// What the answer to a WebSocket's handshake says: its status, and whether it says when to come again.
async fn knocks(node: &TestNode, subject: &str) -> (u16, bool) {
    match Ws::knock(node.address, "", Some(&of(subject))).await {
        Err(Error::Http(response)) => {
            let again = response.headers().contains_key("retry-after");
            (response.status().as_u16(), again)
        }
        Err(error) => panic!("{error}"),
        Ok(_) => (101, false),
    }
}

#[actix_rt::test]
async fn connections_of_a_subject_are_counted_on_every_surface() {
    let guarded = Guarded::changed(|config| config.limits.connections_per_subject = 4).await;
    let node = &guarded.node;
    let four = Member::four(node, "ada", ["a"; 4]).await;
    let stream = format!("/v1/rooms/a/stream?token={}", of("ada"));
    let error = node.http.get(&stream).await.error(429, "rate_limited");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("limits.connections_per_subject"), "{message}");
    assert_eq!(knocks(node, "ada").await, (429, true));
    let mut sio = Sio::open(node.address).await;
    sio.send(&format!("40{}", json!({"token": of("ada")}))).await;
    for told in [sio.packet().await, polls(node, "ada").await] {
        assert!(
            told.starts_with("44") && told.contains("\"code\":\"rate_limited\""),
            "{told}"
        );
    }
    // Requests are no connections, and others are others.
    assert_eq!(guarded.get("/v1/rooms/a", &of("ada")).await.status, 200);
    assert!(polls(node, "bob").await.starts_with("40"));
    assert_eq!(knocks(node, "bob").await.0, 101);
    drop(four);
    eventually("a place to be free", || async {
        knocks(node, "ada").await.0 == 101
    })
    .await;
}
