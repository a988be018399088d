//! The connections of a far cache.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_redis::{Connection, Pool};
use greenroom_actors::far_cache::FarError;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::cache::error;

/// What is there while the server is reached.
#[derive(Clone)]
pub(super) struct Open {
    readers: Pool,
    /// Of the pool's connections those that have just answered: it asks each that it hands out whether it is alive, which
    /// takes as long as reading does.
    spare: Arc<Mutex<Vec<Connection>>>,
    /// By which everything is changed.
    pub writer: MultiplexedConnection,
}

impl Open {
    pub fn new(readers: Pool, writer: MultiplexedConnection) -> Self {
        Self {
            readers,
            spare: Arc::default(),
            writer,
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Connection>> {
        // What is under the lock is whole at all times.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What these commands answer, which change nothing.
    pub async fn read(&self, commands: &Pipeline, count: usize) -> Result<Vec<Value>, FarError> {
        let spare = self.spare().pop();
        let mut connection = match spare {
            Some(spare) => spare,
            None => self
                .readers
                .get()
                .await
                .map_err(|failed| FarError(failed.to_string()))?,
        };
        match connection.send_packed_commands(commands, 0, count).await {
            Ok(answers) => {
                // Whoever waits for one gets it by way of the pool.
                if self.readers.status().waiting == 0 {
                    self.spare().push(connection);
                }
                Ok(answers)
            }
            Err(failed) => {
                // The others may be no better; the pool will see.
                self.spare().clear();
                Err(error(&failed))
            }
        }
    }
}
