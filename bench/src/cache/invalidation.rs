//! Forgetting among very many entries, beside bare UNLINK of the same.

use actix::Addr;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use greenroom_actors::cache::{CacheActor, Invalidate, Invalidated};
use greenroom_actors::logic::cache::{Key, Name};
use redis::aio::MultiplexedConnection;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::stage::{FILE_BYTES, Stage, VECTOR_BYTES, name, vector};
use crate::cases::Effort;
use crate::figures::{Figures, add};
use crate::process::Cores;
use crate::results::median;

/// Keys in Redis: those of projects, and vectors.
const KEYS: u64 = 1_000_000;
const PROJECTS: u64 = 1_000;
/// A project has a fingerprint, a manifest, and its files.
const KEYS_OF_PROJECT: u64 = 3;
/// Files of a project, and of those that are invalidated.
const FILES: u64 = 100;
const FILES_OF_LARGE: u64 = 10_000;
/// Keys invalidated at once.
const MANY: u64 = 100;
/// What longer commands Redis writes down, microseconds.
const SLOW_US: &str = "5000";
const MANIFEST_BYTES: usize = 3_200;

type Times = BTreeMap<&'static str, Vec<f64>>;

/// The figures of bare UNLINK and of the cache, which take turns.
pub async fn run(effort: Effort, cores: Cores) -> Result<Vec<Figures>> {
    let stage = Stage::start(cores)?;
    let times = effort.slices(20);
    // A quick run shows that it works.
    let keys = if effort.quick { KEYS / 10 } else { KEYS };
    // The first ones are large: half of them is the cache's, half is for UNLINK.
    let projects = (0..PROJECTS).flat_map(|number| project(number, number < 2 * times));
    let vectors =
        (0..keys - PROJECTS * KEYS_OF_PROJECT).map(|number| (vector(number), vec![7; VECTOR_BYTES].into()));
    stage.fill(projects.chain(vectors)).await?;
    let (cache, mut bare) = (stage.heard().await?, stage.bare().await?);
    // Another node, which is told of all that is forgotten.
    let _other = stage.heard().await?;
    let redis = &stage.redis;
    redis.ask(&["CONFIG", "SET", "slowlog-log-slower-than", SLOW_US])?;
    redis.ask(&["SLOWLOG", "RESET"])?;
    let size = || -> Result<u64> { Ok(redis.ask(&["DBSIZE"])?.parse()?) };
    let before = size()?;
    let (mut unlinked, mut told, mut wrong) = (Times::new(), Times::new(), 0);
    for time in 0..times {
        for turn in [time % 2, 1 - time % 2] {
            let which = 2 * time + turn;
            let keys: Vec<Key> = (which * MANY..(which + 1) * MANY).map(vector).collect();
            let project = project_name(which)?;
            if turn == 0 {
                let took = unlink(&mut bare, &keys).await?;
                unlinked.entry("keys").or_default().push(took);
                let took = unlink(&mut bare, &Key::all_of(&project)).await?;
                unlinked.entry("project").or_default().push(took);
            } else {
                wrong += forget(&cache, Invalidate::Keys(keys), MANY, ("keys", &mut told)).await?;
                let what = Invalidate::Project(project);
                wrong += forget(&cache, what, KEYS_OF_PROJECT, ("project", &mut told)).await?;
            }
        }
    }
    let what = Invalidate::Matching(format!("project:{}:*", project_name(PROJECTS - 1)?));
    wrong += forget(&cache, what, KEYS_OF_PROJECT, ("matching", &mut told)).await?;
    let gone = 2 * times * (MANY + KEYS_OF_PROJECT) + KEYS_OF_PROJECT;
    wrong += (before - size()?).abs_diff(gone);
    let slow: f64 = redis.ask(&["SLOWLOG", "LEN"])?.parse()?;
    let mut figures = figures(told);
    add(&mut figures, "keys_before", before as f64);
    add(&mut figures, "slow_commands", slow);
    add(&mut figures, "wrong", wrong as f64);
    Ok(vec![self::figures(unlinked), figures])
}

fn project_name(number: u64) -> Result<Name> {
    Name::parse(&format!("project-{number:04}")).context("no name of a project")
}

fn project(number: u64, is_large: bool) -> Vec<(Key, Bytes)> {
    let project = project_name(number).expect("letters and digits");
    let bytes = |count: usize| Bytes::from(vec![7; count]);
    let files = if is_large { FILES_OF_LARGE } else { FILES };
    let file = |number| {
        (
            Key::file(&project, &format!("src/some/folder/file-{number}.rs")),
            bytes(FILE_BYTES),
        )
    };
    let mut entries = vec![
        (Key::fingerprint(&project), bytes(40)),
        (Key::manifest(&project), bytes(MANIFEST_BYTES)),
    ];
    entries.extend((0..files).map(file));
    entries
}

async fn unlink(bare: &mut MultiplexedConnection, keys: &[Key]) -> Result<f64> {
    let mut cmd = redis::cmd("UNLINK");
    cmd.arg(keys.iter().map(name).collect::<Vec<_>>());
    let began = Instant::now();
    cmd.exec_async(bare).await?;
    Ok(millis(began.elapsed()))
}

/// How many more or fewer entries were forgotten than should have been; one more if not everywhere.
async fn forget(
    cache: &Addr<CacheActor>,
    what: Invalidate,
    expected: u64,
    (key, times): (&'static str, &mut Times),
) -> Result<u64> {
    let began = Instant::now();
    let Invalidated { removed, everywhere } = cache.send(what).await?;
    times.entry(key).or_default().push(millis(began.elapsed()));
    Ok(removed.abs_diff(expected) + u64::from(!everywhere))
}

/// The median and the longest of each.
fn figures(times: Times) -> Figures {
    let mut figures = Figures::new();
    for (key, times) in times {
        let longest = times.iter().copied().fold(0.0, f64::max);
        add(&mut figures, &format!("{key}_longest_ms"), longest);
        add(
            &mut figures,
            &format!("{key}_ms"),
            median(times).unwrap_or_default(),
        );
    }
    figures
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
