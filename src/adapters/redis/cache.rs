//! The far cache on Redis.
//!
//! Reading is by pooled connections, and changes nothing: GETEX would have the server tell every node that what was read has
//! changed. What is used is renewed behind that, and seldom. Writing is by the connection that hears what changes
//! (client-side caching: tracking in broadcast mode on our prefixes), so that a node is not told of what it writes itself
//! (`NOLOOP`).

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use greenroom_actors::cache::Lives;
use greenroom_actors::far_cache::{Changed, FarCache, FarError, FarFuture, FarStanding};
use greenroom_actors::logic::cache::{Key, Kind, Name};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::mpsc;

use super::cache_depending;
use super::cache_recent;
use super::cache_standing;
use super::connection_config;
use super::keys::Keys;
use super::listening::resp3;
use super::place::Place;
use super::readers::Readers;

/// An entry is renewed when this part of its life has gone: of 30 days, one. Every other node hears of that as of a change.
const RENEWED_AFTER: u64 = 30;
/// Entries that one step of a search looks at, about.
const STEP: usize = 500;
/// What our keys begin with, behind the prefix of all.
const OURS: [&str; 3] = ["project:", "embedding:", "exec:"];

/// See the module's description.
pub struct RedisFar {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    keys: Keys,
    lives: Lives,
    timeout: Duration,
    open: Mutex<Option<Open>>,
}

/// What is there while the server is reached.
#[derive(Clone)]
struct Open {
    readers: Readers,
    /// By which everything is changed.
    writer: MultiplexedConnection,
}

pub(super) fn error(failed: &RedisError) -> FarError {
    FarError(failed.to_string())
}

