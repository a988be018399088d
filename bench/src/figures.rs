//! What a run of a case comes to: figures by name, those of latencies and of deliveries among them.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;

use crate::ledger::{Account, Latency};

/// The figures of one run, by key.
pub type Figures = BTreeMap<String, f64>;

pub fn add(figures: &mut Figures, key: &str, value: f64) {
    figures.insert(key.to_owned(), value);
}

pub fn add_known(figures: &mut Figures, key: &str, value: Option<f64>) {
    if let Some(value) = value {
        add(figures, key, value);
    }
}

/// Of nothing heard there is no latency: a zero would look like a good one.
pub fn add_latency(figures: &mut Figures, latencies: &Histogram<u64>) {
    if latencies.is_empty() {
        return;
    }
    let latency = Latency::of(latencies);
    add(figures, "p50_ms", latency.p50_ms);
    add(figures, "p95_ms", latency.p95_ms);
    add(figures, "p99_ms", latency.p99_ms);
    add(figures, "max_ms", latency.max_ms);
}

/// Percentiles apart: of places on the publisher's node, and on the others.
pub fn add_far(figures: &mut Figures, all: &Histogram<u64>, far: &Histogram<u64>) {
    let mut near = all.clone();
    if near.subtract(far).is_err() || near.is_empty() || far.is_empty() {
        return;
    }
    let (near, far) = (Latency::of(&near), Latency::of(far));
    add(figures, "local_p50_ms", near.p50_ms);
    add(figures, "local_p99_ms", near.p99_ms);
    add(figures, "far_p50_ms", far.p50_ms);
    add(figures, "far_p99_ms", far.p99_ms);
    add(figures, "far_extra_p50_ms", (far.p50_ms - near.p50_ms).max(0.0));
}

/// What was owed and what came of it.
pub fn accounted(account: Account, refused: u64) -> Figures {
    let mut figures = Figures::new();
    add(&mut figures, "wrong", (account.wrong() + refused) as f64);
    add(&mut figures, "expected", account.expected as f64);
    add(&mut figures, "lost", account.lost as f64);
    add(&mut figures, "duplicated", account.duplicated as f64);
    add(&mut figures, "out_of_order", account.out_of_order as f64);
    add(&mut figures, "strays", account.strays as f64);
    add(&mut figures, "refused", refused as f64);
    figures
}
