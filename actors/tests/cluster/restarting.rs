//! Another broker takes the place of the first: with all, with less or with nothing.

use crate::scene::*;
use greenroom_actors::{
    ports::Bus as _,
    testing::{memory_broker::Has, on_virtual_time},
};
use serde_json::{Value, json};

#[test]
fn who_has_everything_is_not_disconnected_whatever_the_broker_has_lost() {
    on_virtual_time(async {
        for has in [Has::All, Has::Saved, Has::Nothing] {
            let cluster = cluster(plan()).await;
            let mut client = joined(cluster.shard(0, 0), &["a"]).await;
            drop(publish(cluster.shard(1, 0), "a", 1));
            wait(0.1).await;
            cluster.broker.save();
            drop(publish(cluster.shard(1, 0), "a", 2));
            // Every node has heard how far it is.
            wait(2.0).await;
            cluster.broker.restart(has);
            heal(&cluster).await;
            drop(publish(cluster.shard(1, 0), "a", 3));
            wait(0.1).await;
            assert_eq!(numbers(&mut client), [1, 2, 3], "{has:?}");
            assert_eq!(client.closed, None, "{has:?}");
        }
    });
}

#[test]
fn who_lacks_what_the_broker_has_lost_is_told() {
    on_virtual_time(async {
        for (has, is_whole) in [(Has::All, true), (Has::Saved, false), (Has::Nothing, false)] {
            let cluster = cluster(plan()).await;
            let mut client = joined(cluster.shard(0, 0), &["a"]).await;
            drop(publish(cluster.shard(1, 0), "a", 1));
            wait(0.1).await;
            let position = hear(&mut client).position;
            client.hang_up();
            cluster.broker.save();
            drop(publish(cluster.shard(1, 0), "a", 2));
            wait(2.0).await;
            cluster.broker.restart(has);
            heal(&cluster).await;
            let (mut client, recovered) = resumed(cluster.shard(0, 1), &["a"], Some(&position)).await;
            assert_eq!(recovered, is_whole, "{has:?}");
            wait(0.1).await;
            assert_eq!(numbers(&mut client), if is_whole { vec![2] } else { vec![] });
        }
    });
}

#[test]
fn numbers_are_not_given_out_again_by_whoever_knows_less() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut client = joined(cluster.shard(0, 0), &["a"]).await;
        drop(publish(cluster.shard(0, 0), "a", 1));
        wait(0.1).await;
        // The other node has not heard of it, and is the first that finds an empty broker.
        cluster.broker.shut_out(cluster.buses[0].tag(), true);
        cluster.broker.restart(Has::Nothing);
        wait(12.0).await;
        drop(publish(cluster.shard(1, 0), "a", 2));
        wait(0.1).await;
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), [1, 2]);
    });
}

#[test]
fn who_comes_back_before_it_is_known_what_was_lost_is_not_told_that_nothing_was() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut client = joined(cluster.shard(0, 0), &["a"]).await;
        drop(publish(cluster.shard(1, 0), "a", 1));
        wait(0.1).await;
        let position = hear(&mut client).position;
        client.hang_up();
        cluster.broker.save();
        drop(publish(cluster.shard(1, 0), "a", 2));
        // Long enough for a mark to tell node 1 of it; node 0 is cut off, and knows nothing.
        cut_off(&cluster, 0).await;
        wait(1.5).await;
        cluster.broker.shut_out(cluster.buses[1].tag(), true);
        cluster.broker.restart(Has::Saved);
        cluster.broker.shut_out(cluster.buses[0].tag(), false);
        wait(2.0).await;
        assert!(cluster.buses[0].state().up);
        let mut client = cluster.shard(0, 1).connect();
        client.send(&json!({"type": "join", "room": "a", "since": position}));
        wait(0.5).await;
        assert_eq!(client.read(), Vec::<Value>::new(), "it is not known yet");
        cluster.broker.shut_out(cluster.buses[1].tag(), false);
        wait(4.0).await;
        let frames = client.read();
        let joined = frames.iter().find(|frame| frame["type"] == "joined");
        assert_eq!(
            joined.map(|joined| &joined["recovered"]),
            Some(&json!(false)),
            "{frames:?}"
        );
    });
}
