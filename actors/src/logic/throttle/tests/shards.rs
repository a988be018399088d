//! The throttle of a user who is on two shards: each comes to the events, and to its timer, when it comes to it.

use super::{properties::*, *};
use proptest::{prelude::*, sample::select};
use std::collections::VecDeque;

#[test]
fn whichever_shard_comes_first_releases_for_all() {
    let mut user = User::new(rules(1));
    user.late_ms = [0, 30];
    for seq in 1..=3 {
        user.offer(&[1, 1_001], &thought(seq, "a"));
    }
    user.wait(1_010);
    assert_eq!((user.seqs(1), user.seqs(1_001)), (vec![1, 2, 3], vec![1]));
    assert_eq!(
        user.throttle.firsts(who(1_001)),
        [2],
        "until it is sent, its position names it"
    );
    assert_eq!(user.throttle.due(1, &user.rules), Some(0));
    user.wait(20);
    assert_eq!(user.seqs(1_001), [1, 2, 3]);
    assert_eq!(user.counted.len(), 2);
    assert_eq!(
        (user.throttle.bytes(), user.throttle.due(1, &user.rules)),
        (0, None)
    );
}

#[test]
fn the_highest_priority_goes_first_whichever_shard_it_waits_on() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &update(1, "t"));
    user.offer(&[1], &thought(2, "a")); // priority 5
    user.offer(&[1_001], &update(3, "u")); // priority 6
    user.wait(1_000);
    assert_eq!((user.seqs(1), user.seqs(1_001)), (vec![1], vec![3]));
    user.wait(1_000);
    assert_eq!(user.seqs(1), [1, 2]);
}

#[test]
fn what_is_newer_waits_behind_what_is_granted() {
    let mut user = User::new(rules(1));
    user.late_ms = [0, 50];
    for seq in 1..=2 {
        user.offer(&[1, 1_001], &thought(seq, "a"));
    }
    user.wait(1_010);
    user.offer(&[1_001], &thought(3, "a"));
    user.wait(100);
    assert_eq!(user.got[&1_001], [(0, vec![1]), (1_050, vec![2])]);
    user.wait(9_000);
    // The slot counts from when it was used last.
    assert_eq!(user.got[&1_001][2..], [(2_100, vec![3])]);
}

#[test]
fn a_newer_value_takes_the_place_of_one_that_is_granted() {
    let mut user = User::new(rules(1));
    user.late_ms = [0, 50];
    user.offer(&[1, 1_001], &update(1, "t"));
    user.offer(&[1, 1_001], &update(2, "t"));
    user.wait(1_010);
    user.offer(&[1_001], &update(3, "t"));
    user.wait(9_000);
    assert_eq!((user.seqs(1), user.seqs(1_001)), (vec![1, 2], vec![1, 3]));
}

#[test]
fn what_is_granted_too_long_ago_waits_for_its_turn_again() {
    let mut user = User::new(rules(1));
    user.late_ms = [0, 2_500];
    for seq in 1..=2 {
        user.offer(&[1, 1_001], &thought(seq, "a"));
    }
    user.wait(3_400);
    user.offer(&[1], &thought(3, "a"));
    user.wait(1);
    assert_eq!((user.seqs(1), user.seqs(1_001)), (vec![1, 2, 3], vec![1]));
    user.late_ms = [0, 0];
    user.wait(9_000);
    assert_eq!(user.got[&1_001], [(0, vec![1]), (4_400, vec![2])]);
}

#[test]
fn what_is_left_before_it_is_taken_does_not_go_out() {
    let mut user = User::new(rules(1));
    user.late_ms = [0, 50];
    for seq in 1..=2 {
        user.offer(&[1, 1_001, 1_002], &thought(seq, "a"));
    }
    user.wait(1_010);
    user.throttle.retain(who(1_001), |_| false);
    user.throttle.forget(who(1_002));
    user.wait(9_000);
    assert_eq!((user.seqs(1_001), user.seqs(1_002)), (vec![1], vec![1]));
    assert_eq!(user.throttle.bytes(), 0);
}

