//! The cache of several nodes over a real redis-server, and what becomes of it when that fails.

use std::time::Duration;

use bytes::Bytes;
use greenroom::actors::cache::{Depend, Get, Invalidate, Put};
use greenroom::actors::logic::cache::{Key, Name};
use greenroom::config::Secret;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::kit::{Fault, Proxy, Redis, TestNode, eventually};
use crate::{node, node_with};

fn name() -> Name {
    Name::parse("p1").unwrap()
}

fn fingerprint() -> Key {
    Key::fingerprint(&name())
}

fn execution(number: u8) -> Key {
    Key::execution(&[number; 32])
}

async fn put(node: &TestNode, key: Key, value: &'static str) {
    let (value, ticket) = (Bytes::from_static(value.as_bytes()), None);
    node.cache
        .send(Put { key, value, ticket })
        .await
        .unwrap()
        .unwrap();
}

async fn get(node: &TestNode, key: &Key) -> Option<Bytes> {
    node.cache.send(Get(key.clone())).await.unwrap()
}

async fn report(node: &TestNode) -> Value {
    node.http.get("/v1/cache/metrics").await.ok()
}

async fn until_trusted(node: &TestNode, trusted: bool) {
    eventually("the cache to hear what changes, or not to", || async {
        let report = report(node).await;
        report["near"]["trusted"] == trusted && report["far"]["asked"] == trusted
    })
    .await;
}

async fn pair(url: &str) -> [TestNode; 2] {
    let nodes = [node(url).await, node(url).await];
    for node in &nodes {
        until_trusted(node, true).await;
    }
    nodes
}

#[tokio::test]
async fn while_redis_is_stalled_nobody_waits_and_what_never_changes_is_found_near() {
    let redis = Redis::start();
    let [one, two] = pair(&redis.url()).await;
    put(&one, execution(1), "done").await;
    redis.stall();
    until_not_asked(&one).await;
    let began = Instant::now();
    for number in 2..200 {
        assert_eq!(get(&one, &execution(number)).await, None);
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?} for 198 misses",
        began.elapsed()
    );
    assert_eq!(get(&one, &execution(1)).await, Some("done".into()));
    redis.go_on();
    until_trusted(&one, true).await;
    put(&one, execution(2), "again").await;
    assert_eq!(get(&two, &execution(2)).await, Some("again".into()));
}

/// Asks until the far tier is not asked any more.
async fn until_not_asked(node: &TestNode) {
    eventually("the circuit to open", || async {
        get(node, &execution(99)).await;
        report(node).await["far"]["asked"] == false
    })
    .await;
}

/// How often a vector was found near and far.
async fn found(node: &TestNode) -> (u64, u64) {
    let report = report(node).await;
    let kinds = report["kinds"].as_array().unwrap();
    let vectors = kinds.iter().find(|kind| kind["kind"] == "embedding").unwrap();
    let count = |of: &str| vectors["total"][of].as_u64().unwrap();
    (count("nearHits"), count("farHits"))
}

async fn until_overheard(node: &TestNode, changes: u64) {
    eventually("a node to hear of changes", || async {
        report(node).await["far"]["overheard"].as_u64().unwrap() >= changes
    })
    .await;
}

#[tokio::test]
async fn what_one_node_reads_is_near_there_and_stays_near_elsewhere() {
    let redis = Redis::start();
    let [one, two] = pair(&redis.url()).await;
    let vector = Key::embedding(&name(), &[1; 32]);
    put(&one, vector.clone(), "vector").await;
    // What it read before it hears of the put it would read again.
    until_overheard(&two, 1).await;
    assert_eq!(get(&two, &vector).await, Some("vector".into()));
    // What a node hears later it hears behind whatever reading has had Redis tell.
    for (from, to, heard) in [(&one, &two, 2), (&two, &one, 1)] {
        put(from, fingerprint(), "abc").await;
        until_overheard(to, heard).await;
        assert_eq!(get(to, &vector).await, Some("vector".into()));
    }
    assert_eq!((found(&one).await, found(&two).await), ((1, 0), (1, 1)));
}

