use super::*;
use actix::{Actor, Context, Handler};

const MANY: usize = 512;
const SHARD: ShardId = ShardId(1);

/// A shard that listens to nothing: only what the link is told is looked at.
struct Deaf;

impl Actor for Deaf {
    type Context = Context<Self>;
}

impl Handler<FromBus> for Deaf {
    type Result = ();
    fn handle(&mut self, _: FromBus, _: &mut Self::Context) {}
}

fn rooms(names: &[&str]) -> Vec<RoomName> {
    names
        .iter()
        .map(|name| RoomName::parse(name, 9).unwrap())
        .collect()
}

fn subscribe(names: &[&str]) -> Option<Order> {
    Some(Order::Subscribe(rooms(names)))
}

fn unsubscribe(names: &[&str]) -> Option<Order> {
    Some(Order::Unsubscribe(rooms(names)))
}

fn up() -> Subscriptions {
    let mut all = Subscriptions::default();
    all.go_up(&[]);
    all
}

#[test]
fn whoever_comes_and_goes_costs_the_link_nothing() {
    let mut all = up();
    all.subscribe(SHARD, &rooms(&["a", "b"]), 0);
    all.unsubscribe(SHARD, &rooms(&["a"]));
    assert_eq!(all.next_order(MANY), subscribe(&["b"]));
    all.subscribed(rooms(&["b"]));
    all.unsubscribe(SHARD, &rooms(&["b"]));
    all.subscribe(SHARD, &rooms(&["b"]), 0);
    assert_eq!(all.next_order(MANY), None, "the link hands it out still");
    all.unsubscribe(SHARD, &rooms(&["b"]));
    assert_eq!(all.next_order(MANY), unsubscribe(&["b"]));
    all.subscribe(SHARD, &rooms(&["b"]), 0);
    assert_eq!(all.next_order(MANY), subscribe(&["b"]));
}

#[test]
fn orders_are_joined_only_with_their_like() {
    let mut all = up();
    all.subscribe(SHARD, &rooms(&["a", "b", "c"]), 0);
    assert_eq!(all.next_order(2), subscribe(&["a", "b"]));
    all.subscribed(rooms(&["a", "b"]));
    all.unsubscribe(SHARD, &rooms(&["a"]));
    assert_eq!(all.next_order(MANY), subscribe(&["c"]));
    assert_eq!(all.next_order(MANY), unsubscribe(&["a"]));
    assert_eq!(all.next_order(MANY), None);
}

#[test]
fn a_room_is_live_with_the_mark_that_was_set_after_it_was_subscribed_to() {
    crate::testing::on_virtual_time(async {
        let mut all = up();
        let inlet = Inlet {
            shard: SHARD,
            attachment: 1,
            mailbox: Deaf.start().recipient(),
            behind: Arc::default(),
        };
        let mut seated = all.attach(inlet, rooms(&["a"]), 3);
        assert_eq!(all.next_order(MANY), subscribe(&["a"]));
        let before = all.next_mark();
        let mark = all.subscribed(rooms(&["a"]));
        all.marked(before, 4);
        assert!(seated.try_recv().is_err(), "that mark says nothing of it");
        all.marked(mark, 5);
        assert_eq!(seated.try_recv(), Ok(5));
    });
}

#[test]
fn a_new_link_is_told_what_has_changed_since_it_was_opened() {
    let mut all = Subscriptions::default();
    all.subscribe(SHARD, &rooms(&["a", "b"]), 0);
    let told = all.all_rooms();
    all.unsubscribe(SHARD, &rooms(&["a"]));
    all.subscribe(SHARD, &rooms(&["c"]), 0);
    all.go_up(&told);
    assert_eq!(all.next_order(MANY), unsubscribe(&["a"]));
    assert_eq!(all.next_order(MANY), subscribe(&["c"]));
    all.go_down(0);
    assert_eq!(all.next_order(MANY), None);
    assert_eq!(all.all_rooms(), rooms(&["b", "c"]));
}
