//! Too much of what each alone is harmless.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::{Value, json};

use super::{Door, MIB, ROOM, Scene};
use crate::kit::raw::{self, Raw};
use crate::kit::{Process, Sio, Sse, Ws, number, numbers};

/// Connections that come at once where it does not say otherwise.
const AT_ONCE: usize = 32;

/// Connects, goes a little way, and goes.
async fn come_and_go(node: &Process, number: usize) {
    let address = node.address;
    match number % 8 {
        0 => drop(Raw::connect(address).await),
        1 => Raw::connect(address).await.reset(),
        2 => {
            let mut raw = Raw::connect(address).await;
            raw.send(&raw::HANDSHAKE.as_bytes()[..40]).await;
        }
        3 => drop(Door::Plain.open(address).await),
        4 => {
            let mut raw = Door::Plain.open(address).await;
            Door::Plain.join(&mut raw).await;
            raw.reset();
        }
        5 => Sio::joined(address, &[ROOM]).await.reset(),
        6 => drop(Sio::open(address).await),
        _ => drop(Sse::open(address, &format!("/v1/rooms/{ROOM}/stream"), None).await),
    }
}

/// Three thousand, as fast as they are taken.
#[tokio::test]
async fn clients_that_come_and_go_leave_nothing_behind() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let crowd = stream::iter(0..3_000);
        crowd
            .for_each_concurrent(AT_ONCE, |number| come_and_go(node, number))
            .await;
    };
    // The first time, each kind of connection makes room for its like.
    scene.survives(24 * MIB, attack).await;
    scene.survives(4 * MIB, attack).await;
}

/// Ten thousand rooms for one client, of which it gets as many as it may have; and ten thousand one after the other.
#[tokio::test]
async fn ten_thousand_joins_are_no_more_than_may_be() {
    let mut scene = Scene::set(&["rooms.linger_ms=100"]).await;
    let attack = async |node: &Process| {
        let mut ws = Ws::connect(node.address).await;
        let mut sio = Sio::enter(node.address).await;
        let (mut granted, mut granted_sio) = (0, 0);
        for at in 0..5_000 {
            let room = format!("many:{at}");
            let answer = ws.ask(json!({"type": "join", "room": room})).await;
            granted += is_granted(answer["type"] == "joined", &answer["code"]);
            let answer = sio.ask("join", &json!(room)).await;
            granted_sio += is_granted(answer["ok"] == true, &answer["error"]["code"]);
        }
        assert_eq!((granted, granted_sio), (256, 256));
        let mut ws = Ws::connect(node.address).await;
        for at in 0..5_000 {
            let room = format!("after:{at}");
            assert_eq!(
                ws.ask(json!({"type": "join", "room": room})).await["type"],
                "joined"
            );
            assert_eq!(
                ws.ask(json!({"type": "leave", "room": room})).await["type"],
                "left"
            );
        }
    };
    scene.survives(8 * MIB, attack).await;
}

fn is_granted(granted: bool, code: &Value) -> u32 {
    assert!(granted || code == "too_many_rooms", "{code}");
    granted.into()
}

/// The same publication, again and again, by several clients on every surface: it happens once, and each is told alike.
#[tokio::test]
async fn a_publication_that_is_replayed_happens_once() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let mut member = Ws::connect(node.address).await;
        member.join(&["replayed"], None).await;
        let body = json!({"event": "note", "data": 0, "id": "one"});
        let publication = json!({"room": "replayed", "event": "note", "data": 0, "id": "one"});
        let by_http = async {
            for _ in 0..300 {
                let answer = node.http.post("/v1/rooms/replayed/events", &body).await;
                assert_eq!(
                    (answer.status, &answer.json()["rooms"]),
                    (202, &json!({"replayed": 1}))
                );
            }
        };
        let by_socket = async {
            let mut ws = Ws::connect(node.address).await;
            for _ in 0..300 {
                let mut command = publication.clone();
                command["type"] = "publish".into();
                assert_eq!(ws.ask(command).await["rooms"], json!({"replayed": 1}));
            }
        };
        let by_socket_io = async {
            let mut sio = Sio::enter(node.address).await;
            for _ in 0..300 {
                let answer = sio.ask("publish", &publication).await;
                assert_eq!(answer["rooms"], json!({"replayed": 1}), "{answer}");
            }
        };
        tokio::join!(by_http, by_socket, by_socket_io);
        let mut other = body.clone();
        other["data"] = 1.into();
        let answer = node.http.post("/v1/rooms/replayed/events", &other).await;
        answer.error(409, "id_reused");
        assert_eq!(number(&member.event().await), 0);
        member.hears_nothing().await;
    };
    scene.survives(8 * MIB, attack).await;
}

const MISSED: usize = 50;

/// A client that has come back, on one of three surfaces.
enum Back {
    Socket(Box<Ws>),
    Engine(Box<Sio>),
    Stream(Box<Sse>),
}

impl Back {
    async fn hears(&mut self, count: usize) -> Vec<u64> {
        match self {
            Self::Socket(ws) => numbers(&ws.events(count).await),
            Self::Engine(sio) => sio.numbers(count).await,
            Self::Stream(sse) => numbers(&sse.events(count).await),
        }
    }
}

/// A thousand clients come back at once, each to the oldest position there is. Each hears all that it missed, once and
/// in order, and then goes on like everybody.
#[tokio::test]
async fn an_avalanche_of_clients_that_resume_is_served_exactly() {
    let mut scene = Scene::set(&["rooms.history_events=100", "socketio.recovery_seconds=600"]).await;
    let attack = async |node: &Process| {
        let mut first = Ws::connect(node.address).await;
        let joined = first.join(&["avalanche"], None).await;
        let oldest = joined["position"].as_str().unwrap();
        let known = stream::iter(0..300).map(|_| async {
            let sio = Sio::joined(node.address, &["avalanche"]).await;
            let pid = sio.pid.clone().unwrap();
            sio.reset();
            pid
        });
        let pids: Vec<String> = known.buffer_unordered(AT_ONCE).collect().await;
        for number in 0..MISSED {
            node.http.publish("avalanche", "note", number).await;
        }
        let all =
            (0..1_000).map(|client| come_back(node, oldest, pids.get(client).map(String::as_str), client));
        let mut all = join_all(all).await;
        let missed: Vec<u64> = (0..MISSED as u64).collect();
        for back in join_all(all.iter_mut().map(|back| back.hears(MISSED))).await {
            assert_eq!(back, missed);
        }
        node.http.publish("avalanche", "note", MISSED).await;
        for back in join_all(all.iter_mut().map(|back| back.hears(1))).await {
            assert_eq!(back, [MISSED as u64]);
        }
    };
    scene.survives(64 * MIB, attack).await;
}

async fn come_back(node: &Process, oldest: &str, pid: Option<&str>, client: usize) -> Back {
    if let Some(pid) = pid {
        let (sio, recovered) = Sio::back(node.address, pid, None).await;
        assert!(recovered);
        return Back::Engine(Box::new(sio));
    }
    if client.is_multiple_of(2) {
        let mut ws = Ws::connect(node.address).await;
        let joined = ws.join(&["avalanche"], Some(oldest)).await;
        assert_eq!(joined["recovered"], true);
        return Back::Socket(Box::new(ws));
    }
    let mut sse = Sse::open(node.address, "/v1/rooms/avalanche/stream", Some(oldest)).await;
    assert_eq!(sse.joined().await["recovered"], true);
    Back::Stream(Box::new(sse))
}
