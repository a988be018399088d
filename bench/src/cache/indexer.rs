//! What an indexer will do to the cache: asks for the vectors of chunks, in batches, computes and puts those that are not
//! there, and keeps what it knows of the project. The index itself does not exist yet.

use actix::Addr;
use anyhow::{Result, ensure};
use bytes::Bytes;
use greenroom_actors::cache::{CacheActor, ChunkHash, GetMany, PutMany};
use greenroom_actors::logic::cache::{Key, Name};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

use super::history::{File, Tree};
use super::stage::model;

/// Entries asked for or put at once.
const BATCH: usize = 64;
/// Before its dimensions a kept vector has a version and a scale, bytes.
const HEAD: [u8; 5] = [1, 0, 0, 0, 60];
/// Dimensions of a vector.
const DIMENSIONS: usize = 256;

/// Which chunks of a commit are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All, as by one who indexes the commit from nothing.
    Whole,
    /// Those of files that the commit has changed.
    Changed,
}

/// What came of asking for chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub chunks: u64,
    pub hits: u64,
    /// Of `chunks`, those of files that were changed.
    pub of_changed: u64,
    pub hits_of_changed: u64,
    /// Misses of what had been put before.
    pub lost: u64,
    /// Hits with another value than was put.
    pub wrong: u64,
    pub files_changed: u64,
}

impl Asked {
    pub fn add(&mut self, other: &Self) {
        self.chunks += other.chunks;
        self.hits += other.hits;
        self.of_changed += other.of_changed;
        self.hits_of_changed += other.hits_of_changed;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.files_changed += other.files_changed;
    }

    /// The part that was there, percent.
    pub fn hit_percent(&self) -> f64 {
        percent(self.hits, self.chunks)
    }

    /// The same of files that were changed.
    pub fn hit_percent_of_changed(&self) -> f64 {
        percent(self.hits_of_changed, self.of_changed)
    }

    fn note(&mut self, is_changed: bool, is_hit: bool) {
        self.chunks += 1;
        self.hits += u64::from(is_hit);
        self.of_changed += u64::from(is_changed);
        self.hits_of_changed += u64::from(is_changed && is_hit);
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// One who indexes a project, commit by commit.
pub struct Indexer {
    cache: Addr<CacheActor>,
    project: Name,
    /// Has projects with the same text not share its vectors.
    salt: Option<u32>,
    put: HashSet<ChunkHash>,
    last: Tree,
}

impl Indexer {
    pub fn new(cache: Addr<CacheActor>, project: Name, salt: Option<u32>) -> Self {
        Self {
            cache,
            project,
            salt,
            put: HashSet::new(),
            last: Tree::new(),
        }
    }

    /// Indexes a commit.
    pub async fn index(&mut self, commit: &str, tree: &Tree, scope: Scope) -> Result<Asked> {
        let is_changed = |path: &str, file: &File| self.last.get(path).is_none_or(|last| last.0 != file.0);
        let files = tree
            .iter()
            .map(|(path, file)| (path, file, is_changed(path, file)));
        let files = files.filter(|(.., is_changed)| scope == Scope::Whole || *is_changed);
        let files: Vec<(&String, &File, bool)> = files.collect();
        let chunks = files.iter().flat_map(|(_, (_, chunks), is_changed)| {
            chunks.iter().map(|chunk| (self.salted(chunk), *is_changed))
        });
        let chunks: Vec<(ChunkHash, bool)> = chunks.collect();
        let mut asked = Asked::default();
        for batch in chunks.chunks(BATCH) {
            self.ask(batch, &mut asked).await?;
        }
        let changed: Vec<(&String, &File)> = files
            .into_iter()
            .filter(|(.., is)| *is)
            .map(|(path, file, _)| (path, file))
            .collect();
        asked.files_changed = changed.len() as u64;
        self.keep(commit, tree, &changed).await?;
        self.last = tree.clone();
        Ok(asked)
    }

    fn salted(&self, chunk: &ChunkHash) -> ChunkHash {
        let salted = |salt: u32| {
            Sha256::new()
                .chain_update(salt.to_le_bytes())
                .chain_update(chunk)
                .finalize()
                .into()
        };
        self.salt.map_or(*chunk, salted)
    }

    async fn ask(&mut self, batch: &[(ChunkHash, bool)], asked: &mut Asked) -> Result<()> {
        let model = model();
        let keys: Vec<Key> = batch
            .iter()
            .map(|(chunk, _)| Key::embedding(&model, chunk))
            .collect();
        let found = self.cache.send(GetMany(keys.clone())).await?;
        ensure!(
            found.len() == batch.len(),
            "{} answers to {}",
            found.len(),
            batch.len()
        );
        let mut computed = Vec::new();
        for (((chunk, is_changed), key), found) in batch.iter().zip(keys).zip(found) {
            asked.note(*is_changed, found.is_some());
            let vector = vector_of(chunk);
            match found {
                Some(found) => asked.wrong += u64::from(found != vector),
                None => {
                    asked.lost += u64::from(self.put.contains(chunk));
                    computed.push((key, vector));
                }
            }
        }
        self.put.extend(batch.iter().map(|(chunk, _)| *chunk));
        if !computed.is_empty() {
            self.cache.send(PutMany(computed)).await??;
        }
        Ok(())
    }

    /// The fingerprint is the commit, the manifest a hash for each file, and of a file the hashes of its chunks are kept: what
    /// an index will need at least.
    async fn keep(&self, commit: &str, tree: &Tree, changed: &[(&String, &File)]) -> Result<()> {
        let blobs = tree.values().map(|(blob, _)| blob.as_bytes());
        let manifest: Vec<u8> = blobs.flat_map(Sha256::digest).collect();
        let mut entries = vec![
            (
                Key::fingerprint(&self.project),
                Bytes::copy_from_slice(commit.as_bytes()),
            ),
            (Key::manifest(&self.project), manifest.into()),
        ];
        let file = |(path, (_, chunks)): &(&String, &File)| {
            let hashes: Vec<u8> = chunks.iter().flatten().copied().collect();
            (Key::file(&self.project, path), hashes.into())
        };
        entries.extend(changed.iter().map(file));
        for entries in entries.chunks(BATCH) {
            self.cache.send(PutMany(entries.to_vec())).await??;
        }
        Ok(())
    }
}

/// What stands for the vector of a chunk: of its size and form, and another one for each.
fn vector_of(chunk: &ChunkHash) -> Bytes {
    let dimensions = chunk.iter().cycle().take(DIMENSIONS);
    HEAD.iter().chain(dimensions).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_actors::logic::cache::vector;

    #[test]
    fn what_stands_for_a_vector_is_one() {
        assert!(vector::decode(&vector_of(&[7; 32]), DIMENSIONS).is_ok());
        assert_ne!(vector_of(&[7; 32]), vector_of(&[8; 32]));
    }

    #[test]
    fn hits_are_counted_of_all_and_of_what_was_changed() {
        let mut asked = Asked::default();
        assert_eq!(asked.hit_percent(), 0.0);
        for (is_changed, is_hit) in [(true, true), (true, false), (false, true), (false, true)] {
            asked.note(is_changed, is_hit);
        }
        assert_eq!(
            (asked.hit_percent(), asked.hit_percent_of_changed()),
            (75.0, 50.0)
        );
        let mut twice = asked;
        twice.add(&asked);
        assert_eq!((twice.chunks, twice.hit_percent()), (8, 75.0));
    }
}
