//! Names of environment variables: which key each one sets.

use super::key::Key;
use super::problem::Problem;
use super::rules::Rule;

/// What our own variables begin with.
const PREFIX: &str = "GREENROOM_";

/// Read by the command line itself, not keys of the configuration.
const CLIENT: &[&str] = &["GREENROOM_URL", "GREENROOM_TOKEN", "GREENROOM_CONFIG"];

/// Names that users of such systems already have. They are weaker than `GREENROOM_...`.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("REDIS_URL", "redis.url"),
    ("OPENAI_API_KEY", "openai.api_key"),
    ("OPENAI_BASE_URL", "openai.base_url"),
    ("PINECONE_API_KEY", "pinecone.api_key"),
    ("PINECONE_INDEX_HOST", "pinecone.host"),
    ("DOCKER_HOST", "sandbox.docker_host"),
    ("REDIS_TTL_30_DAYS", "cache.ttl_long_seconds"),
    ("REDIS_TTL_24_HOURS", "cache.ttl_session_seconds"),
    ("SANDBOX_TIMEOUT_MS", "sandbox.timeout_ms"),
    ("SANDBOX_MEMORY_MB", "sandbox.memory_mb"),
];

/// Accepted so that nothing breaks, and told to be obsolete.
const OBSOLETE: &[(&str, &str)] = &[(
    "PINECONE_ENVIRONMENT",
    "environment variable PINECONE_ENVIRONMENT is obsolete and ignored: Pinecone needs only PINECONE_INDEX_HOST",
)];

/// What a variable means to the configuration.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// Nothing: it belongs to others.
    Foreign,
    /// A key, by a name that others use too.
    WellKnown(Key),
    /// A key, by our own name.
    Own(Key),
    /// A name that did something once; the warning says so.
    Obsolete(&'static str),
    /// One of ours that names nothing.
    Unknown(Problem),
}

/// What a variable means. `kinds` are the names of events that the weaker layers know under `throttle.kinds`.
pub(super) fn meaning(name: &str, value: &str, kinds: &[String]) -> Meaning {
    if let Some((_, key)) = WELL_KNOWN.iter().find(|(known, _)| *known == name) {
        return Meaning::WellKnown(Key::parse(key));
    }
    if let Some((_, warning)) = OBSOLETE.iter().find(|(known, _)| *known == name) {
        return Meaning::Obsolete(warning);
    }
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return Meaning::Foreign;
    };
    if CLIENT.contains(&name) {
        return Meaning::Foreign;
    }
    let key = own_key(rest, kinds);
    if Rule::of(&key).is_some() {
        return Meaning::Own(key);
    }
    if is_service_link(rest, value) {
        return Meaning::Foreign;
    }
    let nearest = key.nearest();
    Meaning::Unknown(Problem::UnknownVariable {
        name: name.to_owned(),
        variable: variable(&nearest),
        nearest,
    })
}

/// The variable of a key: `GREENROOM_ROOMS__HISTORY_EVENTS`.
pub(super) fn variable(key: &str) -> String {
    format!(
        "{PREFIX}{}",
        key.replace('.', "__").replace('-', "_").to_uppercase()
    )
}

/// `THROTTLE__KINDS__AGENT_THOUGHT__PRIORITY` means the event `agent-thought`: a variable's name can hold
/// neither dash nor dot, so the event is the known one that is written alike, or else one with dashes.
fn own_key(rest: &str, kinds: &[String]) -> Key {
    let lower = rest.to_lowercase();
    let segments: Vec<&str> = lower.split("__").collect();
    let ["throttle", "kinds", event, field] = segments[..] else {
        return segments
            .iter()
            .fold(Key::root(), |key, segment| key.child(segment));
    };
    let plain = |name: &str| name.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_");
    let known = kinds.iter().find(|kind| plain(kind) == event);
    let event = known.cloned().unwrap_or_else(|| event.replace('_', "-"));
    ["throttle", "kinds", &event, field]
        .iter()
        .fold(Key::root(), |key, segment| key.child(segment))
}

/// Kubernetes hands every pod such variables for each service of its namespace: a service that is called
/// `greenroom` or `greenroom-...` would otherwise keep the node from starting.
fn is_service_link(rest: &str, value: &str) -> bool {
    let parts: Vec<&str> = rest.split('_').collect();
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    match parts[..] {
        _ if rest.contains("__") => false,
        [.., "SERVICE", "HOST" | "PORT"] => true,
        [.., "PORT", port, "TCP" | "UDP" | "SCTP"] => number(port),
        [
            ..,
            "PORT",
            port,
            "TCP" | "UDP" | "SCTP",
            "PROTO" | "PORT" | "ADDR",
        ] => number(port),
        [.., "PORT"] => value.contains("://"),
        _ => rest.starts_with("SERVICE_PORT_") || rest.contains("_SERVICE_PORT_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, kinds: &[&str]) -> String {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        match meaning(name, "1", &kinds) {
            Meaning::Own(key) => key.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn two_underscores_part_a_path() {
        assert_eq!(own("GREENROOM_LISTEN", &[]), "listen");
        assert_eq!(own("GREENROOM_NODE_ID", &[]), "node_id");
        assert_eq!(
            own("GREENROOM_ROOMS__HISTORY_EVENTS", &[]),
            "rooms.history_events"
        );
    }

    #[test]
    fn every_variable_that_is_suggested_works() {
        for rule in super::super::rules::RULES {
            let key = rule.pattern.replace('*', "agent-thought");
            assert_eq!(own(&variable(&key), &["agent-thought"]), key);
        }
    }

    #[test]
    fn an_events_variable_finds_the_event_that_is_written_alike() {
        let name = "GREENROOM_THROTTLE__KINDS__CHAT_MESSAGE__PRIORITY";
        assert_eq!(
            own(name, &["chat.message"]),
            "throttle.kinds.\"chat.message\".priority"
        );
        assert_eq!(own(name, &[]), "throttle.kinds.chat-message.priority");
    }

    #[test]
    fn an_unknown_variable_is_told_with_the_nearest_one() {
        let Meaning::Unknown(problem) = meaning("GREENROOM_REDIS_URL", "redis://:pw@host", &[]) else {
            panic!("taken for something else")
        };
        let told = "environment variable GREENROOM_REDIS_URL names no key of the configuration; the nearest is \
                    GREENROOM_REDIS__URL (`redis.url`)";
        assert_eq!(problem.to_string(), told);
    }

    #[test]
    fn variables_of_the_client_commands_and_of_kubernetes_are_let_be() {
        let links = [
            "GREENROOM_SERVICE_HOST",
            "GREENROOM_SERVICE_PORT",
            "GREENROOM_SERVICE_PORT_HTTP",
            "GREENROOM_PORT",
            "GREENROOM_PORT_7420_TCP",
            "GREENROOM_PORT_7420_TCP_PORT",
            "GREENROOM_HEADLESS_PORT_7420_TCP_ADDR",
            "GREENROOM_HEADLESS_SERVICE_PORT_HTTP",
        ];
        for name in CLIENT.iter().chain(&links) {
            assert_eq!(
                meaning(name, "tcp://10.0.0.7:7420", &[]),
                Meaning::Foreign,
                "{name}"
            );
        }
        assert!(
            matches!(meaning("GREENROOM_PORT", "8080", &[]), Meaning::Unknown(_)),
            "a guess at a key is told"
        );
    }
}
