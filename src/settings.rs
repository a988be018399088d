//! What the parts of a node are told of its configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_actors::callers;
use greenroom_actors::logic::engine_io::{Timing, payload};
use greenroom_actors::logic::rate::Rate;
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::logic::socket_io;
use greenroom_actors::logic::throttle::{Merge, Rule, Rules};

use crate::config::{Config, sections};
use crate::shards::SocketIoParts;

/// Packets in one POST of a polling client: an engine's own limit, since the stock client writes what it has at once.
const PACKETS_A_POST: usize = 10_000;
/// Attachments of one packet, as in the stock server.
const ATTACHMENTS_A_PACKET: u32 = 10;
/// Seconds' worth of connections that an address may open, and of history that it may be given, at once: all clients
/// behind one address come back together after a cut.
const AT_ONCE_SECONDS: u64 = 10;

/// How workers are restarted.
pub(crate) fn policy(config: &Config) -> Policy {
    Policy {
        max_restarts: config.supervision.restarts,
        window: Duration::from_millis(config.supervision.window_ms),
        vital: true,
        mailbox: config.limits.mailbox,
        ..Policy::default()
    }
}

/// A limit as the counters have it.
pub(crate) fn count(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// What a client address may have and do.
pub(crate) fn caller_limits(limits: &sections::Limits) -> callers::Limits {
    callers::Limits {
        all_sockets: count(limits.sockets),
        open: count(limits.connections_per_address),
        waiting: count(limits.streams_per_address),
        handshakes: Rate::new(limits.handshakes_per_second, AT_ONCE_SECONDS),
        requests: Rate::new(limits.requests_per_second, 1),
        replays: Rate::new(limits.replay_bytes_per_second, AT_ONCE_SECONDS),
    }
}

/// What every thread is told about Socket.IO.
pub(crate) fn socket_io_parts(config: &Config) -> SocketIoParts {
    let socketio = &config.socketio;
    let ms = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    SocketIoParts {
        timing: Timing {
            ping_interval_ms: ms(socketio.ping_interval_ms),
            ping_timeout_ms: ms(socketio.ping_timeout_ms),
            upgrade_timeout_ms: ms(socketio.upgrade_timeout_ms),
            ..Timing::default()
        },
        payload: payload::Limits {
            bytes: socketio.max_payload_bytes,
            packets: PACKETS_A_POST,
        },
        packets: socket_io::Limits {
            attachments: ATTACHMENTS_A_PACKET,
            attachment_bytes: socketio.max_payload_bytes,
        },
        connect_timeout_ms: socketio.connect_timeout_ms,
        recovery: socketio.recovery == sections::Recovery::On,
        acks: config.limits.acks_in_flight,
    }
}

/// The throttle.
pub(crate) fn rules(throttle: &sections::Throttle) -> Rules {
    let rule = |kind: &sections::Kind| Rule {
        merge: match kind.merge {
            sections::Merge::Append => Merge::Append,
            sections::Merge::Latest => Merge::Latest,
            sections::Merge::None => Merge::None,
        },
        priority: kind.priority,
        per_second: kind.events_per_second,
    };
    // A rate of 0 switches the throttle off for that name.
    let throttled = throttle
        .kinds
        .iter()
        .filter(|(_, kind)| kind.events_per_second != Some(0));
    let by_name: BTreeMap<String, Rule> = throttled.map(|(name, kind)| (name.clone(), rule(kind))).collect();
    Rules {
        per_second: throttle.events_per_second,
        wait_bytes: throttle.wait_bytes,
        by_name,
    }
}
