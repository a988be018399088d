//! Entries that are in Redis and not in the process, beside bare commands that read the same.

use actix::{Addr, Arbiter};
use anyhow::{Context as _, Result};
use greenroom_actors::cache::{CacheActor, Get, GetMany};
use greenroom_actors::logic::cache::Key;
use redis::aio::MultiplexedConnection;
use std::hint::black_box;
use std::time::Instant;
use tokio::sync::oneshot;

use super::micros;
use super::stage::{Stage, VECTOR_BYTES, name, report, until_trusted, vector};
use crate::cases::Effort;
use crate::figures::Figures;
use crate::process::Cores;
use crate::results::median;

/// Of a slice: entries asked for one by one, and batches.
const SINGLES: u64 = 1_000;
const BATCHES: u64 = 50;
/// Entries of a batch.
const MANY: u64 = 100;

/// Times, microseconds, by figure; a slice adds its median.
type Slices = std::collections::BTreeMap<&'static str, Vec<f64>>;

/// The figures of bare commands and of the cache. They take turns by the slice, there and back.
pub async fn run(effort: Effort, cores: Cores) -> Result<Vec<Figures>> {
    let stage = Stage::start(cores)?;
    let slices = effort.slices(20);
    let all =
        (0..slices * (SINGLES + BATCHES * MANY)).map(|number| (vector(number), vec![7; VECTOR_BYTES].into()));
    stage.fill(all).await?;
    let (here, mut bare) = (stage.heard().await?, stage.bare().await?);
    let (mut commands, mut asked) = (Slices::new(), Slices::new());
    for slice in 0..slices {
        let keys = Keys::of(slice);
        // There and back.
        for turn in [slice % 2, 1 - slice % 2] {
            if turn == 0 {
                bare_commands(&mut bare, &keys, &mut commands).await?;
            } else {
                messages(&here, &keys, &mut asked).await?;
            }
        }
    }
    let mut missed = not_from_far(&here).await?;
    let not_near = not_near(&here, &Keys::of(slices - 1)).await?;
    cores.use_both()?;
    let other = Arbiter::new();
    let (start, (give, given)) = (stage.cache()?, oneshot::channel());
    other.spawn_fn(move || drop(give.send(start())));
    let there = given.await.context("the other thread starts no cache")?;
    until_trusted(&there).await?;
    for slice in 0..slices {
        let took = one_by_one(&there, &Keys::of(slice).singles).await?;
        asked.entry("get_across_us").or_default().push(took);
    }
    missed += not_from_far(&there).await?;
    other.stop();
    let mut figures = figures(asked);
    figures.insert("missed".to_owned(), missed);
    figures.insert("not_near".to_owned(), not_near);
    Ok(vec![self::figures(commands), figures])
}

fn figures(slices: Slices) -> Figures {
    let figure = |(key, times): (&str, Vec<f64>)| Some((key.to_owned(), median(times)?));
    slices.into_iter().filter_map(figure).collect()
}

/// What is asked for in a slice, and nowhere else: an entry that was read once is near.
struct Keys {
    singles: Vec<Key>,
    batches: Vec<Vec<Key>>,
}

impl Keys {
    fn of(slice: u64) -> Self {
        let first = slice * (SINGLES + BATCHES * MANY);
        let batch = |number| {
            let first = first + SINGLES + number * MANY;
            (first..first + MANY).map(vector).collect()
        };
        Self {
            singles: (first..first + SINGLES).map(vector).collect(),
            batches: (0..BATCHES).map(batch).collect(),
        }
    }
}

/// Entries asked for that did not come from Redis.
async fn not_from_far(cache: &Addr<CacheActor>) -> Result<f64> {
    let kinds = report(cache).await?.kinds.into_iter();
    let not = kinds.map(|kind| kind.total.near_hits + kind.total.shared + kind.total.misses);
    Ok(not.sum::<u64>() as f64)
}

/// Entries that are not near when they are asked for again, soon.
async fn not_near(cache: &Addr<CacheActor>, keys: &Keys) -> Result<f64> {
    let near = async || -> Result<u64> {
        let kinds = report(cache).await?.kinds.into_iter();
        Ok(kinds.map(|kind| kind.total.near_hits).sum())
    };
    let before = near().await?;
    one_by_one(cache, &keys.singles).await?;
    Ok((SINGLES - (near().await? - before)) as f64)
}

async fn messages(cache: &Addr<CacheActor>, keys: &Keys, slices: &mut Slices) -> Result<()> {
    let took = one_by_one(cache, &keys.singles).await?;
    slices.entry("get_us").or_default().push(took);
    let mut times = Vec::new();
    for keys in &keys.batches {
        let keys = keys.clone();
        let began = Instant::now();
        black_box(cache.send(GetMany(keys)).await?);
        times.push(micros(began.elapsed()));
    }
    slices.entry("get_many_us").or_default().extend(median(times));
    Ok(())
}

async fn one_by_one(cache: &Addr<CacheActor>, keys: &[Key]) -> Result<f64> {
    let mut times = Vec::new();
    for key in keys {
        let key = key.clone();
        let began = Instant::now();
        black_box(cache.send(Get(key)).await?);
        times.push(micros(began.elapsed()));
    }
    Ok(median(times).unwrap_or_default())
}

/// GET and MGET: that keep nothing alive, and have nobody told.
async fn bare_commands(bare: &mut MultiplexedConnection, keys: &Keys, slices: &mut Slices) -> Result<()> {
    let mut times = Vec::new();
    for key in &keys.singles {
        let name = name(key);
        let began = Instant::now();
        black_box(redis::cmd("GET").arg(&name).query_async::<Vec<u8>>(bare).await?);
        times.push(micros(began.elapsed()));
    }
    slices.entry("get_us").or_default().extend(median(times));
    let mut times = Vec::new();
    for batch in &keys.batches {
        let names: Vec<String> = batch.iter().map(name).collect();
        let began = Instant::now();
        black_box(
            redis::cmd("MGET")
                .arg(&names)
                .query_async::<Vec<Vec<u8>>>(bare)
                .await?,
        );
        times.push(micros(began.elapsed()));
    }
    slices.entry("get_many_us").or_default().extend(median(times));
    Ok(())
}
