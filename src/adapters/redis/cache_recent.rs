//! Which projects were indexed last: a sorted set beside their entries, so that a node that begins knows what to load.

use std::time::{SystemTime, UNIX_EPOCH};

use greenroom_actors::logic::cache::{Key, Kind, Name};
use redis::{Cmd, Value};

use super::keys::Keys;

/// Projects that are remembered, the latest ones: more than anybody loads.
const PROJECTS_MAX: isize = 1_000;

/// Projects of whose fingerprints these are.
fn projects<'a>(keys: impl Iterator<Item = &'a Key>) -> Vec<Name> {
    let fingerprints = keys.filter(|key| key.kind == Kind::Fingerprint);
    fingerprints.filter_map(Key::project).collect()
}

/// Notes when these were put.
pub(super) fn put<'a>(keys: &Keys, put: impl Iterator<Item = &'a Key>) -> Vec<Cmd> {
    let projects = projects(put);
    if projects.is_empty() {
        return Vec::new();
    }
    // Only the order matters: a clock that is a little wrong does no harm.
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let mut add = redis::cmd("ZADD");
    add.arg(keys.projects());
    for project in projects {
        add.arg(now_ms as u64).arg(project.as_str());
    }
    let mut bound = redis::cmd("ZREMRANGEBYRANK");
    bound.arg(keys.projects()).arg(0).arg(-PROJECTS_MAX - 1);
    vec![add, bound]
}

/// Forgets that these were put.
pub(super) fn remove<'a>(keys: &Keys, removed: impl Iterator<Item = &'a Key>) -> Option<Cmd> {
    let projects = projects(removed);
    let mut cmd = redis::cmd("ZREM");
    cmd.arg(keys.projects());
    for project in &projects {
        cmd.arg(project.as_str());
    }
    (!projects.is_empty()).then_some(cmd)
}

/// Asks for the latest ones.
pub(super) fn read(keys: &Keys, limit: usize) -> Cmd {
    let mut cmd = redis::cmd("ZREVRANGE");
    cmd.arg(keys.projects()).arg(0).arg(limit.saturating_sub(1));
    cmd
}

/// The answer to that.
pub(super) fn names(answers: &[Value]) -> Vec<Name> {
    let Some(Value::Array(names)) = answers.first() else {
        return Vec::new();
    };
    let name = |name: &Value| match name {
        Value::BulkString(name) => Name::parse(std::str::from_utf8(name).ok()?).ok(),
        _ => None,
    };
    names.iter().filter_map(name).collect()
}
