//! README.md, ARCHITECTURE.md and docs/SECURITY.md against the code: what is there is listed, and what is named is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use greenroom::actors::logic::fault::{CloseCode, Code};
use greenroom::config::Config;
use greenroom::http::openapi_json;
use greenroom::node::Node;
use serde_json::Value;

#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../examples/agent.rs"]
mod agent;

const README: &str = include_str!("../README.md");
const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");
const SECURITY: &str = include_str!("../docs/SECURITY.md");

/// The rows of README's tables that begin like this.
fn rows(beginning: &str) -> Vec<&'static str> {
    README
        .lines()
        .filter(|line| line.starts_with(beginning))
        .collect()
}

/// Fails with all that is missing, not only the first.
fn assert_listed(what: &str, wanted: impl IntoIterator<Item = String>) {
    let missing: Vec<String> = wanted.into_iter().filter(|row| rows(row).len() != 1).collect();
    assert!(
        missing.is_empty(),
        "README needs one row for each {what}:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_error_code_is_listed() {
    let row = |code: &Code| {
        let row = code.row();
        let again = if row.retry { "yes" } else { "no" };
        format!("| `{}` | {} | {again} | {} |", row.name, row.status, row.meaning)
    };
    assert_listed("error code", Code::ALL.iter().map(row));
}

#[test]
fn every_close_code_is_listed() {
    let row = |code: &CloseCode| {
        let (number, name) = code.wire();
        format!("| {number} | `{name}` | ")
    };
    assert_listed("close code", CloseCode::ALL.iter().map(row));
}

#[test]
fn every_key_is_listed_with_its_default() {
    let config = serde_json::to_value(Config::default()).unwrap();
    let mut keys = Vec::new();
    flatten("", &config, &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    assert_listed("key of the configuration", keys);
}

/// A row for each value; what every event's kind may have is one row.
fn flatten(path: &str, value: &Value, rows: &mut Vec<String>) {
    let default = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, rows);
            }
            return;
        }
        Value::Null => "not set".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    let key = match path
        .strip_prefix("throttle.kinds.")
        .and_then(|kind| kind.split_once('.'))
    {
        Some((_, field)) if value.is_null() => format!("throttle.kinds.NAME.{field}"),
        _ => path.to_owned(),
    };
    let row = format!("| `{key}` | {default} | ");
    if !rows.contains(&row) {
        rows.push(row);
    }
}

#[test]
fn every_variable_that_others_use_too_is_named() {
    let code = include_str!("../src/config/environment.rs");
    let names = code.lines().filter_map(|line| {
        line.trim()
            .strip_prefix("(\"")?
            .split_once("\", \"")
            .map(|(name, _)| name)
    });
    let names: Vec<&str> = names
        .filter(|name| !name.contains(|c: char| c.is_lowercase()))
        .collect();
    assert!(names.contains(&"REDIS_URL") && names.len() >= 10, "{names:?}");
    for name in names {
        assert!(
            README.contains(&format!("`{name}`")),
            "README does not name {name}"
        );
    }
}

#[test]
fn every_command_is_listed() {
    let subcommands = |of: &[&str]| {
        let help = Command::new(env!("CARGO_BIN_EXE_greenroom"))
            .args(of)
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = commands.map_while(|line| line.split_whitespace().next().map(str::to_owned));
        let path = of.iter().map(|part| format!("{part} ")).collect::<String>();
        let names: Vec<String> = names
            .filter(|name| name != "help")
            .map(|name| path.clone() + &name)
            .collect();
        assert!(!names.is_empty(), "{help}");
        names
    };
    let mut commands = subcommands(&["config"]);
    commands.extend(subcommands(&[]).into_iter().filter(|name| name != "config"));
    // The name may be followed by its arguments.
    for command in commands {
        let found = rows(&format!("| `greenroom {command}")).len();
        assert_eq!(found, 1, "README needs one row for `greenroom {command}`");
    }
}

#[test]
fn every_route_is_listed_and_described() {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, calls)| {
        let methods = calls.as_object().unwrap().keys();
        methods.map(move |method| format!("| `{} {path}` | ", method.to_uppercase()))
    });
    assert_listed("call", calls.chain(["| `GET /` | ".to_owned()]));
    let table = include_str!("../src/http/mod.rs");
    let routes = table
        .split("at(\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0));
    let routes: BTreeSet<&str> = routes.collect();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).chain(["/"]).collect();
    assert_eq!(
        routes, described,
        "the route table and the OpenAPI document differ"
    );
}

#[actix_rt::test]
async fn every_metric_is_listed() {
    let mut config = Config::default();
    config.listen.set_port(0);
    let node = Node::start(config).await.unwrap();
    let url = format!("http://{}/metrics", node.address());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    node.stop().await;
    // A histogram is several samples of one name.
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let histograms = types.filter_map(|line| line.strip_suffix(" histogram"));
    let is_one = |name: &str| histograms.clone().find(|histogram| name.starts_with(histogram));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.split(['{', ' ']).next());
    let names: BTreeSet<&str> = names.map(|name| is_one(name).unwrap_or(name)).collect();
    assert!(names.len() >= 20, "{text}");
    assert_listed("metric", names.iter().map(|name| format!("| `{name}` | ")));
    let listed = rows("| `greenroom_").len();
    assert_eq!(listed, names.len(), "README lists a metric that is gone");
}

