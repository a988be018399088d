//! The rules by which it merges and orders, one by one.

use super::*;

#[test]
fn what_fits_goes_out_at_once_and_the_rest_when_the_window_has_moved_on() {
    let mut user = User::new(rules(3));
    for seq in 1..=8 {
        user.offer(&[1], &thought(seq, "a"));
        user.wait(100);
    }
    assert_eq!(user.seqs(1), [1, 2, 3]);
    assert_eq!(user.throttle.due(0, &user.rules), Some(1_000));
    user.wait(5_000);
    assert_eq!(user.got[&1][3..], [(1_000, (4..=8).collect())]);
    assert_eq!(
        (user.throttle.due(0, &user.rules), user.throttle.bytes()),
        (None, 0)
    );
}

#[test]
fn the_higher_priority_goes_first_and_of_equal_priority_the_older() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &thought(1, "a"));
    user.offer(&[1], &thought(2, "a")); // priority 5
    user.offer(&[1], &update(3, "t")); // priority 6
    user.wait(100);
    user.offer(&[1], &update(4, "u")); // priority 6, younger
    user.wait(10_000);
    assert_eq!(user.seqs(1), [1, 3, 4, 2]);
}

#[test]
fn what_waits_rises_by_one_a_second() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &update(1, "t"));
    user.offer(&[1], &event(2, "chat", None, &["chat"], json!(2))); // priority 0
    for seq in 3..13 {
        user.offer(&[1], &update(seq, "t")); // priority 6, always waiting
        user.wait(1_000);
    }
    let chat = user.got[&1].iter().find(|(_, seqs)| seqs[0] == 2);
    // Risen from 0 to 7, as every update has after a second.
    assert_eq!(chat.map(|(at_ms, _)| *at_ms), Some(7_000));
}

#[test]
fn each_event_that_is_not_merged_has_its_own_age() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &update(1, "t"));
    for seq in 2..=4 {
        user.offer(&[1], &event(seq, "chat", None, &["chat"], json!(seq)));
    }
    for seq in 5..30 {
        user.offer(&[1], &update(seq, "t"));
        user.wait(1_000);
    }
    let chats: Vec<u64> = user.got[&1]
        .iter()
        .filter(|(_, seqs)| (2..=4).contains(&seqs[0]))
        .map(|(at_ms, _)| *at_ms)
        .collect();
    assert_eq!(
        chats,
        [7_000, 8_000, 9_000],
        "all three have waited long enough by then"
    );
}

#[test]
fn a_limit_of_its_own_holds_for_its_name_alone() {
    let mut user = User::new(rules(10));
    for seq in 1..=4 {
        user.offer(
            &[1],
            &event(seq, "slow", Some(&seq.to_string()), &["s"], json!(1)),
        );
    }
    user.offer(&[1], &update(5, "t"));
    user.wait(0);
    assert_eq!(
        user.seqs(1),
        [1, 5],
        "the update passes what waits for its own limit"
    );
    user.wait(3_000);
    assert_eq!(user.seqs(1), [1, 5, 2, 3, 4]);
    assert_eq!(user.got[&1][4].0, 3_000);
}

#[test]
fn a_limit_of_zero_switches_the_throttle_off_for_its_name_or_for_all() {
    let mut rules = rules(10);
    assert!(rules.of(&thought(1, "a")).is_some());
    assert!(rules.of(&event(1, "unknown", None, &["r"], json!(1))).is_none());
    rules.by_name.get_mut("agent-thought").unwrap().per_second = Some(0);
    assert!(rules.of(&thought(1, "a")).is_none());
    assert!(rules.of(&update(1, "t")).is_some());
    rules.per_second = 0;
    assert!(rules.of(&update(1, "t")).is_none());
}

#[test]
fn several_connections_of_a_user_count_once() {
    let mut user = User::new(rules(2));
    for seq in 1..=3 {
        user.offer(&[1, 2, 3], &thought(seq, "a"));
    }
    for number in 1..=3 {
        assert_eq!(user.seqs(number), [1, 2]);
        assert_eq!(user.throttle.firsts(who(number)), [3]);
    }
    user.wait(2_000);
    for number in 1..=3 {
        assert_eq!(user.seqs(number), [1, 2, 3]);
    }
    assert_eq!(user.counted.len(), 3);
}

#[test]
fn a_connection_that_catches_up_does_not_get_ahead_of_what_waits_for_it() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &thought(2, "a"));
    assert_eq!(user.offer(&[2], &thought(1, "a")), [Offer::Waits]);
    assert_eq!(
        user.offer(&[2], &thought(2, "a")),
        [Offer::Waits],
        "though its user was given it already"
    );
    user.wait(9_000);
    assert_eq!(user.seqs(2), [1, 2]);
}

#[test]
fn what_a_user_was_given_just_now_costs_nothing_even_while_something_else_waits() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &thought(2, "a"));
    user.offer(&[2], &thought(1, "b"));
    assert_eq!(user.offer(&[2], &thought(2, "a")), [Offer::Now]);
}

