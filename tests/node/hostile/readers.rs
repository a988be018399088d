//! Clients that do not read, or hardly.

use serde_json::json;

use super::{DOORS, Door, MIB, ROOM, Scene, scene::Witness};
use crate::kit::raw::{self, Raw};
use crate::kit::{Polling, Process, Sse, eventually};

/// A socket, a stream and a session of Socket.IO that take little at once.
async fn members(node: &Process) -> (Raw, Raw, Sse) {
    let narrow = || Raw::connect_narrow(node.address);
    let mut socket = Door::Plain.open_on(narrow().await).await;
    Door::Plain.join(&mut socket).await;
    let mut engine = Door::SocketIo.open_on(narrow().await).await;
    Door::SocketIo.join(&mut engine).await;
    let mut stream = Sse::open_on(narrow().await, &format!("/v1/rooms/{ROOM}/stream"), None).await;
    stream.joined().await;
    (socket, engine, stream)
}

async fn sessions(node: &Process) -> usize {
    let sessions = node.http.get("/v1/sessions").await.ok();
    sessions["sessions"].as_array().unwrap().len()
}

/// Four clients, one on each surface, stop reading while 32 MiB go through their room. Each may cost its outbox of 1 MiB
/// and what is on its way out of it; 12 MiB leave room for the allocator, and are less than half of what would pile up
/// for one of them.
#[tokio::test]
async fn clients_that_stop_reading_leave_memory_flat_and_the_others_undisturbed() {
    let Scene { node, mut witness } = Scene::set(&[]).await;
    let (mut socket, mut engine, mut stream) = members(&node).await;
    let (polling, _) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    polling.packets().await;
    let (before, mut peak) = (node.rss(), 0);
    for _ in 0..8 {
        witness.flood(4 * MIB).await;
        peak = node.rss().max(peak);
    }
    let grown = peak.saturating_sub(before);
    assert!(grown <= 12 * MIB, "grown by {} KiB", grown >> 10);
    eventually("the four to be forgotten", || async {
        sessions(&node).await == Witness::SESSIONS
    })
    .await;
    // It may have been cut off in the middle of a frame.
    assert!(matches!(socket.close_code().await, Some(4000) | None));
    assert!(matches!(engine.close_code().await, Some(1005) | None));
    while stream.next().await.is_some() {}
    polling.is_over().await;
}

/// A byte now and then is not reading either: what waits is measured, not whether anything was taken.
#[tokio::test]
async fn clients_that_read_a_byte_at_a_time_are_cut_off() {
    let Scene { node, mut witness } = Scene::set(&[]).await;
    let (mut socket, mut engine, stream) = members(&node).await;
    let mut stream = stream.into_raw();
    let (before, mut peak) = (node.rss(), 0);
    for _ in 0..64 {
        witness.flood(MIB / 2).await;
        for raw in [&mut socket, &mut engine, &mut stream] {
            // Nothing, where it has not come yet; an end, where it was cut off.
            let _ = raw.stream.try_read(&mut [0]);
        }
        peak = node.rss().max(peak);
    }
    let grown = peak.saturating_sub(before);
    assert!(grown <= 12 * MIB, "grown by {} KiB", grown >> 10);
    eventually("the three to be forgotten", || async {
        sessions(&node).await == Witness::SESSIONS
    })
    .await;
}

/// Reading a large answer is all that a client would have to stop doing to hold a connection for ever.
#[tokio::test]
async fn connections_whose_clients_take_nothing_are_given_up() {
    let Scene { node, mut witness } =
        Scene::set(&["http.send_timeout_ms=1500", "http.keep_alive_ms=1500"]).await;
    let before = node.open_files();
    let stream = Raw::connect_narrow(node.address).await;
    let mut stream = Sse::open_on(stream, &format!("/v1/rooms/{ROOM}/stream"), None).await;
    stream.joined().await;
    let mut pages = Raw::connect_narrow(node.address).await;
    let request = format!("GET /v1/rooms/{ROOM}/events HTTP/1.1\r\nhost: test\r\n\r\n");
    pages.send(request.repeat(20).as_bytes()).await;
    let mut poll = Raw::connect_narrow(node.address).await;
    let (polling, _) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    polling.packets().await;
    let request = format!("GET {} HTTP/1.1\r\nhost: test\r\n\r\n", polling.path());
    witness.flood(MIB / 2).await;
    poll.send(request.as_bytes()).await;
    witness.flood(8 * MIB).await;
    eventually("all three connections to be given up", || async {
        node.open_files() <= before
    })
    .await;
}

/// Questions whose answers nobody reads: megabytes of them fit no outbox, so the client is cut off.
#[tokio::test]
async fn a_client_that_asks_and_never_reads_the_answers_is_cut_off() {
    let mut scene = Scene::set(&[]).await;
    for door in DOORS {
        let attack = async |node: &Process| {
            let mut hostile = door.open_on(Raw::connect_narrow(node.address).await).await;
            let question = match door {
                Door::Plain => json!({"type": "ping", "ref": "r".repeat(200)}).to_string(),
                Door::SocketIo => door.question().0,
            };
            let questions = raw::text(&question).repeat(1_000);
            for _ in 0..150 {
                if !hostile.try_send(&questions).await {
                    break;
                }
            }
            // It may have been cut off in the middle of a frame.
            let code = hostile.close_code().await;
            assert!(matches!(code, Some(4000 | 1005) | None), "{door:?}: {code:?}");
        };
        scene.survives(6 * MIB, attack).await;
    }
}
