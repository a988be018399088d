//! The cache, over a real redis-server.

use bytes::Bytes;
use greenroom::actors::cache::{Get, GetMany, Invalidate, Put, PutMany};
use greenroom::actors::logic::cache::{Key, Name, vector};
use serde_json::{Value, json};

use crate::kit::{Redis, Sio, TestNode, eventually};
use crate::redis::node;

const THIRTY_DAYS: u64 = 2_592_000;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn embedding(number: u32) -> Key {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    Key::embedding(&name("local-1"), &hash)
}

async fn put(node: &TestNode, key: Key, value: impl Into<Bytes>) {
    let (value, ticket) = (value.into(), None);
    node.cache
        .send(Put { key, value, ticket })
        .await
        .unwrap()
        .unwrap();
}

async fn get(node: &TestNode, key: &Key) -> Option<Bytes> {
    node.cache.send(Get(key.clone())).await.unwrap()
}

/// A node whose cache hears what changes.
async fn hearing(redis: &Redis) -> TestNode {
    let node = node(redis).await;
    eventually("the cache to hear what changes", || async {
        metrics(&node).await["near"]["trusted"] == true
    })
    .await;
    node
}

async fn metrics(node: &TestNode) -> Value {
    node.http.get("/v1/cache/metrics").await.ok()
}

/// Seconds that a key lives, by what Redis says.
fn ttl(redis: &Redis, key: &str) -> u64 {
    redis.cli(&["ttl", key]).parse().unwrap()
}

/// Just written, it lives for so long.
fn lives(redis: &Redis, key: &str, seconds: u64) {
    let ttl = ttl(redis, key);
    assert!((seconds - 20..=seconds).contains(&ttl), "{key}: {ttl}");
}

#[tokio::test]
async fn keeps_fingerprint_thirty_days() {
    let redis = Redis::start();
    let [one, two] = [hearing(&redis).await, hearing(&redis).await];
    let key = Key::fingerprint(&name("p1"));
    put(&one, key.clone(), "abc").await;
    lives(&redis, "{greenroom}:project:p1:fingerprint", THIRTY_DAYS);
    assert_eq!(get(&two, &key).await, Some("abc".into()));
}

#[tokio::test]
async fn keeps_vectors_thirty_days() {
    let redis = Redis::start();
    let [one, two] = [hearing(&redis).await, hearing(&redis).await];
    let vector: Vec<f32> = (0..256).map(|i| (i as f32 / 40.0).sin()).collect();
    put(&one, embedding(1), vector::encode(&vector)).await;
    let key = redis.cli(&["keys", "{greenroom}:embedding:local-1:*"]);
    lives(&redis, &key, THIRTY_DAYS);
    let kept = get(&two, &embedding(1)).await.unwrap();
    let back = vector::decode(&kept, 256).unwrap();
    let worst = vector
        .iter()
        .zip(&back)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 0.005, "{worst}");
    // Using it has it live as long again.
    redis.cli(&["expire", &key, "100"]);
    eventually("the others to have heard of that", || async {
        get(&one, &embedding(1)).await.is_some() && ttl(&redis, &key) > 100
    })
    .await;
}

#[tokio::test]
async fn keeps_session_a_day() {
    let redis = Redis::start();
    let node = node(&redis).await;
    let mut client = Sio::enter(node.address).await;
    client.join("agent:1").await;
    let session = redis.cli(&["keys", "{greenroom}:session:*"]);
    lives(&redis, &session, 86_400);
}

#[tokio::test]
async fn expires_entries() {
    let redis = Redis::start();
    let [one, two] = [hearing(&redis).await, hearing(&redis).await];
    let key = Key::execution(&[1; 32]);
    put(&one, key.clone(), "done").await;
    assert!(get(&two, &key).await.is_some());
    redis.cli(&["pexpire", &redis.cli(&["keys", "{greenroom}:exec:*"]), "1"]);
    for node in [&one, &two] {
        eventually("it to be gone", || async { get(node, &key).await.is_none() }).await;
    }
}

