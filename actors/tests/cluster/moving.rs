//! Clients that go to another node during an outage or after it.

use crate::scene::*;
use greenroom_actors::{
    logic::{
        presence::{Secret, SessionId},
        sessions::{Kept, SessionRecord},
    },
    ports::Bus as _,
    testing::{
        memory_broker::{Has, RECORD_MS},
        on_virtual_time,
    },
};
use serde_json::json;

#[test]
fn what_was_seen_is_not_given_again_on_another_node_before_or_after_it_is_relayed() {
    on_virtual_time(async {
        for relayed_first in [false, true] {
            let cluster = cluster(plan()).await;
            let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
            let mut client = joined(here, &["a"]).await;
            cut_off(&cluster, 0).await;
            drop(publish(here, "a", 1));
            drop(publish(there, "a", 2));
            wait(0.1).await;
            let heard = hear(&mut client);
            assert_eq!((heard.numbers, heard.local), (vec![1], vec![true]));
            client.hang_up();
            drop(publish(here, "a", 3));
            if relayed_first {
                let_in(&cluster, 0).await;
            }
            let (mut client, recovered) = resumed(there, &["a"], Some(&heard.position)).await;
            assert!(recovered);
            let_in(&cluster, 0).await;
            assert_eq!(numbers(&mut client), [2, 3]);
        }
    });
}

#[test]
fn who_moved_gets_plain_positions_again_once_all_is_relayed() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
        let mut client = joined(here, &["a"]).await;
        let mut moving = guest(here, &["a"]).await;
        cut_off(&cluster, 0).await;
        drop(publish(here, "a", 1));
        wait(0.1).await;
        let position = hear(&mut client).position;
        assert!(position.contains('!'), "{position}");
        let (mut client, _) = resumed(there, &["a"], Some(&position)).await;
        listen(&mut moving).await;
        assert_eq!(back(there, &mut moving).await, Some(true));
        drop(publish(there, "a", 2));
        wait(0.1).await;
        let heard = hear(&mut client);
        assert!(
            heard.position.contains('!') && heard.numbers == [2],
            "not relayed yet"
        );
        let_in(&cluster, 0).await;
        drop(publish(there, "a", 3));
        wait(0.1).await;
        let heard = hear(&mut client);
        assert!(
            !heard.position.contains('!') && heard.numbers == [3],
            "{}",
            heard.position
        );
        listen(&mut moving).await;
        let offset = moving.offset.as_deref().unwrap_or_default();
        assert!(!offset.contains('!'), "{offset}");
        assert_eq!(told(&moving), [1, 2, 3]);
    });
}

#[test]
fn who_has_been_further_than_a_node_is_not_given_what_it_may_have_had_by_number() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let (here, there) = (cluster.shard(0, 0), cluster.shard(1, 0));
        let mut client = joined(there, &["a"]).await;
        // The broker takes it, and its answer does not arrive: so it waits here, and nobody knows that it has a number.
        drop(publish(here, "a", 1));
        wait(0.0005).await;
        cut_off(&cluster, 0).await;
        assert_eq!(cluster.buses[0].state().waiting, 1);
        wait(0.1).await;
        let heard = hear(&mut client);
        assert_eq!((heard.numbers, heard.local), (vec![1], vec![false]));
        client.hang_up();
        let (mut client, recovered) = resumed(here, &["a"], Some(&heard.position)).await;
        assert!(recovered);
        drop(publish(here, "a", 2));
        let_in(&cluster, 0).await;
        assert_eq!(numbers(&mut client), [2]);
    });
}

#[test]
fn who_comes_back_to_the_same_node_in_an_outage_has_what_it_gave_out_meanwhile() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let (here, beside) = (cluster.shard(0, 0), cluster.shard(0, 1));
        let mut client = joined(here, &["a"]).await;
        let mut moving = guest(here, &["a"]).await;
        cut_off(&cluster, 0).await;
        drop(publish(here, "a", 1));
        wait(0.1).await;
        let position = hear(&mut client).position;
        listen(&mut moving).await;
        client.hang_up();
        moving.now().hang_up();
        drop(publish(here, "a", 2));
        let (mut client, recovered) = resumed(beside, &["a"], Some(&position)).await;
        assert!(recovered);
        assert_eq!(back(beside, &mut moving).await, Some(true));
        drop(publish(here, "a", 3));
        wait(2.0).await;
        let heard = hear(&mut client);
        assert_eq!((heard.numbers, heard.local), (vec![2, 3], vec![true, true]));
        let_in(&cluster, 0).await;
        drop(publish(here, "a", 4));
        wait(0.1).await;
        listen(&mut moving).await;
        assert_eq!(numbers(&mut client), [4]);
        assert_eq!(told(&moving), [1, 2, 3, 4]);
    });
}

