//! One node by itself: what is on its way when the link goes down, and what happens until it is there again.

use crate::scene::*;
use greenroom_actors::{
    cluster_bus::OnOutage,
    ports::{Bus as _, BusError},
    testing::{cluster::Cluster, memory_broker::Mood, on_virtual_time},
};
use serde_json::json;

const NONE: [u64; 0] = [];

#[test]
fn what_the_broker_has_accepted_without_saying_so_is_given_once() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        let mut other = joined(cluster.shard(1, 0), &["a"]).await;
        let receipt = publish(at, "a", 1);
        wait(0.0005).await;
        cluster.broker.cut();
        assert!(receipt.await.is_ok_and(|receipt| receipt.local));
        heal(&cluster).await;
        assert_eq!((numbers(&mut client), numbers(&mut other)), (vec![1], vec![1]));
        assert_eq!(cluster.broker.accepted().len(), 1);
        assert_eq!(cluster.buses[0].state().waiting, 0);
    });
}

#[test]
fn what_was_acknowledged_and_not_heard_is_caught_up() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
        let mut client = joined(here, &["a"]).await;
        drop(publish(there, "a", 1));
        wait(0.0005).await;
        cluster.broker.cut_off(cluster.buses[0].tag());
        drop(publish(here, "a", 2));
        heal(&cluster).await;
        assert_eq!(numbers(&mut client), [2, 1]);
    });
}

#[test]
fn a_second_outage_before_the_first_is_relayed_gives_nothing_twice() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        for number in 1..4 {
            cluster.broker.cut();
            wait(0.01).await;
            drop(publish(at, "a", number));
            // Long enough for the link to be opened again, now and then.
            wait(0.06).await;
        }
        heal(&cluster).await;
        assert_eq!(numbers(&mut client), [1, 2, 3]);
        drop(publish(cluster.shard(1, 0), "a", 4));
        wait(0.1).await;
        assert_eq!(numbers(&mut client), [4]);
    });
}

#[test]
fn a_shard_that_crashes_in_an_outage_loses_nothing_of_it() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        cut_off(&cluster, 0).await;
        drop(publish(at, "a", 1));
        assert!(cluster.nodes[0].supervisor.crash("rooms-0"));
        drop(publish(at, "a", 2));
        wait(1.0).await;
        assert_eq!(numbers(&mut client), [1, 2]);
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), NONE);
    });
}

#[test]
fn a_shard_that_is_behind_in_an_outage_gives_all_of_it_later() {
    on_virtual_time(async {
        let mut plan = plan();
        plan.mailbox = 1;
        let cluster = cluster(plan).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        cut_off(&cluster, 0).await;
        (0..50).for_each(|number| drop(publish(at, "a", number)));
        wait(1.0).await;
        assert_eq!(numbers(&mut client), (0..50).collect::<Vec<_>>());
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), NONE);
    });
}

#[test]
fn a_join_in_a_second_outage_takes_nothing_of_the_first_for_given() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        let _other = joined(at, &["a"]).await;
        drop(publish(at, "a", 1));
        wait(0.1).await;
        let position = hear(&mut client).position;
        client.hang_up();
        cut_off(&cluster, 0).await;
        drop(publish(at, "a", 2));
        let_in(&cluster, 0).await;
        cut_off(&cluster, 0).await;
        let (mut client, recovered) = resumed(at, &["a"], Some(&position)).await;
        assert!(recovered);
        client.send(&json!({"type": "join", "room": "a"}));
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), [2]);
    });
}

#[test]
fn joining_and_leaving_go_on_in_an_outage() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        cut_off(&cluster, 0).await;
        drop(publish(at, "a", 1));
        let mut client = joined(at, &["a"]).await;
        drop(publish(at, "a", 2));
        client.send(&json!({"type": "leave", "room": "a"}));
        wait(0.01).await;
        drop(publish(at, "a", 3));
        wait(0.1).await;
        assert_eq!(
            numbers(&mut client),
            [2],
            "nothing from before, nothing from after"
        );
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), NONE);
    });
}

#[test]
fn what_waits_for_the_throttle_is_sent_after_a_move_and_nothing_else() {
    on_virtual_time(async {
        let cluster = cluster(throttled()).await;
        let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
        let mut client = joined(here, &["agent:1"]).await;
        cut_off(&cluster, 0).await;
        think(here, 0..4);
        drop(publish(here, "agent:1", 9));
        wait(0.1).await;
        let heard = hear(&mut client);
        assert_eq!(heard.numbers, [0, 9]);
        client.hang_up();
        let (mut client, recovered) = resumed(there, &["agent:1"], Some(&heard.position)).await;
        assert!(recovered);
        let_in(&cluster, 0).await;
        let mut numbers = numbers(&mut client);
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
    });
}

