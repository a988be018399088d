//! Events, both ways.

use serde_json::{Value, json};

use crate::kit::{Event, KINDS, Proxy, StockClient, eventually, numbered_name};
use crate::{Fault, Mixed, id_of};

/// What is sent in one argument, or in several: texts, nested objects, bytes, nothing.
fn arguments() -> Vec<Value> {
    vec![
        json!(["a text"]),
        json!([{"deep": [{"er": {"null": null, "half": 0.5, "yes": true}}], "ünï": "cödé"}]),
        json!([{"$binary": "AAEC/w=="}]),
        json!([1, {"first": {"$binary": "AAEC"}, "second": [{"$binary": "QUJD"}]}, "last"]),
        json!([]),
        json!([null]),
        json!([-9_007_199_254_740_991_i64, 0.1, 1.5e-7, 4_294_967_296_u64]),
        json!(["x".repeat(70_000)]),
    ]
}

/// The arguments that were sent: the last one is the client's position.
pub fn args_of(event: &Event) -> &[Value] {
    let (offset, args) = event.args.split_last().unwrap();
    assert!(
        offset.as_str().is_some_and(|offset| offset.contains('-')),
        "{event:?}"
    );
    args
}

async fn hears(client: &mut StockClient, name: &str, args: &Value) {
    let event = client.event().await;
    assert_eq!((&*event.name, json!(args_of(&event))), (name, args.clone()));
}

/// A client of the JavaScript server, which knows of no positions.
async fn they_hear(client: &mut StockClient, name: &str, args: &Value) {
    let event = client.event().await;
    assert_eq!((&*event.name, &json!(event.args)), (name, args));
}

#[tokio::test]
async fn what_a_javascript_server_emits_reaches_our_clients() {
    let mixed = Mixed::start(1).await;
    for kind in KINDS {
        let room = numbered_name("room");
        let mut ours = mixed.stock.connected(mixed.nodes[0].address, kind).await;
        ours.join(&room).await;
        let mut theirs = mixed.their_member(&room).await;
        for args in arguments() {
            mixed.server.emit(&[&room], "from-js", args.clone()).await;
            hears(&mut ours, "from-js", &args).await;
            they_hear(&mut theirs, "from-js", &args).await;
        }
    }
}

#[tokio::test]
async fn what_is_published_here_reaches_their_clients() {
    let mixed = Mixed::start(1).await;
    let room = numbered_name("room");
    let mut publisher = mixed.client().await;
    let (mut ours, mut theirs) = (mixed.member(0, &room).await, mixed.their_member(&room).await);
    for args in arguments() {
        publisher
            .ask_ok(
                "publish",
                json!([{"room": room, "event": "from-us", "args": args}]),
            )
            .await;
        hears(&mut ours, "from-us", &args).await;
        they_hear(&mut theirs, "from-us", &args).await;
    }
    mixed.nodes[0].publish(&room, "from-http", json!({"n": 1})).await;
    they_hear(&mut theirs, "from-http", &json!([{"n": 1}])).await;
}

