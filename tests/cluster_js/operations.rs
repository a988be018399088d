//! What JavaScript servers do with our clients, and ask about them. Whatever is not answered makes their calls fail.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kit::{KINDS, StockClient, eventually};
use crate::{KIND, Mixed, id_of};

/// Names of rooms: some that are ours, some that are none here.
const NAMES: [&str; 5] = ["plain", "42", "räum mit leerzeichen", "#", "a*?[b]"];

fn rooms_of(socket: &Value) -> BTreeSet<String> {
    let rooms = socket["rooms"].as_array().unwrap().iter();
    rooms.map(|room| room.as_str().unwrap().to_owned()).collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

async fn hears(client: &mut StockClient, name: &str) {
    assert_eq!(client.event().await.name, name);
}

#[tokio::test]
async fn rooms_of_any_name_are_joined_and_left() {
    let mixed = Mixed::start(1).await;
    let (mut client, mut other) = (mixed.member(0, "lobby").await, mixed.client().await);
    let id = id_of(&mut client).await;
    let join = json!({"rooms": ["lobby"], "names": NAMES});
    mixed.server.run("join", join).await;
    // At once: behind it, everything is for who is in them.
    for name in NAMES {
        mixed.server.emit(&[name], "in", json!([])).await;
        hears(&mut client, "in").await;
    }
    let fetched = mixed.server.fetch(&[NAMES[2]]).await;
    let all = set(NAMES.into_iter().chain(["lobby", &*id]));
    assert_eq!(rooms_of(&fetched[&id]), all);
    let rooms = mixed.server.run("allRooms", json!({})).await;
    let rooms = rooms_of(&json!({"rooms": rooms}));
    assert!(
        rooms.is_superset(&all) && rooms.contains(&id_of(&mut other).await),
        "{rooms:?}"
    );
    // Those that have such names here are its rooms in every way.
    mixed.nodes[0].until_members("plain", 1).await;
    mixed.nodes[0].publish("plain", "ours", 1).await;
    hears(&mut client, "ours").await;
    let leave = json!({"rooms": [id], "names": NAMES});
    mixed.server.run("leave", leave).await;
    for name in NAMES {
        mixed.server.emit(&[name], "out", json!([])).await;
    }
    client.hears_nothing().await;
    mixed.nodes[0].until_members("plain", 0).await;
    assert_eq!(
        rooms_of(&mixed.server.fetch(&[]).await[&id]),
        set(["lobby", &*id])
    );
    other.hears_nothing().await;
}

#[tokio::test]
async fn numbers_are_names_too() {
    let mixed = Mixed::start(1).await;
    let mut client = mixed.member(0, "7").await;
    let id = id_of(&mut client).await;
    let numbers = json!({"rooms": [id], "names": [8, 1.5]});
    mixed.server.run("join", numbers).await;
    for room in [json!(7), json!(8), json!(1.5)] {
        let emit = json!({"rooms": [room], "event": "n", "args": [1]});
        mixed.server.run("emit", emit).await;
        hears(&mut client, "n").await;
    }
    assert_eq!(
        rooms_of(&mixed.server.fetch(&["8"]).await[&id]),
        set(["7", "8", "1.5", &*id])
    );
}

#[tokio::test]
async fn what_a_client_leaves_by_itself_it_has_left() {
    let mixed = Mixed::start(1).await;
    let mut client = mixed.client().await;
    let id = id_of(&mut client).await;
    mixed.server.run("join", json!({"names": ["plain"]})).await;
    mixed.nodes[0].until_members("plain", 1).await;
    client.ask_ok("leave", json!(["plain"])).await;
    mixed.server.emit(&["plain"], "out", json!([])).await;
    client.hears_nothing().await;
    assert_eq!(rooms_of(&mixed.server.fetch(&[]).await[&id]), set([&*id]));
}

#[tokio::test]
async fn sockets_are_shown_as_their_own() {
    let mixed = Mixed::start(2).await;
    // One a thread at least.
    let (mut ours, mut ids) = (Vec::new(), BTreeSet::new());
    for number in 0..8 {
        let mut client = mixed.member(number % 2, "room").await;
        ids.insert(id_of(&mut client).await);
        ours.push(client);
    }
    let mut theirs = mixed.their_member("room").await;
    ids.insert(id_of(&mut theirs).await);
    let (ws, _nobody) = (mixed.nodes[0].joined(&["room"]).await, mixed.client().await);
    let fetched = mixed.server.fetch(&["room"]).await;
    assert_eq!(fetched.keys().cloned().collect::<BTreeSet<_>>(), ids);
    for (id, socket) in &fetched {
        assert_eq!(rooms_of(socket), set(["room", id]));
        let handshake = &socket["handshake"];
        assert!(
            handshake["address"].as_str().unwrap().contains("127.0.0.1"),
            "{socket}"
        );
        assert!(
            handshake["issued"].is_u64() && handshake["time"].is_string(),
            "{socket}"
        );
        for field in ["headers", "query", "auth"] {
            assert!(handshake[field].is_object(), "{field}: {socket}");
        }
        for field in ["secure", "xdomain"] {
            assert_eq!(handshake[field], false, "{field}: {socket}");
        }
        assert!(
            handshake["url"].as_str().unwrap().starts_with("/socket.io/"),
            "{socket}"
        );
        assert!(socket["data"].is_object(), "{socket}");
    }
    // Nobody, and that is answered too.
    assert!(mixed.server.fetch(&["nowhere"]).await.is_empty());
    let but = json!({"rooms": ["room"], "except": ids});
    assert_eq!(mixed.server.run("fetch", but).await, json!([]));
    drop(ws);
}

#[tokio::test]
async fn clients_are_put_out() {
    let mixed = Mixed::start(1).await;
    for (kind, close) in KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let mut client = mixed.stock.connected(mixed.nodes[0].address, kind).await;
        client.join("out").await;
        let mut stays = mixed.client().await;
        let command = json!({"rooms": ["out"], "close": close});
        mixed.server.run("disconnect", command).await;
        // Nobody is there any more when that is heard.
        assert!(mixed.server.fetch(&["out"]).await.is_empty());
        assert_eq!(client.disconnected().await, "io server disconnect");
        assert_eq!(client.status().await["active"], false, "{kind:?}");
        mixed.nodes[0].until_members("out", 0).await;
        // It comes back when its program says so: as a new one.
        client.open();
        assert_eq!(client.connect().await["recovered"], false, "{kind:?}");
        client.join("elsewhere").await;
        stays.hears_nothing().await;
    }
}

