//! What a vector of 256 dimensions takes in Redis, beside a bare value of as many bytes.

use anyhow::Result;
use bytes::Bytes;
use greenroom_actors::logic::cache::vector;
use redis::aio::MultiplexedConnection;

use super::stage::{Stage, name, vector as key};
use crate::cases::Effort;
use crate::figures::{Figures, add};
use crate::process::Cores;

const DIMENSIONS: u16 = 256;
/// Entries kept. A table of Redis has a power of two of places and grows when it is full: with this many, and with a tenth of
/// them, it is three quarters and four fifths full, about the mean of what it ever is.
const ENTRIES: u64 = 100_000;
/// Of which so many are measured one by one.
const SAMPLE: u64 = 1_000;
/// Commands sent in one go.
const IN_ONE_GO: u64 = 1_000;

/// The figures of bare values and of the cache, each on a Redis of its own.
pub async fn run(effort: Effort, cores: Cores) -> Result<Vec<Figures>> {
    let entries = if effort.quick { ENTRIES / 10 } else { ENTRIES };
    Ok(vec![bare(entries, cores).await?, kept(entries, cores).await?])
}

async fn bare(entries: u64, cores: Cores) -> Result<Figures> {
    let stage = Stage::start(cores)?;
    let mut connection = stage.bare().await?;
    let before = stage.redis.held_bytes()?;
    let short = |number: u64| format!("e:{number}");
    let life_ms = greenroom_actors::cache::Lives::default().long.as_millis() as u64;
    let value = vec![7_u8; usize::from(DIMENSIONS)];
    for first in (0..entries).step_by(IN_ONE_GO as usize) {
        let mut pipeline = redis::pipe();
        for number in first..entries.min(first + IN_ONE_GO) {
            pipeline
                .cmd("SET")
                .arg(short(number))
                .arg(&value)
                .arg("PX")
                .arg(life_ms)
                .ignore();
        }
        pipeline.exec_async(&mut connection).await?;
    }
    figures(&stage, &mut connection, (entries, before), short).await
}

async fn kept(entries: u64, cores: Cores) -> Result<Figures> {
    let stage = Stage::start(cores)?;
    let mut connection = stage.bare().await?;
    let before = stage.redis.held_bytes()?;
    let dimensions: Vec<f32> = (0..DIMENSIONS).map(|number| f32::from(number).sin()).collect();
    let value: Bytes = vector::encode(&dimensions);
    stage
        .fill((0..entries).map(|number| (key(number), value.clone())))
        .await?;
    figures(&stage, &mut connection, (entries, before), |number| {
        name(&key(number))
    })
    .await
}

/// By what Redis says of single entries, and by what it has grown; what counts is the larger.
async fn figures(
    stage: &Stage,
    connection: &mut MultiplexedConnection,
    (entries, before): (u64, f64),
    name: impl Fn(u64) -> String,
) -> Result<Figures> {
    let grown = (stage.redis.held_bytes()? - before) / entries as f64;
    let mut pipeline = redis::pipe();
    for number in (0..entries).step_by((entries / SAMPLE) as usize) {
        pipeline.cmd("MEMORY").arg("USAGE").arg(name(number));
    }
    let usages: Vec<f64> = pipeline.query_async(connection).await?;
    let usage = usages.iter().sum::<f64>() / usages.len() as f64;
    let mut figures = Figures::new();
    add(&mut figures, "bytes", usage.max(grown));
    add(&mut figures, "usage_bytes", usage);
    add(&mut figures, "grown_bytes", grown);
    Ok(figures)
}
