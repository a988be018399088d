//! What is kept is found: near, far, by all nodes.

use crate::*;
use greenroom_actors::{
    cache::{CacheError, GetMany, PutMany, Warm, get_vectors, put_vectors},
    testing::on_virtual_time,
};

#[test]
fn without_a_far_tier_the_near_one_serves_alone() {
    on_virtual_time(async {
        let cache = cache(None);
        let key = fingerprint("p1");
        assert_eq!(get(&cache, &key).await, None);
        put(&cache, &key, "abc").await;
        assert_eq!(get(&cache, &key).await.as_deref(), Some("abc"));
        let report = report(&cache).await;
        let [fingerprints, ..] = &report.kinds[..] else {
            panic!("{report:?}")
        };
        assert_eq!((fingerprints.total.near_hits, fingerprints.total.misses), (1, 1));
        assert_eq!(fingerprints.total.hit_rate, Some(0.5));
        assert_eq!(
            (report.near.entries, report.near.trusted, report.far),
            (1, true, None)
        );
    });
}

#[test]
fn what_one_node_has_put_another_finds_far_and_then_near() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "abc").await;
        assert!(far.has(&key));
        assert_eq!(get(&two, &key).await.as_deref(), Some("abc"));
        let asked = far.asked();
        assert_eq!(get(&two, &key).await.as_deref(), Some("abc"));
        assert_eq!(get(&one, &key).await.as_deref(), Some("abc"));
        assert_eq!(far.asked(), asked, "both have it near");
    });
}

#[test]
fn many_are_asked_for_at_once() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let keys: Vec<Key> = (0..100).map(embedding).collect();
        let some: Vec<_> = keys
            .iter()
            .step_by(2)
            .cloned()
            .map(|key| (key, "v".into()))
            .collect();
        let asked = far.asked();
        one.send(PutMany(some)).await.expect("a cache").expect("they fit");
        let found = two.send(GetMany(keys.clone())).await.expect("a cache");
        assert_eq!(far.asked(), asked + 2);
        for (place, value) in found.iter().enumerate() {
            assert_eq!(value.is_some(), place % 2 == 0, "{place}");
        }
        let found = one.send(GetMany(keys)).await.expect("a cache");
        assert_eq!(found.iter().flatten().count(), 50);
    });
}

#[test]
fn a_value_that_is_too_large_is_refused_with_its_size() {
    on_virtual_time(async {
        let settings = Settings {
            value_bytes: 3,
            ..Settings::default()
        };
        let cache = CacheActor::new(settings, None).start();
        let large = (embedding(1), Bytes::from_static(b"four"));
        let refused = cache
            .send(PutMany(vec![(embedding(2), "abc".into()), large]))
            .await;
        assert_eq!(
            refused.expect("a cache"),
            Err(CacheError::TooLarge { bytes: 4, limit: 3 })
        );
        assert_eq!(get(&cache, &embedding(2)).await, None, "none of them");
        assert_eq!(report(&cache).await.refused, 1);
    });
}

#[test]
fn the_near_tier_stays_within_its_bytes() {
    on_virtual_time(async {
        let settings = Settings {
            near_bytes: 10_000,
            ..Settings::default()
        };
        let cache = CacheActor::new(settings, None).start();
        for number in 0..100 {
            put(&cache, &embedding(number), &"x".repeat(500)).await;
        }
        let near = report(&cache).await.near;
        assert!(near.bytes <= 10_000 && near.entries <= 14, "{near:?}");
        assert!(near.evicted >= 86, "{near:?}");
    });
}

#[test]
fn a_project_is_warm_before_it_is_asked_for() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        put(&one, &fingerprint("p1"), "abc").await;
        put(&one, &embedding(1), "v").await;
        let warm = Warm {
            project: name("p1"),
            besides: vec![embedding(1), embedding(2)],
        };
        assert_eq!(two.send(warm).await.expect("a cache"), 2);
        let asked = far.asked();
        assert!(get(&two, &fingerprint("p1")).await.is_some() && get(&two, &embedding(1)).await.is_some());
        assert_eq!(far.asked(), asked);
    });
}

#[test]
fn what_cannot_be_read_is_a_miss_that_is_forgotten_and_counted() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let chunks = [[1; 32], [2; 32], [3; 32]];
        let vectors = [([1; 32], vec![0.5, -1.0]), ([2; 32], vec![1.0, 0.25])];
        put_vectors(&one, &name("m"), vectors).await.expect("they fit");
        far.meddle(&embedding(2), "what?".into());
        wait(1).await;
        let found = get_vectors(&two, &name("m"), &chunks, 2).await;
        let [Some(vector), None, None] = &found[..] else {
            panic!("{found:?}")
        };
        assert!((vector[0] - 0.5).abs() < 0.01 && (vector[1] + 1.0).abs() < 0.01);
        assert!(!far.has(&embedding(2)) && far.has(&embedding(1)));
        assert_eq!(report(&two).await.undecodable, 1);
        assert_eq!(
            get_vectors(&two, &name("m"), &chunks, 3).await,
            [None, None, None],
            "other dimensions"
        );
    });
}

#[test]
fn a_node_that_begins_loads_the_projects_that_were_indexed_last() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        for project in ["p1", "p2", "p3", "p1"] {
            put(&one, &fingerprint(project), project).await;
            put(&one, &Key::manifest(&name(project)), "of it").await;
        }
        let settings = Settings {
            warm_projects: 2,
            ..Settings::default()
        };
        let begins = CacheActor::new(settings, Some(Arc::new(far.door(2)))).start();
        wait(100).await;
        let (asked, begun) = (far.asked(), report(&begins).await);
        assert_eq!((begun.warmed, begun.computations_saved), (4, 0));
        for project in ["p1", "p3"] {
            assert_eq!(
                get(&begins, &fingerprint(project)).await.as_deref(),
                Some(project)
            );
        }
        // The report has asked once.
        assert_eq!(far.asked(), asked + 1, "they are near");
        assert_eq!(get(&begins, &fingerprint("p2")).await.as_deref(), Some("p2"));
        assert_eq!(far.asked(), asked + 2);
    });
}

#[test]
fn a_node_that_begins_leaves_room_for_what_will_be_asked_for() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        let large = "x".repeat(1_000);
        for project in 0..100 {
            put(&one, &fingerprint(&project.to_string()), &large).await;
        }
        let settings = Settings {
            near_bytes: 20_000,
            ..Settings::default()
        };
        let begins = CacheActor::new(settings, Some(Arc::new(far.door(2)))).start();
        wait(1_000).await;
        let near = report(&begins).await.near;
        assert!((10_000..13_000).contains(&near.bytes), "{near:?}");
        assert_eq!(near.evicted, 0);
    });
}

#[test]
fn what_was_invalidated_while_it_was_loaded_is_not_near() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        put(&one, &fingerprint("p1"), "old").await;
        let begins = cache(Some(Arc::new(far.door(2))));
        // It follows, is told of the projects, and asks for the first: each takes two milliseconds.
        wait(7).await;
        far.meddle(&fingerprint("p1"), "new".into());
        wait(100).await;
        assert_eq!(get(&begins, &fingerprint("p1")).await.as_deref(), Some("new"));
    });
}