#[tokio::test]
async fn clients_answer_servers() {
    let mixed = Mixed::start(2).await;
    let mut clients = Vec::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let mut client = mixed.stock.connected(mixed.nodes[number % 2].address, kind).await;
        client.join("room").await;
        clients.push(client);
    }
    clients.push(mixed.their_member("room").await);
    let (mut other, mut ws) = (
        mixed.member(0, "other").await,
        mixed.nodes[0].joined(&["room"]).await,
    );
    // A client of the kit answers with what it was asked; of that the first counts.
    for args in [
        json!([{"a": [1, null, "ö"]}]),
        json!([{"b": {"$binary": "AAEC/w=="}}]),
        json!([7, 8]),
    ] {
        let command = json!({"rooms": ["room"], "event": "ask", "args": args, "timeoutMs": 20_000});
        let answer = mixed.server.run("ask", command).await;
        assert_eq!(
            answer,
            json!({"error": null, "answers": vec![args[0].clone(); 7]})
        );
        for client in &mut clients {
            let event = client.event().await;
            assert_eq!((&*event.name, &json!(event.args)), ("ask", &args));
        }
        assert_eq!(ws.event().await["event"], "ask");
    }
    other.hears_nothing().await;
    let nobody = json!({"rooms": ["nowhere"], "event": "ask", "args": [], "timeoutMs": 20_000});
    assert_eq!(
        mixed.server.run("ask", nobody).await,
        json!({"error": null, "answers": []})
    );
}

#[tokio::test]
async fn who_does_not_answer_is_missing() {
    use crate::kit::Sio;
    let mixed = Mixed::start(1).await;
    let _answers = mixed.member(0, "room").await;
    // It knows nothing of acks.
    let _silent = Sio::joined(mixed.nodes[0].address, &["room"]).await;
    let command = json!({"rooms": ["room"], "event": "ask", "args": [1], "timeoutMs": 500});
    let answer = mixed.server.run("ask", command).await;
    assert_eq!(
        answer,
        json!({"error": "operation has timed out", "answers": [1]})
    );
}

#[tokio::test]
async fn servers_that_ask_each_other_are_answered() {
    let mut mixed = Mixed::start(2).await;
    let answers = mixed
        .server
        .run("serverSideAsk", json!({"args": [1, {"a": "b"}]}))
        .await;
    assert_eq!(answers, json!([null, null]));
    mixed.server.run("serverSideEmit", json!({"args": [2]})).await;
    let other = crate::Server::start(&mixed.redis.url()).await;
    mixed.server.until_servers(4).await;
    let answers = other.run("serverSideAsk", json!({"args": [3]})).await;
    let mut answers = answers.as_array().unwrap().clone();
    answers.retain(|answer| !answer.is_null());
    assert_eq!(answers, [json!("hello yourself")]);
    assert_eq!(mixed.server.heard().await, json!([3]));
}

#[tokio::test]
async fn a_node_that_goes_is_counted_no_longer() {
    let mut mixed = Mixed::start(2).await;
    let mut node = mixed.nodes.pop().unwrap();
    node.tell_to_stop();
    node.ended().await;
    mixed.server.until_servers(2).await;
    assert!(mixed.server.fetch(&[]).await.is_empty());
}

#[tokio::test]
async fn shards_and_the_bridge_may_panic() {
    let mixed = Mixed::start(1).await;
    let mut client = mixed.client().await;
    let id = id_of(&mut client).await;
    let join = json!({"rooms": [id], "names": ["räum", "plain"]});
    mixed.server.run("join", join).await;
    for worker in mixed.nodes[0].worker_names().await {
        mixed.nodes[0].crash(&worker).await;
    }
    mixed.server.until_servers(2).await;
    eventually("the bridge to be back, and to know what it knew", || async {
        let fetched = mixed.server.fetch(&["räum"]).await;
        fetched
            .get(&id)
            .is_some_and(|socket| rooms_of(socket) == set(["räum", "plain", &*id]))
    })
    .await;
    mixed.server.emit(&["räum"], "in", json!([])).await;
    // The bus had a bridge that panicked, and says so.
    while client.event().await.name != "in" {}
    let mut late = mixed.stock.connected(mixed.nodes[0].address, KIND).await;
    late.hears_nothing().await;
}