#[test]
fn a_join_is_written_before_it_is_answered() {
    on_virtual_time(async {
        let mut cluster = cluster(plan()).await;
        let mut moving = guest(cluster.shard(0, 0), &["a"]).await;
        let id = moving.now().emit("join", &"b".into());
        while !moving.now().answers.contains_key(&id) {
            wait(0.0001).await;
            moving.listen();
        }
        cluster.kill(0);
        drop(publish(cluster.shard(1, 0), "b", 1));
        wait(0.1).await;
        assert_eq!(back(cluster.shard(1, 1), &mut moving).await, Some(true));
        assert_eq!(told(&moving), [1]);
    });
}

#[test]
fn a_join_that_is_being_written_when_its_shard_crashes_is_written_again() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut guest = guest(cluster.shard(0, 0), &["a"]).await;
        let id = guest.now().emit("join", &"b".into());
        // The room is confirmed and the record on its way, but for its answer.
        wait(0.0025).await;
        assert!(cluster.nodes[0].supervisor.crash("rooms-0"));
        wait(1.0).await;
        guest.listen();
        assert_eq!(guest.now().answers[&id]["ok"], true);
        drop(publish(cluster.shard(1, 0), "b", 1));
        wait(0.1).await;
        guest.listen();
        assert_eq!(told(&guest), [1]);
    });
}

#[test]
fn rooms_that_were_joined_or_left_in_an_outage_are_kept_or_their_loss_is_told() {
    on_virtual_time(async {
        for (joins, moves_first) in [(true, true), (true, false), (false, true), (false, false)] {
            let cluster = cluster(plan()).await;
            let there = cluster.shard(1, 0);
            let mut moving = guest(cluster.shard(0, 0), &["a", "c"]).await;
            cut_off(&cluster, 0).await;
            if joins {
                join(&mut moving, "b").await;
            } else {
                moving.now().emit("leave", &json!("c"));
                listen(&mut moving).await;
            }
            if !moves_first {
                let_in(&cluster, 0).await;
            }
            moving.now().hang_up();
            assert_eq!(
                back(there, &mut moving).await,
                Some(!moves_first),
                "joins: {joins}"
            );
            for (number, room) in (1..).zip(["a", "b", "c"]) {
                drop(publish(there, room, number));
            }
            wait(0.1).await;
            listen(&mut moving).await;
            let wanted: &[u64] = match (moves_first, joins) {
                (true, _) => &[],
                (false, true) => &[1, 2, 3],
                (false, false) => &[1],
            };
            assert_eq!(told(&moving), wanted, "joins: {joins}");
        }
    });
}

#[test]
fn a_client_whose_rooms_are_known_again_has_a_plain_position_at_once() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut moving = guest(cluster.shard(0, 0), &["a"]).await;
        cut_off(&cluster, 0).await;
        join(&mut moving, "b").await;
        assert!(
            moving
                .offset
                .as_deref()
                .is_some_and(|offset| offset.contains('@'))
        );
        let_in(&cluster, 0).await;
        listen(&mut moving).await;
        assert!(
            moving
                .offset
                .as_deref()
                .is_some_and(|offset| !offset.contains('@'))
        );
        // So that what it joins now does not make its position one of other rooms.
        join(&mut moving, "c").await;
        assert_eq!(back(cluster.shard(1, 0), &mut moving).await, Some(true));
    });
}

#[test]
fn an_older_connection_on_another_node_is_closed() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut moving = guest(cluster.shard(0, 0), &["a"]).await;
        let mut old = moving
            .enter(cluster.shard(1, 0).socket_io())
            .expect("the first session");
        listen(&mut moving).await;
        old.listen();
        assert!(old.is_over());
        // One whose node is cut off is closed when that is over.
        cut_off(&cluster, 1).await;
        let mut old = moving
            .enter(cluster.shard(0, 1).socket_io())
            .expect("the second session");
        listen(&mut moving).await;
        assert_eq!(moving.recovered, Some(true));
        assert!(!old.is_over());
        let_in(&cluster, 1).await;
        old.listen();
        assert!(old.is_over());
        drop(publish(cluster.shard(1, 0), "a", 1));
        wait(0.1).await;
        listen(&mut moving).await;
        assert_eq!(told(&moving), [1]);
    });
}

