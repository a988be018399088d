//! The history of a repository, given to the cache commit by commit.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use greenroom_actors::logic::cache::{Key, Name};
use std::path::Path;

use super::history::{History, Tree};
use super::indexer::{Asked, Indexer, Scope};
use super::stage::{FILE_BYTES, Stage, VECTOR_BYTES, report, vector};
use crate::cases::Effort;
use crate::figures::{Figures, add};
use crate::process::Cores;

/// Commits of a quick run.
const QUICK: usize = 60;
/// Chunks that are asked for, at most: a large repository's newest commits have to do.
const CHUNKS_MAX: u64 = 3_000_000;
/// Projects that are busy, their size, and what they do.
const PROJECTS: u32 = 10;
const FILES: usize = 10_000;
/// Of an index that cuts 10,000 files into 50 to 100 thousand chunks, the mean.
const CHUNKS: usize = 75_000;
const COMMITS_A_DAY: f64 = 20.0;
const DAYS_A_MONTH: f64 = 30.0;

/// A project's name.
fn name(number: u32) -> Result<Name> {
    Name::parse(&format!("project-{number}")).context("no name of a project")
}

/// All chunks of every commit, the oldest first, as by one who indexes each from nothing.
pub async fn run(effort: Effort, repository: &Path, cores: Cores) -> Result<Vec<Figures>> {
    let stage = Stage::start(cores)?;
    let cache = stage.heard().await?;
    let mut history = History::of(repository)?;
    let commits = newest(&history, effort).to_vec();
    let mut indexer = Indexer::new(cache.clone(), name(0)?, None);
    let (mut asked, mut done) = (Asked::default(), 0);
    for commit in &commits {
        let tree = history.tree(commit)?;
        asked.add(&indexer.index(commit, &tree, Scope::Whole).await?);
        done += 1;
        if asked.chunks > CHUNKS_MAX {
            break;
        }
    }
    let found = report(&cache)
        .await?
        .kinds
        .into_iter()
        .find(|kind| kind.kind == "embedding");
    let found = found.context("the cache says nothing of vectors")?.total;
    let mut figures = Figures::new();
    add(&mut figures, "hit_percent", asked.hit_percent());
    add(
        &mut figures,
        "changed_hit_percent",
        asked.hit_percent_of_changed(),
    );
    add(&mut figures, "commits", f64::from(done));
    add(&mut figures, "chunks", asked.chunks as f64);
    add(&mut figures, "computed", (asked.chunks - asked.hits) as f64);
    add(&mut figures, "from_redis", found.far_hits as f64);
    add(&mut figures, "lost", asked.lost as f64);
    add(&mut figures, "wrong", asked.wrong as f64);
    Ok(vec![figures])
}

fn newest(history: &History, effort: Effort) -> &[String] {
    let commits = &history.commits;
    let first = if effort.quick {
        commits.len().saturating_sub(QUICK)
    } else {
        0
    };
    &commits[first..]
}

/// What the newer half of the commits adds to a Redis that has the full index of the one in the middle, for each of the
/// projects, which share no text, and of as many files more as they need to be large: Redis's tables have the size that they
/// have then.
pub async fn growth(effort: Effort, repository: &Path, cores: Cores) -> Result<Vec<Figures>> {
    let stage = Stage::start(cores)?;
    let cache = stage.heard().await?;
    let mut history = History::of(repository)?;
    let commits = newest(&history, effort).to_vec();
    let (_, newer) = commits.split_at(commits.len() / 2);
    let (first, newer) = newer.split_first().context("no commits")?;
    let project = |number| Ok(Indexer::new(cache.clone(), name(number)?, Some(number)));
    let mut projects = (0..PROJECTS).map(project).collect::<Result<Vec<_>>>()?;
    let tree = history.tree(first)?;
    stage.fill(besides(effort, &tree)?).await?;
    for project in &mut projects {
        project.index(first, &tree, Scope::Whole).await?;
    }
    let before = stage.redis.held_bytes()?;
    let mut asked = Asked::default();
    for commit in newer {
        let tree = history.tree(commit)?;
        for project in &mut projects {
            asked.add(&project.index(commit, &tree, Scope::Changed).await?);
        }
    }
    let added = stage.redis.held_bytes()? - before;
    let commits = newer.len() as f64 * f64::from(PROJECTS);
    let mut figures = Figures::new();
    let bytes_a_commit = added / commits;
    add(&mut figures, "month_mb", month_mb(bytes_a_commit));
    add(&mut figures, "kb_per_commit", bytes_a_commit / 1e3);
    add(
        &mut figures,
        "chunks_per_commit",
        (asked.chunks - asked.hits) as f64 / commits,
    );
    add(
        &mut figures,
        "files_per_commit",
        asked.files_changed as f64 / commits,
    );
    add(&mut figures, "commits", newer.len() as f64);
    Ok(vec![figures])
}

/// What else Redis has of the projects, which have more files than the history's; a quick run has less of it.
fn besides(effort: Effort, tree: &Tree) -> Result<impl Iterator<Item = (Key, Bytes)>> {
    let part = if effort.quick { 10 } else { 1 };
    let chunks: usize = tree.values().map(|(_, chunks)| chunks.len()).sum();
    let vectors = (PROJECTS as usize * CHUNKS.saturating_sub(chunks) / part) as u64;
    let vectors = (0..vectors).map(|number| (vector(number), vec![7; VECTOR_BYTES].into()));
    let names = (0..PROJECTS).map(name).collect::<Result<Vec<_>>>()?;
    let files = FILES.saturating_sub(tree.len()) / part;
    let file = |name: &Name, number| Key::file(name, &format!("src/some/folder/file-{number}.rs"));
    let files = names.into_iter().flat_map(move |name| {
        (0..files).map(move |number| (file(&name, number), vec![7; FILE_BYTES].into()))
    });
    Ok(vectors.chain(files))
}

/// What busy projects add in a month.
fn month_mb(bytes_a_commit: f64) -> f64 {
    bytes_a_commit * f64::from(PROJECTS) * COMMITS_A_DAY * DAYS_A_MONTH / 1e6
}

#[cfg(test)]
mod tests {
    use super::month_mb;

    #[test]
    fn a_month_has_six_thousand_commits() {
        assert!((month_mb(1_000.0) - 6.0).abs() < 1e-9);
    }
}
