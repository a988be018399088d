//! What black-box tests need: nodes, and clients that know nothing of a node but its address.
//!
//! Every wait has a limit, so that a test fails instead of hanging; none waits for a time to pass.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its part of the kit"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

pub mod follow;
pub mod http;
pub mod node;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod sio;
pub mod sse;
pub mod stock;
pub mod tls;
pub mod turns;
pub mod ws;

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

pub use follow::{Entry, Follower, Log, Publisher};
pub use http::{Answer, Http};
pub use node::{TestNode, config};
pub use process::Process;
pub use proxy::{Fault, Proxy};
pub use raw::Raw;
pub use redis::Redis;
pub use sio::{Polling, Sio};
pub use sse::Sse;
pub use stock::{Event, KINDS, Stock, StockClient, Transport, Version, stock_server};
pub use tls::{Authority, Tunnel};
pub use turns::Turns;
pub use ws::Ws;

/// How long anything that has to happen may take: far beyond what a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Awaits something that has to happen.
pub async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match timeout(LIMIT, happens).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}

/// Looks again and again until something is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The numbers that events carry as their data.
pub fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(number).collect()
}

/// The number that an event carries as its data, or as `n` within it.
pub fn number(event: &Value) -> u64 {
    let data = &event["data"];
    data.as_u64()
        .or_else(|| data["n"].as_u64())
        .unwrap_or_else(|| panic!("not a numbered event: {event}"))
}

/// The thoughts in a payload: one, or those that were merged.
pub fn thoughts_of(data: &Value) -> Vec<String> {
    let text = |data: &Value| data["thought"].as_str().expect("a text").to_owned();
    let Some(merged) = data["thoughts"].as_array() else {
        return vec![text(data)];
    };
    let texts: Vec<String> = merged.iter().map(text).collect();
    assert_eq!(data["merged"], texts.len());
    assert_eq!(data["thought"], texts.join("\n"));
    texts
}

/// A text that is the same in every run and different at every call.
pub fn numbered_name(kind: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{kind}:{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