#[test]
fn what_is_not_merged_reaches_all_connections_together_in_order_over_all_rooms() {
    let mut user = User::new(rules(1));
    let chat = |seq, room| event(seq, "chat", None, &[room], json!(seq));
    user.offer(&[1, 2], &chat(1, "a"));
    user.offer(&[2], &chat(2, "b"));
    user.offer(&[1, 2], &chat(3, "a"));
    user.offer(&[1, 2], &chat(4, "b"));
    user.wait(9_000);
    let times = |number| {
        user.got[&number]
            .iter()
            .map(|(at_ms, seqs)| (*at_ms, seqs[0]))
            .collect()
    };
    let (one, two): (Vec<_>, Vec<_>) = (times(1), times(2));
    assert_eq!(one, [(0, 1), (2_000, 3), (3_000, 4)]);
    assert_eq!(two, [(0, 1), (1_000, 2), (2_000, 3), (3_000, 4)]);
}

#[test]
fn the_latest_takes_the_place_and_the_age_of_the_one_before_it() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &update(1, "t"));
    user.offer(&[1], &update(2, "t"));
    user.wait(500);
    user.offer(&[1], &update(3, "u"));
    user.wait(400);
    user.offer(&[1], &update(4, "t"));
    user.wait(9_000);
    assert_eq!(user.seqs(1), [1, 4, 3]);
}

#[test]
fn a_value_for_a_room_that_the_newer_one_is_not_for_stays() {
    let mut user = User::new(rules(1));
    let update = |seq, rooms: &[&str]| event(seq, "task-update", Some("t"), rooms, json!(seq));
    user.offer(&[1], &update(1, &["a"]));
    for (seq, rooms) in [
        (2, &["a"] as &[&str]),
        (3, &["b"]),
        (4, &["a"]),
        (5, &["a", "c"]),
        (6, &["b"]),
    ] {
        user.offer(&[1], &update(seq, rooms));
    }
    assert_eq!(user.throttle.firsts(who(1)), [5, 6]);
    user.wait(9_000);
    assert_eq!(user.seqs(1), [1, 5, 6]);
}

#[test]
fn more_waiting_bytes_than_allowed_are_an_overflow() {
    let mut user = User::new(rules(1));
    user.rules.wait_bytes = 3 * cost(&thought(1, "a"));
    let offers: Vec<Offer> = (1..=5)
        .map(|seq| user.offer(&[1], &thought(seq, "a"))[0])
        .collect();
    assert_eq!(
        offers,
        [
            Offer::Now,
            Offer::Waits,
            Offer::Waits,
            Offer::Waits,
            Offer::Overflow
        ]
    );
    user.throttle.forget(who(1));
    assert_eq!(user.throttle.bytes(), 0);
    assert_eq!(
        user.offer(&[2], &thought(6, "a")),
        [Offer::Waits],
        "its user's window is still full"
    );
}

#[test]
fn an_event_that_waits_for_several_connections_is_held_once() {
    let mut user = User::new(rules(1));
    user.offer(&[1, 2, 3], &thought(1, "a"));
    user.offer(&[1, 2, 1_001], &thought(2, "a"));
    assert_eq!(user.throttle.bytes(), cost(&thought(2, "a")));
    user.throttle.forget(who(1));
    assert_eq!(user.throttle.bytes(), cost(&thought(2, "a")));
    user.wait(2_000);
    assert_eq!(user.throttle.bytes(), 0);
}

#[test]
fn one_event_may_wait_however_large_it_is() {
    let mut user = User::new(rules(1));
    user.rules.wait_bytes = 10;
    assert_eq!(user.offer(&[1], &thought(1, "a")), [Offer::Now]);
    assert_eq!(user.offer(&[1, 2], &thought(2, "a")), [Offer::Waits; 2]);
    assert_eq!(user.offer(&[1], &thought(3, "a")), [Offer::Overflow]);
}

#[test]
fn what_is_merged_is_no_larger_than_twice_what_waited_however_long_the_ids_are() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &thought(1, "a"));
    for seq in 2..200 {
        let mut event = event(seq, "agent-thought", Some("a"), &["r"], json!({"thought": ""}));
        let id = format!("{seq:0>128}");
        Arc::get_mut(&mut event).unwrap().id = EventId::parse(&id).unwrap();
        user.offer(&[1], &event);
    }
    let waits = user.throttle.bytes();
    let releases = user.throttle.release(0, &user.rules, 1_000).unwrap();
    let merged = releases[0].merged.as_ref().unwrap().len();
    assert!(merged <= 2 * waits && merged > 198 * 128, "{merged} of {waits}");
}

