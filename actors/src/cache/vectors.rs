//! Vectors, in and out of the form in which they are kept.

use super::{CacheActor, CacheError, GetMany, PutMany, messages::Undecodable};
use crate::{
    logic::cache::{Key, Name, vector},
    reply::Reply,
};
use actix::{Addr, Handler};

/// What a chunk of text is found by: the hash of it.
pub type ChunkHash = [u8; 32];

/// The vectors of chunks by a model, in this order, each if it is there. What is there and is no vector of so many dimensions
/// counts as missing, and is forgotten. A cache that does not answer has none.
pub async fn get_vectors(
    cache: &Addr<CacheActor>,
    model: &Name,
    chunks: &[ChunkHash],
    dimensions: usize,
) -> Vec<Option<Vec<f32>>> {
    let keys: Vec<Key> = chunks.iter().map(|chunk| Key::embedding(model, chunk)).collect();
    let Ok(found) = cache.send(GetMany(keys.clone())).await else {
        return vec![None; chunks.len()];
    };
    let mut vectors = Vec::with_capacity(found.len());
    for (key, kept) in keys.into_iter().zip(found) {
        let decoded = kept.map(|kept| vector::decode(&kept, dimensions));
        if let Some(Err(_)) = decoded {
            // A cache that does not answer keeps it until somebody finds it again.
            let _ = cache.send(Undecodable(key)).await;
        }
        vectors.push(decoded.and_then(Result::ok));
    }
    vectors
}

/// Keeps the vectors of chunks by a model, with one byte a dimension. Errors: one is too large, or the cache is gone.
pub async fn put_vectors(
    cache: &Addr<CacheActor>,
    model: &Name,
    vectors: impl IntoIterator<Item = (ChunkHash, Vec<f32>)>,
) -> Result<(), CacheError> {
    let entry =
        |(chunk, vector): (ChunkHash, Vec<f32>)| (Key::embedding(model, &chunk), vector::encode(&vector));
    let put = PutMany(vectors.into_iter().map(entry).collect());
    cache.send(put).await.unwrap_or(Err(CacheError::Gone))
}

impl Handler<Undecodable> for CacheActor {
    type Result = Reply<()>;

    fn handle(&mut self, Undecodable(key): Undecodable, ctx: &mut Self::Context) -> Self::Result {
        self.counters.undecodable += 1;
        let forgotten = self.forget(vec![key], ctx);
        Reply(Box::pin(async move {
            // Where it could not be forgotten it is found again, and forgotten then.
            let _ = forgotten.0.await;
        }))
    }
}
