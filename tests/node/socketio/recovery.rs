//! Coming back to where one was: over real sockets, to any thread and node, and not to where somebody else was.

use serde_json::json;

use super::{ROOM, Witness};
use crate::kit::{Polling, Sio, TestNode, config, eventually};
use greenroom::buses;

/// A client that is in the room and has heard this many numbers.
async fn guest(node: &TestNode, room: &str, numbers: u64) -> Sio {
    let mut sio = Sio::joined(node.address, &[room]).await;
    for number in 0..numbers {
        node.publish(room, "note", number).await;
    }
    assert_eq!(
        sio.numbers(numbers as usize).await,
        (0..numbers).collect::<Vec<_>>()
    );
    sio
}

/// What it comes back with.
fn kept(sio: &Sio) -> (String, Option<String>) {
    (sio.pid.clone().unwrap(), sio.offset.clone())
}

#[tokio::test]
async fn who_is_cut_off_comes_back_to_any_node_and_has_missed_nothing() {
    let nodes = TestNode::pair().await;
    let sio = guest(&nodes[0], "lobby", 3).await;
    let (mut kept_back, sid) = (kept(&sio), sio.sid.clone());
    sio.reset();
    let mut told = 3;
    for round in 0..6 {
        for _ in 0..5 {
            nodes[0].publish("lobby", "note", told).await;
            told += 1;
        }
        // The connections are spread over the threads of the node.
        let (mut back, recovered) =
            Sio::back(nodes[round % 2].address, &kept_back.0, kept_back.1.as_deref()).await;
        assert!(recovered && back.sid == sid, "round {round}");
        assert_eq!(back.numbers(5).await, (told - 5..told).collect::<Vec<_>>());
        back.hears_nothing().await;
        kept_back = kept(&back);
        back.reset();
    }
}

#[tokio::test]
async fn who_is_back_before_its_end_was_noticed_takes_its_place_over() {
    let nodes = TestNode::pair().await;
    let mut old = guest(&nodes[0], "lobby", 3).await;
    let sid = old.sid.clone();
    let (pid, offset) = kept(&old);
    let mut witness = Witness::of(&nodes[0]).await;
    let mut last = None;
    for round in 0..4 {
        let (mut back, recovered) = Sio::back(nodes[round % 2].address, &pid, offset.as_deref()).await;
        assert!(recovered && back.sid == sid);
        let (packets, code) = old.ended().await;
        assert!(packets.is_empty() && code.is_none(), "{packets:?} {code:?}");
        nodes[1].publish("lobby", "note", 3 + round as u64).await;
        assert_eq!(
            back.numbers(round + 1).await,
            (3..4 + round as u64).collect::<Vec<_>>()
        );
        nodes[0].until_members("lobby", 1).await;
        last = back.offset.clone();
        old = back;
    }
    assert!(last.is_some());
    old.hears_nothing().await;
    witness.is_undisturbed(&nodes[0]).await;
}

#[tokio::test]
async fn a_poller_and_a_socket_take_each_other_over() {
    let node = TestNode::start().await;
    let (polling, greeting) = Polling::enter(&node.http).await;
    polling.say(&format!("420[\"join\",\"{ROOM}\"]")).await;
    polling.packets().await;
    let pid = greeting["pid"].as_str().unwrap();
    node.publish(ROOM, "note", 0).await;
    let (mut socket, recovered) = Sio::back(node.address, pid, None).await;
    assert!(recovered);
    assert_eq!(socket.numbers(1).await, [0]);
    eventually("the poller to be over", || async {
        polling.get().await.status == 400
    })
    .await;
    node.publish(ROOM, "note", 1).await;
    let back = Polling::open(&node.http).await;
    let auth = json!({"pid": pid, "offset": socket.offset});
    back.say(&format!("40{auth}")).await;
    let mut packets = back.packets().await;
    while packets.len() < 2 {
        packets.extend(back.packets().await);
    }
    assert!(packets[0].contains(pid), "the greeting comes first: {packets:?}");
    assert!(packets[1].starts_with("42[\"note\",1,"), "{packets:?}");
    assert_eq!(socket.ended().await.1, None);
}

