//! Connections to read by: what is read changes nothing, so any that is free will do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use redis::{Client, Cmd, ErrorKind, Pipeline, RedisError, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection_config;

/// Connections to read by, at most.
const READERS: usize = 8;

/// A pool asks each connection that it hands out whether it is alive, which takes as long as reading does. So those that
/// have just answered are kept aside, and the pool gives only those that come beside them.
#[derive(Clone)]
pub(super) struct Readers {
    pool: Pool,
    /// As many as the pool has connections: whoever has one finds a connection aside, or the pool has one left.
    free: Arc<Semaphore>,
    aside: Arc<Mutex<Vec<Connection>>>,
    limit: Duration,
}

impl Readers {
    /// Nothing is reached yet. An answer may take `limit`, and so may waiting for a connection.
    pub fn new(client: &Client, limit: Duration) -> Result<Self, RedisError> {
        let info = client.get_connection_info().clone();
        let manager = Manager::new_with_config(info, connection_config(limit))?;
        let pool = Pool::builder(manager)
            .max_size(READERS)
            .wait_timeout(Some(limit))
            .create_timeout(Some(limit))
            .runtime(Runtime::Tokio1)
            .build();
        // Only without a runtime there is none.
        let pool =
            pool.map_err(|_| RedisError::from((ErrorKind::InvalidClientConfig, "no pool of connections")))?;
        Ok(Self {
            pool,
            free: Arc::new(Semaphore::new(READERS)),
            aside: Arc::default(),
            limit,
        })
    }

    fn aside(&self) -> MutexGuard<'_, Vec<Connection>> {
        // What is under the lock is whole at all times.
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one command answers.
    pub async fn ask(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        self.by_one(async |connection| connection.send_packed_command(cmd).await)
            .await
    }

    /// What these commands answer, sent in one go.
    pub async fn ask_all(&self, commands: &Pipeline, count: usize) -> Result<Vec<Value>, RedisError> {
        self.by_one(async |connection| connection.send_packed_commands(commands, 0, count).await)
            .await
    }

    async fn by_one<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let late = || RedisError::from((ErrorKind::Io, "no connection is free"));
        let free = timeout(self.limit, self.free.acquire()).await;
        // It is closed by nobody.
        let _free = free.map_err(|_| late())?.map_err(|_| late())?;
        let aside = self.aside().pop();
        let mut connection = match aside {
            Some(aside) => aside,
            None => {
                let given = self.pool.get().await;
                given.map_err(|failed| {
                    RedisError::from((ErrorKind::Io, "no connection", failed.to_string()))
                })?
            }
        };
        let answer = ask(&mut connection).await;
        match &answer {
            Err(failed) if failed.is_io_error() || failed.is_connection_dropped() || failed.is_timeout() => {
                // The others may be no better; the pool will see.
                self.aside().clear();
            }
            _ => self.aside().push(connection),
        }
        answer
    }
}
