//! One computes, the others wait.

use crate::*;
use futures_util::future::join_all;
use greenroom_actors::{
    cache::{Computed, Invalidate, get_or_compute},
    testing::on_virtual_time,
};
use std::cell::Cell;

async fn compute(count: &Cell<u32>, value: &'static str) -> Result<Bytes, String> {
    count.set(count.get() + 1);
    wait(10).await;
    Ok(value.into())
}

#[test]
fn a_hundred_askers_are_one_computation() {
    on_virtual_time(async {
        let (_, [one, two]) = pair().await;
        let (key, count) = (embedding(1), Cell::new(0));
        let asked = (0..100).map(|_| get_or_compute(&one, key.clone(), compute(&count, "v")));
        let all = join_all(asked).await;
        assert!(
            all.iter()
                .all(|computed| computed.as_ref().is_ok_and(|c| c.value == "v"))
        );
        let is_first = |computed: &&Result<Computed, _>| computed.as_ref().is_ok_and(|c| !c.was_there);
        assert_eq!((count.get(), all.iter().filter(is_first).count()), (1, 1));
        let there = get_or_compute(&two, key, compute(&count, "w")).await;
        assert!(there.is_ok_and(|there| there.was_there && there.value == "v"));
        assert_eq!(count.get(), 1);
        let report = report(&one).await;
        assert_eq!(
            (report.computations_saved, report.computing, report.waiting),
            (99, 0, 0)
        );
    });
}

#[test]
fn an_error_is_not_kept_and_the_next_one_computes() {
    on_virtual_time(async {
        let (_, [one, _]) = pair().await;
        let (key, count) = (embedding(1), Cell::new(0));
        let fails = async {
            wait(5).await;
            Err("no".to_owned())
        };
        let first = get_or_compute(&one, key.clone(), fails);
        let second = get_or_compute(&one, key.clone(), compute(&count, "v"));
        let third = get_or_compute(&one, key.clone(), compute(&count, "v"));
        let (first, second, third) = tokio::join!(first, second, third);
        assert_eq!(first, Err("no".to_owned()));
        assert!(second.is_ok_and(|second| !second.was_there));
        assert!(third.is_ok_and(|third| third.was_there));
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn who_goes_while_he_computes_keeps_nobody_waiting() {
    on_virtual_time(async {
        let (_, [one, _]) = pair().await;
        let (key, count) = (embedding(1), Cell::new(0));
        let first = get_or_compute::<String>(&one, key.clone(), std::future::pending());
        let gives_up = tokio::time::timeout(Duration::from_millis(20), first);
        let second = get_or_compute(&one, key.clone(), compute(&count, "v"));
        let (gone, second) = tokio::join!(gives_up, second);
        assert!(gone.is_err());
        assert_eq!(second.map(|second| second.value), Ok("v".into()));
    });
}

#[test]
fn what_is_invalidated_while_it_is_computed_is_for_nobody_who_comes_later() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let (key, count) = (fingerprint("p1"), Cell::new(0));
        let old = get_or_compute(&one, key.clone(), compute(&count, "old"));
        let later = async {
            wait(8).await;
            two.send(Invalidate::Commit(name("p1"))).await.expect("a cache");
            put(&two, &key, "x").await;
            two.send(Invalidate::Commit(name("p1"))).await.expect("a cache");
            get_or_compute(&one, key.clone(), compute(&count, "new")).await
        };
        let (old, new) = tokio::join!(old, later);
        assert_eq!(old.map(|old| old.value), Ok("old".into()));
        assert_eq!(new.map(|new| new.value), Ok("new".into()));
        assert_eq!(get(&one, &key).await.as_deref(), Some("new"));
        assert!(far.has(&key));
    });
}