impl RedisFar {
    /// The far cache at an address of the forms that [`RedisBroker::new`](super::RedisBroker::new) takes. Nothing is
    /// reached before somebody follows. Errors: it is no such address.
    pub fn new(
        url: &str,
        prefix: &str,
        root: Option<Vec<u8>>,
        lives: Lives,
        timeout: Duration,
    ) -> Result<Self, RedisError> {
        let keys = Keys::new(prefix);
        let shared = Shared {
            place: Place::new(url, keys.tag(), root)?,
            keys,
            lives,
            timeout,
            open: Mutex::new(None),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Sends commands by the writer, in one go.
    fn write(&self, commands: Vec<Cmd>) -> FarFuture<Vec<Value>> {
        match self.shared.open() {
            Ok(open) => Box::pin(send(open.writer, commands)),
            Err(closed) => Box::pin(ready(Err(closed))),
        }
    }
}

impl Shared {
    fn open(&self) -> Result<Open, FarError> {
        // What is under the lock is whole at all times.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| FarError("it is not reached yet".into()))
    }

    fn name(&self, key: &Key) -> String {
        self.keys.key(&key.text)
    }

    fn command(&self, name: &str, key: &Key) -> Cmd {
        let mut cmd = redis::cmd(name);
        cmd.arg(self.name(key));
        cmd
    }

    fn life_ms(&self, key: &Key) -> u64 {
        u64::try_from(self.lives.of(key).as_millis()).unwrap_or(u64::MAX)
    }

    /// The commands that read these: one, if all are keys of their own.
    fn get(&self, keys: &[Key]) -> Vec<Cmd> {
        if keys.len() > 1 && keys.iter().all(|key| key.field.is_none()) {
            let mut cmd = redis::cmd("MGET");
            cmd.arg(keys.iter().map(|key| self.name(key)).collect::<Vec<_>>());
            return vec![cmd];
        }
        let one = |key: &Key| match &key.field {
            Some(field) => {
                let mut cmd = self.command("HGET", key);
                cmd.arg(&**field);
                cmd
            }
            None => self.command("GET", key),
        };
        keys.iter().map(one).collect()
    }

    /// Whether so much of an entry's life has gone that it is renewed.
    fn is_due(&self, key: &Key, left: &Value) -> bool {
        let life = self.life_ms(key);
        // What is not there has less than nothing left.
        let left = if let Value::Int(left) = left {
            u64::try_from(*left).ok()
        } else {
            None
        };
        left.is_some_and(|left| left < life - life / RENEWED_AFTER)
    }

    fn put(&self, key: &Key, value: &[u8]) -> Vec<Cmd> {
        let Some(field) = &key.field else {
            let mut cmd = self.command("SET", key);
            cmd.arg(value).arg("PX").arg(self.life_ms(key));
            return vec![cmd];
        };
        let mut cmd = self.command("HSET", key);
        cmd.arg(&**field).arg(value);
        vec![cmd, self.expire(key)]
    }

    fn expire(&self, key: &Key) -> Cmd {
        let mut cmd = self.command("PEXPIRE", key);
        cmd.arg(self.life_ms(key));
        cmd
    }

    /// What is large is freed by another thread of the server.
    fn remove(&self, key: &Key) -> Cmd {
        match &key.field {
            None => self.command("UNLINK", key),
            Some(field) => {
                let mut cmd = self.command("HDEL", key);
                cmd.arg(&**field);
                cmd
            }
        }
    }

    /// Connects, and has it be told of what changes.
    async fn follow(&self) -> Result<BoxStream<'static, Changed>, RedisError> {
        let client = self.place.client().await?;
        let (out, pushed) = mpsc::unbounded_channel();
        let config = connection_config(self.timeout).set_push_sender(out);
        let mut writer = resp3(&client)?
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST").arg("NOLOOP");
        for ours in OURS {
            tracking.arg("PREFIX").arg(self.keys.key(ours));
        }
        tracking.exec_async(&mut writer).await?;
        let readers = Readers::new(&client, self.timeout)?;
        let open = Open { readers, writer };
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        let all = self.keys.key("");
        let heard = unfold(pushed, |mut pushed| async move {
            // Without its sender the connection is over, and this says so too.
            let pushed_now: PushInfo = pushed.recv().await?;
            (pushed_now.kind != PushKind::Disconnection).then_some((pushed_now, pushed))
        });
        Ok(heard
            .filter_map(move |pushed| ready(changed(&all, &pushed)))
            .boxed())
    }
}

/// What a message of the server says has changed: keys, or all where it names none.
fn changed(prefix: &str, pushed: &PushInfo) -> Option<Changed> {
    if pushed.kind != PushKind::Invalidate {
        return None;
    }
    let Some(Value::Array(names)) = pushed.data.first() else {
        return Some(Changed::All);
    };
    let key = |name: &Value| {
        let Value::BulkString(name) = name else {
            return None;
        };
        Key::parse(std::str::from_utf8(name).ok()?.strip_prefix(prefix)?)
    };
    Some(Changed::Keys(names.iter().filter_map(key).collect()))
}

/// Sends commands in one go. Errors: one of them was not done.
pub(super) async fn send(
    mut connection: MultiplexedConnection,
    commands: Vec<Cmd>,
) -> Result<Vec<Value>, FarError> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::with_capacity(commands.len());
    let count = commands.len();
    for cmd in commands {
        pipeline.add_command(cmd);
    }
    let sent = connection.send_packed_commands(&pipeline, 0, count).await;
    let answers = sent.map_err(|failed| error(&failed))?;
    let done = answers.into_iter().map(Value::extract_error);
    done.collect::<Result<_, _>>().map_err(|failed| error(&failed))
}

pub(super) fn sum(answers: &[Value]) -> u64 {
    let removed = |answer: &Value| match answer {
        Value::Int(removed) => u64::try_from(*removed).unwrap_or(0),
        _ => 0,
    };
    answers.iter().map(removed).sum()
}

