//! The log of a real process: panics, and what strangers could fill it with.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

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

/// What a node with this level writes to standard error while somebody sends it what is no request.
fn told_of_a_bad_request(level: &str) -> String {
    let mut node = Command::new(env!("CARGO_BIN_EXE_greenroom"))
        .args([
            "serve",
            "--config",
            "/dev/null",
            "--listen",
            "127.0.0.1:0",
            "--set",
        ])
        .arg(format!("log.level={level}"))
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (_, address) = line.split_once("http://").unwrap();
    let mut stream = TcpStream::connect(address.split_whitespace().next().unwrap()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost : x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    node.kill().unwrap();
    let told = node.wait_with_output().unwrap().stderr;
    String::from_utf8(told).unwrap()
}

#[test]
fn a_request_that_is_none_leaves_no_line_in_the_log() {
    let told = told_of_a_bad_request("info");
    assert!(!told.contains("actix_http"), "{told}");
    let told = told_of_a_bad_request("info,actix_http=debug");
    assert!(told.contains("actix_http"), "who asks for it is told: {told}");
}
