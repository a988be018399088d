//! A node that holds as much as it may, on virtual time.

use crate::scene::*;
use greenroom_actors::{
    logic::bus_log::Limits,
    messages::Publish,
    ports::{Bus, BusError},
    testing::{
        on_virtual_time,
        universe::{Plan, Universe},
    },
};
use serde_json::json;
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
