//! How keys depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use super::forms::is_event_name;
use super::key::Key;
use super::problem::{Problem, Source};
use super::rules::{Allowed, Rule};
use super::sections::AuthMode;
use super::{Config, Secret};

/// Checks what can only be seen on the whole: secrets, names of events, and values that have to go together.
/// What concerns a key of `broken` is left out, since that value is not the one that was meant.
pub(super) fn check_whole(
    config: &Config,
    given: &BTreeMap<String, Source>,
    broken: &BTreeSet<String>,
) -> Vec<Problem> {
    let mut problems = check_secrets(config, given);
    let names = config.throttle.kinds.keys().filter(|name| !is_event_name(name));
    problems.extend(names.map(|name| {
        let rule = "names no event: 1 to 200 characters, no spaces or control characters".to_owned();
        let key = Key::parse("throttle.kinds").child(name).to_string();
        let under = |(given, _): &(&String, &Source)| {
            given.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.'))
        };
        let from = given.iter().find(under).map(|(_, source)| source.clone());
        Problem::Relation {
            key,
            value: "{ ... }".to_owned(),
            from,
            rule,
        }
    }));
    problems.extend(check_sizes(config, given, broken));
    problems.extend(check_pair(config, given, broken));
    problems.extend(check_compat(config, given, broken));
    problems.extend(check_auth(config, given));
    problems
}

/// A certificate is of no use without its key, nor a key without its certificate.
fn check_pair(
    config: &Config,
    given: &BTreeMap<String, Source>,
    broken: &BTreeSet<String>,
) -> Option<Problem> {
    let (cert, key) = ("tls.cert_file", "tls.key_file");
    let (set, other, path) = match (&config.tls.cert_file, &config.tls.key_file) {
        (Some(path), None) => (cert, key, path),
        (None, Some(path)) => (key, cert, path),
        _ => return None,
    };
    (!broken.contains(other)).then(|| Problem::Relation {
        key: set.to_owned(),
        value: format!("{path:?}"),
        from: given.get(set).cloned(),
        rule: format!("needs `{other}` too: a certificate and its key go together"),
    })
}

/// JavaScript servers are met on Redis.
fn check_compat(
    config: &Config,
    given: &BTreeMap<String, Source>,
    broken: &BTreeSet<String>,
) -> Option<Problem> {
    let (key, needs) = ("bus.socketio_compat", "redis.url");
    let alone = config.bus.socketio_compat && config.redis.url.is_none() && !broken.contains(needs);
    alone.then(|| Problem::Relation {
        key: key.to_owned(),
        value: "true".to_owned(),
        from: given.get(key).cloned(),
        rule: format!("needs `{needs}` too: JavaScript servers are met on Redis"),
    })
}

fn check_secrets(config: &Config, given: &BTreeMap<String, Source>) -> Vec<Problem> {
    let secrets: [(&str, &Option<Secret>); 4] = [
        ("auth.jwt_secret", &config.auth.jwt_secret),
        ("redis.url", &config.redis.url),
        ("openai.api_key", &config.openai.api_key),
        ("pinecone.api_key", &config.pinecone.api_key),
    ];
    let check = |(name, secret): (&str, &Option<Secret>)| {
        let key = Key::parse(name);
        let rule = Rule::of(&key)?;
        let Allowed::Secret(check, _) = &rule.allowed else {
            return None;
        };
        let fine = secret.as_ref().is_none_or(|secret| check(secret.expose()));
        (!fine).then(|| rule.problem(&key, "***".to_owned(), given.get(name)))
    };
    secrets.into_iter().filter_map(check).collect()
}

/// A size that has to fit into a part of another one.
struct Fit {
    key: &'static str,
    value: usize,
    /// 1: all of it, 2: half of it, 4: a quarter of it.
    part: usize,
    of: (&'static str, usize),
}

const fn fits_into(part: usize, of: (&'static str, usize), key: &'static str, value: usize) -> Fit {
    Fit { key, value, part, of }
}

/// Sizes of which one has to hold the other.
fn sizes(config: &Config) -> [Fit; 6] {
    let (rooms, limits) = (&config.rooms, &config.limits);
    let outbox = ("rooms.outbox_bytes", rooms.outbox_bytes);
    let history = ("rooms.history_bytes", rooms.history_bytes);
    let message = ("limits.message_bytes", limits.message_bytes);
    // 0 is no limit.
    let memory = Some(limits.memory_bytes).filter(|bytes| *bytes > 0);
    let memory = ("limits.memory_bytes", memory.unwrap_or(usize::MAX));
    let wait_bytes = config.throttle.wait_bytes;
    [
        fits_into(4, outbox, "limits.event_bytes", limits.event_bytes),
        fits_into(1, history, "limits.event_bytes", limits.event_bytes),
        // What waits may go out as one event, which holds each text twice, and the ids.
        fits_into(4, outbox, "throttle.wait_bytes", wait_bytes),
        fits_into(1, message, "limits.frame_bytes", limits.frame_bytes),
        // Full histories leave the node open, with room for what waits; and one client does not fill it.
        fits_into(2, memory, history.0, history.1),
        fits_into(4, memory, outbox.0, outbox.1),
    ]
}

fn check_sizes(config: &Config, given: &BTreeMap<String, Source>, broken: &BTreeSet<String>) -> Vec<Problem> {
    let check = |Fit {
                     key,
                     value,
                     part,
                     of: (other, holds),
                 }: Fit| {
        let most = holds / part;
        if value <= most || broken.contains(key) || broken.contains(other) {
            return None;
        }
        let origin = given
            .get(other)
            .map_or_else(String::new, |source| format!(" ({source})"));
        let part = match part {
            1 => "",
            2 => "half of ",
            _ => "a quarter of ",
        };
        let rule = format!("must be at most {most}: {part}`{other}` = {holds}{origin}");
        Some(Problem::Relation {
            key: key.to_owned(),
            value: value.to_string(),
            from: given.get(key).cloned(),
            rule,
        })
    };
    sizes(config).into_iter().filter_map(check).collect()
}

/// A node that asks for tokens has to know some.
fn check_auth(config: &Config, given: &BTreeMap<String, Source>) -> Option<Problem> {
    let auth = &config.auth;
    let files = [&auth.jwt_public_key_file, &auth.jwks_file, &auth.keys_file];
    let knows_some = auth.jwt_secret.is_some() || files.into_iter().any(Option::is_some);
    (auth.mode == AuthMode::Token && !knows_some).then(|| Problem::Relation {
        key: "auth.mode".to_owned(),
        value: "\"token\"".to_owned(),
        from: given.get("auth.mode").cloned(),
        rule: "needs something to know tokens by: one or more of `auth.jwt_secret`, `auth.jwt_public_key_file`, \
               `auth.jwks_file`, `auth.keys_file`"
            .to_owned(),
    })
}
