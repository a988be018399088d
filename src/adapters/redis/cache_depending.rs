//! What depends on what: a sorted set for each thing on which entries depend, of their keys by the time until which they
//! live, so that it holds no more than what is there.

use std::time::{SystemTime, UNIX_EPOCH};

use greenroom_actors::far_cache::FarError;
use greenroom_actors::logic::cache::{Key, Name};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::cache::{one, send, sum};
use super::keys::Keys;

/// Entries that are forgotten in one go: Redis is free for others between.
const STEP: isize = 500;
/// Between a key and its field. Neither has it: keys are names, and a path with a line break in it is looked at whole.
const FIELD: char = '\n';

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn member(key: &Key) -> String {
    match &key.field {
        None => key.text.to_string(),
        Some(field) => format!("{}{FIELD}{field}", key.text),
    }
}

fn key(member: &str) -> Option<Key> {
    let (text, field) = member
        .split_once(FIELD)
        .map_or((member, None), |(text, field)| (text, Some(field)));
    Some(Key {
        field: field.map(Into::into),
        ..Key::parse(text)?
    })
}

/// Notes that these depend on something: each lives for so many milliseconds, and none for longer than the longest.
pub(super) fn note(keys: &Keys, dependents: &[(Key, u64)], on: &Name, longest_ms: u64) -> Vec<Cmd> {
    let (set, now_ms) = (keys.dependents(on), now_ms());
    let mut add = redis::cmd("ZADD");
    add.arg(&set);
    for (key, life_ms) in dependents {
        add.arg(now_ms.saturating_add(*life_ms)).arg(member(key));
    }
    let mut gone = redis::cmd("ZREMRANGEBYSCORE");
    gone.arg(&set).arg("-inf").arg(now_ms);
    let mut expire = redis::cmd("PEXPIRE");
    expire.arg(&set).arg(longest_ms);
    vec![add, gone, expire]
}

/// Forgets all that depend on something. Answers how many there were.
pub(super) async fn remove(
    writer: &MultiplexedConnection,
    keys: &Keys,
    on: &Name,
    remove: impl Fn(&Key) -> Cmd,
) -> Result<u64, FarError> {
    let (set, mut removed) = (keys.dependents(on), 0);
    loop {
        let mut first = redis::cmd("ZRANGE");
        first.arg(&set).arg(0).arg(STEP - 1);
        let members = match one(writer, first).await? {
            Value::Array(members) if !members.is_empty() => members,
            _ => return Ok(removed),
        };
        let texts: Vec<String> = members.into_iter().filter_map(text).collect();
        let entries = texts.iter().filter_map(|member| key(member));
        removed += sum(&send(writer.clone(), entries.map(|key| remove(&key)).collect()).await?);
        // Only then: should this end between, they are still known.
        let mut done = redis::cmd("ZREM");
        done.arg(&set).arg(&texts);
        one(writer, done).await?;
    }
}

fn text(member: Value) -> Option<String> {
    match member {
        Value::BulkString(member) => String::from_utf8(member).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_noted() {
        let project = Name::parse("p1").expect("a name");
        for of in [
            Key::execution(&[7; 32]),
            Key::file(&project, "src/lib.rs"),
            Key::file(&project, "a\nb"),
            Key::files(&project),
        ] {
            assert_eq!(key(&member(&of)), Some(of));
        }
    }
}
