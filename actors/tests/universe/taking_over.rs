//! Clients of Socket.IO that are back while their old connection still looks alive, and nodes that fall over meanwhile.

use crate::{
    hush,
    returning::{guest, hear, join},
    scene::*,
};
use greenroom_actors::{
    logic::{bus_log::Limits, presence::Secret},
    ports::Bus,
    reply::poll_once,
    testing::{
        on_virtual_time,
        socket_io::{SocketIo, Stock},
        universe::{Plan, Universe},
    },
};
use serde_json::json;
use std::time::Duration;

fn universe(nodes: usize, shards: u32) -> Universe {
    hush();
    Universe::new(nodes, shards, Limits::default(), |_| {})
}

fn up_to(end: u64) -> Vec<u64> {
    (0..end).collect()
}

/// Where it was, and where it is back: the same shard, another one of the node, another node.
const PLACES: [(usize, usize); 3] = [(0, 0), (0, 1), (1, 0)];

#[test]
fn a_half_open_connection_is_taken_over_and_closed() {
    for (node, place) in PLACES {
        for polls in [false, true] {
            on_virtual_time(async {
                let universe = universe(2, 2);
                let old = shard(&universe, 0, 0);
                let session = if polls {
                    old.socket_io_polling()
                } else {
                    old.socket_io()
                };
                let mut guest = guest(&universe, session, &["a"]).await;
                count(&universe, "a", 0..3);
                hear(&universe, &mut guest).await;
                count(&universe, "a", 3..5);
                universe.settle().await;
                let mut before = guest
                    .enter(shard(&universe, node, place).socket_io())
                    .expect("one");
                hear(&universe, &mut guest).await;
                before.listen();
                assert_eq!(guest.recovered, Some(true));
                assert!(before.is_over(), "{:?}", before.others);
                // Whatever is left of the old one hurts nobody.
                before.emit("leave", &json!("a"));
                before.send("41");
                before.hang_up();
                universe.settle().await;
                count(&universe, "a", 5..7);
                hear(&universe, &mut guest).await;
                assert_eq!(guest.numbers(), up_to(7));
                let members = old.desk.bus.members(&room("a")).await.expect("members");
                assert_eq!(members.len(), 1);
                assert_eq!(Some(&members[0].id), guest.sid.as_ref());
                guest.now().hang_up();
                universe.settle().await;
                guest.enter(old.socket_io());
                hear(&universe, &mut guest).await;
                assert_eq!(guest.recovered, Some(true), "the secret is still good");
            });
        }
    }
}

/// On a bus that takes its time several connections of one client are on their way to the same place.
#[test]
fn of_several_that_come_back_at_once_the_last_one_stays() {
    for gap_ms in [0, 1, 100, 499, 500, 501, 999, 1_000, 1_001] {
        on_virtual_time(async {
            hush();
            let mut plan = Plan::new(1, 2);
            plan.answers_after = Duration::from_millis(500);
            let universe = Universe::planned(plan);
            wait(2.0).await;
            let mut guest = Stock::default();
            guest.enter(shard(&universe, 0, 0).socket_io());
            wait(1.0).await;
            guest.listen();
            guest.now().emit("join", &json!("a"));
            wait(3.0).await;
            guest.listen();
            count(&universe, "a", 0..2);
            let mut before: Vec<SocketIo> = Vec::new();
            for place in [1, 1, 0, 1] {
                before.extend(guest.enter(shard(&universe, 0, place).socket_io()));
                wait(f64::from(gap_ms) / 1_000.0).await;
            }
            for _ in 0..10 {
                wait(1.0).await;
                guest.listen();
            }
            assert_eq!(guest.recovered, Some(true), "{gap_ms} ms apart");
            for old in &mut before {
                old.listen();
                assert!(old.is_over(), "{gap_ms} ms apart");
            }
            count(&universe, "a", 2..4);
            wait(2.0).await;
            guest.listen();
            assert_eq!(guest.numbers(), up_to(4));
            let sessions: u64 = universe.nodes[0]
                .shards
                .iter()
                .map(|at| at.desk.hub.stats.connections.get())
                .sum();
            assert_eq!(sessions, 1);
        });
    }
}

