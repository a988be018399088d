//! Subjects with connections on several shards.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::{
        access::Grant,
        throttle::{Merge, Rule, Rules},
    },
    testing::{
        on_virtual_time,
        tokens::Tokens,
        universe::{Plan, Universe},
        wire::{Client, WINDOW},
    },
};
use serde_json::json;
use std::sync::Arc;

/// Bytes that may wait for a user.
const WAIT_BYTES: usize = 4_000;

/// A node of two shards on which two events a second reach a user, which are not merged.
fn universe() -> Universe {
    hush();
    let tokens = Tokens::default();
    for name in ["ada", "bob"] {
        let subject = Some(name.into());
        let grant = Grant {
            subject,
            ..Grant::everything()
        };
        tokens.grant(name, grant);
    }
    let mut plan = Plan::new(1, 2);
    plan.gate = Arc::new(tokens);
    let rule = Rule {
        merge: Merge::None,
        priority: 5,
        per_second: None,
    };
    plan.settings.rules = Rules {
        per_second: 2,
        wait_bytes: WAIT_BYTES,
        by_name: [("log".to_owned(), rule)].into(),
    };
    Universe::planned(plan)
}

async fn member(universe: &Universe, at: usize, subject: &str, room: &str) -> Client {
    let mut client = shard(universe, 0, at).connect_as(Some(subject), WINDOW);
    client.send(&json!({"type": "join", "room": room}));
    universe.settle().await;
    assert_eq!(types(&client.read()), ["joined"]);
    client
}

fn log(universe: &Universe, room: &str, number: u64) {
    publish(universe, &[room], "log", json!(number));
}

#[test]
fn a_subjects_connections_share_a_throttle_whichever_shard_they_are_on() {
    on_virtual_time(async {
        let universe = universe();
        let mut a = member(&universe, 0, "ada", "a").await;
        let mut b = member(&universe, 1, "ada", "b").await;
        let mut bobs = member(&universe, 1, "bob", "a").await;
        for number in 0..4 {
            log(&universe, "a", number);
            log(&universe, "b", 10 + number);
        }
        universe.settle().await;
        let mut got = [numbers(&a.read()), numbers(&b.read())].concat();
        assert_eq!((got.len(), numbers(&bobs.read())), (2, vec![0, 1]));
        for second in 2..=4 {
            wait(1.0).await;
            got.extend(numbers(&a.read()));
            got.extend(numbers(&b.read()));
            assert_eq!(got.len(), 2 * second);
        }
        let of = |least: u64| {
            let mine = got.iter().filter(move |number| **number / 10 == least / 10);
            mine.copied().collect::<Vec<_>>()
        };
        assert_eq!((of(0), of(10)), (vec![0, 1, 2, 3], vec![10, 11, 12, 13]));
        assert_eq!(numbers(&bobs.read()), [2, 3]);
    });
}

#[test]
fn an_event_for_several_of_them_counts_once_and_a_shard_that_crashes_loses_none() {
    on_virtual_time(async {
        let universe = universe();
        let mut clients = [
            member(&universe, 0, "ada", "a").await,
            member(&universe, 1, "ada", "a").await,
            member(&universe, 1, "ada", "a").await,
        ];
        (0..8).for_each(|number| log(&universe, "a", number));
        universe.settle().await;
        let mut got = clients.each_mut().map(|client| numbers(&client.read()));
        assert_eq!(got, [[0, 1]; 3]);
        for worker in ["rooms-1", "rooms-0", "rooms-1"] {
            // One shard decides for both; the other is away, and back before or after its time.
            wait(0.999).await;
            assert!(universe.nodes[0].supervisor.crash(worker));
            wait(0.3).await;
            for (client, got) in clients.iter_mut().zip(&mut got) {
                got.extend(numbers(&client.read()));
            }
        }
        wait(9.0).await;
        for (client, got) in clients.iter_mut().zip(&mut got) {
            got.extend(numbers(&client.read()));
        }
        assert_eq!(got, [[0, 1, 2, 3, 4, 5, 6, 7]; 3]);
    });
}

#[test]
fn a_connection_for_which_too_much_waits_is_closed_and_no_other_of_its_subject() {
    on_virtual_time(async {
        let universe = universe();
        let mut a = member(&universe, 0, "ada", "a").await;
        let mut b = member(&universe, 1, "ada", "b").await;
        let large = |text: &str| json!(text.repeat(WAIT_BYTES / 4));
        for text in ["1", "2", "3", "4", "5", "6"] {
            publish(&universe, &["a"], "log", large(text));
        }
        log(&universe, "b", 7);
        universe.settle().await;
        assert_eq!(data(&a.read()).len(), 2);
        assert_eq!(a.closed.as_ref().map(|(code, _)| *code), Some(4000));
        wait(9.0).await;
        assert_eq!((numbers(&b.read()), b.is_over()), (vec![7], false));
    });
}

#[test]
fn a_subject_without_connections_is_forgotten() {
    on_virtual_time(async {
        let universe = universe();
        let subjects = &shard(&universe, 0, 0).desk.hub.subjects;
        let one = member(&universe, 0, "ada", "a").await;
        let other = member(&universe, 1, "ada", "a").await;
        assert_eq!(subjects.len(), 1);
        one.hang_up();
        universe.settle().await;
        assert_eq!(subjects.len(), 1);
        other.hang_up();
        universe.settle().await;
        assert!(subjects.is_empty());
    });
}