#[test]
fn the_latest_takes_the_bytes_of_the_one_before_it() {
    let mut user = User::new(rules(1));
    user.rules.wait_bytes = cost(&update(99, "t"));
    for seq in 1..100 {
        assert_ne!(user.offer(&[1], &update(seq, "t"))[0], Offer::Overflow);
    }
    assert_eq!(user.throttle.bytes(), cost(&update(99, "t")));
}

#[test]
fn more_than_a_position_can_name_is_an_overflow() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &update(1, "first"));
    for seq in 2..WAITING_MAX as u64 + 2 {
        assert_eq!(user.offer(&[1], &update(seq, &seq.to_string())), [Offer::Waits]);
    }
    assert_eq!(user.throttle.firsts(who(1)).len(), WAITING_MAX);
    assert_eq!(
        user.offer(&[1], &update(9_998, "5")),
        [Offer::Waits],
        "not one more to name"
    );
    assert_eq!(user.offer(&[1], &update(9_999, "one more")), [Offer::Overflow]);
}

#[test]
fn what_a_connection_no_longer_wants_does_not_reach_it() {
    let mut user = User::new(rules(1));
    for seq in 1..=3 {
        user.offer(&[1, 2], &thought(seq, "a"));
    }
    for (seq, rooms) in [(4, ["task:1", "p"]), (5, ["task:1", "q"])] {
        user.offer(&[1, 2], &event(seq, "chat", None, &rooms, json!(1)));
    }
    let in_p = |event: &Event| event.places.iter().any(|place| place.room.as_str() == "p");
    user.throttle.retain(who(1), in_p);
    assert_eq!(user.throttle.firsts(who(1)), [4]);
    assert_eq!(user.throttle.firsts(who(2)), [2, 4, 5]);
    user.wait(9_000);
    assert_eq!((user.seqs(1), user.seqs(2)), (vec![1, 4], vec![1, 2, 3, 4, 5]));
    assert_eq!(user.throttle.bytes(), 0);
}

#[test]
fn a_position_names_the_first_of_each_combination_of_rooms() {
    let mut user = User::new(rules(1));
    user.offer(&[1], &update(1, "t"));
    for (seq, rooms) in [
        (2, &["a"] as &[&str]),
        (3, &["a", "b"]),
        (4, &["a"]),
        (5, &["b", "a"]),
    ] {
        user.offer(
            &[1],
            &event(
                seq,
                "agent-thought",
                Some("x"),
                rooms,
                json!({"thought": "", "agentId": "x"}),
            ),
        );
    }
    assert_eq!(user.throttle.firsts(who(1)), [2, 3, 5]);
    let rule = &user.rules.by_name["agent-thought"];
    let offered = &user.offered[&1];
    assert!(same_key(&offered[1], &offered[3], rule));
    assert!(!same_key(&offered[1], &offered[2], rule));
}

#[test]
fn merged_thoughts_have_the_shape_that_is_documented() {
    let with = |seq, extra: Value| event(seq, "agent-thought", Some("a"), &["agent:1", "project:7"], extra);
    let first = with(
        1,
        json!({"agentId": "a", "agentName": "Ada", "projectId": "7", "thought": "one\ntwo", "timestamp": "T1", "taskId": "x"}),
    );
    let second = with(
        2,
        json!({"agentId": "a", "projectId": "7", "thought": "three", "timestamp": "T2"}),
    );
    let merged: Value = serde_json::from_slice(&merged_payload(&[&first, &second]).unwrap()).unwrap();
    let expected = json!({
        "agentId": "a", "projectId": "7", "timestamp": "T2",
        "thought": "one\ntwo\nthree", "merged": 2,
        "thoughts": [
            {"id": "e1", "thought": "one\ntwo", "timestamp": "T1", "taskId": "x"},
            {"id": "e2", "thought": "three", "timestamp": "T2"},
        ],
    });
    assert_eq!(merged, expected);
}

#[test]
fn a_merged_payload_keeps_numbers_as_they_were_written_and_the_form_of_the_newest() {
    let big = r#"[{"thought":"x","n":12345678901234567890123.10}]"#;
    let mut one = event(1, "agent-thought", Some("a"), &["r"], json!([]));
    Arc::get_mut(&mut one).unwrap().payload = Payload::Args(big.into());
    let other = event(2, "agent-thought", Some("a"), &["r"], json!({"thought": "y"}));
    let text = |events: &[&Event]| String::from_utf8(merged_payload(events).unwrap()).unwrap();
    let (args_last, data_last) = (text(&[&other, &one]), text(&[&one, &other]));
    assert!(args_last.starts_with("[{") && data_last.starts_with('{'));
    for text in [args_last, data_last] {
        assert!(text.contains("12345678901234567890123.10"), "{text}");
    }
}

#[test]
fn what_has_no_text_cannot_be_merged() {
    for payload in [
        json!({}),
        json!({"thought": 7}),
        json!(1),
        json!([1, 2]),
        json!([]),
    ] {
        let event = event(1, "agent-thought", Some("a"), &["r"], payload);
        assert_eq!(merged_payload(&[&event]), None);
    }
}
