use super::*;
use crate::logic::{
    event::{EventName, NodeTag, Payload},
    room_name::RoomName,
};

fn draft(id: &str, said: &'static str) -> Arc<Draft> {
    Arc::new(Draft {
        id: EventId::parse(id).unwrap(),
        id_chosen: true,
        publisher: None,
        rooms: vec![RoomName::parse("a", 1).unwrap()],
        name: EventName::parse("e").unwrap(),
        payload: Payload::Data(said.into()),
        written: None,
        about: None,
        ts_ms: 0,
    })
}

fn outbox(ids: &[&str]) -> Outbox {
    let mut outbox = Outbox::default();
    for (at, id) in ids.iter().enumerate() {
        outbox.push(origin(at as u64 + 1), draft(id, "1"), None);
    }
    outbox
}

fn origin(count: u64) -> Origin {
    let node = NodeTag(1);
    Origin { node, count }
}

fn counts<'a>(some: impl Iterator<Item = &'a mut Outgoing>) -> Vec<u64> {
    some.map(|outgoing| outgoing.origin.count).collect()
}

#[test]
fn everything_is_sent_once_a_link_in_order() {
    let mut outbox = outbox(&["a", "b", "c"]);
    let take = |outbox: &mut Outbox, most| -> Vec<u64> {
        let taken = outbox.take_unsent(most, usize::MAX);
        taken.iter().map(|(origin, _)| origin.count).collect()
    };
    assert_eq!(take(&mut outbox, 2), [1, 2]);
    assert_eq!(take(&mut outbox, 2), [3]);
    assert!(outbox.pop().is_some());
    outbox.unsend();
    assert_eq!(take(&mut outbox, 9), [2, 3]);
    assert_eq!(take(&mut outbox, 9), [0; 0]);
    outbox.push(origin(4), draft("d", "1"), None);
    assert_eq!(outbox.take_unsent(9, 1).len(), 1, "one always fits");
}

#[test]
fn what_was_heard_or_repeats_is_not_given_out() {
    for (ids, above, given) in [
        (&["a", "b", "c"][..], 0, &[1, 2, 3][..]),
        (&["a", "b", "c"], 2, &[3]),
        (&["a", "b", "c"], 3, &[]),
        (&["a", "b", "a"], 0, &[1, 2]),
        (&["a", "a"], 1, &[]),
    ] {
        assert_eq!(
            counts(outbox(ids).not_given_out(above)),
            given,
            "{ids:?} above {above}"
        );
    }
}

#[test]
fn an_id_is_known_while_it_waits_and_afterwards_but_not_when_it_was_refused() {
    let mut outbox = outbox(&["a"]);
    assert_eq!(outbox.repeats(&draft("a", "1")), Some(true));
    assert_eq!(outbox.repeats(&draft("a", "2")), Some(false));
    assert_eq!(outbox.repeats(&draft("b", "1")), None);
    assert!(outbox.pop().is_some());
    assert_eq!(outbox.repeats(&draft("a", "1")), Some(true));
    let (answer, _asked) = oneshot::channel();
    outbox.push(origin(2), draft("b", "1"), Some(answer));
    assert_eq!(outbox.drop_unanswered().len(), 1);
    assert_eq!(outbox.repeats(&draft("b", "1")), None);
    assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
}
