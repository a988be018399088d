//! The throttle under any sequence of events, waits and cuts.

use super::*;
use proptest::{prelude::*, sample::select};

#[derive(Clone, Debug)]
enum Step {
    Offer {
        kind: usize,
        about: u8,
        rooms: u8,
        whos: Vec<Number>,
    },
    Wait(u64),
    Forget(Number),
}

fn step() -> impl Strategy<Value = Step> {
    let whos = proptest::collection::btree_set(1..=3u64, 1..=3);
    let offer = (0..KINDS.len(), 0..3u8, 0..3u8, whos).prop_map(|(kind, about, rooms, whos)| Step::Offer {
        kind,
        about,
        rooms,
        whos: whos.into_iter().collect(),
    });
    prop_oneof![
        20 => offer,
        6 => select(vec![0, 1, 50, 333, 999, 1_000, 2_500]).prop_map(Step::Wait),
        1 => (1..=3u64).prop_map(Step::Forget),
    ]
}

pub(super) fn offered(seq: u64, kind: usize, about: u8, rooms: u8) -> Arc<Event> {
    let (name, ..) = KINDS[kind];
    let subject = ["x", "y", "z"][about as usize];
    let rooms: &[&str] = [&["a"] as &[&str], &["b", "a"], &["b"]][rooms as usize];
    match name {
        "agent-thought" => event(
            seq,
            name,
            Some(subject),
            rooms,
            json!({"agentId": subject, "thought": ""}),
        ),
        "chat" | "odd" => event(seq, name, None, rooms, json!(seq)),
        _ => event(seq, name, Some(subject), rooms, json!(seq)),
    }
}

/// Plays the steps. A connection that is forgotten is a new one from then on, as a client that comes back is.
fn play(per_second: u32, steps: &[Step]) -> (User, BTreeSet<Number>) {
    let mut user = User::new(rules(per_second));
    let mut generation = BTreeMap::from([(1, 100), (2, 1_100), (3, 1_300)]);
    let mut gone = BTreeSet::new();
    for (step, seq) in steps.iter().zip(1..) {
        match step {
            Step::Offer {
                kind,
                about,
                rooms,
                whos,
            } => {
                let whos: Vec<Number> = whos.iter().map(|who| generation[who]).collect();
                user.offer(&whos, &offered(seq, *kind, *about, *rooms));
            }
            Step::Wait(ms) => user.wait(*ms),
            Step::Forget(one) => {
                let number = generation.get_mut(one).unwrap();
                user.throttle.forget(who(*number));
                gone.insert(*number);
                *number += 1;
            }
        }
        check_positions(&user, &gone);
    }
    (user, gone)
}

/// Whenever a connection is cut, its position names exactly what it lacks.
pub(super) fn check_positions(user: &User, gone: &BTreeSet<Number>) {
    for (number, offered) in &user.offered {
        let firsts = user.throttle.firsts(who(*number));
        if gone.contains(number) {
            assert_eq!(firsts, [0; 0]);
            continue;
        }
        // What a client that comes back is given of what it was offered before: from each first on, what is like it.
        let mut named: BTreeSet<u64> = BTreeSet::new();
        for event in offered {
            let rule = user.rules.of(event).unwrap();
            let earlier = offered.iter().filter(|first| firsts.contains(&first.seq));
            let mut like = earlier.filter(|first| same_key(first, event, rule) && first.seq <= event.seq);
            if like.next().is_some() {
                named.insert(event.seq);
            }
        }
        assert_eq!(
            named,
            user.lacks(*number),
            "connection {number}, waiting from {firsts:?}"
        );
    }
}

pub(super) fn check_limit(times: &mut [u64], limit: u32) {
    times.sort_unstable();
    for window in times.windows(limit as usize + 1) {
        assert!(
            window[limit as usize] >= window[0] + WINDOW_MS,
            "more than {limit} in a second: {window:?}"
        );
    }
}

/// Nothing waits any more, and every connection that is there still has what it was offered, but for what a newer value
/// stands for; under each key in order.
pub(super) fn check_all_arrived(user: &User, gone: &BTreeSet<Number>) {
    let due = [0, 1].map(|shard| user.throttle.due(shard, &user.rules));
    assert_eq!((due, user.throttle.bytes()), ([None; 2], 0));
    for (number, offered) in user.offered.iter().filter(|(number, _)| !gone.contains(number)) {
        let got = user.seqs(*number);
        let mut keys: BTreeMap<Key, (Merge, Vec<u64>)> = BTreeMap::new();
        for event in offered {
            let rule = user.rules.of(event).unwrap();
            let entry = keys
                .entry(key_of(event, rule))
                .or_insert((rule.merge, Vec::new()));
            entry.1.push(event.seq);
        }
        for (merge, wanted) in keys.into_values() {
            let got: Vec<u64> = got.iter().copied().filter(|seq| wanted.contains(seq)).collect();
            if merge == Merge::Latest {
                assert!(got.windows(2).all(|two| two[0] < two[1]), "in order: {got:?}");
                assert_eq!(got.last(), wanted.last());
            } else {
                assert_eq!(got, wanted);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn never_more_than_the_limit_in_any_second(
        per_second in 1..6u32, steps in proptest::collection::vec(step(), 0..80)
    ) {
        let (mut user, _) = play(per_second, &steps);
        user.wait(500_000);
        for got in user.got.values() {
            check_limit(&mut got.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>(), per_second);
        }
        check_limit(&mut user.counted.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>(), per_second);
        for (name, _, _, own) in KINDS {
            let times = user.counted.iter().filter(|(_, counted)| counted == name);
            check_limit(&mut times.map(|(at_ms, _)| *at_ms).collect::<Vec<_>>(), own.unwrap_or(per_second));
        }
    }

    #[test]
    fn nothing_is_lost_but_by_the_rule_and_each_key_keeps_its_order(
        per_second in 1..6u32, steps in proptest::collection::vec(step(), 0..80)
    ) {
        let (mut user, gone) = play(per_second, &steps);
        user.wait(500_000);
        check_all_arrived(&user, &gone);
    }

    #[test]
    fn nothing_starves(
        per_second in 1..4u32, every_ms in select(vec![100u64, 300, 1_000]), rivals in 1..8usize
    ) {
        // One event of the lowest priority against rivals of the highest that never stop.
        let mut rules = rules(per_second);
        rules.by_name.get_mut("task-update").unwrap().priority = 10;
        let mut user = User::new(rules);
        let mut seq = 1_000;
        let mut until_ms = 0;
        while user.now_ms < 40_000 {
            for rival in 0..rivals + per_second as usize {
                seq += 1;
                user.offer(&[1], &update(seq, &rival.to_string()));
            }
            if user.throttle.due(0, &user.rules).is_some() && until_ms == 0 {
                user.offer(&[1], &event(7, "chat", None, &["a"], json!(1)));
                until_ms = user.now_ms + 11_000 + 1_000 * (rivals as u64 + u64::from(per_second) + 1);
            }
            user.wait(every_ms);
        }
        let got = user.got[&1].iter().find(|(_, seqs)| seqs[0] == 7);
        prop_assert!(got.is_some_and(|(at_ms, _)| *at_ms <= until_ms), "{:?} by {}", got, until_ms);
    }
}
