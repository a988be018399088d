//! The metrics of the cache.

use std::fmt;

use greenroom_actors::cache::{CacheReport, Rates};
use greenroom_actors::logic::cache::meter::Latencies;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::metrics::{counter, gauge};

const MICROSECONDS: f64 = 1e-6;

/// What a cache tells of itself.
pub(crate) fn encode(report: &CacheReport, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    encode_requests(report, encoder)?;
    encode_near(report, encoder)?;
    encode_far(report, encoder)?;
    counter(encoder, "cache_put", "Entries written", report.put)?;
    counter(
        encoder,
        "cache_put_bytes",
        "Their values, bytes",
        report.put_bytes,
    )?;
    let help = "Entries that were loaded before anybody asked for them";
    counter(encoder, "cache_warmed", help, report.warmed)?;
    let help = "Values that were not what they should be, and were deleted";
    counter(encoder, "cache_undecodable", help, report.undecodable)?;
    let help = "What did not have to come from Redis, bytes";
    counter(encoder, "cache_saved_bytes", help, report.bytes_saved)?;
    let help = "Requests that wait for somebody to compute something";
    gauge(encoder, "cache_waiting", help, report.waiting as u64)
}

fn encode_requests(report: &CacheReport, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Entries asked for, by kind and where they were found";
    let mut family = encoder.encode_descriptor("cache_requests", help, None, kind)?;
    for row in &report.kinds {
        let Rates {
            near_hits,
            far_hits,
            shared,
            misses,
            ..
        } = row.total;
        let found = [
            ("near", near_hits),
            ("far", far_hits),
            ("shared", shared),
            ("missed", misses),
        ];
        for (found, count) in found {
            let labels = [("kind", row.kind), ("found", found)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_near(report: &CacheReport, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let near = &report.near;
    gauge(
        encoder,
        "cache_near_entries",
        "Entries in the process",
        near.entries,
    )?;
    gauge(encoder, "cache_near_bytes", "What they cost, bytes", near.bytes)?;
    let help = "Entries that the process has put out for others";
    counter(encoder, "cache_near_evicted", help, near.evicted)?;
    let help = "Entries of the process of which the time was up";
    counter(encoder, "cache_near_expired", help, near.expired)?;
    let help = "1 while the node hears what changes, and believes its own entries";
    gauge(encoder, "cache_near_trusted", help, u64::from(near.trusted))?;
    let help = "How long finding something in the process took, seconds";
    histogram(encoder, "cache_near_seconds", help, &near.latency.all)
}

/// Without Redis there is nothing to be told of it.
fn encode_far(report: &CacheReport, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let far = report.far.unwrap_or_default();
    let help = "1 while Redis is asked for entries: not after it has failed several times, nor without it";
    gauge(encoder, "cache_far_asked", help, u64::from(far.asked))?;
    let help = "Questions that Redis did not answer in time, or with an error";
    counter(encoder, "cache_far_errors", help, far.errors)?;
    let help = "Entries that Redis is still to be told to forget";
    gauge(encoder, "cache_far_owed", help, far.owed as u64)?;
    let help = "What Redis holds, also for others, bytes";
    gauge(encoder, "cache_far_used_bytes", help, far.used_bytes.unwrap_or(0))?;
    let help = "Entries that Redis has put out for others, also of others";
    counter(encoder, "cache_far_evicted", help, far.evicted.unwrap_or(0))?;
    let help = "Entries of Redis of which the time was up, also of others";
    counter(encoder, "cache_far_expired", help, far.expired.unwrap_or(0))?;
    let help = "How long answers of Redis took, seconds";
    histogram(encoder, "cache_far_seconds", help, &far.latency.all)
}

fn histogram(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, all: &Latencies) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    let last = all.buckets.len() - 1;
    let bound = |bucket: usize| match bucket {
        bucket if bucket == last => f64::MAX,
        bucket => (1_u64 << bucket) as f64 * MICROSECONDS,
    };
    let counts = all.buckets.iter().enumerate();
    let buckets: Vec<(f64, u64)> = counts.map(|(bucket, count)| (bound(bucket), *count)).collect();
    let sum = all.sum_us as f64 * MICROSECONDS;
    metric.encode_histogram::<NoLabelSet>(sum, all.count, &buckets, None)
}
