//! All parts together: nodes that share rooms, and what becomes of their clients when one of them dies.

use futures_util::future::join_all;

use crate::kit::{Process, Redis, Sio, eventually};
use crate::redis::node;

/// Clients of both nodes.
const CLIENTS: u64 = 200;

#[tokio::test]
async fn two_hundred_clients_on_two_nodes() {
    let redis = Redis::start();
    let nodes = [node(&redis).await, node(&redis).await];
    let mut clients =
        join_all((0..CLIENTS).map(|client| nodes[client as usize % 2].joined(&["agent:42"]))).await;
    nodes[0].publish("agent:42", "note", 1).await;
    nodes[1].publish("agent:42", "note", 2).await;
    for client in &mut clients {
        assert_eq!(client.numbers(2).await, [1, 2]);
    }
}

#[tokio::test]
async fn clients_survive_node_loss() {
    let redis = Redis::start();
    let survivor = node(&redis).await;
    let doomed = Process::start(&[&format!("redis.url={}", redis.url())]);
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Sio::joined(doomed.address, &["agent:42"]).await);
    }
    survivor.publish("agent:42", "note", 1).await;
    for client in &mut clients {
        assert_eq!(client.numbers(1).await, [1]);
    }
    drop(doomed);
    survivor.publish("agent:42", "note", 2).await;
    let come_back = clients.iter().map(|client| async {
        let pid = client.pid.clone().unwrap();
        Sio::back(survivor.address, &pid, client.offset.as_deref()).await
    });
    for (mut client, recovered) in join_all(come_back).await {
        assert!(recovered, "in its rooms again");
        assert_eq!(client.numbers(1).await, [2], "what it missed, once");
    }
    eventually("all members", || async {
        survivor.members("agent:42").await == 50
    })
    .await;
}

#[tokio::test]
async fn survives_reconnect_storm() {
    let redis = Redis::start();
    let nodes = [node(&redis).await, node(&redis).await];
    let mut clients = Vec::new();
    for client in 0..CLIENTS as usize {
        clients.push(Sio::joined(nodes[client % 2].address, &["agent:42"]).await);
    }
    nodes[0].publish("agent:42", "note", 0).await;
    for client in &mut clients {
        assert_eq!(client.numbers(1).await, [0]);
    }
    for round in 1..=3 {
        let gone: Vec<(String, Option<String>)> = clients
            .drain(..)
            .map(|client| {
                let back = (client.pid.clone().unwrap(), client.offset.clone());
                client.reset();
                back
            })
            .collect();
        nodes[round % 2].publish("agent:42", "note", round as u64).await;
        // All at once, each to the node where it was not.
        let come_back = gone.iter().enumerate().map(|(client, (pid, offset))| {
            let address = nodes[(client + round) % 2].address;
            Sio::back(address, pid, offset.as_deref())
        });
        for (mut client, recovered) in join_all(come_back).await {
            assert!(recovered);
            assert_eq!(
                client.numbers(1).await,
                [round as u64],
                "nothing is lost, and nothing comes twice"
            );
            clients.push(client);
        }
    }
}