#[test]
fn what_waits_for_the_throttle_while_it_gets_its_number_is_not_lost_with_the_connection() {
    on_virtual_time(async {
        let cluster = cluster(throttled()).await;
        let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
        let mut client = joined(here, &["agent:1"]).await;
        cut_off(&cluster, 0).await;
        think(here, 0..4);
        cluster.broker.shut_out(cluster.buses[0].tag(), false);
        wait(0.5).await;
        // A position beyond what waits.
        drop(publish(there, "agent:1", 9));
        wait(0.1).await;
        let heard = hear(&mut client);
        assert_eq!((&heard.numbers[0], heard.numbers.last()), (&0, Some(&9)));
        client.hang_up();
        let (mut client, recovered) = resumed(there, &["agent:1"], Some(&heard.position)).await;
        assert!(recovered);
        wait(60.0).await;
        let rest = numbers(&mut client);
        let mut all: Vec<u64> = heard.numbers.into_iter().chain(rest).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 9]);
    });
}

#[test]
fn a_full_outbox_refuses_and_loses_nothing() {
    on_virtual_time(async {
        let cluster = Cluster::with_outbox(plan(), OnOutage::Local, 3_000);
        wait(0.1).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        cut_off(&cluster, 0).await;
        let mut accepted = Vec::new();
        for number in 0..20 {
            match publish(at, "a", number).await {
                Ok(receipt) => {
                    assert!(receipt.local);
                    accepted.push(number);
                }
                Err(error) => assert_eq!(error, BusError::Full),
            }
        }
        assert!(!accepted.is_empty() && accepted.len() < 20);
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), accepted);
        assert_eq!(cluster.broker.accepted().len(), accepted.len());
    });
}

#[test]
fn the_same_id_is_accepted_once_before_and_in_an_outage() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        let say = |number: u64| publish_as(at, "a", "e", json!(number), Some("mine"));
        assert!(
            say(1)
                .await
                .is_ok_and(|receipt| !receipt.repeated && !receipt.local)
        );
        cut_off(&cluster, 0).await;
        assert!(say(1).await.is_ok_and(|receipt| receipt.repeated));
        assert_eq!(say(2).await, Err(BusError::IdReused));
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), [1]);
    });
}

#[test]
fn where_outages_refuse_nothing_is_accepted_in_one_and_all_is_caught_up() {
    on_virtual_time(async {
        let cluster = Cluster::new(plan(), OnOutage::Refuse);
        wait(0.1).await;
        let mut client = joined(cluster.shard(0, 0), &["a"]).await;
        cut_off(&cluster, 0).await;
        assert!(matches!(
            publish(cluster.shard(0, 0), "a", 1).await,
            Err(BusError::Away(_))
        ));
        assert!(publish(cluster.shard(1, 0), "a", 2).await.is_ok());
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), [2]);
    });
}

#[test]
fn a_broker_that_takes_and_does_nothing_is_away_before_long() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let at = cluster.shard(0, 0);
        let mut client = joined(at, &["a"]).await;
        cluster.broker.set(Mood::Deaf);
        let receipt = publish(at, "a", 1);
        let members = at.desk.bus.members(&room("a"));
        assert!(receipt.await.is_ok_and(|receipt| receipt.local));
        assert!(members.await.is_err());
        cluster.broker.set(Mood::Well);
        heal(&cluster).await;
        assert_eq!(numbers(&mut client), [1]);
    });
}

#[test]
fn nodes_that_start_before_the_broker_go_on_when_it_is_there() {
    on_virtual_time(async {
        let cluster = Cluster::new(plan(), OnOutage::Local);
        cluster.broker.set(Mood::Away);
        wait(0.1).await;
        let mut client = joined(cluster.shard(0, 0), &["a"]).await;
        drop(publish(cluster.shard(0, 0), "a", 1));
        wait(0.1).await;
        cluster.broker.set(Mood::Well);
        heal(&cluster).await;
        drop(publish(cluster.shard(1, 0), "a", 2));
        wait(0.1).await;
        assert_eq!(numbers(&mut client), [1, 2]);
        assert_eq!(client.closed, None);
    });
}

#[test]
fn who_goes_before_its_join_is_answered_leaves_nothing_behind_but_what_it_said() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
        // The node is handed room a already.
        let mut witness = joined(cluster.shard(1, 1), &["a", "b"]).await;
        let mut client = joined(here, &["a"]).await;
        drop(publish(here, "a", 0));
        wait(0.1).await;
        let position = hear(&mut client).position;
        client.hang_up();
        cluster.broker.set(Mood::Deaf);
        let client = there.connect();
        client.send(&json!({"type": "join", "room": "a", "since": position}));
        client.send(&json!({"type": "publish", "room": "b", "event": "e", "data": 1}));
        wait(0.01).await;
        client.hang_up();
        wait(0.01).await;
        cluster.broker.set(Mood::Well);
        heal(&cluster).await;
        assert_eq!(numbers(&mut witness), [0, 1]);
        assert_eq!(
            there.desk.bus.members(&room("a")).await.map(|all| all.len()),
            Ok(1)
        );
    });
}