#[test]
fn a_shard_that_lags_is_given_for_nothing_what_the_user_was_given() {
    let mut user = User::new(rules(3));
    for seq in 1..=3 {
        user.offer(&[1], &thought(seq, "a"));
    }
    user.wait(600);
    for seq in 1..=3 {
        assert_eq!(user.offer(&[1_001], &thought(seq, "a")), [Offer::Now]);
    }
    assert_eq!(user.counted.len(), 3);
    // All three were used just now.
    user.offer(&[1], &thought(4, "a"));
    assert_eq!(user.timers[0], Some(1_600));
    user.wait(1_000);
    user.wait(500);
    assert_eq!(
        user.offer(&[1_001], &thought(1, "a")),
        [Offer::Now],
        "counted anew"
    );
    assert_eq!(user.counted.len(), 5);
}

#[test]
fn what_is_given_again_and_again_holds_the_rest_up_for_a_second_at_most() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &thought(1, "a"));
    user.offer(&[1], &update(2, "t"));
    for number in 1_001..1_020 {
        // Somebody comes back every now and then, and is given the same.
        user.wait(400);
        user.offer(&[number], &thought(1, "a"));
    }
    assert_eq!(user.got[&1], [(0, vec![1]), (1_800, vec![2])]);
}

#[test]
fn a_connection_is_given_one_thing_a_slot_though_its_shard_is_an_event_behind() {
    let mut user = User::new(rules(1));
    user.offer(&[1, 1_001], &thought(1, "a"));
    user.offer(&[1, 1_001], &thought(2, "a"));
    user.offer(&[1], &thought(3, "a"));
    user.wait(1_000);
    assert_eq!((user.seqs(1), user.seqs(1_001)), (vec![1, 2, 3], vec![1, 2]));
    assert_eq!(user.offer(&[1_001], &thought(3, "a")), [Offer::Waits]);
}

#[test]
fn a_shard_that_looked_at_the_clock_too_early_is_taken_to_have_looked_late() {
    let (mut throttle, rules) = (Throttle::default(), rules(2));
    let rule = &rules.by_name["task-update"];
    let mut offer = |number, seq, now_ms| {
        let offer = throttle.offer(who(number), &update(seq, "t"), rule, &rules, now_ms);
        (offer, throttle.opens("task-update", rule, &rules))
    };
    assert_eq!(offer(1, 1, 1_000), (Offer::Now, 0));
    assert_eq!(offer(1_001, 2, 990), (Offer::Now, 2_000));
    assert_eq!(offer(1, 3, 2_000), (Offer::Now, 2_000), "not 1,990");
}

#[derive(Clone, Debug)]
enum Step {
    /// An event is on its way to these connections.
    Publish {
        kind: usize,
        about: u8,
        rooms: u8,
        ones: Vec<usize>,
    },
    /// A shard comes to so many of those on their way.
    Turn {
        shard: usize,
        events: usize,
    },
    Wait(u64),
    /// A shard's timers run so much too late from now on.
    Lag {
        shard: usize,
        ms: u64,
    },
    /// A connection leaves room `a`, and is in it again at once.
    Leave(usize),
    /// A connection ends, and another takes its place.
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let ones = proptest::collection::btree_set(0..4usize, 1..=4);
    let publish =
        (0..KINDS.len(), 0..3u8, 0..3u8, ones).prop_map(|(kind, about, rooms, ones)| Step::Publish {
            kind,
            about,
            rooms,
            ones: ones.into_iter().collect(),
        });
    prop_oneof![
        20 => publish,
        12 => (0..2usize, select(vec![1, 2, 5, 100])).prop_map(|(shard, events)| Step::Turn { shard, events }),
        8 => select(vec![0, 1, 50, 333, 999, 1_000, 2_500]).prop_map(Step::Wait),
        2 => (0..2usize, select(vec![0, 0, 1, 40, 700, 3_000])).prop_map(|(shard, ms)| Step::Lag { shard, ms }),
        1 => (0..4usize).prop_map(Step::Leave),
        1 => (0..4usize).prop_map(Step::Forget),
    ]
}

