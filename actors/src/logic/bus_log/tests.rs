use super::*;
use crate::logic::event::{EventName, Payload};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn room(name: &str) -> RoomName {
    RoomName::parse(name, 200).unwrap()
}

fn draft(rooms: &[&str], id: &str, ts_ms: i64) -> Draft {
    Draft {
        id: EventId::parse(id).unwrap(),
        id_chosen: true,
        publisher: None,
        rooms: rooms.iter().map(|name| room(name)).collect(),
        name: EventName::parse("e").unwrap(),
        payload: Payload::Data(id.to_owned().into()),
        written: None,
        about: None,
        ts_ms,
    }
}

fn log(limits: Limits) -> BusLog {
    BusLog::new(Life::from_random(7), limits)
}

fn publish(log: &mut BusLog, rooms: &[&str], id: &str, ts_ms: i64) -> Receipt {
    match log.publish(draft(rooms, id, ts_ms), |_| false) {
        Published::New(_, receipt) | Published::Repeated(receipt) => receipt,
        Published::IdReused => panic!("reused"),
    }
}

fn query(rooms: &[&str], after: u64) -> Query {
    Query {
        rooms: rooms.iter().map(|name| (room(name), 0)).collect(),
        after,
        whole_from: after,
        gaps: Vec::new(),
        must: vec![],
        events_max: 1_000,
        bytes_max: 1 << 20,
    }
}

fn ids(page: &Page) -> Vec<&str> {
    page.events.iter().map(|event| event.id.as_str()).collect()
}

#[test]
fn offsets_count_within_a_room_and_the_sequence_over_all() {
    let mut log = log(Limits::default());
    assert_eq!(publish(&mut log, &["a"], "1", 0).offsets, [(room("a"), 1)]);
    assert_eq!(
        publish(&mut log, &["b", "a"], "2", 0).offsets,
        [(room("b"), 1), (room("a"), 2)]
    );
    let page = log.read(&query(&["a", "b"], 0), 0);
    assert_eq!(ids(&page), ["1", "2"], "an event of two rooms is given once");
    assert_eq!((page.upto, page.more, page.whole), (2, false, true));
    assert_eq!(page.events[1].places[1].prev, 1);
}

#[test]
fn an_id_is_accepted_once_and_answered_alike() {
    let mut log = log(Limits {
        ids_ms: 1_000,
        ..Limits::default()
    });
    let first = publish(&mut log, &["a"], "x", 0);
    let again = publish(&mut log, &["a"], "x", 500);
    assert!(again.repeated && again.offsets == first.offsets);
    assert!(matches!(
        log.publish(draft(&["b"], "x", 500), |_| false),
        Published::IdReused
    ));
    let other = Draft {
        publisher: Some("bob".into()),
        ..draft(&["b"], "x", 500)
    };
    assert!(
        matches!(log.publish(other, |_| false), Published::New(..)),
        "ids of two publishers do not meet"
    );
    assert!(
        !publish(&mut log, &["a"], "x", 2_000).repeated,
        "after its time the id is free again"
    );
}

#[test]
fn remembered_ids_are_bounded() {
    let mut log = log(Limits {
        ids_max: 10,
        ..Limits::default()
    });
    for i in 0..100 {
        publish(&mut log, &["a"], &i.to_string(), 0);
    }
    assert!(log.ids.len() <= 11 && log.id_ages.len() <= 11);
    let known: usize = log
        .ids
        .iter()
        .map(|(key, known)| cost_of(key, &known.receipt))
        .sum();
    assert_eq!(log.ids_bytes, known, "what was forgotten is not counted any more");
}

#[test]
fn the_ring_keeps_the_newest_and_the_page_says_what_is_lost() {
    let mut log = log(Limits {
        history_events: 3,
        ..Limits::default()
    });
    for i in 1..=5 {
        publish(&mut log, &["a"], &i.to_string(), 0);
    }
    let page = log.read(&query(&["a"], 0), 0);
    assert_eq!((ids(&page), page.whole), (vec!["3", "4", "5"], false));
    assert!(
        log.read(&query(&["a"], 2), 0).whole,
        "2 was the last one lost, and the reader has it"
    );
    assert!(!log.read(&query(&["a"], 1), 0).whole);
}