#[test]
fn every_link_leads_somewhere() {
    for (page, text) in [
        ("README", README),
        ("ARCHITECTURE", ARCHITECTURE),
        ("SECURITY", SECURITY),
    ] {
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0))
        {
            let there = match target.strip_prefix('#') {
                Some(anchor) => text
                    .lines()
                    .any(|line| line.starts_with('#') && slug(line) == anchor),
                None => target.starts_with("https://") || Path::new(target).exists(),
            };
            assert!(there, "{page} links to {target}");
        }
    }
}

/// A heading as an anchor.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_file_that_architecture_names_is_there() {
    let spans: Vec<&str> = ARCHITECTURE.split('`').skip(1).step_by(2).collect();
    let roots = ["src/", "actors/", "tests/", "examples/", "config/", "docs/"];
    let paths: Vec<&&str> = spans
        .iter()
        .filter(|span| roots.iter().any(|root| span.starts_with(root)))
        .collect();
    assert!(paths.len() > 40, "{paths:?}");
    for path in paths {
        assert!(Path::new(path).exists(), "ARCHITECTURE names {path}");
    }
}

/// The text of every Rust file below these folders.
fn code_in(folders: &[&str]) -> std::io::Result<String> {
    let mut folders: Vec<_> = folders
        .iter()
        .map(|folder| Path::new(folder).to_owned())
        .collect();
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                code += &std::fs::read_to_string(&path)?;
            }
        }
    }
    Ok(code)
}

/// A row is: threat, what the node does, shown by, what remains.
#[test]
fn every_test_that_security_names_is_there() {
    let code = code_in(&["tests", "src", "actors/src", "actors/tests"]).unwrap();
    let mut named = 0;
    for row in SECURITY.lines().filter(|line| line.starts_with("| ")) {
        let columns: Vec<&str> = row.split(" | ").collect();
        assert_eq!(columns.len(), 4, "{row}");
        let spans = columns[2].split('`').skip(1).step_by(2);
        let tests = spans.filter(|span| span.contains('_')).collect::<Vec<_>>();
        assert!(
            !tests.is_empty() || columns[2] == "Shown by",
            "nothing shows {row}"
        );
        for test in &tests {
            let there = code.contains(&format!("fn {test}("));
            assert!(there, "docs/SECURITY.md names {test}");
        }
        named += tests.len();
    }
    assert!(named > 30, "{named}");
}

/// Each is somewhere in the table, whose rows name the tests that reach it.
#[test]
fn every_limit_is_named_where_security_tells_of_limits() {
    let (_, table) = SECURITY.split_once("## Every limit").unwrap();
    let config = serde_json::to_value(Config::default()).unwrap();
    let limits = config["limits"].as_object().unwrap();
    let missing: Vec<&String> = limits
        .keys()
        .filter(|key| !table.contains(&format!("`limits.{key}`")))
        .collect();
    assert!(missing.is_empty(), "docs/SECURITY.md has no row for {missing:?}");
}

#[test]
fn the_actors_know_nothing_of_the_world() {
    let manifest: toml::Table = toml::from_str(include_str!("../actors/Cargo.toml")).unwrap();
    let world = [
        "redis",
        "bollard",
        "git2",
        "async-openai",
        "reqwest",
        "actix-web",
        "actix-http",
        "hyper",
    ];
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = manifest.get(section) else {
            continue;
        };
        for (name, how) in dependencies.as_table().unwrap() {
            let package = how.get("package").and_then(toml::Value::as_str).unwrap_or(name);
            assert!(!world.contains(&package), "actors/Cargo.toml: {section}.{name}");
        }
    }
}

#[test]
fn the_logic_is_pure() {
    let impure = [
        "actix",
        "tokio",
        "SystemTime",
        "Instant",
        "fastrand",
        "std::fs",
        "std::net",
        "std::thread",
    ];
    let mut folders = vec![Path::new("actors/src/logic").to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            // Comments may speak of what the code does not use.
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let found = impure.iter().find(|word| line.contains(*word));
                assert_eq!(found, None, "{}: {line}", path.display());
            }
        }
    }
    assert!(files > 10);
}

#[actix_rt::test]
async fn the_agent_of_the_example_hears_thinks_and_ends() {
    let mut lines = Vec::new();
    agent::run(|line| lines.push(line)).await.unwrap();
    let told: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "agent 7 watches task:1",
            "task 1 is in_progress: [(\"task:1\", 1)]",
            "agent 7 thought \"10 % of the task are behind us\": [(\"agent:7\", 1)]",
            "task 1 is in_progress: [(\"task:1\", 2)]",
            "agent 7 thought \"60 % of the task are behind us\": [(\"agent:7\", 2)]",
            "task 1 is completed: [(\"task:1\", 3)]",
            "agent 7 thought \"the task is done, and so am I\": [(\"agent:7\", 3)]",
        ]
    );
}

#[test]
fn the_architecture_has_the_kinds_of_the_cache_as_the_code_has_them() {
    use greenroom::actors::logic::cache::{KINDS, Life};
    for row in &KINDS {
        let lives = match row.life {
            Life::Long => "30 days",
            Life::Session => "24 hours",
            Life::Execution => "1 hour",
        };
        let [renewed, constant, near] =
            [row.is_renewed, row.is_constant, row.is_near].map(|is_so| if is_so { "yes" } else { "no" });
        let (name, key, form) = (row.name, row.key, row.encoding);
        let line = format!("| `{name}` | `{key}` | {lives} | {renewed} | {constant} | {near} | {form} |");
        assert!(ARCHITECTURE.contains(&line), "{line}");
    }
}
