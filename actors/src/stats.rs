//! Counters of a shard: written by its thread alone, read by whoever shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer, so that counting is a load and a store and no cache line is fought over.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds. To be called by the owning thread only.
    pub fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    /// Subtracts. To be called by the owning thread only.
    pub fn sub(&self, less: u64) {
        self.0.store(self.get().saturating_sub(less), Ordering::Relaxed);
    }

    /// Sets. To be called by the owning thread only.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($field:ident $kind:ident $help:literal;)*) => {
        /// What a shard counts.
        #[derive(Debug, Default)]
        pub struct ShardStats {$(
            #[doc = $help]
            pub $field: Count,
        )*}

        impl ShardStats {
            /// Every number with its name, kind (`gauge` or `counter`) and help.
            pub fn rows(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![$((stringify!($field), stringify!($kind), $help, self.$field.get()),)*]
            }
        }
    };
}

stats! {
    connections gauge "Connections now: WebSocket, SSE and watching actors.";
    held_connections gauge "Connections of which something is still held: those now, and those being taken down.";
    waiting_bytes gauge "What waits for connections, bytes, as the shard has last weighed it.";
    rooms gauge "Rooms with members on this shard.";
    events counter "Events handed to this shard by the bus.";
    deliveries counter "Events given to connections.";
    merged counter "Events that went out merged into another.";
    throttled counter "Events that had to wait for the throttle.";
    replayed counter "Events given from the history.";
    replays_delayed counter "Times a connection had to wait for history because its address was given too much of it.";
    resumes counter "Joins with a position.";
    resumes_incomplete counter "Joins with a position to which the history did not reach back.";
    slow_clients counter "Connections closed because they read too slowly.";
    rate_limited counter "Connections closed, and posts of Socket.IO refused, because too much came in a second.";
    refused counter "What was refused because there is too much of it: connections at the door, sessions, requests, publications.";
    handed_on counter "Requests of Engine.IO handed on to the node that has their session.";
    handed_on_failed counter "Such requests to a node that is gone or did not answer in time.";
    commands counter "Commands from clients.";
    command_errors counter "Commands answered with an error.";
    tls_handshakes counter "TLS handshakes that were completed.";
    tls_failures counter "TLS handshakes that failed or took too long.";
    put_out counter "Connections ended because a token expired or was revoked, or by an operator.";
    catch_ups counter "Times the whole shard caught up from the history.";
}

/// Counts among `held_connections` for as long as it exists. To be made and dropped by the owning thread only.
pub struct Held(Arc<ShardStats>);

impl Held {
    /// One more.
    pub fn by(stats: &Arc<ShardStats>) -> Self {
        stats.held_connections.add(1);
        Self(stats.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held_connections.sub(1);
    }
}
