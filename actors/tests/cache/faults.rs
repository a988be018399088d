//! The far tier does not answer, refuses, is cut off: nobody waits long, and nothing that was invalidated is found again.

use crate::*;
use greenroom_actors::{
    cache::{Invalidate, Invalidated},
    testing::{memory_far::Mood, on_virtual_time},
};
use tokio::time::Instant;

async fn timed_get(cache: &Addr<CacheActor>, key: &Key) -> (Option<String>, u128) {
    let began = Instant::now();
    let value = get(cache, key).await;
    (value, began.elapsed().as_millis())
}

#[test]
fn nobody_waits_for_longer_than_the_budget_and_soon_nobody_waits_at_all() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        put(&one, &embedding(1), "v").await;
        far.set(Mood::Deaf);
        for number in 2..5 {
            assert_eq!(timed_get(&one, &embedding(number)).await, (None, 50));
        }
        let asked = far.asked();
        for number in 2..50 {
            assert_eq!(timed_get(&one, &embedding(number)).await, (None, 0));
        }
        assert_eq!(far.asked(), asked, "it is not asked");
        assert_eq!(
            timed_get(&one, &embedding(1)).await,
            (Some("v".into()), 0),
            "near"
        );
        let told = report(&one).await.far.expect("a far tier");
        assert_eq!((told.asked, told.opened, told.errors), (false, 1, 3));
        far.set(Mood::Well);
        wait(1_000).await;
        put(&one, &embedding(2), "w").await;
        assert!(far.has(&embedding(2)), "it is asked again");
    });
}

#[test]
fn many_who_wait_for_it_wait_together() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        far.set(Mood::Deaf);
        let began = Instant::now();
        let keys: Vec<Key> = (0..200).map(embedding).collect();
        let all = keys.iter().map(|key| get(&one, key));
        assert!(
            futures_util::future::join_all(all)
                .await
                .iter()
                .all(Option::is_none)
        );
        assert_eq!(began.elapsed().as_millis(), 50);
    });
}

#[test]
fn what_cannot_be_forgotten_everywhere_is_when_the_far_tier_answers_again() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "old").await;
        far.set(Mood::Away);
        wait(10).await;
        let forgotten = one.send(Invalidate::Commit(name("p1"))).await.expect("a cache");
        assert!(!forgotten.everywhere, "{forgotten:?}");
        assert_eq!(get(&one, &key).await, None);
        far.set(Mood::Well);
        assert_eq!(get(&one, &key).await, None, "not even before it was told");
        wait(6_000).await;
        assert!(!far.has(&key));
        assert_eq!(get(&two, &key).await, None);
        put(&one, &key, "new").await;
        assert_eq!(get(&two, &key).await.as_deref(), Some("new"));
    });
}

#[test]
fn a_node_that_is_cut_off_believes_nothing_that_may_have_changed() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let changes = fingerprint("p1");
        put(&one, &changes, "old").await;
        put(&one, &embedding(1), "v").await;
        assert!(get(&two, &changes).await.is_some() && get(&two, &embedding(1)).await.is_some());
        far.cut();
        wait(1).await;
        assert!(!report(&two).await.near.trusted);
        far.meddle(&changes, "new".into());
        assert_eq!(get(&two, &changes).await.as_deref(), Some("new"));
        assert_eq!(
            get(&two, &embedding(1)).await.as_deref(),
            Some("v"),
            "it never changes"
        );
        wait(1_000).await;
        assert!(report(&two).await.near.trusted);
        // Who was cut off may have missed that it was invalidated: all is gone, and only the fingerprint is loaded anew.
        assert_eq!(report(&two).await.near.entries, 1);
        assert_eq!(get(&two, &changes).await.as_deref(), Some("new"));
    });
}

#[test]
fn what_was_put_while_the_far_tier_was_away_does_not_hide_what_others_put() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "first").await;
        far.set(Mood::Away);
        wait(10).await;
        put(&one, &key, "alone").await;
        assert_eq!(get(&one, &key).await, None, "others may have another one");
        put(&one, &embedding(1), "v").await;
        assert_eq!(get(&one, &embedding(1)).await.as_deref(), Some("v"));
        far.set(Mood::Well);
        wait(6_000).await;
        assert_eq!(
            get(&two, &key).await,
            None,
            "what is far is older than what was put"
        );
    });
}

#[test]
fn an_invalidation_that_the_far_tier_does_not_answer_is_still_told() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "old").await;
        far.set(Mood::Deaf);
        let forgotten = one
            .send(Invalidate::Keys(vec![key.clone()]))
            .await
            .expect("a cache");
        let everywhere = false;
        assert_eq!(
            forgotten,
            Invalidated {
                removed: 1,
                everywhere
            }
        );
        far.set(Mood::Well);
        wait(1_000).await;
        assert_eq!((get(&one, &key).await, get(&two, &key).await), (None, None));
    });
}