#[tokio::test]
async fn events_go_to_whom_they_are_for_and_once_each() {
    let mixed = Mixed::start(1).await;
    let mut in_a = mixed.member(0, "a").await;
    let mut in_both = mixed.member(0, "a").await;
    in_both.join("b").await;
    let mut nowhere = mixed.client().await;
    let id = id_of(&mut nowhere).await;
    let emit = async |command: Value, number: u64| {
        let mut command = command;
        command["event"] = "n".into();
        command["args"] = json!([number]);
        mixed.server.run("emit", command).await;
    };
    emit(json!({"rooms": ["a", "b"]}), 1).await;
    emit(json!({"rooms": ["a"], "except": ["b"]}), 2).await;
    emit(json!({"rooms": [id]}), 3).await;
    emit(json!({"except": ["a"]}), 4).await;
    emit(json!({"except": [id]}), 5).await;
    emit(json!({"volatile": true}), 6).await;
    emit(json!({"rooms": ["elsewhere", "b"]}), 7).await;
    emit(json!({}), 8).await;
    for (client, numbers) in [
        (&mut in_a, &[1, 2, 5, 6, 8][..]),
        (&mut in_both, &[1, 5, 6, 7, 8]),
        (&mut nowhere, &[3, 4, 6, 8]),
    ] {
        for number in numbers {
            hears(client, "n", &json!([number])).await;
        }
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn an_event_for_several_rooms_comes_once_to_their_clients() {
    let mixed = Mixed::start(1).await;
    let mut in_both = mixed.their_member("a").await;
    in_both.join("b").await;
    let event = json!({"event": "n", "data": 1, "rooms": ["b"]});
    let answer = mixed.nodes[0].http.post("/v1/rooms/a/events", &event).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    mixed.nodes[0].publish("b", "n", 2).await;
    for number in 1..=2 {
        they_hear(&mut in_both, "n", &json!([number])).await;
    }
}

#[tokio::test]
async fn two_nodes_do_not_double() {
    let mixed = Mixed::start(2).await;
    let mut theirs = mixed.their_member("room").await;
    let (mut one, mut two) = (mixed.member(0, "room").await, mixed.member(1, "room").await);
    for number in 0..20 {
        mixed.nodes[number as usize % 2]
            .publish("room", "n", number)
            .await;
        for client in [&mut one, &mut two] {
            hears(client, "n", &json!([number])).await;
        }
        they_hear(&mut theirs, "n", &json!([number])).await;
        mixed.server.emit(&["room"], "js", json!([number])).await;
        for client in [&mut one, &mut two] {
            hears(client, "js", &json!([number])).await;
        }
        they_hear(&mut theirs, "js", &json!([number])).await;
    }
    one.hears_nothing().await;
    two.hears_nothing().await;
    theirs.hears_nothing().await;
}

#[tokio::test]
async fn order_is_kept_on_the_way_to_them() {
    let mixed = Mixed::start(1).await;
    let mut theirs = mixed.their_member("room").await;
    let mut publisher = mixed.client().await;
    for number in 0..300 {
        publisher.emit("publish", json!([{"room": "room", "event": "n", "data": number}]));
    }
    for number in 0..300 {
        they_hear(&mut theirs, "n", &json!([number])).await;
    }
    publisher.ask_ok("presence", json!(["room"])).await;
}

#[tokio::test]
async fn other_surfaces_hear_them_without_moving() {
    let mixed = Mixed::start(1).await;
    let node = &mixed.nodes[0];
    let (mut ws, mut sse) = (node.joined(&["room"]).await, node.sse("room").await);
    let mut elsewhere = node.joined(&["elsewhere"]).await;
    node.publish("room", "n", 1).await;
    let (before, last_id) = (ws.event().await, sse.next().await.unwrap().id);
    assert!(last_id.is_some());
    mixed.server.emit(&["room"], "one", json!([{"a": 1}])).await;
    mixed.server.emit(&["room", "ö"], "more", json!([1, 2])).await;
    // For everyone: for sockets only.
    mixed.server.emit(&[], "all", json!([])).await;
    let event = ws.event().await;
    assert_eq!(
        (&event["room"], &event["event"], &event["data"], &event["scope"]),
        (&json!("room"), &json!("one"), &json!({"a": 1}), &json!("foreign"))
    );
    assert!(
        ["id", "offset", "position"]
            .iter()
            .all(|field| event[field].is_null()),
        "{event}"
    );
    let event = ws.event().await;
    assert_eq!(
        (&event["rooms"], &event["args"]),
        (&json!(["room", "ö"]), &json!([1, 2]))
    );
    for name in ["one", "more"] {
        let message = sse.next().await.unwrap();
        assert_eq!((&*message.event, message.id), (name, None));
        assert_eq!(message.data["event"], name);
    }
    node.publish("room", "n", 2).await;
    let after = ws.event().await;
    assert_eq!((&before["offset"], &after["offset"]), (&json!(1), &json!(2)));
    assert_eq!(sse.next().await.unwrap().data["offset"], 2);
    node.publish("elsewhere", "n", 3).await;
    assert_eq!(elsewhere.event().await["data"], 3);
    // They are in no history.
    let history = node.http.get("/v1/rooms/room/events").await.ok();
    assert_eq!(history["events"].as_array().unwrap().len(), 2, "{history}");
}

#[tokio::test]
async fn the_emitter_is_heard() {
    let mut mixed = Mixed::start(1).await;
    let (mut ours, mut theirs) = (mixed.member(0, "room").await, mixed.their_member("room").await);
    let mut other = mixed.client().await;
    let id = id_of(&mut other).await;
    for args in arguments() {
        let command = json!({"rooms": ["room"], "event": "out", "args": args});
        mixed.server.run("emitOutside", command).await;
        hears(&mut ours, "out", &args).await;
        they_hear(&mut theirs, "out", &args).await;
    }
    let join = json!({"rooms": [id], "names": ["room", "ä b"]});
    mixed.server.run("joinOutside", join).await;
    mixed.server.emit(&["ä b"], "in", json!([1])).await;
    hears(&mut other, "in", &json!([1])).await;
    let leave = json!({"rooms": [id], "names": ["room", "ä b"]});
    mixed.server.run("leaveOutside", leave).await;
    mixed.server.emit(&["ä b", "room"], "gone", json!([])).await;
    hears(&mut ours, "gone", &json!([])).await;
    other.hears_nothing().await;
    mixed
        .server
        .run("serverSideEmitOutside", json!({"args": [7]}))
        .await;
    assert_eq!(mixed.server.heard().await, json!([7]));
    let disconnect = json!({"rooms": [id], "close": true});
    mixed.server.run("disconnectOutside", disconnect).await;
    assert_eq!(other.disconnected().await, "io server disconnect");
}

#[tokio::test]
async fn a_client_recovers_after_events_of_others() {
    let mixed = Mixed::start(2).await;
    for kind in KINDS {
        // The stock client keeps the last text of any event as its position: here none of the others' may be that.
        for (room, args) in [
            (numbered_name("room"), json!(["text"])),
            (numbered_name("room"), json!([])),
        ] {
            let proxy = Proxy::to(mixed.nodes[0].address).await;
            let mut client = mixed.stock.connected(proxy.address, kind).await;
            // One that comes before it is anywhere, one before the first event of ours, one behind it.
            let id = id_of(&mut client).await;
            mixed.server.emit(&[&id], "js", args.clone()).await;
            hears(&mut client, "js", &args).await;
            client.join(&room).await;
            mixed.server.emit(&[&room], "js", args.clone()).await;
            hears(&mut client, "js", &args).await;
            for (node, number) in [(0, 1), (1, 2)] {
                mixed.nodes[1 - node].publish(&room, "n", number).await;
                hears(&mut client, "n", &json!([number])).await;
                mixed.server.emit(&[&room], "js", args.clone()).await;
                hears(&mut client, "js", &args).await;
            }
            proxy.refuse(true);
            proxy.strike(Fault::Reset);
            client.disconnected().await;
            // Live only: this one is gone.
            mixed.server.emit(&[&room], "missed", args.clone()).await;
            mixed.nodes[0].publish(&room, "n", 3).await;
            proxy.route_to(mixed.nodes[1].address);
            proxy.refuse(false);
            let report = client.connect().await;
            assert_eq!(
                (&report["recovered"], &report["id"]),
                (&json!(true), &json!(id)),
                "{kind:?}"
            );
            hears(&mut client, "n", &json!([3])).await;
            mixed.server.emit(&[&room], "js", args.clone()).await;
            hears(&mut client, "js", &args).await;
            client.hears_nothing().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_was_given_nothing_of_ours_recovers_too() {
    let mixed = Mixed::start(1).await;
    for joins_before in [true, false] {
        let (room, proxy) = (numbered_name("room"), Proxy::to(mixed.nodes[0].address).await);
        let mut client = mixed.stock.connected(proxy.address, crate::KIND).await;
        let id = id_of(&mut client).await;
        if joins_before {
            client.join(&room).await;
        }
        mixed.server.emit(&[&id], "js", json!(["not a position"])).await;
        hears(&mut client, "js", &json!(["not a position"])).await;
        if !joins_before {
            client.join(&room).await;
        }
        mixed.nodes[0].until_members(&room, 1).await;
        proxy.refuse(true);
        proxy.strike(Fault::Reset);
        client.disconnected().await;
        mixed.nodes[0].publish(&room, "n", 1).await;
        proxy.refuse(false);
        assert_eq!(client.connect().await["recovered"], true, "{joins_before}");
        hears(&mut client, "n", &json!([1])).await;
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_costs_nobody_his_connection() {
    let redis = crate::Redis::start();
    let server = crate::Server::start(&redis.url()).await;
    let node = crate::node_with(&redis, |config| {
        config.limits.event_bytes = 16_384;
        config.throttle.wait_bytes = 16_384;
        config.rooms.outbox_bytes = 65_536;
    })
    .await;
    server.until_servers(2).await;
    let stock = crate::Stock::start();
    let mut client = stock.connected(node.address, crate::KIND).await;
    client.join("room").await;
    server
        .emit(&["room"], "large", json!(["x".repeat(100_000)]))
        .await;
    let command =
        json!({"rooms": ["room"], "event": "large", "args": ["x".repeat(100_000)], "timeoutMs": 4_000});
    let answer = server.run("ask", command).await;
    assert_eq!(answer, json!({"error": null, "answers": []}));
    server.emit(&["room"], "small", json!([1])).await;
    hears(&mut client, "small", &json!([1])).await;
    eventually("it to be a member still", || async {
        node.members("room").await == 1
    })
    .await;
}