#[tokio::test]
async fn invalidates_on_commit() {
    let redis = Redis::start();
    let [one, two] = [hearing(&redis).await, hearing(&redis).await];
    let (fingerprint, manifest) = (Key::fingerprint(&name("p1")), Key::manifest(&name("p1")));
    put(&one, fingerprint.clone(), "abc").await;
    put(&one, manifest.clone(), "files").await;
    assert!(get(&two, &fingerprint).await.is_some());
    let answer = one
        .http
        .post("/v1/projects/p1/invalidate", &json!({"commit": "def"}))
        .await;
    assert_eq!(answer.ok(), json!({"removed": 2, "everywhere": true}));
    for key in [&fingerprint, &manifest] {
        assert_eq!(get(&one, key).await, None);
        eventually("the other node to hear of it", || async {
            get(&two, key).await.is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn invalidates_changed_files_only() {
    let redis = Redis::start();
    let node = hearing(&redis).await;
    let file = |path| Key::file(&name("p1"), path);
    for path in ["src/a.rs", "src/b.rs", "a.rs"] {
        put(&node, file(path), path).await;
    }
    lives(&redis, "{greenroom}:project:p1:files", THIRTY_DAYS);
    let body = json!({"files": ["src/a.rs", "src/new.rs"]});
    let answer = node.http.post("/v1/projects/p1/invalidate", &body).await;
    assert_eq!(answer.ok(), json!({"removed": 1, "everywhere": true}));
    let kept = node
        .cache
        .send(GetMany(["src/a.rs", "src/b.rs", "a.rs"].map(file).into()));
    let kept: Vec<bool> = kept.await.unwrap().iter().map(Option::is_some).collect();
    assert_eq!(kept, [false, true, true]);
}

#[tokio::test]
async fn invalidates_whole_project() {
    let redis = Redis::start();
    let node = hearing(&redis).await;
    for key in Key::all_of(&name("p1")) {
        let field = key.text.ends_with("files").then(|| "a.rs".into());
        put(&node, Key { field, ..key }, "v").await;
    }
    assert_eq!(
        redis.cli(&["keys", "{greenroom}:project:p1:*"]).lines().count(),
        3
    );
    let answer = node
        .http
        .request(reqwest::Method::DELETE, "/v1/projects/p1/cache")
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer, json!({"removed": 3, "everywhere": true}));
    assert_eq!(redis.cli(&["keys", "{greenroom}:project:p1:*"]), "");
}

#[tokio::test]
async fn isolates_projects() {
    let redis = Redis::start();
    let node = hearing(&redis).await;
    for project in ["p1", "p1.x", "p", "p11"] {
        put(&node, Key::fingerprint(&name(project)), project).await;
    }
    put(&node, embedding(1), "v").await;
    let forget = Invalidate::Project(name("p1"));
    assert_eq!(node.cache.send(forget).await.unwrap().removed, 1);
    for project in ["p1.x", "p", "p11"] {
        let kept = get(&node, &Key::fingerprint(&name(project))).await;
        assert_eq!(kept, Some(project.into()), "{project}");
    }
    assert!(get(&node, &embedding(1)).await.is_some());
    let none = node
        .http
        .post("/v1/projects/a:b/invalidate", &json!({"commit": "x"}))
        .await;
    assert_eq!(
        (none.status, &none.json()["error"]["code"]),
        (400, &json!("bad_request"))
    );
}

#[tokio::test]
async fn measures_hit_rate() {
    let redis = Redis::start();
    let node = hearing(&redis).await;
    let keys: Vec<Key> = (0..200).map(embedding).collect();
    for load in 0..10 {
        let found = node.cache.send(GetMany(keys.clone())).await.unwrap();
        if load == 0 {
            let all = keys.iter().cloned().map(|key| (key, Bytes::from_static(b"v")));
            node.cache.send(PutMany(all.collect())).await.unwrap().unwrap();
        } else {
            assert!(found.iter().all(Option::is_some));
        }
    }
    let metrics = metrics(&node).await;
    let kinds = metrics["kinds"].as_array().unwrap();
    let embeddings = kinds.iter().find(|kind| kind["kind"] == "embedding").unwrap();
    for window in ["minute", "hour", "total"] {
        assert_eq!(embeddings[window]["hitRate"], json!(0.9), "{window}");
    }
    assert_eq!(metrics["computationsSaved"], 1_800);
}

#[tokio::test]
async fn measures_storage() {
    let redis = Redis::start();
    let node = hearing(&redis).await;
    // A project of 10,000 files, three chunks each.
    let vector: Vec<f32> = (0..256).map(|i| (i as f32 / 40.0).sin()).collect();
    let value = vector::encode(&vector);
    for batch in 0..30 {
        let keys = (batch * 1_000..(batch + 1) * 1_000).map(embedding);
        let all = keys.map(|key| (key, value.clone())).collect();
        node.cache.send(PutMany(all)).await.unwrap().unwrap();
    }
    let metrics = node.http.get("/v1/cache/metrics?counts=true").await.ok();
    let kinds = metrics["kinds"].as_array().unwrap();
    let embeddings = kinds.iter().find(|kind| kind["kind"] == "embedding").unwrap();
    assert_eq!(embeddings["farEntries"], 30_000);
    let bytes = embeddings["farBytes"].as_u64().unwrap();
    assert!(bytes < 100 << 20, "{bytes}");
    assert_eq!(metrics["putBytes"], 30_000 * value.len() as u64);
    let growth = metrics["growthMonthBytes"].as_u64().unwrap();
    assert_eq!(growth, metrics["growthDayBytes"].as_u64().unwrap() * 30);
}

#[tokio::test]
async fn watches_evictions() {
    let redis = Redis::with(&["--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru"]);
    let node = hearing(&redis).await;
    let value = Bytes::from(vec![7; 4_096]);
    let limit = metrics(&node).await["far"]["limitBytes"].as_u64().unwrap();
    assert_eq!(limit, 6 << 20);
    for number in 0..2_000 {
        put(&node, embedding(number), value.clone()).await;
    }
    let far = metrics(&node).await["far"].clone();
    assert!(far["evicted"].as_u64().unwrap() > 0, "{far}");
    assert!(far["usedBytes"].as_u64().unwrap() < 7 << 20, "{far}");
}

#[tokio::test]
async fn cleans_up_by_ttl() {
    let redis = Redis::start();
    let url = redis.url();
    let node = TestNode::with(|config| {
        config.redis.url = Some(greenroom::config::Secret::new(url));
        config.cache.ttl_execution_seconds = 1;
    })
    .await;
    eventually("the cache to hear what changes", || async {
        metrics(&node).await["near"]["trusted"] == true
    })
    .await;
    for number in 0..50 {
        put(&node, Key::execution(&[number; 32]), "done").await;
    }
    eventually("all to be gone", || async {
        redis.cli(&["keys", "{greenroom}:exec:*"]).is_empty()
    })
    .await;
    eventually("Redis to have removed them", || async {
        metrics(&node).await["far"]["expired"].as_u64() >= Some(50)
    })
    .await;
    assert_eq!(get(&node, &Key::execution(&[1; 32])).await, None);
}
