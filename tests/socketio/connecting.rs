//! Connections: how they begin, what they are refused, and what the stock client says of their end.

use serde_json::{Value, json};

use crate::kit::{Authority, KINDS, Process, Proxy, Stock, TestNode, Transport, numbered_name};

#[tokio::test]
async fn every_kind_of_client_connects() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let mut client = stock.client(node.address, kind);
        let report = client.connect().await;
        assert_eq!(report["recovered"], false, "{kind:?}");
        // A room name of 20 characters is one that a JavaScript cluster takes for a socket's.
        assert_eq!(report["id"].as_str().unwrap().len(), 20, "{kind:?}");
        if kind.1 == Transport::Upgrade {
            client.upgraded().await;
        }
        let status = client.status().await;
        assert_eq!(
            (&status["transport"], &status["id"]),
            (&json!(kind.1.settled()), &report["id"])
        );
    }
}

#[tokio::test]
async fn every_kind_of_client_connects_by_tls() {
    let authority = Authority::new();
    let node = TestNode::with_tls(&authority, |_| {}).await;
    let stock = Stock::start_trusting(&authority.root_file());
    let url = format!("https://localhost:{}", node.address.port());
    for (version, transport) in KINDS {
        let mut client = stock.client_of(&url, version, transport.options());
        client.connect().await;
        if transport == Transport::Upgrade {
            client.upgraded().await;
        }
        let room = numbered_name("tls");
        client.join(&room).await;
        node.publish(&room, "note", "by TLS").await;
        assert_eq!(client.event().await.data(), "by TLS", "{version:?} {transport:?}");
    }
}

#[tokio::test]
async fn an_unknown_namespace_is_refused_and_costs_nothing_else() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let url = format!("http://{}/nowhere", node.address);
        let mut lost = stock.client_of(&url, kind.0, kind.1.options());
        assert_eq!(
            lost.refused().await,
            ("Invalid namespace".to_owned(), Value::Null),
            "{kind:?}"
        );
        let mut client = stock.client(node.address, kind);
        client.connect().await;
    }
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_as_the_stock_server_tells_it() {
    let stock = Stock::start();
    for kind in KINDS {
        let mut node = TestNode::start().await;
        let mut leaves = stock.connected(node.address, kind).await;
        let mut stays = stock.connected(node.address, kind).await;
        leaves.disconnect();
        assert_eq!(leaves.disconnected().await, "io client disconnect", "{kind:?}");
        node.tell_to_stop();
        let reason = stays.disconnected().await;
        // Who was between two polls is told nothing any more.
        let between = kind.1 == Transport::Polling && reason == "transport error";
        assert!(between || reason == "transport close", "{kind:?}: {reason}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_a_member_no_more() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    for kind in KINDS {
        let room = numbered_name("room");
        let mut client = stock.connected(node.address, kind).await;
        client.join(&room).await;
        node.until_members(&room, 1).await;
        client.disconnect();
        node.until_members(&room, 0).await;
    }
}

#[tokio::test]
async fn both_sides_miss_the_heartbeat_of_a_stalled_network() {
    let node = Process::start(&["socketio.ping_interval_ms=300", "socketio.ping_timeout_ms=200"]);
    let stock = Stock::start();
    for kind in KINDS {
        let proxy = Proxy::to(node.address).await;
        let mut client = stock.connected(proxy.address, kind).await;
        client.join(&numbered_name("room")).await;
        proxy.stall();
        assert_eq!(client.disconnected().await, "ping timeout", "{kind:?}");
        proxy.flow();
        assert_eq!(client.connect().await["recovered"], true, "{kind:?}");
    }
}

#[tokio::test]
async fn sessions_are_listed() {
    let (node, stock) = (TestNode::start().await, Stock::start());
    let mut client = stock.connected(node.address, KINDS[0]).await;
    client.join("lobby").await;
    let sessions = node.http.get("/v1/sessions").await.ok();
    let [session] = sessions["sessions"].as_array().unwrap().as_slice() else {
        panic!("one session: {sessions}");
    };
    assert_eq!(session["rooms"], json!(["lobby"]), "{session}");
    assert!(session["transport"].is_string(), "{session}");
}
