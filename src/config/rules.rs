//! What each key may hold.

use std::collections::BTreeMap;

use super::forms::{
    is_address, is_congestion, is_docker, is_filter, is_jwt_secret, is_name, is_networks, is_node_id,
    is_origins, is_path, is_prefix, is_redis, is_token, is_web,
};
use super::key::Key;
use super::problem::{Problem, Source};

/// What one key, or one key of every event under `throttle.kinds`, may hold.
pub(super) struct Rule {
    /// The key, with `*` for an event's name.
    pub(super) pattern: &'static str,
    pub(super) allowed: Allowed,
}

/// What a value has to be.
pub(super) enum Allowed {
    /// A whole number within these, both included.
    Number(u64, u64),
    /// Yes or no.
    Truth,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that passes the check, and what the check wants.
    Text(fn(&str) -> bool, &'static str),
    /// The same, for a text that is never printed.
    Secret(fn(&str) -> bool, &'static str),
}

use Allowed::{Number, Text, Truth, Word};

/// How the patterns of an event's keys begin.
pub(super) const KIND_PATTERN: &str = "throttle.kinds.*.";

const KIB: u64 = 1_024;
const GIB: u64 = 1_024 * 1_024 * 1_024;
const HOUR_MS: u64 = 3_600_000;
const YEAR_SECONDS: u64 = 31_536_000;

/// Every key. A test holds this table against the fields of [`Config`].
pub(super) const RULES: &[Rule] = &[
    rule(
        "listen",
        Text(
            is_address,
            "an IP address and a port, such as 127.0.0.1:7420 or [::1]:7420",
        ),
    ),
    rule(
        "node_id",
        Text(is_node_id, "1 to 64 characters of A-Z a-z 0-9 _ . -"),
    ),
    rule("workers", Number(0, 1_024)),
    rule(
        "tcp_congestion",
        Text(
            is_congestion,
            "1 to 15 characters of a-z 0-9 _, such as cubic or bbr",
        ),
    ),
    rule("rooms.history_events", Number(1, 1_000_000)),
    rule("rooms.history_seconds", Number(1, YEAR_SECONDS)),
    rule("rooms.history_bytes", Number(KIB, 1_024 * GIB)),
    rule("rooms.remembered_rooms", Number(1, 100_000_000)),
    rule("rooms.outbox_bytes", Number(KIB, GIB)),
    rule("rooms.name_chars", Number(1, 1_024)),
    rule("rooms.linger_ms", Number(0, HOUR_MS)),
    rule("throttle.events_per_second", Number(0, 1_000_000)),
    rule("throttle.wait_bytes", Number(KIB, GIB)),
    rule("throttle.kinds.*.merge", Word(&["append", "latest", "none"])),
    rule("throttle.kinds.*.priority", Number(0, 10)),
    rule("throttle.kinds.*.events_per_second", Number(0, 1_000_000)),
    rule("limits.connections", Number(1, 10_000_000)),
    rule("limits.memory_bytes", Number(0, 1_024 * GIB)),
    rule("limits.sockets", Number(1, 10_000_000)),
    rule("limits.connections_per_address", Number(0, 10_000_000)),
    rule("limits.connections_per_subject", Number(0, 10_000_000)),
    rule("limits.streams_per_address", Number(0, 10_000_000)),
    rule("limits.handshakes_per_second", Number(0, 1_000_000)),
    rule("limits.requests_per_second", Number(0, 10_000_000)),
    rule("limits.replay_bytes_per_second", Number(0, 1_024 * GIB)),
    rule("limits.messages_per_second", Number(0, 10_000_000)),
    rule("limits.inbound_bytes_per_second", Number(0, 1_024 * GIB)),
    rule("limits.frame_bytes", Number(128, GIB)),
    rule("limits.message_bytes", Number(128, GIB)),
    rule("limits.event_bytes", Number(128, GIB)),
    // The HTTP server takes no more.
    rule("limits.head_bytes", Number(KIB, 128 * KIB)),
    rule("limits.body_bytes", Number(128, GIB)),
    rule("limits.rooms_per_connection", Number(1, 100_000)),
    rule("limits.rooms_per_event", Number(1, 1_000)),
    rule("limits.commands_in_flight", Number(1, 100_000)),
    rule("limits.acks_in_flight", Number(1, 100_000)),
    rule("limits.mailbox", Number(1, 1_000_000)),
    rule(
        "http.origins",
        Text(
            is_origins,
            "loopback, *, or origins such as https://app.example.com, with commas between",
        ),
    ),
    rule(
        "http.trusted_proxies",
        Text(
            is_networks,
            "networks or addresses such as 10.0.0.0/8 or fd00::1, with commas between",
        ),
    ),
    rule("http.forwarded_header", Word(&["x-forwarded-for", "forwarded"])),
    rule("http.header_timeout_ms", Number(10, HOUR_MS)),
    rule("http.body_timeout_ms", Number(10, HOUR_MS)),
    rule("http.send_timeout_ms", Number(10, HOUR_MS)),
    rule("http.keep_alive_ms", Number(10, HOUR_MS)),
    rule("tls.cert_file", Text(is_path, "the path of a PEM file")),
    rule("tls.key_file", Text(is_path, "the path of a PEM file")),
    rule("tls.min_version", Word(&["1.2", "1.3"])),
    rule("tls.handshake_timeout_ms", Number(10, HOUR_MS)),
    rule("tls.reload_ms", Number(10, HOUR_MS)),
    rule("tls.expiry_warning_days", Number(0, 3_650)),
    rule("websocket.ping_interval_ms", Number(10, HOUR_MS)),
    rule("websocket.ping_timeout_ms", Number(10, HOUR_MS)),
    rule("websocket.close_timeout_ms", Number(10, HOUR_MS)),
    rule("socketio.ping_interval_ms", Number(10, HOUR_MS)),
    rule("socketio.ping_timeout_ms", Number(10, HOUR_MS)),
    rule("socketio.upgrade_timeout_ms", Number(10, HOUR_MS)),
    rule("socketio.connect_timeout_ms", Number(10, HOUR_MS)),
    rule("socketio.max_payload_bytes", Number(128, GIB)),
    rule("socketio.recovery", Word(&["on", "off"])),
    rule("socketio.recovery_seconds", Number(1, YEAR_SECONDS)),
    rule(
        "socketio.cookie",
        Text(is_token, "visible characters, without spaces"),
    ),
    // Proxies and clients take a stream for dead that is silent for longer.
    rule("sse.comment_ms", Number(10, 60_000)),
    rule("bus.idempotency_seconds", Number(1, YEAR_SECONDS)),
    rule("bus.idempotency_entries", Number(1, 100_000_000)),
    rule("bus.on_outage", Word(&["local", "refuse"])),
    rule("bus.outbox_bytes", Number(KIB, 1_024 * GIB)),
    rule("bus.socketio_compat", Truth),
    rule(
        "cluster.advertise",
        Text(
            is_web,
            "an address that begins with http:// or https://, without user or password",
        ),
    ),
    rule("cluster.dead_ms", Number(5_000, HOUR_MS)),
    rule("cluster.forward_timeout_ms", Number(10, 60_000)),
    rule("shutdown.limit_ms", Number(0, HOUR_MS)),
    rule("shutdown.retry_ms", Number(0, HOUR_MS)),
    rule("auth.mode", Word(&["off", "token"])),
    rule(
        "auth.jwt_secret",
        Allowed::Secret(is_jwt_secret, "at least 32 bytes, which nobody can guess"),
    ),
    rule("auth.jwt_public_key_file", Text(is_name, "the path of a file")),
    rule("auth.jwks_file", Text(is_name, "the path of a file")),
    rule("auth.issuer", Text(is_name, "the name of the issuer")),
    rule("auth.audience", Text(is_name, "the name of the audience")),
    rule("auth.leeway_seconds", Number(0, 600)),
    rule("auth.keys_file", Text(is_name, "the path of a file")),
    rule("auth.deny_file", Text(is_name, "the path of a file")),
    rule("auth.reload_seconds", Number(1, 3_600)),
    rule("auth.expiring_seconds", Number(0, 3_600)),
    rule("auth.open_metrics", Word(&["nobody", "loopback", "everyone"])),
    rule("supervision.restarts", Number(0, 1_000)),
    rule("supervision.window_ms", Number(10, HOUR_MS)),
    rule("log.format", Word(&["pretty", "json"])),
    rule("log.level", Text(is_filter, FILTERS)),
    rule(
        "redis.url",
        Allowed::Secret(
            is_redis,
            "an address that begins with redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://",
        ),
    ),
    rule("redis.ca_file", Text(is_path, "the path of a PEM file")),
    rule("redis.timeout_ms", Number(100, 60_000)),
    rule(
        "redis.prefix",
        Text(is_prefix, "at most 64 characters of A-Z a-z 0-9 _ . : -"),
    ),
    rule(
        "openai.api_key",
        Allowed::Secret(is_token, "visible ASCII characters without spaces"),
    ),
    rule(
        "openai.base_url",
        Text(
            is_web,
            "an address that begins with http:// or https://, without user or password",
        ),
    ),
    rule(
        "pinecone.api_key",
        Allowed::Secret(is_token, "visible ASCII characters without spaces"),
    ),
    rule("pinecone.host", Text(is_token, "the host name of the index")),
    rule("cache.ttl_long_seconds", Number(1, 10 * YEAR_SECONDS)),
    rule("cache.ttl_session_seconds", Number(1, 10 * YEAR_SECONDS)),
    rule("cache.ttl_execution_seconds", Number(1, 10 * YEAR_SECONDS)),
    rule("cache.near_bytes", Number(KIB, 1_024 * GIB)),
    rule("cache.value_bytes", Number(KIB, GIB)),
    rule("cache.budget_ms", Number(1, HOUR_MS)),
    rule("cache.warm_projects", Number(0, 1_000)),
    rule(
        "sandbox.docker_host",
        Text(
            is_docker,
            "an address such as unix:///var/run/docker.sock or tcp://host:2375",
        ),
    ),
    rule("sandbox.timeout_ms", Number(1, 24 * HOUR_MS)),
    rule("sandbox.memory_mb", Number(1, 1_048_576)),
];

const FILTERS: &str = "off, error, warn, info, debug or trace, or directives such as info,greenroom=debug";

/// Sections that are read and checked, but without effect in this version.
pub(super) const RESERVED: &[&str] = &["openai", "pinecone", "sandbox"];

const fn rule(pattern: &'static str, allowed: Allowed) -> Rule {
    Rule { pattern, allowed }
}

impl Rule {
    /// The rule of a key, if it is a known one.
    pub(super) fn of(key: &Key) -> Option<&'static Self> {
        RULES
            .iter()
            .find(|rule| fits(rule.pattern, key).is_some_and(|rest| rest.is_empty()))
    }

    /// The keys of a section; none, if it is no section.
    pub(super) fn keys_under(section: &Key) -> Vec<String> {
        let under = |rule: &Rule| fits(rule.pattern, section).filter(|rest| !rest.is_empty());
        RULES
            .iter()
            .filter_map(|rule| Some(under(rule)?.join(".").replace('*', "NAME")))
            .collect()
    }

    /// A value as it may be shown.
    pub(super) fn shown(&self, value: &toml::Value) -> String {
        match (&self.allowed, value) {
            (Allowed::Secret(..), _) => "***".to_owned(),
            (_, toml::Value::Table(_)) => "a table".to_owned(),
            (_, toml::Value::Array(_)) => "an array".to_owned(),
            // An address with a user's password in it, where none belongs.
            (_, toml::Value::String(text)) if text.contains("://") && text.contains('@') => "***".to_owned(),
            (_, value) => shorten(&value.to_string()),
        }
    }

    /// A text from a variable or a flag, as the kind of value this key holds. What does not fit stays a text,
    /// for [`check_values`] to report.
    pub(super) fn read(&self, text: &str) -> toml::Value {
        match (&self.allowed, text.trim()) {
            (Number(..), number) => number.parse::<i64>().map_or_else(|_| text.into(), Into::into),
            (Truth, truth) => truth.parse::<bool>().map_or_else(|_| text.into(), Into::into),
            _ => text.into(),
        }
    }

    /// The problem with a value, if there is one. The text of a secret is not looked at: see [`super::relations`].
    fn check(&self, key: &Key, value: &toml::Value, from: Option<&Source>) -> Option<Problem> {
        let fine = match (&self.allowed, value) {
            (Number(least, most), toml::Value::Integer(number)) => {
                u64::try_from(*number).is_ok_and(|number| (*least..=*most).contains(&number))
            }
            (Truth, toml::Value::Boolean(_)) => true,
            (Word(words), toml::Value::String(text)) => words.contains(&text.as_str()),
            (Text(check, _), toml::Value::String(text)) => check(text),
            (Allowed::Secret(..), toml::Value::String(_)) => true,
            _ => false,
        };
        (!fine).then(|| self.problem(key, self.shown(value), from))
    }

    pub(super) fn problem(&self, key: &Key, value: String, from: Option<&Source>) -> Problem {
        let allowed = match &self.allowed {
            Number(least, most) => format!("a whole number from {least} to {most}"),
            Truth => "true or false".to_owned(),
            Word([only]) => format!("\"{only}\""),
            Word(words) => format!(
                "one of {}",
                words
                    .iter()
                    .map(|w| format!("\"{w}\""))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Text(_, wanted) | Allowed::Secret(_, wanted) => format!("a text: {wanted}"),
        };
        Problem::Value {
            key: key.to_string(),
            value,
            from: from.cloned(),
            allowed,
        }
    }
}

/// What is left of a pattern after a path that it begins with.
fn fits(pattern: &'static str, key: &Key) -> Option<Vec<&'static str>> {
    let parts: Vec<&str> = pattern.split('.').collect();
    let same = |(part, segment): (&&str, &String)| *part == "*" || *part == segment;
    let begins = parts.len() >= key.segments().len() && parts.iter().zip(key.segments()).all(same);
    begins.then(|| parts[key.segments().len()..].to_vec())
}

/// Checks each value of a table by the rule of its key. Unknown keys are not looked at: the layers do not let
/// them in.
pub(super) fn check_values(table: &toml::Table, given: &BTreeMap<String, Source>) -> Vec<Problem> {
    let check =
        |(key, value): (Key, &toml::Value)| Rule::of(&key)?.check(&key, value, given.get(&key.to_string()));
    Key::leaves(table).into_iter().filter_map(check).collect()
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