impl FarCache for RedisFar {
    fn get(&self, keys: Vec<Key>) -> FarFuture<Vec<Option<Bytes>>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let open = shared.open()?;
            let commands = shared.get(&keys);
            let (mut pipeline, count) = (Pipeline::with_capacity(commands.len()), commands.len());
            for cmd in commands {
                pipeline.add_command(cmd);
            }
            let answers = open.readers.ask_all(&pipeline, count).await;
            let answers = answers.map_err(|failed| error(&failed))?.into_iter();
            let each = answers.flat_map(|answer| match answer {
                Value::Array(answers) => answers,
                answer => vec![answer],
            });
            // What is there, but is no such thing, is as good as nothing.
            let value = |answer| match answer {
                Value::BulkString(value) => Some(Bytes::from(value)),
                _ => None,
            };
            Ok(each.map(value).collect())
        })
    }

    fn put(&self, entries: Vec<(Key, Bytes)>) -> FarFuture<()> {
        let put = entries
            .iter()
            .flat_map(|(key, value)| self.shared.put(key, value));
        let noted = cache_recent::put(&self.shared.keys, entries.iter().map(|(key, _)| key));
        let written = self.write(put.chain(noted).collect());
        Box::pin(async move { written.await.map(drop) })
    }

    fn touch(&self, keys: Vec<Key>) -> FarFuture<()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let writer = shared.open()?.writer;
            let asked = keys.iter().map(|key| shared.command("PTTL", key));
            let left = send(writer.clone(), asked.collect()).await?;
            let due = keys
                .iter()
                .zip(&left)
                .filter(|(key, left)| shared.is_due(key, left));
            let renewed = due.map(|(key, _)| shared.expire(key));
            send(writer, renewed.collect()).await.map(drop)
        })
    }

    fn remove(&self, keys: Vec<Key>) -> FarFuture<u64> {
        let remove = keys.iter().map(|key| self.shared.remove(key));
        let noted = cache_recent::remove(&self.shared.keys, keys.iter());
        let removed = self.write(remove.chain(noted).collect());
        // What was noted is no entry.
        Box::pin(async move { removed.await.map(|answers| sum(&answers[..keys.len()])) })
    }

    fn remove_matching(&self, pattern: String) -> FarFuture<u64> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let writer = shared.open()?.writer;
            let (mut cursor, mut removed) = ("0".to_owned(), 0);
            loop {
                let found = scan(&writer, &cursor, &shared.keys.key(&pattern)).await?;
                let ours = |name: &&String| {
                    let name = name.strip_prefix(&shared.keys.key("")).unwrap_or_default();
                    // Where clients are is the bus's to say.
                    Key::parse(name).is_some_and(|key| key.kind != Kind::Session)
                };
                let unlink = |name: &String| {
                    let mut cmd = redis::cmd("UNLINK");
                    cmd.arg(name);
                    cmd
                };
                let commands = found.1.iter().filter(ours).map(unlink).collect();
                removed += sum(&send(writer.clone(), commands).await?);
                cursor = found.0;
                if cursor == "0" {
                    return Ok(removed);
                }
            }
        })
    }

    fn depend(&self, keys: Vec<Key>, on: Name) -> FarFuture<()> {
        let lives = keys.into_iter().map(|key| {
            let life_ms = self.shared.life_ms(&key);
            (key, life_ms)
        });
        let dependents: Vec<(Key, u64)> = lives.collect();
        if dependents.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let longest_ms = u64::try_from(self.shared.lives.longest().as_millis()).unwrap_or(u64::MAX);
        let noted = cache_depending::note(&self.shared.keys, &dependents, &on, longest_ms);
        let noted = self.write(noted);
        Box::pin(async move { noted.await.map(drop) })
    }

    fn remove_dependents(&self, on: Name) -> FarFuture<u64> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let writer = shared.open()?.writer;
            let remove = |key: &Key| shared.remove(key);
            cache_depending::remove(&writer, &shared.keys, &on, remove).await
        })
    }

    fn recent(&self, limit: usize) -> FarFuture<Vec<Name>> {
        let asked = self.write(vec![cache_recent::read(&self.shared.keys, limit)]);
        Box::pin(async move { asked.await.map(|answers| cache_recent::names(&answers)) })
    }

    fn ping(&self) -> FarFuture<()> {
        let answer = self.write(vec![redis::cmd("PING")]);
        Box::pin(async move { answer.await.map(drop) })
    }

    fn follow(&self) -> FarFuture<BoxStream<'static, Changed>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.follow().await.map_err(|failed| error(&failed)) })
    }

    fn standing(&self, counts: bool) -> FarFuture<FarStanding> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let writer = shared.open()?.writer;
            cache_standing::standing(&writer, &shared.keys.key(""), counts).await
        })
    }
}

/// One step through all keys: where the next one begins, and those that were found.
pub(super) async fn scan(
    connection: &MultiplexedConnection,
    cursor: &str,
    pattern: &str,
) -> Result<(String, Vec<String>), FarError> {
    let mut cmd = redis::cmd("SCAN");
    cmd.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
    let found = cmd.query_async(&mut connection.clone()).await;
    found.map_err(|failed| error(&failed))
}

/// What one command answers.
pub(super) async fn one(connection: &MultiplexedConnection, cmd: Cmd) -> Result<Value, FarError> {
    let mut answers = send(connection.clone(), vec![cmd]).await?;
    answers.pop().ok_or_else(|| FarError("no answer".into()))
}
