//! What is invalidated is found by nobody, and nothing else is touched.

use crate::*;
use greenroom_actors::{
    cache::{CacheError, Depend, Invalidate, Invalidated},
    testing::{memory_far::Mood, on_virtual_time},
};

const fn everywhere(removed: u64) -> Invalidated {
    let everywhere = true;
    Invalidated { removed, everywhere }
}

async fn forget(cache: &Addr<CacheActor>, what: Invalidate) -> Invalidated {
    cache.send(what).await.expect("a cache")
}

#[test]
fn what_one_node_forgets_all_have_forgotten() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "abc").await;
        assert!(get(&two, &key).await.is_some());
        assert_eq!(
            forget(&one, Invalidate::Keys(vec![key.clone()])).await,
            everywhere(1)
        );
        assert_eq!((get(&one, &key).await, get(&two, &key).await), (None, None));
        assert!(!far.has(&key));
    });
}

#[test]
fn a_commit_takes_the_fingerprint_and_the_manifest_with_it() {
    on_virtual_time(async {
        let (_, [one, two]) = pair().await;
        let manifest = Key::manifest(&name("p1"));
        let file = Key::file(&name("p1"), "src/lib.rs");
        for key in [&fingerprint("p1"), &manifest, &file, &fingerprint("p2")] {
            put(&one, key, "v").await;
        }
        assert_eq!(forget(&two, Invalidate::Commit(name("p1"))).await, everywhere(2));
        assert_eq!(get(&one, &fingerprint("p1")).await, None);
        assert_eq!(get(&one, &manifest).await, None);
        assert!(get(&one, &file).await.is_some() && get(&one, &fingerprint("p2")).await.is_some());
    });
}

#[test]
fn only_the_files_that_have_changed_are_forgotten() {
    on_virtual_time(async {
        let (_, [one, two]) = pair().await;
        let file = |path: &str| Key::file(&name("p1"), path);
        for path in ["a.rs", "b.rs", "dir/a.rs"] {
            put(&one, &file(path), path).await;
        }
        put(&one, &Key::file(&name("p2"), "a.rs"), "other").await;
        let changed = vec!["a.rs".to_owned(), "new.rs".to_owned()];
        assert_eq!(
            forget(&two, Invalidate::Files(name("p1"), changed)).await,
            everywhere(1)
        );
        assert_eq!(get(&one, &file("a.rs")).await, None);
        for kept in [file("b.rs"), file("dir/a.rs"), Key::file(&name("p2"), "a.rs")] {
            assert!(get(&one, &kept).await.is_some(), "{kept:?}");
        }
    });
}

#[test]
fn a_project_is_forgotten_and_nothing_of_another() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        // Names that begin alike.
        for project in ["p1", "p1.x", "p", "p11"] {
            for key in Key::all_of(&name(project)) {
                let field = (key.kind == greenroom_actors::logic::cache::Kind::File).then(|| "a.rs".into());
                put(&one, &Key { field, ..key }, "v").await;
            }
        }
        put(&one, &embedding(1), "v").await;
        assert_eq!(forget(&one, Invalidate::Project(name("p1"))).await, everywhere(3));
        let names = far.names();
        assert_eq!(names.len(), 10, "{names:?}");
        assert!(
            !names.iter().any(|name| name.starts_with("project:p1:")),
            "{names:?}"
        );
        assert_eq!(get(&one, &fingerprint("p1")).await, None);
    });
}

#[test]
fn a_pattern_forgets_what_matches() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        for number in 0..5 {
            put(&one, &embedding(number), "v").await;
        }
        put(&one, &fingerprint("p1"), "v").await;
        assert!(get(&two, &embedding(1)).await.is_some());
        assert_eq!(
            forget(&one, Invalidate::Matching("embedding:m:*".into())).await,
            everywhere(5)
        );
        assert_eq!(get(&two, &embedding(1)).await, None);
        assert_eq!(far.names(), ["project:p1:fingerprint"]);
    });
}

#[test]
fn what_depends_on_something_is_forgotten_with_it() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let runs = [1, 2].map(|number| Key::execution(&[number; 32]));
        let depends = |keys: Vec<Key>| Depend {
            keys,
            on: name("image"),
        };
        let noted = one.send(depends(vec![runs[0].clone()])).await;
        assert_eq!(noted.expect("a cache"), Ok(()));
        for key in &runs {
            put(&one, key, "v").await;
            assert!(get(&two, key).await.is_some());
        }
        let forgotten = forget(&two, Invalidate::Dependents(name("image"))).await;
        assert_eq!(forgotten, everywhere(1));
        for node in [&one, &two] {
            assert_eq!(get(node, &runs[0]).await, None);
            assert!(get(node, &runs[1]).await.is_some(), "it depends on nothing");
        }
        let renewed = one.send(depends(vec![embedding(1)])).await.expect("a cache");
        assert_eq!(renewed, Err(CacheError::Renewed));
        far.set(Mood::Away);
        let noted = one.send(depends(runs.into())).await.expect("a cache");
        assert_eq!(noted, Err(CacheError::Away));
    });
}

#[test]
fn without_a_far_tier_all_is_forgotten_when_anything_is_on_which_something_depends() {
    on_virtual_time(async {
        let alone = cache(None);
        let run = Key::execution(&[1; 32]);
        let depend = Depend {
            keys: vec![run.clone()],
            on: name("image"),
        };
        assert_eq!(alone.send(depend).await.expect("a cache"), Ok(()));
        put(&alone, &run, "v").await;
        let forgotten = forget(&alone, Invalidate::Dependents(name("image"))).await;
        assert_eq!(forgotten, everywhere(1));
        assert_eq!(get(&alone, &run).await, None);
    });
}

#[test]
fn what_another_hand_changes_is_not_found_as_it_was() {
    on_virtual_time(async {
        let (far, [one, _]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "abc").await;
        far.meddle(&key, "def".into());
        wait(1).await;
        assert_eq!(get(&one, &key).await.as_deref(), Some("def"));
        far.flush();
        wait(1).await;
        assert_eq!(get(&one, &key).await, None);
    });
}

#[test]
fn what_changes_while_it_is_on_its_way_is_not_kept_near() {
    on_virtual_time(async {
        let (far, [one, two]) = pair().await;
        let key = fingerprint("p1");
        put(&one, &key, "old").await;
        let reads = get(&two, &key);
        let changes = async {
            wait(1).await;
            far.meddle(&key, "new".into());
        };
        let (read, ()) = tokio::join!(reads, changes);
        assert_eq!(read.as_deref(), Some("old"), "it was asked before");
        assert_eq!(get(&two, &key).await.as_deref(), Some("new"));
    });
}