#[tokio::test]
async fn a_slow_redis_is_waited_for_within_the_budget_and_beyond_it_by_nobody() {
    let redis = Redis::start();
    let network = Proxy::to(redis.address).await;
    let one = node(&redis.url()).await;
    let two = node_with(&format!("redis://{}", network.address), |config| {
        config.cache.budget_ms = 300;
    })
    .await;
    until_trusted(&one, true).await;
    until_trusted(&two, true).await;
    for number in 1..4 {
        put(&one, execution(number), "done").await;
    }
    // So that there is a connection to read by: making one takes longer.
    assert_eq!(get(&two, &execution(1)).await, Some("done".into()));
    network.slow_down(Duration::from_millis(20));
    assert_eq!(get(&two, &execution(2)).await, Some("done".into()), "in time");
    // There and back more than the budget, and less than `redis.timeout_ms`: the node does not lose the server.
    network.slow_down(Duration::from_millis(200));
    let began = Instant::now();
    until_not_asked(&two).await;
    for number in 10..90 {
        assert_eq!(get(&two, &execution(number)).await, None);
    }
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "{took:?} for three times the budget"
    );
    assert_eq!(get(&two, &execution(2)).await, Some("done".into()), "near");
    network.slow_down(Duration::ZERO);
    until_trusted(&two, true).await;
    assert_eq!(get(&two, &execution(3)).await, Some("done".into()));
}

#[tokio::test]
async fn what_was_invalidated_while_a_node_was_cut_off_it_does_not_give_out() {
    let redis = Redis::start();
    let network = Proxy::to(redis.address).await;
    let one = node(&redis.url()).await;
    let two = node(&format!("redis://{}", network.address)).await;
    until_trusted(&one, true).await;
    until_trusted(&two, true).await;
    put(&one, fingerprint(), "old").await;
    assert_eq!(get(&two, &fingerprint()).await, Some("old".into()));
    network.strike(Fault::Reset);
    let forgotten = one.cache.send(Invalidate::Commit(name())).await.unwrap();
    assert!(forgotten.everywhere);
    until_trusted(&two, true).await;
    assert_eq!(get(&two, &fingerprint()).await, None);
}

#[tokio::test]
async fn what_a_node_could_not_have_forgotten_is_when_redis_is_back() {
    let mut redis = Redis::start();
    let [one, two] = pair(&redis.url()).await;
    put(&one, fingerprint(), "old").await;
    redis.kill();
    until_not_asked(&one).await;
    let forgotten = one.cache.send(Invalidate::Commit(name())).await.unwrap();
    assert!(!forgotten.everywhere);
    redis.begin();
    until_trusted(&one, true).await;
    eventually("nothing to be owed", || async {
        report(&one).await["far"]["owed"] == 0
    })
    .await;
    assert_eq!(redis.cli(&["exists", "{greenroom}:project:p1:fingerprint"]), "0");
    until_trusted(&two, true).await;
    assert_eq!(get(&two, &fingerprint()).await, None);
}

#[tokio::test]
async fn a_redis_that_came_back_empty_is_filled_again() {
    let mut redis = Redis::with(&[]);
    let [one, two] = pair(&redis.url()).await;
    put(&one, execution(1), "done").await;
    redis.kill();
    until_not_asked(&one).await;
    redis.begin();
    until_trusted(&one, true).await;
    until_trusted(&two, true).await;
    assert_eq!(get(&two, &execution(1)).await, None);
    put(&two, execution(1), "again").await;
    assert_eq!(get(&one, &execution(1)).await, Some("again".into()));
}

#[tokio::test]
async fn what_depends_on_something_is_forgotten_with_it_by_all() {
    let redis = Redis::start();
    let [one, two] = pair(&redis.url()).await;
    let file = Key::file(&name(), "src/a file.rs");
    let on = Name::parse("image-1").unwrap();
    let keys = vec![execution(1), file.clone()];
    let depend = Depend { keys, on };
    one.cache.send(depend).await.unwrap().unwrap();
    for key in [execution(1), execution(2), file.clone()] {
        put(&one, key.clone(), "v").await;
        assert!(get(&two, &key).await.is_some());
    }
    let set = "{greenroom}:dependents:image-1";
    assert_eq!(redis.cli(&["zcard", set]), "2");
    let body = json!({"dependency": "image-1", "pattern": "*"});
    let refused = two.http.post("/v1/cache/invalidate", &body).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (400, &json!("bad_request"))
    );
    let body = json!({"dependency": "image-1"});
    let forgotten = two.http.post("/v1/cache/invalidate", &body).await.ok();
    assert_eq!(
        (&forgotten["removed"], &forgotten["everywhere"]),
        (&json!(2), &json!(true))
    );
    eventually("the other node to hear of it", || async {
        get(&one, &execution(1)).await.is_none()
    })
    .await;
    for node in [&one, &two] {
        assert_eq!(get(node, &file).await, None);
        assert!(get(node, &execution(2)).await.is_some(), "it depends on nothing");
    }
    assert_eq!(redis.cli(&["exists", set]), "0");
    let body = json!({"pattern": "exec:*"});
    let forgotten = two.http.post("/v1/cache/invalidate", &body).await.ok();
    assert_eq!(forgotten["removed"], 1);
}

