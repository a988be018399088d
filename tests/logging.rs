//! Panics in the log of a real process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::process::Command;

use greenroom::config::sections::{Log, LogFormat};

/// Set in a test's own second process, which logs at that level, panics in a thread, and ends.
const LEVEL: &str = "TEST_PANICS_AT_LEVEL";

/// What a test's second process wrote to standard error; in that process itself, `None` after the panic.
fn told_by_child(test: &str, level: &str) -> Option<String> {
    if let Ok(level) = std::env::var(LEVEL) {
        panic_in_a_thread(level);
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env_remove("RUST_BACKTRACE");
    let output = command.env(LEVEL, level).output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stderr).unwrap())
}

fn panic_in_a_thread(level: String) {
    let log = Log {
        format: LogFormat::Json,
        level,
    };
    greenroom::logging::init(&log, || Some("bridge".to_owned())).unwrap();
    let thread = std::thread::Builder::new().name("shard-1".to_owned());
    let joined = thread.spawn(|| panic!("boom {}", 7)).unwrap().join();
    assert!(joined.is_err());
}

#[test]
fn a_panic_is_told_once_with_message_place_thread_and_worker() {
    let test = "a_panic_is_told_once_with_message_place_thread_and_worker";
    let Some(told) = told_by_child(test, "info") else {
        return;
    };
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
    let test = "a_panic_is_told_once_even_when_the_filter_drops_it";
    let Some(told) = told_by_child(test, "off") else {
        return;
    };
    assert_eq!(told.matches("boom 7").count(), 1, "{told}");
}
