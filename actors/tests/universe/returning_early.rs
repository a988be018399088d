//! Clients of Socket.IO that come back to a shard which is not ready for them: it attaches, or has applied less than they
//! have heard elsewhere.

use crate::{
    hush,
    returning::{guest, hear, join},
    scene::*,
};
use greenroom_actors::{
    logic::position::Position,
    messages::SayInterest,
    ports::Bus,
    testing::{
        on_virtual_time,
        socket_io::Stock,
        universe::{Plan, Universe},
    },
};
use serde_json::json;
use std::time::Duration;

/// A universe of two shards whose bus takes its time.
fn slow(answers_after: Duration) -> Universe {
    hush();
    let mut plan = Plan::new(1, 2);
    plan.answers_after = answers_after;
    Universe::planned(plan)
}

/// Long enough for whatever is under way on a slow bus.
async fn rest(guest: &mut Stock) {
    for _ in 0..6 {
        wait(1.0).await;
        guest.listen();
    }
}

/// A client in `a` that has heard 0 and 1.
async fn settled(universe: &Universe) -> Stock {
    wait(2.0).await;
    let mut guest = Stock::default();
    guest.enter(shard(universe, 0, 0).socket_io());
    rest(&mut guest).await;
    guest.now().emit("join", &json!("a"));
    rest(&mut guest).await;
    count(universe, "a", 0..2);
    rest(&mut guest).await;
    assert_eq!(guest.numbers(), [0, 1]);
    guest
}

#[test]
fn a_client_that_is_cut_off_again_while_its_shard_attaches_keeps_its_rooms() {
    // Before the claim is answered, while the shard attaches, and once it is attached, has written down where the client
    // is, and waits for its rooms.
    let cuts = [100_u32, 499, 501, 799, 801, 1_500].into_iter();
    for (cut_ms, noticed, back_at) in cuts.flat_map(|ms| [(ms, true, 0), (ms, false, 0), (ms, true, 1)]) {
        on_virtual_time(async {
            let universe = slow(Duration::from_millis(500));
            let mut guest = settled(&universe).await;
            let sid = guest.sid.clone();
            guest.now().hang_up();
            wait(1.0).await;
            universe.seen.hold_subscriptions();
            guest.enter(shard(&universe, 0, 1).socket_io());
            wait(f64::from(cut_ms.min(300)) / 1_000.0).await;
            let attaches = shard(&universe, 0, 1).desk.registry.send(SayInterest);
            attaches.await.expect("a shard");
            count(&universe, "a", 2..4);
            wait(f64::from(cut_ms.saturating_sub(300)) / 1_000.0).await;
            if noticed {
                guest.now().hang_up();
                universe.settle().await;
            }
            guest.enter(shard(&universe, 0, back_at).socket_io());
            wait(3.0).await;
            universe.seen.release_subscriptions();
            rest(&mut guest).await;
            let context = format!("{cut_ms} ms, {noticed}, {back_at}");
            assert_eq!((guest.recovered, &guest.sid), (Some(true), &sid), "{context}");
            count(&universe, "a", 4..6);
            rest(&mut guest).await;
            assert_eq!(guest.numbers(), [0, 1, 2, 3, 4, 5], "{context}");
        });
    }
}

#[test]
fn who_has_heard_more_than_its_new_shard_has_applied_misses_and_repeats_nothing() {
    for answers_after in [0, 500].map(Duration::from_millis) {
        on_virtual_time(async {
            let universe = slow(answers_after);
            let mut guest = settled(&universe).await;
            // The other shard has a member in the room, and need not ask for it.
            let mut other = Stock::default();
            other.enter(shard(&universe, 0, 1).socket_io());
            rest(&mut other).await;
            other.now().emit("join", &json!("a"));
            rest(&mut other).await;
            // Of these it hears nothing.
            guest.now().emit("join", &json!("b"));
            rest(&mut guest).await;
            count(&universe, "b", 2..6);
            rest(&mut guest).await;
            guest.now().emit("leave", &json!("b"));
            rest(&mut guest).await;
            guest.now().hang_up();
            count(&universe, "b", 100..101);

            guest.enter(shard(&universe, 0, 1).socket_io());
            wait(0.75).await;
            count(&universe, "a", 6..8);
            rest(&mut guest).await;
            assert_eq!(guest.recovered, Some(true));
            count(&universe, "a", 8..9);
            rest(&mut guest).await;
            assert_eq!(guest.numbers(), (0..9).collect::<Vec<u64>>(), "{answers_after:?}");
            // What it was given there is a position at the first shard, too.
            guest.now().hang_up();
            count(&universe, "a", 9..11);
            guest.enter(shard(&universe, 0, 0).socket_io());
            rest(&mut guest).await;
            assert_eq!(guest.recovered, Some(true));
            assert_eq!(guest.numbers(), (0..11).collect::<Vec<u64>>());
        });
    }
}

#[test]
fn what_a_client_was_given_of_the_history_is_not_given_again_when_its_shard_comes_to_it() {
    // What the shard has not applied when it reads the history waits in its mailbox, or did not fit.
    // Some of it the client may have heard elsewhere: then it is ahead of the shard itself.
    for (fits, heard) in [true, false].into_iter().flat_map(|fits| [(fits, 0), (fits, 10)]) {
        on_virtual_time(async {
            hush();
            let mut plan = Plan::new(1, 2);
            plan.mailbox = if fits { 100 } else { 5 };
            let universe = Universe::planned(plan);
            let at = shard(&universe, 0, 1);
            let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io(), &["a"]).await;
            let mut other = Stock::default();
            other.enter(at.socket_io());
            hear(&universe, &mut other).await;
            join(&universe, &mut other, "a").await;
            count(&universe, "a", 0..2);
            hear(&universe, &mut guest).await;
            let drafts = (2..22).map(|number| draft(&universe, &["a"], "e", json!(number)));
            universe.seen.publish_meanwhile(drafts.collect());
            let has = universe.bus.gauges().head + heard;
            guest.offset = Some(Position::at(universe.bus.life(), has).to_string());
            guest.enter(at.socket_io());
            hear(&universe, &mut guest).await;
            assert_eq!(guest.recovered, Some(true), "{fits}, {heard}");
            count(&universe, "a", 22..24);
            hear(&universe, &mut guest).await;
            let all: Vec<u64> = (0..2).chain(2 + heard..24).collect();
            assert_eq!(guest.numbers(), all, "{fits}, {heard}");
        });
    }
}
