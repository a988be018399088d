//! The `greenroom` command from outside, by subject: the real binary, against a node that says what the test tells it to.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

mod configuration;
mod failures;
mod listings;
mod publishing;
mod stub;
mod watching;

use std::process::{Command, Output, Stdio};

use stub::Stub;

/// The command, in an empty folder and an empty environment.
fn greenroom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command
        .env_clear()
        .current_dir(std::env::temp_dir())
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Ran {
    ran(&mut greenroom(arguments))
}

/// Runs a client command against a node.
fn ask(node: &Stub, arguments: &[&str]) -> Ran {
    ran(greenroom(arguments).env("GREENROOM_URL", &node.url))
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ran(command: &mut Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

impl Ran {
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{} {}", self.out, self.err);
        self.err
    }
}

/// An event of `agent:42`.
fn event(number: u32) -> String {
    format!(
        r#"{{"id":"E{number}","room":"agent:42","event":"note","data":{{"n":{number}}},"offset":{number},"ts":"T{number}"}}"#
    )
}
