//! Each worker's crash by itself, while clients are connected and events flow.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::bus_log::Limits,
    room_registry::faults,
    testing::{on_virtual_time, universe::Universe, wire::Client},
};

/// Two nodes of two shards, and a client of the room on each of them.
async fn four() -> (Universe, Vec<Client>) {
    hush();
    let universe = Universe::new(2, 2, Limits::default(), |_| {});
    let mut clients = Vec::new();
    for at in universe.nodes.iter().flat_map(|node| &node.shards) {
        clients.push(joined(&universe, at, &["a"]).await);
    }
    (universe, clients)
}

/// Nobody lost anything or got anything twice, and everybody still hears what is new.
async fn check(universe: &Universe, mut clients: Vec<Client>, published: u64) {
    wait(2.0).await;
    count(universe, "a", published..published + 10);
    wait(2.0).await;
    let all: Vec<u64> = (0..published + 10).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        assert_eq!(numbers(&client.read()), all, "client {i}");
        assert!(!client.is_over(), "client {i} noticed nothing");
    }
}

/// A worker of the first node crashes, ever later in the flow.
fn crash(worker: &str) {
    on_virtual_time(async {
        let (universe, clients) = four().await;
        let mut published = 0;
        for turns in 0..12 {
            count(&universe, "a", published..published + 10);
            published += 10;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            assert!(universe.nodes[0].supervisor.crash(worker));
            count(&universe, "a", published..published + 5);
            published += 5;
            wait(0.3).await;
        }
        let status = universe.nodes[0].supervisor.workers().borrow()[worker].clone();
        assert_eq!(status.restarts.panics, 12);
        check(&universe, clients, published).await;
    });
}

#[test]
fn a_crash_of_the_first_shard_loses_and_repeats_nothing() {
    crash("rooms-0");
}

#[test]
fn a_crash_of_the_second_shard_loses_and_repeats_nothing() {
    crash("rooms-1");
}

#[test]
fn a_crash_of_the_bridge_loses_and_repeats_nothing() {
    crash("bridge");
}

#[test]
fn a_bridge_that_comes_back_asks_every_shard_what_it_wants() {
    on_virtual_time(async {
        let (universe, _clients) = four().await;
        let catch_ups = |node: usize, at: usize| shard(&universe, node, at).desk.hub.stats.catch_ups.get();
        assert!(universe.nodes[0].supervisor.crash("bridge"));
        wait(1.0).await;
        assert_eq!([catch_ups(0, 0), catch_ups(0, 1)], [2, 2]);
        assert_eq!(
            [catch_ups(1, 0), catch_ups(1, 1)],
            [1, 1],
            "the other node's bridge is well"
        );
    });
}

#[test]
fn a_shard_that_fails_half_way_through_a_fan_out_goes_on_where_it_was() {
    for members in 0..5 {
        on_virtual_time(async {
            hush();
            let universe = Universe::new(1, 1, Limits::default(), |_| {});
            let at = shard(&universe, 0, 0);
            let mut clients = Vec::new();
            for _ in 0..5 {
                clients.push(joined(&universe, at, &["a"]).await);
            }
            count(&universe, "a", 0..3);
            faults::fail_half_way(at.id, members);
            count(&universe, "a", 3..10);
            universe.settle().await;
            assert!(faults::all_happened());
            check(&universe, clients, 10).await;
        });
    }
}

#[test]
fn what_waits_for_the_throttle_survives_a_crash_of_its_shard() {
    on_virtual_time(async {
        hush();
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules.per_second = 2;
        });
        let mut client = joined(&universe, shard(&universe, 0, 0), &["agent:1"]).await;
        for i in 0..6 {
            publish(
                &universe,
                &["agent:1"],
                "agent-thought",
                thought("1", &i.to_string()),
            );
        }
        universe.settle().await;
        universe.nodes[0].supervisor.crash("rooms-0");
        wait(3.0).await;
        let heard = data(&client.read());
        assert_eq!(heard.len(), 3);
        assert_eq!(heard[2]["thought"], "2\n3\n4\n5");
    });
}

#[test]
fn a_silent_client_is_closed_though_its_shard_falls_over_more_often_than_it_sweeps() {
    on_virtual_time(async {
        let (universe, clients) = four().await;
        for _ in 0..120 {
            assert!(universe.nodes[0].supervisor.crash("rooms-0"));
            wait(0.5).await;
        }
        assert!(clients[0].is_over(), "nothing was heard of it for a minute");
    });
}