#[tokio::test]
async fn a_node_that_begins_loads_what_was_indexed_last() {
    let redis = Redis::start();
    let [one, two] = pair(&redis.url()).await;
    put(&one, fingerprint(), "abc").await;
    put(&one, Key::manifest(&name()), "of it").await;
    let three = node(&redis.url()).await;
    eventually("it to be loaded", || async {
        report(&three).await["warmed"] == 2
    })
    .await;
    assert!(get(&three, &fingerprint()).await.is_some());
    let fingerprints = report(&three).await["kinds"][0].clone();
    assert_eq!(fingerprints["kind"], "fingerprint");
    assert_eq!(
        (
            &fingerprints["total"]["nearHits"],
            &fingerprints["total"]["farHits"]
        ),
        (&1.into(), &0.into())
    );
    assert_eq!(redis.cli(&["zrange", "{greenroom}:projects", "0", "-1"]), "p1");
    let gone = two.cache.send(Invalidate::Project(name())).await.unwrap();
    assert_eq!((gone.removed, gone.everywhere), (2, true));
    assert_eq!(
        redis.cli(&["exists", "{greenroom}:projects"]),
        "0",
        "nothing of it is left"
    );
}

#[tokio::test]
async fn a_full_redis_refuses_and_the_node_goes_on() {
    let redis = Redis::start();
    let [one, _] = pair(&redis.url()).await;
    redis.cli(&["config", "set", "maxmemory", "1"]);
    put(&one, execution(1), "done").await;
    assert_eq!(get(&one, &execution(1)).await, Some("done".into()), "near");
    assert!(report(&one).await["far"]["errors"].as_u64().unwrap() > 0);
    redis.cli(&["config", "set", "maxmemory", "0"]);
    until_trusted(&one, true).await;
    put(&one, execution(2), "done").await;
    assert_eq!(
        redis.cli(&["--raw", "eval", "return #redis.call('keys', '*exec*')", "0"]),
        "1"
    );
}

#[tokio::test]
async fn a_value_of_another_kind_is_as_good_as_none() {
    let redis = Redis::start();
    let [one, two] = pair(&redis.url()).await;
    redis.cli(&["lpush", "{greenroom}:project:p1:fingerprint", "no", "text"]);
    assert_eq!(get(&one, &fingerprint()).await, None);
    put(&one, fingerprint(), "abc").await;
    assert_eq!(get(&two, &fingerprint()).await, Some("abc".into()));
}

#[tokio::test]
async fn a_wrong_password_is_no_cache_and_no_harm() {
    let redis = Redis::with(&["--requirepass", "right"]);
    let url = format!("redis://:wrong@{}", redis.address);
    let node = TestNode::with(|config| {
        config.redis.url = Some(Secret::new(url));
        config.redis.timeout_ms = 500;
    })
    .await;
    put(&node, execution(1), "done").await;
    assert_eq!(get(&node, &execution(1)).await, Some("done".into()));
    let report = report(&node).await;
    assert_eq!(report["near"]["trusted"], false, "{report}");
}

#[tokio::test]
async fn one_project_among_very_many_keys_is_forgotten_without_a_long_command() {
    let redis = Redis::start();
    let fill = "for i = 1, 1000000 do redis.call('set', '{greenroom}:embedding:m:' .. i, 'v') end";
    redis.cli(&["config", "set", "appendonly", "no"]);
    redis.cli(&["eval", fill, "0"]);
    let [one, _] = pair(&redis.url()).await;
    for key in Key::all_of(&name()) {
        let field = key.text.ends_with("files").then(|| "a.rs".into());
        put(&one, Key { field, ..key }, "v").await;
    }
    redis.cli(&["config", "set", "slowlog-log-slower-than", "5000"]);
    redis.cli(&["slowlog", "reset"]);
    let forgotten = one.cache.send(Invalidate::Project(name())).await.unwrap();
    assert_eq!((forgotten.removed, forgotten.everywhere), (3, true));
    assert_eq!(redis.cli(&["slowlog", "len"]), "0");
    assert_eq!(redis.cli(&["exists", "{greenroom}:embedding:m:7"]), "1");
}