#[tokio::test]
async fn nobody_comes_back_with_a_secret_that_is_none() {
    let node = TestNode::start().await;
    let sio = guest(&node, "lobby", 1).await;
    let mut witness = Witness::of(&node).await;
    let (pid, offset) = kept(&sio);
    let sid = sio.sid.clone();
    let flipped: String = pid.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    let shorter = pid[1..].to_owned();
    let longer = format!("{pid}0");
    for guess in ["", "0", &sid, &flipped, &shorter, &longer, "../x", "null"] {
        let (mut thief, recovered) = Sio::back(node.address, guess, offset.as_deref()).await;
        assert!(!recovered && thief.sid != sid, "{guess}");
        node.publish("lobby", "note", 1).await;
        thief.hears_nothing().await;
    }
    for auth in [
        json!({"pid": 7}),
        json!({"pid": null, "offset": null}),
        json!({"pid": [pid]}),
        json!({"pid": {"$binary": "AA=="}}),
    ] {
        let mut thief = Sio::open(node.address).await;
        let greeting = thief.greet(&auth).await;
        assert_ne!(greeting["pid"], json!(pid), "{auth}");
    }
    let mut sio = sio;
    assert_eq!(sio.numbers(1).await, [1], "the client is still there");
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn what_only_looks_like_an_offset_is_no_position() {
    let node = TestNode::start().await;
    let mut witness = Witness::of(&node).await;
    for offset in [
        json!("Q831i4P"),
        json!("1700000000000-0"),
        json!(""),
        json!("abc-1"),
        json!(7),
        json!(null),
        json!({"a": 1}),
    ] {
        let sio = guest(&node, "lobby", 1).await;
        let (pid, sid) = (kept(&sio).0, sio.sid.clone());
        sio.reset();
        let mut back = Sio::open(node.address).await;
        let greeting = back.greet(&json!({"pid": pid, "offset": offset})).await;
        assert!(
            greeting["pid"] != json!(pid) && greeting["sid"] != json!(sid),
            "{offset}"
        );
        node.publish("lobby", "note", 1).await;
        back.hears_nothing().await;
    }
    witness.is_undisturbed(&node).await;
}

#[tokio::test]
async fn an_application_may_say_more_of_itself() {
    let node = TestNode::start().await;
    let sio = guest(&node, "lobby", 1).await;
    let (pid, offset) = kept(&sio);
    sio.reset();
    let mut back = Sio::open(node.address).await;
    let auth = json!({"token": "x", "pid": pid, "deep": [{"offset": 1}], "offset": offset});
    assert_eq!(back.greet(&auth).await["pid"], json!(pid));
}

#[tokio::test]
async fn a_history_that_does_not_reach_back_is_told() {
    let node = TestNode::with(|config| config.rooms.history_events = 5).await;
    let sio = guest(&node, "lobby", 1).await;
    let (pid, offset) = kept(&sio);
    sio.reset();
    for number in 1..7 {
        node.publish("lobby", "note", number).await;
    }
    let (mut back, recovered) = Sio::back(node.address, &pid, offset.as_deref()).await;
    assert!(!recovered);
    back.hears_nothing().await;
    assert_eq!(node.members("lobby").await, 0);
}

#[tokio::test]
async fn rooms_that_fall_over_cost_nobody_anything() {
    let node = TestNode::start().await;
    let mut stays = guest(&node, "lobby", 1).await;
    let goes = guest(&node, "other", 1).await;
    let (pid, offset) = kept(&goes);
    goes.reset();
    for worker in ["rooms-0", "rooms-1"] {
        node.crash(worker).await;
    }
    node.publish("lobby", "note", 1).await;
    node.publish("other", "note", 1).await;
    let (mut back, recovered) = Sio::back(node.address, &pid, offset.as_deref()).await;
    assert!(recovered);
    assert_eq!(back.numbers(1).await, [1]);
    assert_eq!(stays.numbers(1).await, [1]);
    back.hears_nothing().await;
    stays.hears_nothing().await;
}

#[tokio::test]
async fn a_node_that_stops_hands_its_clients_over() {
    let bus = buses::embedded(&config());
    let mut first = TestNode::on(config(), bus.clone()).await;
    let second = TestNode::on(config(), bus).await;
    let mut sio = guest(&first, "lobby", 2).await;
    first.tell_to_stop();
    assert_eq!(sio.event().await[1]["type"], "draining");
    let (pid, offset) = kept(&sio);
    assert_eq!(sio.ended().await, (vec![], Some(1005)));
    second.publish("lobby", "note", 2).await;
    let (mut back, recovered) = Sio::back(second.address, &pid, offset.as_deref()).await;
    assert!(recovered);
    assert_eq!(back.numbers(1).await, [2]);
    first.ended().await;
}

#[tokio::test]
async fn without_recovery_nobody_is_promised_anything() {
    let node =
        TestNode::with(|config| config.socketio.recovery = greenroom::config::sections::Recovery::Off).await;
    let mut sio = Sio::open(node.address).await;
    let greeting = sio.greet(&json!({})).await;
    assert_eq!(greeting.as_object().unwrap().len(), 1, "{greeting}");
    sio.join("lobby").await;
    node.publish("lobby", "note", 1).await;
    assert_eq!(sio.numbers(1).await, [1]);
    let (mut back, recovered) = Sio::back(node.address, &"0".repeat(32), sio.offset.as_deref()).await;
    assert!(!recovered && back.pid.is_none());
    back.hears_nothing().await;
}
