//! A node that holds as much as it may, on virtual time.

use crate::scene::*;
use greenroom_actors::{
    logic::bus_log::Limits,
    messages::Publish,
    ports::{Bus, BusError},
    testing::{
        on_virtual_time,
        universe::{Plan, Universe},
        wire::Client,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_full_node_takes_nothing_from_anybody_until_its_histories_are_over() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 2);
        plan.memory_bytes = 10_000;
        plan.limits = Limits {
            history_ms: 5_000,
            ..Limits::default()
        };
        let universe = Universe::planned(plan);
        let (one, other) = (shard(&universe, 0, 0), shard(&universe, 0, 1));
        universe.settle().await;
        let mut client = joined(&universe, one, &["a"]).await;
        publish(&universe, &["a"], "e", json!("x".repeat(6_000)));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let agents = async |number: u64| {
            let draft = draft(&universe, &["a"], "e", json!(number));
            other
                .desk
                .registry
                .send(Publish::from(draft))
                .await
                .expect("a shard")
        };
        assert_eq!(agents(1).await, Err(BusError::Full));
        client.send(&json!({"type": "publish", "room": "a", "event": "e", "data": 1}));
        universe.settle().await;
        let heard = client.read();
        assert_eq!(types(&heard), ["event", "error"], "what came before was given");
        assert_eq!(universe.bus.gauges().head, 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(agents(2).await.is_ok());
        universe.settle().await;
        assert_eq!(types(&client.read()), ["event"]);
    });
}

/// Asks for more than its connection holds.
fn ask(client: &Client) {
    for _ in 0..20 {
        client.send(&json!({"type": "ping", "ref": "r".repeat(200)}));
    }
}

/// Reads until nothing more comes.
async fn read_all(universe: &Universe, client: &mut Client) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        universe.settle().await;
        let more = client.read();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[test]
fn of_those_who_are_behind_a_full_node_puts_out_who_stays_so() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.memory_bytes = 10_000;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        universe.settle().await;
        publish(&universe, &["a"], "e", json!("x".repeat(6_000)));
        let (mut slow, stalled) = (at.connect_with(1_500), at.connect_with(1_500));
        ask(&stalled);
        for _ in 0..4 {
            // Behind for longer than it may be in all, but never for so long without a break.
            ask(&slow);
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert_eq!(read_all(&universe, &mut slow).await.len(), 20);
        }
        // It did not even take its close frame, and was cut.
        assert_eq!(at.desk.hub.stats.slow_clients.get(), 1);
        assert_eq!(at.desk.hub.len(), 1);
        slow.send(&json!({"type": "ping"}));
        assert_eq!(types(&read_all(&universe, &mut slow).await), ["pong"]);
        drop(stalled);
    });
}
