//! Layers, errors, and the file that is shipped, seen from outside.

mod refusals;

use std::collections::BTreeSet;
use std::io::Write;

use tempfile::NamedTempFile;

use super::key::Key;
use super::rules::RULES;
use super::*;

const SHIPPED: &str = include_str!("../../../config/greenroom.toml");

/// A file, variables, and flags; flags are `--set` unless they begin with `--`.
fn inputs(file: &str, variables: &[(&str, &str)], settings: &[&str]) -> (Inputs, NamedTempFile) {
    let mut written = NamedTempFile::new().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    let inputs = Inputs {
        file: Some(written.path().to_owned()),
        environment: variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        settings: settings.iter().map(ToString::to_string).collect(),
        ..Inputs::default()
    };
    (inputs, written)
}

fn loaded(file: &str, variables: &[(&str, &str)], settings: &[&str]) -> Loaded {
    load(&inputs(file, variables, settings).0).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems, with the file's path as `FILE`.
fn refused(file: &str, variables: &[(&str, &str)], settings: &[&str]) -> Vec<String> {
    let (inputs, written) = inputs(file, variables, settings);
    let path = written.path().display().to_string();
    match load(&inputs) {
        Ok(_) => panic!("accepted"),
        Err(problems) => problems.lines().map(|line| line.replace(&path, "FILE")).collect(),
    }
}

/// Every key of the default, with null for what is not set.
fn keys_of_the_default() -> BTreeSet<String> {
    fn walk(path: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
        let Some(object) = value.as_object() else {
            found.insert(path.to_owned());
            return;
        };
        for (name, inner) in object {
            let name = if path == "throttle.kinds" { "*" } else { name };
            walk(format!("{path}.{name}").trim_start_matches('.'), inner, found);
        }
    }
    let mut found = BTreeSet::new();
    walk("", &serde_json::to_value(Config::default()).unwrap(), &mut found);
    found
}

/// The shipped file with its optional keys (`#key = ...`) switched on.
fn shipped_in_full() -> String {
    let optional = |line: &str| line.starts_with('#') && line.chars().nth(1).is_some_and(char::is_alphabetic);
    SHIPPED
        .lines()
        .map(|line| if optional(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_file_is_the_default() {
    let loaded = loaded(SHIPPED, &[], &[]);
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert!(
        !loaded.given.contains_key("auth.mode"),
        "it does not switch authentication off by itself"
    );
}

#[test]
fn the_shipped_file_mentions_every_key_with_its_default() {
    let table: toml::Table = shipped_in_full().parse().unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    let mut mentioned = BTreeSet::new();
    for (key, value) in Key::leaves(&table) {
        if let Some(default) = key.get(&defaults) {
            assert_eq!(value, default, "{key}");
        }
        let pattern = key.segments().iter().enumerate();
        let kinds = key.to_string().starts_with("throttle.kinds.");
        let names = pattern.map(|(place, name)| if kinds && place == 2 { "*" } else { name });
        mentioned.insert(names.collect::<Vec<_>>().join("."));
    }
    assert_eq!(mentioned, keys_of_the_default());
    loaded(&shipped_in_full(), &[], &[]);
}

#[test]
fn every_key_has_a_rule_and_every_rule_a_key() {
    let ruled: BTreeSet<String> = RULES.iter().map(|rule| rule.pattern.to_owned()).collect();
    assert_eq!(ruled, keys_of_the_default());
    Config::default().validate().unwrap();
}

#[test]
fn each_layer_is_stronger_than_the_one_below() {
    let file = "[sandbox]\ntimeout_ms = 1\nmemory_mb = 1\n[rooms]\nhistory_events = 1\nhistory_seconds = 1";
    let variables = [
        ("GREENROOM_SANDBOX__TIMEOUT_MS", "3"),
        ("SANDBOX_TIMEOUT_MS", "2"),
        ("SANDBOX_MEMORY_MB", "2"),
        ("GREENROOM_ROOMS__HISTORY_EVENTS", "3"),
    ];
    let loaded = loaded(
        file,
        &variables,
        &["rooms.history_events=4", "rooms.history_events=5"],
    );
    let config = &loaded.config;
    assert_eq!(
        (config.rooms.history_events, config.rooms.history_seconds),
        (5, 1)
    );
    assert_eq!((config.sandbox.timeout_ms, config.sandbox.memory_mb), (3, 2));
    assert_eq!(config.rooms.name_chars, 200);
    let source = |key: &str| loaded.given.get(key).map(ToString::to_string);
    assert_eq!(source("rooms.history_events").unwrap(), "flag --set");
    assert_eq!(
        source("sandbox.timeout_ms").unwrap(),
        "environment variable GREENROOM_SANDBOX__TIMEOUT_MS"
    );
    assert_eq!(
        source("sandbox.memory_mb").unwrap(),
        "environment variable SANDBOX_MEMORY_MB"
    );
    assert!(source("rooms.history_seconds").unwrap().ends_with(", line 6"));
    assert_eq!(source("rooms.name_chars"), None);
}

#[test]
fn a_flag_of_its_own_is_stronger_than_set() {
    let flag = Flag {
        name: "--listen",
        key: "listen",
        value: "127.0.0.1:2".to_owned(),
    };
    let (mut inputs, _file) = inputs("", &[], &["listen=127.0.0.1:1"]);
    inputs.flags.push(flag);
    assert_eq!(load(&inputs).unwrap().config.listen.port(), 2);
}

#[test]
fn the_well_known_names_of_the_environment_are_honoured() {
    let variables = [
        ("REDIS_URL", "redis://:pw@db:6379"),
        ("OPENAI_API_KEY", "sk-1"),
        ("OPENAI_BASE_URL", "http://localhost:8080/v1"),
        ("PINECONE_API_KEY", "pc-1"),
        ("PINECONE_INDEX_HOST", "index.pinecone.io"),
        ("DOCKER_HOST", "tcp://127.0.0.1:2375"),
        ("REDIS_TTL_30_DAYS", "30"),
        ("REDIS_TTL_24_HOURS", "24"),
        ("PINECONE_ENVIRONMENT", "us-east-1"),
        ("PATH", "/bin"),
    ];
    let Loaded { config, warnings, .. } = loaded("", &variables, &[]);
    assert_eq!(
        config.redis.url.as_ref().map(Secret::expose),
        Some("redis://:pw@db:6379")
    );
    assert_eq!(config.openai.api_key.as_ref().map(Secret::expose), Some("sk-1"));
    assert_eq!(config.openai.base_url, "http://localhost:8080/v1");
    assert_eq!(config.pinecone.api_key.as_ref().map(Secret::expose), Some("pc-1"));
    assert_eq!(config.pinecone.host.as_deref(), Some("index.pinecone.io"));
    assert_eq!(
        config.sandbox.docker_host.as_deref(),
        Some("tcp://127.0.0.1:2375")
    );
    assert_eq!(
        (config.cache.ttl_long_seconds, config.cache.ttl_session_seconds),
        (30, 24)
    );
    assert!(
        warnings[0].contains("PINECONE_ENVIRONMENT is obsolete"),
        "{warnings:?}"
    );
    let openai =
        "`openai.api_key` (environment variable OPENAI_API_KEY) is set, but has no effect in this version";
    assert!(warnings.iter().any(|warning| warning == openai), "{warnings:?}");
    assert_eq!(warnings.len(), 6);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let loaded = loaded("", &[("REDIS_URL", ""), ("GREENROOM_NODE_ID", "")], &[]);
    assert!(loaded.given.is_empty());
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn a_file_that_is_no_toml_is_told_with_line_and_column() {
    let told = refused("workers = 1\n[openai]\napi_key = \"sk-hidden\n", &[], &[]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("FILE, line 3, column "), "{told:?}");
}

#[test]
fn a_file_that_was_named_has_to_exist() {
    let missing = Inputs {
        file: Some("no/such/file.toml".into()),
        ..Inputs::default()
    };
    let told = load(&missing).unwrap_err().to_string();
    assert!(told.starts_with("cannot read no/such/file.toml: "), "{told}");
    let searched = Inputs {
        search: vec!["no/such/file.toml".into()],
        ..Inputs::default()
    };
    assert_eq!(load(&searched).unwrap().file, None);
}

#[test]
fn an_event_can_be_added_changed_and_left_alone() {
    let file = "[throttle.kinds.\"chat.message\"]\npriority = 9\n[throttle.kinds.plain]\n[throttle.kinds]\n";
    let file = file.replace("[throttle.kinds]\n", "");
    let variables = [("GREENROOM_THROTTLE__KINDS__CHAT_MESSAGE__MERGE", "latest")];
    let config = loaded(
        &file,
        &variables,
        &["throttle.kinds.agent-thought.events_per_second=0"],
    )
    .config;
    let kinds = config.throttle.kinds;
    let expected = sections::Kind {
        merge: sections::Merge::Latest,
        priority: 9,
        events_per_second: None,
    };
    assert_eq!(kinds["chat.message"], expected);
    assert_eq!(kinds["plain"], sections::Kind::default());
    assert_eq!(kinds["agent-thought"].events_per_second, Some(0));
    assert_eq!(kinds["agent-thought"].merge, sections::Merge::Append);
    assert_eq!(kinds.len(), 6);
}

#[test]
fn an_event_with_a_wrong_key_or_name_is_told() {
    let file = "[throttle.kinds.chat]\nprio = 1\npriority = 11\n[throttle.kinds.\"two words\"]\nmerge = \"latest\"\n";
    let told = refused(file, &[], &[]);
    let expected = [
        "`throttle.kinds.chat.prio` (FILE, line 2) is no key of the configuration; the nearest is \
         `throttle.kinds.chat.priority`",
        "`throttle.kinds.chat.priority` = 11 (FILE, line 3) must be a whole number from 0 to 10",
        "`throttle.kinds.\"two words\"` = { ... } (FILE, line 5) names no event: 1 to 200 characters, no spaces or \
         control characters",
    ];
    assert_eq!(told, expected);
}

#[test]
fn no_error_prints_a_secret() {
    let files = [
        "[openai]\napi_key = \"sk hidden\"",
        "[openai]\napi_keyy = \"hidden\"",
        "openai = \"hidden\"",
        "[openai]\napi_key = [\"hidden\"]",
        "[openai]\napi_key = { hidden = \"hidden\" }",
        "[openai]\napi_key = 'hidden",
        "[openai]\napi_key = hidden",
        "[openai]\nbase_url = \"ftp://me:hidden@host\"",
        "[redis]\nurl = \"http://:hidden@host\"",
    ];
    for file in files {
        let told = refused(file, &[], &[]).join("\n");
        assert!(!told.contains("hidden"), "{file}: {told}");
        assert!(
            told.contains("openai") || told.contains("redis") || told.contains("FILE, line 2"),
            "{told}"
        );
    }
    for setting in [
        "redis.url=hidden",
        "openai.api_key=hid den hidden",
        "openai.api_kee=hidden",
    ] {
        let told = refused("", &[], &[setting]).join("\n");
        assert!(!told.contains("hidden"), "{told}");
    }
}

#[test]
fn nothing_that_prints_a_configuration_prints_a_secret() {
    let variables = [
        ("REDIS_URL", "redis://:hidden@db"),
        ("OPENAI_API_KEY", "hidden"),
        ("PINECONE_API_KEY", "hidden"),
    ];
    let loaded = loaded("", &variables, &[]);
    let debug = format!("{loaded:?}");
    let shown = toml::to_string(&loaded.config).unwrap() + &serde_json::to_string(&loaded.config).unwrap();
    assert!(
        !debug.contains("hidden") && !shown.contains("hidden"),
        "{debug} {shown}"
    );
    assert_eq!(shown.matches("***").count(), 6);
}

#[test]
fn a_config_made_by_a_program_is_checked_the_same_way() {
    let mut config = Config::default();
    config.rooms.history_events = 0;
    config.limits.event_bytes = 1_000_000;
    config.redis.url = Some(Secret::new("http://hidden"));
    let expected = [
        "`rooms.history_events` = 0 must be a whole number from 1 to 1000000",
        "`redis.url` = *** must be a text: an address that begins with redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://",
        "`limits.event_bytes` = 1000000 must be at most 262144: a quarter of `rooms.outbox_bytes` = 1048576",
    ];
    assert_eq!(
        config.validate().unwrap_err().lines().collect::<Vec<_>>(),
        expected
    );
}
