//! Stock clients behind a balancer that keeps nobody on one node.

use crate::kit::{KINDS, Stock, StockClient, Transport, Turns};
use crate::{counted, nodes};

#[tokio::test]
async fn stock_clients_of_every_kind_need_no_sticky_sessions() {
    let (_redis, nodes) = nodes::<3>().await;
    let stock = Stock::start();
    let turns = Turns::of(nodes.iter().map(|node| node.address).collect()).await;
    let mut clients: Vec<StockClient> = Vec::new();
    for kind in KINDS.into_iter().cycle().take(18) {
        let mut client = stock.connected(turns.address, kind).await;
        client.join("lobby").await;
        clients.push(client);
    }
    for number in 0..60 {
        nodes[number % 3].publish("lobby", "n", number).await;
    }
    for (client, kind) in clients.iter_mut().zip(KINDS.into_iter().cycle()) {
        for number in 0..60 {
            assert_eq!(client.event().await.data(), number, "{kind:?}");
        }
        assert_eq!(client.status().await["transport"], kind.1.settled());
    }
    for client in &mut clients {
        client
            .ask_ok(
                "publish",
                serde_json::json!([{"room": "lobby", "event": "n", "data": 60}]),
            )
            .await;
    }
    for client in &mut clients {
        let heard = client.events(18).await;
        assert!(heard.iter().all(|event| *event.data() == 60));
        let status = client.status().await;
        assert_eq!(
            (&status["connected"], &status["recovered"]),
            (&true.into(), &false.into()),
            "the first connection"
        );
    }
    let mut handed_on = 0;
    for node in &nodes {
        handed_on += counted(node, "greenroom_handed_on_total").await;
        assert_eq!(counted(node, "greenroom_handed_on_failed_total").await, 0);
    }
    assert!(
        turns.taken() > 100 && handed_on > 100,
        "{} {handed_on}",
        turns.taken()
    );
}

#[tokio::test]
async fn a_client_that_polls_goes_on_when_the_node_in_between_stops() {
    let (_redis, mut nodes) = nodes::<3>().await;
    let stock = Stock::start();
    let turns = Turns::of(nodes.iter().map(|node| node.address).collect()).await;
    let mut client = stock
        .connected(turns.address, (crate::kit::Version::Newest, Transport::Polling))
        .await;
    client.join("lobby").await;
    // Its session is on the first: what came by the second, it asks again by the third.
    nodes[1].tell_to_stop();
    nodes[1].ended().await;
    for number in 0..20 {
        nodes[2].publish("lobby", "n", number).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 20 {
        let event = client.event().await;
        if event.name == "n" {
            heard.push(event.data().as_u64().unwrap());
        }
    }
    assert_eq!(heard, (0..20).collect::<Vec<_>>());
}
