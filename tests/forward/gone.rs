//! The node that has the session is gone, or cannot be reached.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::kit::sio::fault;
use crate::kit::{Polling, Process, Redis, Stock, Transport, Turns, Version, eventually, within};
use crate::polling::session;
use crate::{counted, free_address, node_with, nodes};

/// A node as a process, which can be killed, and can be told in its environment whom to trust.
pub fn process(redis: &Redis, environment: &[(&str, &str)]) -> Process {
    let address = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.env_clear().current_dir(std::env::temp_dir());
    command.envs(environment.iter().copied());
    command.args(["serve", "--listen", &address.to_string()]);
    for setting in [
        "log.level=error",
        &format!("redis.url={}", redis.url()),
        &format!("cluster.advertise=http://{address}"),
    ] {
        command.args(["--set", setting]);
    }
    Process::from(command)
}

#[tokio::test]
async fn a_poll_at_a_node_that_is_killed_ends_with_an_unknown_session() {
    let redis = Redis::start();
    let (dies, lives) = (process(&redis, &[]), node_with(&redis, |_| {}).await);
    let (session, _) = Polling::enter(&dies.http).await;
    let by_another = session.by(&lives.http);
    let (answer, ()) = tokio::join!(by_another.get(), async {
        let waits = || async { counted(&lives, "greenroom_handed_on_total").await > 0 };
        eventually("the poll to be handed on", waits).await;
        dies.signal("KILL");
    });
    fault(&answer, 1, "Session ID unknown");
    by_another.is_over().await;
    let answer = by_another.post("42[\"x\"]").await;
    fault(&answer, 1, "Session ID unknown");
}

#[tokio::test]
async fn a_stock_client_whose_node_is_killed_recovers_on_another() {
    let redis = Redis::start();
    let (stock, lives) = (Stock::start(), node_with(&redis, |_| {}).await);
    let dies = process(&redis, &[]);
    // The first connection goes to the one that dies.
    let turns = Turns::of(vec![dies.address, lives.address]).await;
    let mut client = stock
        .connected(turns.address, (Version::Newest, Transport::Polling))
        .await;
    client.join("lobby").await;
    lives.publish("lobby", "n", 0).await;
    assert_eq!(client.event().await.data(), 0);
    dies.signal("KILL");
    lives.publish("lobby", "n", 1).await;
    client.disconnected().await;
    lives.publish("lobby", "n", 2).await;
    let back = client.connect().await;
    assert_eq!(back["recovered"], true, "{back}");
    for number in 1..=2 {
        assert_eq!(client.event().await.data(), number);
    }
}

#[tokio::test]
async fn a_node_that_takes_and_does_not_answer_is_not_waited_for() {
    let redis = Redis::start();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = silent.local_addr().unwrap();
    let one = node_with(&redis, |config| {
        config.cluster.advertise = Some(format!("http://{away}"))
    })
    .await;
    let two = node_with(&redis, |config| {
        config.cluster.forward_timeout_ms = 300;
        config.socketio.ping_interval_ms = 200;
        config.socketio.ping_timeout_ms = 200;
    })
    .await;
    let session = session(&one, "lobby").await;
    let began = Instant::now();
    session.by(&two.http).is_over().await;
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(650)..Duration::from_secs(5)).contains(&took),
        "{took:?}: as long as a poll lasts, and no longer"
    );
    // For a while after that nobody waits for it.
    let began = Instant::now();
    session.by(&two.http).is_over().await;
    assert!(
        began.elapsed() < Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(counted(&two, "greenroom_handed_on_failed_total").await, 1);
}

#[tokio::test]
async fn the_sessions_of_a_node_without_an_address_are_unknown_elsewhere() {
    let redis = Redis::start();
    let one = node_with(&redis, |config| config.cluster.advertise = None).await;
    let two = node_with(&redis, |_| {}).await;
    let session = session(&one, "lobby").await;
    session.by(&two.http).is_over().await;
}

#[tokio::test]
async fn ids_that_belong_to_no_node_do_not_ask_for_the_list_each() {
    let (redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    one.publish("lobby", "n", 1).await;
    session.by(&two.http).packets().await;
    let lists = |redis: &Redis| {
        let stats = redis.cli(&["info", "commandstats"]);
        let row = stats
            .lines()
            .find(|row| row.starts_with("cmdstat_hgetall:"))
            .unwrap_or_default();
        let calls = row.split("calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    let (before, began) = (lists(&redis), Instant::now());
    let http = &two.http;
    let strangers = (0..200).map(|number: u32| async move {
        let sid = format!("{number:04}{}", "0".repeat(16));
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        fault(&http.get(&path).await, 1, "Session ID unknown");
        number
    });
    within("strangers", futures_util::future::join_all(strangers)).await;
    let asked = lists(&redis) - before;
    let most = began.elapsed().as_millis() as u64 / 200 + 2;
    assert!(asked <= most, "asked {asked} times");
}

#[tokio::test]
async fn while_redis_is_away_requests_are_handed_on_to_the_nodes_that_were_there() {
    let (mut redis, [one, two]) = nodes().await;
    let session = session(&one, "lobby").await;
    one.publish("lobby", "n", 1).await;
    session.by(&two.http).packets().await;
    redis.kill();
    eventually("the outage to be noticed", || async {
        let bus = |node: &crate::kit::TestNode| {
            let http = node.http.clone();
            async move { http.get("/readyz").await.text.contains("\"down\"") }
        };
        bus(&one).await && bus(&two).await
    })
    .await;
    one.publish("lobby", "n", json!("local")).await;
    loop {
        let heard = session.by(&two.http).packets().await;
        if heard
            .iter()
            .any(|packet| packet.starts_with("42[\"n\",\"local\""))
        {
            break;
        }
    }
}
