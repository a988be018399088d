//! What a node holds, as the kernel and its own metrics say.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::process::Server;

/// A node's answer to a question that costs it nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vitals {
    pub rss_bytes: u64,
    pub files: u64,
    pub threads: u64,
    /// Connections that it counts.
    pub connections: u64,
    /// Connections of which an actor, a task or a table holds something still.
    pub held: u64,
    /// Rooms with members, over its shards.
    pub rooms: u64,
}

impl Vitals {
    /// Of a node that this program may look at.
    pub fn of(server: &Server) -> Result<Self> {
        let metrics = metrics(server.addresses[0])?;
        let unknown = "the process of the node is not known";
        Ok(Self {
            rss_bytes: server.rss_bytes().context(unknown)?,
            files: server.entries("fd").context(unknown)?,
            threads: server.entries("task").context(unknown)?,
            connections: sum(&metrics, "greenroom_connections"),
            held: sum(&metrics, "greenroom_held_connections"),
            rooms: sum(&metrics, "greenroom_rooms"),
        })
    }
}

fn metrics(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("cannot ask for metrics")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("no metrics")?;
    Ok(text)
}

/// The sum of a gauge over its labels.
fn sum(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = rest
            .strip_prefix('{')
            .map_or(rest, |labels| labels.split_once('}').map_or("", |rest| rest.1));
        value.trim().parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_gauge_is_summed_over_its_labels() {
        let text = "# TYPE a gauge\na{shard=\"0\"} 3\na{shard=\"1\"} 4\na_b{shard=\"0\"} 9\nc 5\n";
        assert_eq!((sum(text, "a"), sum(text, "c"), sum(text, "d")), (7, 5, 0));
    }
}
