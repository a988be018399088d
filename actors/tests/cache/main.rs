//! The CacheActor on virtual time, with a far tier that fails in all its ways: walks by hand, and any history of two nodes
//! against a model.

mod any_history;
mod computing;
mod faults;
mod forgetting;
mod keeping;

use actix::{Actor as _, Addr};
use bytes::Bytes;
use greenroom_actors::{
    cache::{CacheActor, CacheReport, Get, Put, Report, Settings},
    far_cache::FarCache,
    logic::cache::{Key, Name},
    testing::memory_far::MemoryFar,
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long the far tier takes for an answer.
pub const TAKES: Duration = Duration::from_millis(2);

/// A far tier, and the caches of two nodes on it that follow it by now.
pub async fn pair() -> (MemoryFar, [Addr<CacheActor>; 2]) {
    let far = MemoryFar::new(TAKES, Duration::from_secs(3_600));
    let nodes = [0, 1].map(|node| cache(Some(Arc::new(far.door(node)))));
    wait(100).await;
    (far, nodes)
}

/// A cache.
pub fn cache(far: Option<Arc<dyn FarCache>>) -> Addr<CacheActor> {
    CacheActor::new(Settings::default(), far).start()
}

/// Some milliseconds pass.
pub async fn wait(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// A project's or a model's name.
pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// A fingerprint's key.
pub fn fingerprint(project: &str) -> Key {
    Key::fingerprint(&name(project))
}

/// A vector's key.
pub fn embedding(number: u8) -> Key {
    Key::embedding(&name("m"), &[number; 32])
}

/// Puts.
pub async fn put(cache: &Addr<CacheActor>, key: &Key, value: &str) {
    let (key, value) = (key.clone(), Bytes::copy_from_slice(value.as_bytes()));
    let put = Put {
        key,
        value,
        ticket: None,
    };
    cache.send(put).await.expect("a cache").expect("it fits");
}

/// Gets.
pub async fn get(cache: &Addr<CacheActor>, key: &Key) -> Option<String> {
    let value = cache.send(Get(key.clone())).await.expect("a cache")?;
    Some(String::from_utf8(value.to_vec()).expect("a text"))
}

/// How a cache does.
pub async fn report(cache: &Addr<CacheActor>) -> CacheReport {
    let report = cache.send(Report { counts: false }).await.expect("a cache");
    report.expect("a report")
}
