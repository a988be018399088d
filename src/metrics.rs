//! The node's metrics, gathered when they are asked for.

use std::fmt;
use std::sync::Arc;

use greenroom_actors::cache::{CacheReport, Report};
use greenroom_actors::logic::fault::Code;
use greenroom_actors::memory::Memory;
use greenroom_actors::ports::{BusGauges, BusState};
use greenroom_actors::stats::ShardStats;
use greenroom_actors::supervise::{Phase, Workers};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::adapters::tls::Standing;
use crate::cache_metrics;
use crate::http::Site;

/// The metrics as OpenMetrics text. A cache that is being restarted has none.
pub async fn text(site: &Site) -> String {
    let cache = site.cache.send(Report { counts: false }).await;
    let gathered = Gathered {
        shards: site
            .parts
            .shards
            .all()
            .into_iter()
            .map(|door| door.stats)
            .collect(),
        bus: site.parts.bus.gauges(),
        standing: site.parts.bus.state(),
        memory: site.parts.memory.clone(),
        cache: cache.ok().flatten(),
        refusals: site.guard.refusals(),
        workers: site.parts.supervisor.workers().borrow().clone(),
        tls: site.tls.as_ref().map(|certificates| certificates.standing()),
        uptime_seconds: site.began.elapsed().as_secs(),
    };
    let mut registry = Registry::with_prefix("greenroom");
    registry.register_collector(Box::new(gathered));
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Gathered {
    shards: Vec<Arc<ShardStats>>,
    bus: BusGauges,
    standing: BusState,
    memory: Arc<Memory>,
    cache: Option<CacheReport>,
    refusals: [(Code, u64); 2],
    workers: Workers,
    tls: Option<Standing>,
    uptime_seconds: u64,
}

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_shards(&mut encoder)?;
        gauge(
            &mut encoder,
            "uptime_seconds",
            "Seconds since the node began",
            self.uptime_seconds,
        )?;
        gauge(
            &mut encoder,
            "history_events",
            "Events kept for clients that come back",
            self.bus.events as u64,
        )?;
        gauge(
            &mut encoder,
            "history_bytes",
            "What those events cost, bytes",
            self.bus.bytes as u64,
        )?;
        gauge(
            &mut encoder,
            "remembered_rooms",
            "Rooms whose last event is remembered",
            self.bus.rooms as u64,
        )?;
        counter(
            &mut encoder,
            "published",
            "Events numbered by the bus in its present life",
            self.bus.head,
        )?;
        self.encode_standing(&mut encoder)?;
        self.encode_memory(&mut encoder)?;
        if let Some(cache) = &self.cache {
            cache_metrics::encode(cache, &mut encoder)?;
        }
        self.encode_tls(&mut encoder)?;
        self.encode_refusals(&mut encoder)?;
        self.encode_workers(&mut encoder)
    }
}

pub(crate) fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(value as i64);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

pub(crate) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

impl Gathered {
    fn encode_standing(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let BusState {
            up, waiting, outages, ..
        } = self.standing;
        let help = "1 while the bus is there: always, if it is embedded; else while Redis is reached";
        gauge(encoder, "bus_up", help, u64::from(up))?;
        let help = "Events that were accepted and are not in Redis yet";
        gauge(encoder, "bus_waiting_events", help, waiting as u64)?;
        counter(encoder, "bus_outages", "How often Redis went away", outages)
    }

    fn encode_shards(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows: Vec<_> = self.shards.iter().map(|shard| shard.rows()).collect();
        let Some(first) = rows.first() else { return Ok(()) };
        for (at, (name, kind, help, _)) in first.iter().enumerate() {
            // The exporter ends the help with a full stop itself.
            let help = help.trim_end_matches('.');
            let is_counter = *kind == "counter";
            let mut family = if is_counter {
                encoder.encode_descriptor(name, help, None, ConstCounter::new(0u64).metric_type())?
            } else {
                encoder.encode_descriptor(name, help, None, ConstGauge::new(0i64).metric_type())?
            };
            for (shard, row) in rows.iter().enumerate() {
                let labels = [("shard", shard.to_string())];
                let labelled = family.encode_family(&labels)?;
                if is_counter {
                    ConstCounter::new(row[at].3).encode(labelled)?;
                } else {
                    ConstGauge::new(row[at].3 as i64).encode(labelled)?;
                }
            }
        }
        Ok(())
    }

    fn encode_memory(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauge(
            encoder,
            "memory_bytes",
            "What histories and what waits for connections take together, bytes",
            self.memory.held(),
        )?;
        let full = u64::from(self.memory.is_full());
        let help = "Whether that is too much, so that the node takes nothing new";
        gauge(encoder, "memory_full", help, full)
    }

    /// Zero, all of them, where there is no TLS.
    fn encode_tls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tls = self.tls.as_ref();
        let end = tls.map_or(0, |tls| tls.not_after.as_second().max(0) as u64);
        let name = "tls_certificate_end_seconds";
        gauge(
            encoder,
            name,
            "When the certificate that is served ends, seconds since 1970",
            end,
        )?;
        let reloads = tls.map_or(0, |tls| tls.reloads);
        counter(
            encoder,
            "tls_reloads",
            "Certificates taken over since the start",
            reloads,
        )?;
        let failures = tls.map_or(0, |tls| tls.failures);
        counter(
            encoder,
            "tls_reload_failures",
            "New certificates that could not be used",
            failures,
        )
    }

    fn encode_refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = ConstCounter::new(0u64).metric_type();
        let help = "Requests and commands refused for who asked, by code";
        let mut family = encoder.encode_descriptor("refusals", help, None, kind)?;
        for (code, count) in self.refusals {
            let labels = [("code", code.row().name)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = ConstGauge::new(0i64).metric_type();
        let mut up = encoder.encode_descriptor("worker_up", "Whether a worker is running", None, kind)?;
        for (name, status) in &*self.workers {
            let labels = [("worker", name.as_str())];
            ConstGauge::new(i64::from(status.phase == Phase::Running)).encode(up.encode_family(&labels)?)?;
        }
        let kind = ConstCounter::new(0u64).metric_type();
        let mut restarts = encoder.encode_descriptor("worker_restarts", "Restarts by cause", None, kind)?;
        for (name, status) in &*self.workers {
            for (cause, count) in [
                ("panic", status.restarts.panics),
                ("outage", status.restarts.outages),
            ] {
                let labels = [("worker", name.as_str()), ("cause", cause)];
                ConstCounter::new(u64::from(count)).encode(restarts.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
