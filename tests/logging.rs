//! Panics in the log of a real process.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::process::Command;

use greenroom::config::sections::{Log, LogFormat};

/// Not a test of its own: what the tests below run as a process.
#[test]
#[ignore = "run as a process by the other tests"]
fn child() {
    let level = std::env::var("CHILD_LEVEL").unwrap();
    let log = Log {
        format: LogFormat::Json,
        level,
    };
    greenroom::logging::init(&log, || Some("bridge".to_owned())).unwrap();
    let thread = std::thread::Builder::new().name("shard-1".to_owned());
    let joined = thread.spawn(|| panic!("boom {}", 7)).unwrap().join();
    assert!(joined.is_err());
}

fn told_by_child(level: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_remove("RUST_BACKTRACE");
    let output = command.env("CHILD_LEVEL", level).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_panic_is_told_once_with_message_place_thread_and_worker() {
    let told = told_by_child("info");
    assert_eq!(told.matches("boom 7").count(), 1, "{told}");
    let line: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!(
        (&line["level"], &line["message"]),
        (&"ERROR".into(), &"panicked: boom 7".into())
    );
    assert_eq!(
        (&line["thread"], &line["worker"]),
        (&"shard-1".into(), &"bridge".into())
    );
    assert!(
        line["location"]
            .as_str()
            .unwrap()
            .starts_with("tests/logging.rs:"),
        "{told}"
    );
}

#[test]
fn a_panic_is_told_once_even_when_the_filter_drops_it() {
    let told = told_by_child("off");
    assert_eq!(told.matches("boom 7").count(), 1, "{told}");
}
