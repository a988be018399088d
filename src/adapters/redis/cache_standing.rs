//! How the server of a far cache is, and what it holds.

use std::collections::BTreeMap;

use greenroom_actors::far_cache::{FarError, FarStanding};
use greenroom_actors::logic::cache::{Key, Kind};
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::cache::{one, scan};

/// Entries of a kind that are measured to tell what all of them take.
const SAMPLE: u64 = 100;

/// What the server says of itself; and with `counts`, how many entries of each kind there are, and what they take: a sample
/// of them is measured.
pub(super) async fn standing(
    connection: &MultiplexedConnection,
    prefix: &str,
    counts: bool,
) -> Result<FarStanding, FarError> {
    let mut info = redis::cmd("INFO");
    info.arg("memory").arg("stats");
    let text = match one(connection, info).await? {
        Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
        Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    };
    let number = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    Ok(FarStanding {
        used_bytes: number("used_memory"),
        limit_bytes: number("maxmemory"),
        evicted: number("evicted_keys"),
        expired: number("expired_keys"),
        kinds: match counts {
            true => kinds(connection, prefix).await?,
            false => Vec::new(),
        },
    })
}

#[derive(Default)]
struct Counted {
    entries: u64,
    measured: u64,
    bytes: u64,
}

async fn kinds(connection: &MultiplexedConnection, prefix: &str) -> Result<Vec<(Kind, u64, u64)>, FarError> {
    let mut counted: BTreeMap<Kind, Counted> = BTreeMap::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, names) = scan(connection, &cursor, &format!("{prefix}*")).await?;
        for name in names {
            let Some(key) = name.strip_prefix(prefix).and_then(Key::parse) else {
                continue;
            };
            let counted = counted.entry(key.kind).or_default();
            counted.entries += 1;
            if counted.measured < SAMPLE {
                let mut usage = redis::cmd("MEMORY");
                usage.arg("USAGE").arg(&name);
                // It may be gone by now.
                if let Value::Int(bytes) = one(connection, usage).await? {
                    counted.measured += 1;
                    counted.bytes += u64::try_from(bytes).unwrap_or(0);
                }
            }
        }
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    let all = |(kind, counted): (Kind, Counted)| {
        let each = counted.bytes.checked_div(counted.measured).unwrap_or(0);
        (kind, counted.entries, each * counted.entries)
    };
    Ok(counted.into_iter().map(all).collect())
}