#[test]
fn a_shard_that_did_not_hear_of_the_takeover_closes_the_old_connection_when_it_is_back() {
    on_virtual_time(async {
        hush();
        let mut plan = Plan::new(1, 1);
        plan.mailbox = 4;
        let universe = Universe::planned(plan);
        let old = shard(&universe, 0, 0);
        let mut guest = guest(&universe, old.socket_io(), &["a"]).await;
        while old.desk.registry.try_send(notice()).is_ok() {}
        // More than fits: it is behind, and not told that the client has been elsewhere since.
        count(&universe, "a", 0..40);
        let secret = guest.pid.as_deref().and_then(Secret::parse).expect("a secret");
        let claimed = poll_once(universe.bus.claim_session(secret, None))
            .ok()
            .expect("at once");
        assert!(claimed.is_ok_and(|record| record.is_some()));
        wait(1.0).await;
        guest.listen();
        assert!(guest.now().is_over());
        assert_eq!(old.desk.hub.stats.connections.get(), 0);
    });
}

#[test]
fn a_shard_that_crashes_while_a_client_comes_back_loses_nothing_of_it() {
    for turns in 0..14 {
        on_virtual_time(async {
            hush();
            let universe = universe(1, 2);
            let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io(), &["a", "b"]).await;
            count(&universe, "a", 0..3);
            hear(&universe, &mut guest).await;
            guest.now().hang_up();
            count(&universe, "b", 3..6);
            guest.enter(shard(&universe, 0, 1).socket_io());
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            universe.nodes[0].supervisor.crash("rooms-1");
            count(&universe, "a", 6..8);
            for _ in 0..5 {
                wait(1.0).await;
                guest.listen();
                if guest.now().is_over() {
                    guest.enter(shard(&universe, 0, 1).socket_io());
                }
            }
            hear(&universe, &mut guest).await;
            assert_eq!(guest.recovered, Some(true), "after {turns} turns");
            count(&universe, "b", 8..10);
            hear(&universe, &mut guest).await;
            assert_eq!(guest.numbers(), up_to(10), "after {turns} turns");
        });
    }
}

#[test]
fn a_client_that_hangs_up_while_it_comes_back_can_come_back_again_and_is_forgotten_in_time() {
    let cuts = [0, 250, 499, 500, 501, 750, 1_000, 1_300];
    for (wait_ms, too_long) in cuts.into_iter().flat_map(|ms| [(ms, false), (ms, true)]) {
        on_virtual_time(async {
            hush();
            let mut plan = Plan::new(1, 1);
            plan.answers_after = Duration::from_millis(500);
            let universe = Universe::planned(plan);
            let at = shard(&universe, 0, 0);
            wait(2.0).await;
            let mut guest = Stock::default();
            guest.enter(at.socket_io());
            wait(2.0).await;
            guest.listen();
            guest.now().emit("join", &json!("a"));
            wait(3.0).await;
            guest.listen();
            count(&universe, "a", 0..2);
            guest.now().hang_up();
            guest.enter(at.socket_io());
            wait(f64::from(wait_ms) / 1_000.0).await;
            guest.now().hang_up();
            wait(if too_long { 140.0 } else { 10.0 }).await;
            let stats = &at.desk.hub.stats;
            assert_eq!(stats.connections.get(), 0);
            guest.enter(at.socket_io());
            for _ in 0..4 {
                wait(1.0).await;
                guest.listen();
            }
            // After longer than a client that is gone may stay away, it must not count as connected still.
            assert_eq!(guest.recovered, Some(!too_long), "cut after {wait_ms} ms");
            if !too_long {
                assert_eq!(guest.numbers(), [0, 1]);
            }
        });
    }
}

#[test]
fn rooms_that_were_joined_one_after_the_other_are_all_restored_on_another_node() {
    on_virtual_time(async {
        let universe = universe(2, 1);
        let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io(), &["a"]).await;
        count(&universe, "b", 100..103);
        count(&universe, "a", 0..1);
        hear(&universe, &mut guest).await;
        count(&universe, "b", 103..104);
        join(&universe, &mut guest, "b").await;
        join(&universe, &mut guest, "c").await;
        let id = guest.now().emit("leave", &json!("c"));
        hear(&universe, &mut guest).await;
        assert_eq!(guest.now().answers[&id]["ok"], true);
        count(&universe, "b", 1..2);
        count(&universe, "c", 100..101);
        count(&universe, "a", 2..3);
        guest.enter(shard(&universe, 1, 0).socket_io());
        hear(&universe, &mut guest).await;
        count(&universe, "b", 3..4);
        count(&universe, "c", 101..102);
        hear(&universe, &mut guest).await;
        assert_eq!(
            guest.numbers(),
            up_to(4),
            "nothing from before a join, nothing of a room that was left"
        );
    });
}