#[test]
fn a_node_that_is_cut_off_takes_nobody_back_who_may_have_been_elsewhere_since() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut moving = guest(cluster.shard(0, 0), &["a"]).await;
        cut_off(&cluster, 0).await;
        moving.now().hang_up();
        assert_eq!(back(cluster.shard(1, 0), &mut moving).await, Some(true));
        join(&mut moving, "b").await;
        moving.now().hang_up();
        // It knows nothing of room b.
        assert_eq!(back(cluster.shard(0, 0), &mut moving).await, Some(false));
        join(&mut moving, "b").await;
        drop(publish(cluster.shard(1, 0), "b", 1));
        let_in(&cluster, 0).await;
        listen(&mut moving).await;
        assert_eq!(told(&moving), [1]);
    });
}

#[test]
fn a_node_that_is_cut_off_takes_back_whom_it_has_told_of_it() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let mut moving = guest(cluster.shard(0, 0), &["a"]).await;
        cut_off(&cluster, 0).await;
        listen(&mut moving).await;
        for (number, shard) in [(0, 1), (1, 0)] {
            moving.now().hang_up();
            drop(publish(cluster.shard(0, 0), "a", number));
            assert_eq!(back(cluster.shard(0, shard), &mut moving).await, Some(true));
        }
        drop(publish(cluster.shard(1, 0), "a", 2));
        let_in(&cluster, 0).await;
        listen(&mut moving).await;
        assert_eq!(told(&moving), [0, 1, 2]);
    });
}

#[test]
fn a_broker_with_older_data_takes_nobody_back_to_fewer_rooms_without_a_word() {
    on_virtual_time(async {
        for has in [Has::Saved, Has::All] {
            let cluster = cluster(plan()).await;
            let mut away = guest(cluster.shard(0, 0), &["a"]).await;
            let mut there = guest(cluster.shard(0, 0), &["a"]).await;
            cluster.broker.save();
            join(&mut away, "b").await;
            join(&mut there, "b").await;
            away.now().hang_up();
            wait(0.1).await;
            cluster.broker.restart(has);
            heal(&cluster).await;
            // Who is there is written down anew, and who is not might have been somewhere else by then.
            assert_eq!(back(cluster.shard(1, 0), &mut away).await, Some(false));
            there.now().hang_up();
            assert_eq!(back(cluster.shard(1, 0), &mut there).await, Some(true));
            drop(publish(cluster.shard(0, 0), "b", 1));
            wait(0.1).await;
            listen(&mut there).await;
            assert_eq!(told(&there), [1]);
        }
    });
}

#[test]
fn who_is_connected_for_long_is_not_forgotten_by_the_broker() {
    on_virtual_time(async {
        let cluster = cluster(plan()).await;
        let [here, there] = [0, 1].map(|node| &cluster.buses[node]);
        let record = |id, generation| SessionRecord {
            id: SessionId(id),
            subject: None,
            generation,
            life: here.life(),
            rooms: vec![(room("a"), 0)],
        };
        let (connected, moved) = (Secret(1), Secret(2));
        assert_eq!(here.keep_session(connected, record(1, 0)).await, Ok(Kept::ByAll));
        assert_eq!(here.keep_session(moved, record(2, 0)).await, Ok(Kept::ByAll));
        let claimed = there.claim_session(moved, None).await.expect("an answer");
        let generation = claimed.expect("a client").record.generation;
        wait(RECORD_MS as f64 / 1_000.0 + 60.0).await;
        let back = there.claim_session(connected, None).await.expect("an answer");
        assert_eq!(
            back.map(|claimed| claimed.record.rooms),
            Some(vec![(room("a"), 0)])
        );
        // What the node holds that the client has left does not bring it back there.
        assert_eq!(
            here.keep_session(moved, record(2, generation - 1)).await,
            Ok(Kept::Superseded)
        );
    });
}