#[test]
fn events_beyond_their_time_are_lost_and_that_is_told() {
    let mut log = log(Limits {
        history_ms: 1_000,
        ..Limits::default()
    });
    publish(&mut log, &["a"], "1", 0);
    publish(&mut log, &["quiet"], "2", 0);
    publish(&mut log, &["a"], "3", 900);
    let page = log.read(&query(&["a", "quiet"], 0), 1_500);
    assert_eq!((ids(&page), page.whole), (vec!["3"], false));
    assert!(log.read(&query(&["a", "quiet"], 2), 1_500).whole);
    assert!(
        !log.read(&query(&["quiet"], 1), 1_500).whole,
        "an empty history is told from a trimmed one"
    );
}

#[test]
fn memory_is_bounded_over_all_rooms_and_the_oldest_room_pays() {
    let mut log = log(Limits {
        history_bytes: 20_000,
        ..Limits::default()
    });
    for i in 0..200 {
        publish(
            &mut log,
            &[if i % 10 == 0 { "rare" } else { "busy" }],
            &i.to_string(),
            0,
        );
        assert!(log.size().0 <= 20_000);
    }
    assert!(log.size().1 > 10);
    assert!(!log.read(&query(&["rare"], 0), 0).whole);
}

#[test]
fn a_forgotten_room_is_never_whole_for_those_who_were_before() {
    let mut log = log(Limits {
        remembered_rooms: 2,
        ..Limits::default()
    });
    for i in 1..=10 {
        publish(&mut log, &[&format!("r{i}")], &i.to_string(), 0);
    }
    assert_eq!(log.rooms(), 2);
    assert!(!log.read(&query(&["r1"], 0), 0).whole);
    assert!(
        log.read(&query(&["r1"], 8), 0).whole,
        "nobody who has 8 can have missed anything in r1"
    );
    publish(&mut log, &["r1"], "again", 0);
    assert!(
        !log.read(&query(&["r1"], 0), 0).whole,
        "also when the room lives again"
    );
    assert_eq!(log.ages.len(), log.size().1.max(log.ages.len()));
}

#[test]
fn rooms_with_members_are_not_forgotten() {
    let mut log = log(Limits {
        remembered_rooms: 2,
        ..Limits::default()
    });
    for i in 1..=10 {
        log.publish(draft(&[&format!("r{i}")], &i.to_string(), 0), |name| {
            name.as_str() == "r1"
        });
    }
    assert_eq!(log.last_seq(&room("r1")), 1);
}

#[test]
fn a_page_is_bounded_and_goes_on_where_it_ended() {
    let mut log = log(Limits::default());
    for i in 1..=10 {
        publish(&mut log, &[if i % 2 == 0 { "a" } else { "b" }], &i.to_string(), 0);
    }
    let small = |after| Query {
        events_max: 4,
        ..query(&["a", "b"], after)
    };
    let first = log.read(&small(0), 0);
    assert_eq!(
        (ids(&first), first.upto, first.more),
        (vec!["1", "2", "3", "4"], 4, true)
    );
    let second = log.read(&small(first.upto), 0);
    assert_eq!((ids(&second), second.more), (vec!["5", "6", "7", "8"], true));
    assert!(!log.read(&small(8), 0).more);
    let tiny = Query {
        bytes_max: 0,
        ..query(&["a"], 0)
    };
    assert_eq!(ids(&log.read(&tiny, 0)), ["2"], "one event always fits");
}

#[test]
fn what_must_be_there_and_is_not_makes_the_page_less_than_whole() {
    let mut log = log(Limits {
        history_events: 2,
        ..Limits::default()
    });
    for i in 1..=4 {
        publish(&mut log, &["a"], &i.to_string(), 0);
    }
    let with = |must: u64| Query {
        must: vec![must],
        whole_from: 4,
        ..query(&["a"], must - 1)
    };
    assert!(log.read(&with(3), 0).whole);
    assert!(!log.read(&with(2), 0).whole);
}

#[test]
fn what_must_be_there_is_not_if_it_is_only_in_a_room_that_was_joined_later() {
    let mut log = log(Limits {
        history_events: 1,
        ..Limits::default()
    });
    publish(&mut log, &["a", "b"], "1", 0);
    publish(&mut log, &["a"], "2", 0);
    let joined_at = |at| Query {
        must: vec![1],
        whole_from: 2,
        rooms: vec![(room("a"), 0), (room("b"), at)],
        ..query(&[], 0)
    };
    assert!(log.read(&joined_at(0), 0).whole);
    assert!(!log.read(&joined_at(1), 0).whole);
}

