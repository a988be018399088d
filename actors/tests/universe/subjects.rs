//! Subjects with connections on several shards.

use crate::{hush, scene::*};
use greenroom_actors::{
    logic::{
        access::Grant,
        throttle::{Merge, Rule, Rules},
    },
    testing::{
        on_virtual_time,
        socket_io::SocketIo,
        tokens::Tokens,
        universe::{Plan, Shard, Universe},
        wire::{Client, WINDOW},
    },
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes that may wait for a user.
const WAIT_BYTES: usize = 4_000;

/// A node of two shards on which two events a second reach a user, which are not merged.
fn universe() -> Universe {
    with_limit(0)
}

/// One where a subject may have so many connections.
fn with_limit(connections_per_subject: u32) -> Universe {
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
    plan.connections_per_subject = connections_per_subject;
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
        // Whoever holds it still, it is over.
        let _held = shard(&universe, 0, 1).desk.hub.all();
        other.hang_up();
        universe.settle().await;
        assert!(subjects.is_empty());
    });
}

/// A client of Socket.IO that has shown this.
async fn entered(universe: &Universe, at: &Shard, auth: Value) -> SocketIo {
    let mut client = at.socket_io();
    client.listen();
    enter(universe, &mut client, &auth).await;
    client
}

async fn enter(universe: &Universe, client: &mut SocketIo, auth: &Value) {
    client.greeting = None;
    client.send(&format!("40{auth}"));
    universe.settle().await;
    client.listen();
}

fn pid(client: &SocketIo) -> Value {
    let greeting = client.greeting.as_ref().expect("it was let in");
    greeting["pid"].clone()
}

/// Whether it was told that its subject has too many.
fn is_refused(client: &SocketIo) -> bool {
    let is_it = |packet: &String| packet.starts_with("44") && packet.contains("rate_limited");
    client.greeting.is_none() && client.others.last().is_some_and(is_it)
}

#[test]
fn a_client_that_comes_back_is_not_refused_because_of_itself() {
    on_virtual_time(async {
        let universe = with_limit(1);
        let [one, other] = [0, 1].map(|at| shard(&universe, 0, at));
        let first = entered(&universe, one, json!({"token": "ada"})).await;
        // The node does not know yet that nobody is there any more.
        let mut pid_before = pid(&first);
        for at in [other, one, one] {
            let auth = json!({"token": "ada", "pid": pid_before});
            let back = entered(&universe, at, auth).await;
            assert_eq!(pid(&back), pid_before);
            pid_before = pid(&back);
        }
        let another = entered(&universe, one, json!({"token": "ada"})).await;
        assert!(is_refused(&another), "{:?}", another.others);
        let guesses = entered(&universe, one, json!({"token": "ada", "pid": "0".repeat(32)})).await;
        assert!(is_refused(&guesses), "{:?}", guesses.others);
        assert_eq!(universe.nodes[0].shards[0].desk.hub.stats.refused.get(), 2);
    });
}

#[test]
fn a_place_that_nobody_gives_up_is_waited_for_a_while_and_may_be_come_back_to_later() {
    on_virtual_time(async {
        let universe = with_limit(1);
        let at = shard(&universe, 0, 0);
        let mut first = entered(&universe, at, json!({"token": "ada"})).await;
        let auth = json!({"token": "ada", "pid": pid(&first)});
        first.hang_up();
        universe.settle().await;
        let mut second = entered(&universe, at, json!({"token": "ada"})).await;
        assert!(second.greeting.is_some());
        let mut back = entered(&universe, at, auth.clone()).await;
        assert_eq!((&back.greeting, back.others.len()), (&None, 0));
        wait(3.0).await;
        back.listen();
        assert!(is_refused(&back), "{:?}", back.others);
        second.hang_up();
        universe.settle().await;
        enter(&universe, &mut back, &auth).await;
        assert_eq!(pid(&back), auth["pid"]);
    });
}

#[test]
fn a_session_that_becomes_another_subjects_is_counted_as_his() {
    on_virtual_time(async {
        let universe = with_limit(1);
        let at = shard(&universe, 0, 0);
        let mut client = entered(&universe, at, json!({"token": "ada"})).await;
        client.send("41");
        universe.settle().await;
        enter(&universe, &mut client, &json!({"token": "bob"})).await;
        assert!(client.greeting.is_some());
        let bob = entered(&universe, at, json!({"token": "bob"})).await;
        assert!(is_refused(&bob), "{:?}", bob.others);
        let mut ada = entered(&universe, at, json!({"token": "ada"})).await;
        assert!(ada.greeting.is_some());
        // Who is refused stays who he was.
        client.send("41");
        universe.settle().await;
        enter(&universe, &mut client, &json!({"token": "ada"})).await;
        assert!(is_refused(&client), "{:?}", client.others);
        enter(&universe, &mut client, &json!({"token": "bob"})).await;
        assert!(client.greeting.is_some());
        client.hang_up();
        ada.hang_up();
        universe.settle().await;
        assert!(at.desk.hub.subjects.is_empty());
    });
}