/// Two connections a shard, and what is on its way to each shard.
struct Play {
    user: User,
    numbers: [Number; 4],
    inboxes: [VecDeque<(Arc<Event>, Vec<Number>)>; 2],
    gone: BTreeSet<Number>,
}

impl Play {
    fn of(per_second: u32, steps: &[Step]) -> Self {
        let mut play = Self {
            user: User::new(rules(per_second)),
            numbers: [100, 300, 1_100, 1_300],
            inboxes: Default::default(),
            gone: BTreeSet::new(),
        };
        for (step, seq) in steps.iter().zip(1..) {
            play.step(step, seq);
            check_positions(&play.user, &play.gone);
        }
        play
    }

    fn step(&mut self, step: &Step, seq: u64) {
        match step {
            Step::Publish {
                kind,
                about,
                rooms,
                ones,
            } => {
                let event = offered(seq, *kind, *about, *rooms);
                for shard in 0..2 {
                    let ones = ones.iter().filter(|one| **one / 2 == shard);
                    let numbers = ones.map(|one| self.numbers[*one]).collect();
                    self.inboxes[shard].push_back((event.clone(), numbers));
                }
            }
            Step::Turn { shard, events } => self.turn(*shard, *events),
            Step::Wait(ms) => self.user.wait(*ms),
            Step::Lag { shard, ms } => self.user.late_ms[*shard] = *ms,
            Step::Leave(one) => self.leave(self.numbers[*one]),
            Step::Forget(one) => {
                let number = &mut self.numbers[*one];
                self.user.throttle.forget(who(*number));
                self.gone.insert(*number);
                *number += 1;
            }
        }
    }

    fn turn(&mut self, shard: usize, events: usize) {
        for _ in 0..events {
            let Some((event, numbers)) = self.inboxes[shard].pop_front() else {
                return;
            };
            let is_there = |number: &Number| !self.gone.contains(number);
            let numbers: Vec<Number> = numbers.into_iter().filter(is_there).collect();
            self.user.offer(&numbers, &event);
        }
    }

    fn leave(&mut self, number: Number) {
        let is_wanted = |event: &Event| event.places.iter().any(|place| place.room.as_str() != "a");
        self.user.throttle.retain(who(number), is_wanted);
        let got: BTreeSet<u64> = self.user.seqs(number).into_iter().collect();
        let offered = self.user.offered.entry(number).or_default();
        offered.retain(|event| got.contains(&event.seq) || is_wanted(event));
    }

    fn come_to_rest(&mut self) {
        self.user.late_ms = [0, 0];
        self.turn(0, usize::MAX);
        self.turn(1, usize::MAX);
        self.user.wait(500_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn never_more_slots_than_the_limit_are_used_in_any_second(
        per_second in 1..6u32, steps in proptest::collection::vec(step(), 0..120)
    ) {
        let mut play = Play::of(per_second, &steps);
        play.come_to_rest();
        let User { got, counted, used, .. } = &play.user;
        for (at_ms, _) in used {
            let within = used.iter().filter(|(ms, _)| (*at_ms..at_ms + WINDOW_MS).contains(ms));
            let slots: BTreeSet<u64> = within.map(|(_, slot)| *slot).collect();
            prop_assert!(slots.len() <= per_second as usize, "from {} on: {:?}", at_ms, slots);
        }
        for got in got.values() {
            check_limit(&mut got.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>(), per_second);
        }
        for (name, _, _, own) in KINDS {
            let times = counted.iter().filter(|(_, counted)| counted == name);
            check_limit(&mut times.map(|(at_ms, _)| *at_ms).collect::<Vec<_>>(), own.unwrap_or(per_second));
        }
    }

    #[test]
    fn every_connection_has_in_the_end_all_that_the_rule_leaves_in_its_order(
        per_second in 1..6u32, steps in proptest::collection::vec(step(), 0..120)
    ) {
        let mut play = Play::of(per_second, &steps);
        play.come_to_rest();
        check_all_arrived(&play.user, &play.gone);
    }
}