#[test]
fn what_came_before_the_reader_joined_is_not_given() {
    let mut log = log(Limits::default());
    for i in 1..=4 {
        publish(&mut log, &["a"], &i.to_string(), 0);
    }
    let late = Query {
        rooms: vec![(room("a"), 3)],
        ..query(&[], 0)
    };
    let page = log.read(&late, 0);
    assert_eq!((ids(&page), page.whole), (vec!["4"], true));
}

proptest! {
    /// Against a naive model: a list of everything that was ever published.
    #[test]
    fn a_page_is_whole_exactly_when_nothing_is_missing(
        published in proptest::collection::vec((proptest::collection::btree_set(0usize..4, 1..3), 0i64..400), 1..60),
        asked in proptest::collection::btree_set(0usize..4, 1..4),
        after in 0u64..60, ring in 1usize..8, remembered in 1usize..6, kilobytes in 2usize..40,
    ) {
        let mut log = log(Limits {
            history_events: ring, history_ms: 3_000, history_bytes: kilobytes * 1_000, remembered_rooms: remembered,
            ..Limits::default()
        });
        let mut all = Vec::new();
        let mut now = 0;
        for (i, (rooms, wait)) in published.iter().enumerate() {
            now += wait;
            let names: Vec<String> = rooms.iter().map(|r| format!("r{r}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            publish(&mut log, &names, &i.to_string(), now);
            all.push((i as u64 + 1, rooms.clone()));
        }
        let after = after.min(all.len() as u64);
        let names: Vec<String> = asked.iter().map(|r| format!("r{r}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let page = log.read(&query(&names, after), now);
        let got: Vec<u64> = page.events.iter().map(|event| event.seq).collect();
        let wanted: Vec<u64> =
            all.iter().filter(|(seq, rooms)| *seq > after && !rooms.is_disjoint(&asked)).map(|(seq, _)| *seq).collect();
        prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(got.iter().collect::<BTreeSet<_>>().is_subset(&wanted.iter().collect()));
        if page.whole {
            prop_assert_eq!(got, wanted);
        } else {
            // Of one room that is remembered, something really is missing (an event of several may be kept in another).
            prop_assert!(remembered < 4 || asked.len() > 1 || got != wanted);
        }
    }

    /// Readers share answers by that.
    #[test]
    fn the_plain_question_has_the_same_answer(
        published in proptest::collection::vec(proptest::collection::btree_set(0usize..4, 1..3), 1..60),
        joined in proptest::collection::vec(0u64..60, 1..4),
        (after, whole_from, must) in (0u64..60, 0u64..60, proptest::option::of(1u64..60)), ring in 1usize..8,
    ) {
        let mut log = log(Limits { history_events: ring, ..Limits::default() });
        for (i, rooms) in published.iter().enumerate() {
            let names: Vec<String> = rooms.iter().map(|r| format!("r{r}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            publish(&mut log, &names, &i.to_string(), 0);
        }
        let rooms = joined.iter().enumerate().map(|(r, seq)| (room(&format!("r{r}")), *seq));
        let asked = Query { rooms: rooms.collect(), whole_from, must: must.into_iter().collect(), ..query(&[], after) };
        let (page, plain) = (log.read(&asked, 0), log.read(&asked.clone().plain(), 0));
        prop_assert_eq!(format!("{:?}", page), format!("{:?}", plain));
    }

    #[test]
    fn the_books_balance(
        published in proptest::collection::vec((proptest::collection::btree_set(0usize..6, 1..3), 0i64..900), 1..200),
    ) {
        let mut log = log(Limits {
            history_events: 5, history_ms: 2_000, history_bytes: 9_000, remembered_rooms: 4, ..Limits::default()
        });
        let mut now = 0;
        for (i, (rooms, wait)) in published.iter().enumerate() {
            now += wait;
            let names: Vec<String> = rooms.iter().map(|r| format!("r{r}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            publish(&mut log, &names, &i.to_string(), now);
            let kept: usize = log.rooms.values().map(|room| room.kept.len()).sum();
            let bytes: usize = log.rooms.values().flat_map(|room| &room.kept).map(|kept| kept.event.cost()).sum();
            prop_assert_eq!((bytes, kept), log.size());
            prop_assert!(bytes <= 9_000 && log.rooms.len() <= 4);
            prop_assert_eq!(log.by_use.len(), log.rooms.len());
            let holding = log.rooms.values().filter(|room| !room.kept.is_empty()).count();
            prop_assert_eq!(log.holding.len(), holding);
            prop_assert!(log.ages.len() <= 2 * kept + 1_026);
        }
    }
}
