//! Rooms and events: who hears what, and what the answers are.

use serde_json::{Value, json};

use crate::kit::{Event, KINDS, Stock, StockClient, TestNode, numbered_name};

/// The event without the offset, which recovery adds to what the stock client shows its listeners.
fn args_of(event: &Event) -> &[Value] {
    let (offset, args) = event.args.split_last().unwrap();
    assert!(offset.is_string(), "{event:?}");
    args
}

async fn hears(client: &mut StockClient, name: &str, args: &[Value]) {
    let event = client.event().await;
    assert_eq!((&*event.name, args_of(&event)), (name, args));
}

#[tokio::test]
async fn a_room_is_joined_and_left_by_any_of_its_commands() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let mut client = stock.connected(node.address, kind).await;
        for (join, leave, argument, room) in [
            ("join", "leave", "lobby", "lobby"),
            ("subscribe-agent", "unsubscribe-agent", "42", "agent:42"),
            ("subscribe-project", "unsubscribe-project", "7", "project:7"),
            ("subscribe-task", "unsubscribe-task", "t", "task:t"),
            ("subscribe:agent", "unsubscribe:agent", "42", "agent:42"),
            ("subscribe:project", "unsubscribe:project", "7", "project:7"),
            ("subscribe:task", "unsubscribe:task", "t", "task:t"),
        ] {
            let answer = client.ask_ok(join, json!([argument])).await;
            assert_eq!(answer["room"], room, "{join}: {answer}");
            assert!(answer["position"].is_string(), "{join}: {answer}");
            assert!(answer["recovered"].is_boolean(), "{join}: {answer}");
            node.publish(room, "note", join).await;
            hears(&mut client, "note", &[json!(join)]).await;
            let answer = client.ask_ok(leave, json!([argument])).await;
            assert_eq!(answer["room"], room, "{leave}: {answer}");
            node.publish(room, "note", leave).await;
            client.hears_nothing().await;
        }
    }
}

#[tokio::test]
async fn nobody_has_to_want_an_answer() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        client.emit("join", json!([room]));
        client.emit("publish", json!([{"room": room, "event": "note", "data": 1}]));
        hears(&mut client, "note", &[json!(1)]).await;
    }
}

#[tokio::test]
async fn events_come_in_order_whoever_publishes() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    let mut publisher = stock.connected(node.address, KINDS[0]).await;
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        client.join(&room).await;
        for number in 0..20 {
            if number % 2 == 0 {
                node.publish(&room, "n", number).await;
            } else {
                let ask = json!([{"room": room, "event": "n", "data": number}]);
                publisher.ask_ok("publish", ask).await;
            }
        }
        for number in 0..20 {
            hears(&mut client, "n", &[json!(number)]).await;
        }
    }
}

#[tokio::test]
async fn an_event_of_several_rooms_is_heard_once() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let rooms = [numbered_name("agent"), numbered_name("project")];
        let mut client = stock.connected(node.address, kind).await;
        for room in &rooms {
            client.join(room).await;
        }
        let body = json!({"event": "note", "data": {"n": 1}, "rooms": [rooms[1]]});
        let path = format!("/v1/rooms/{}/events", rooms[0]);
        assert_eq!(node.http.post(&path, &body).await.status, 202);
        hears(&mut client, "note", &[json!({"n": 1})]).await;
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_publish_is_answered_and_its_repeat_alike() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        client.join(&room).await;
        let ask = json!([{"room": room, "event": "note", "data": 1, "id": room}]);
        let answer = client.ask_ok("publish", ask.clone()).await;
        assert_eq!(
            (&answer["id"], &answer["rooms"]),
            (&json!(room), &json!({&*room: 1}))
        );
        assert_eq!(client.ask_ok("publish", ask).await, answer);
        hears(&mut client, "note", &[json!(1)]).await;
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn several_arguments_and_binary_reach_every_surface() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        let mut plain = node.joined(&[&room]).await;
        client.join(&room).await;
        let args = json!([1, {"deep": [{"$binary": "AAEC/w=="}, {"$binary": ""}]}, null, "text"]);
        let expected = args.as_array().unwrap();

        client
            .ask_ok("publish", json!([{"room": room, "event": "mixed", "args": args}]))
            .await;
        hears(&mut client, "mixed", expected).await;
        assert_eq!(plain.event().await["args"], args, "{kind:?}");

        let path = format!("/v1/rooms/{room}/events");
        let body = json!({"event": "mixed", "args": args});
        assert_eq!(node.http.post(&path, &body).await.status, 202);
        hears(&mut client, "mixed", expected).await;
        assert_eq!(plain.event().await["args"], args, "{kind:?}");

        let large = json!({"$binary": "QUJD".repeat(20_000)});
        client
            .ask_ok(
                "publish",
                json!([{"room": room, "event": "large", "data": large}]),
            )
            .await;
        hears(&mut client, "large", &[large]).await;
    }
}

#[tokio::test]
async fn presence_counts_clients_of_every_surface() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        client.join(&room).await;
        let _plain = node.joined(&[&room]).await;
        let answer = client.ask_ok("presence", json!([room])).await;
        assert_eq!(
            (&answer["room"], &answer["count"]),
            (&json!(room), &json!(2)),
            "{answer}"
        );
        let members = answer["members"].as_array().unwrap();
        let own = client.status().await["id"].clone();
        assert!(members.iter().any(|member| member["id"] == own), "{answer}");
    }
}

#[tokio::test]
async fn what_is_refused_is_answered_with_its_code() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let mut client = stock.connected(node.address, kind).await;
        let thought = json!({"agentId": "1", "thought": 7, "timestamp": "2026-01-31T12:00:00Z"});
        for (event, args, code) in [
            ("join", json!([""]), "room_name_invalid"),
            ("join", json!(["a b"]), "room_name_invalid"),
            ("subscribe-agent", json!(["a b"]), "room_name_invalid"),
            ("leave", json!(["a b"]), "room_name_invalid"),
            ("presence", json!(["a b"]), "room_name_invalid"),
            ("join", json!([]), "bad_request"),
            ("join", json!([{"room": "lobby"}]), "bad_request"),
            ("publish", json!(["lobby"]), "bad_request"),
            ("publish", json!([{"room": "lobby"}]), "bad_request"),
            (
                "publish",
                json!([{"room": "a b", "event": "n", "data": 1}]),
                "room_name_invalid",
            ),
            (
                "publish",
                json!([{"room": "lobby", "event": "connect", "data": 1}]),
                "event_name_invalid",
            ),
            (
                "publish",
                json!([{"room": "agent:1", "event": "agent-thought", "data": thought}]),
                "payload_invalid",
            ),
        ] {
            assert_eq!(
                client.ask_refused(event, args.clone()).await,
                code,
                "{kind:?}: {event} {args}"
            );
        }
        // All that costs the connection nothing.
        client.join("lobby").await;
    }
}
