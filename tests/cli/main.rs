//! The `greenroom` command from outside: the real binary, against a node that says what the test tells it to.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

#[path = "support/stub.rs"]
mod stub;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use greenroom::config::Config;
use stub::{Answer, Request, Stub, json, json_with, stream};

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

/// An event of `agent:42` as a stream carries it.
fn sent(number: u32) -> String {
    let event = event(number);
    format!("id: p{number}\nevent: note\ndata: {event}\n\n")
}

fn event(number: u32) -> String {
    format!(
        r#"{{"id":"E{number}","room":"agent:42","event":"note","data":{{"n":{number}}},"offset":{number},"ts":"T{number}"}}"#
    )
}

fn joined(position: &str, recovered: bool) -> String {
    format!(
        "retry: 10\n\nevent: joined\ndata: {{\"room\":\"agent:42\",\"position\":\"{position}\",\"recovered\":{recovered}}}\n\n"
    )
}

fn resumes_from(request: &Request) -> Option<&str> {
    request.header("last-event-id")
}

#[test]
fn config_check_says_ok_or_everything_that_is_wrong() {
    assert_eq!(run(&["config", "check"]).ok(), "ok\n");
    let err = run(&[
        "config",
        "check",
        "--set",
        "workers=-1",
        "--listen",
        "nowhere",
        "--log-format",
        "xml",
    ])
    .failed(2);
    let expected = "\
error: `listen` = \"nowhere\" (flag --listen) must be a text: an IP address and a port, such as 127.0.0.1:7420 or [::1]:7420
error: `log.format` = \"xml\" (flag --log-format) must be one of \"pretty\", \"json\"
error: `workers` = -1 (flag --set) must be a whole number from 0 to 1024
";
    assert_eq!(err, expected);
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    let err = ran(greenroom(&["config", "check"]).env("GREENROOM_ROOMS__HISTORY_EVENT", "5")).failed(2);
    assert!(
        err.contains("GREENROOM_ROOMS__HISTORY_EVENT names no key"),
        "{err}"
    );
    assert!(
        err.contains("GREENROOM_ROOMS__HISTORY_EVENTS (`rooms.history_events`)"),
        "{err}"
    );
}

#[test]
fn the_file_is_found_by_flag_by_variable_and_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    let file = folder.path().join("config/greenroom.toml");
    std::fs::write(&file, "workers = 3\n").unwrap();
    let show = || greenroom(&["config", "show"]);
    assert!(
        ran(show().current_dir(folder.path()))
            .ok()
            .contains("workers = 3")
    );
    assert!(
        ran(show().env("GREENROOM_CONFIG", &file))
            .ok()
            .contains("workers = 3")
    );
    assert!(
        ran(show().arg("--config").arg(&file))
            .ok()
            .contains("workers = 3")
    );
    assert!(
        ran(show().env("GREENROOM_CONFIG", ""))
            .ok()
            .contains("workers = 0")
    );
    let err = ran(show().args(["--config", "absent.toml"])).failed(2);
    assert!(err.starts_with("error: cannot read absent.toml: "), "{err}");
}

#[test]
fn config_show_prints_what_is_in_force() {
    let shown = run(&["config", "show", "--set", "rooms.history_events=7"]).ok();
    let mut expected = Config::default();
    expected.rooms.history_events = 7;
    assert_eq!(toml::from_str::<Config>(&shown).unwrap(), expected);
    let shown = run(&["config", "show", "--json"]).ok();
    assert_eq!(serde_json::from_str::<Config>(&shown).unwrap(), Config::default());
}

#[test]
fn no_command_prints_a_secret() {
    let secrets = [
        ("REDIS_URL", "redis://:hidden@db"),
        ("OPENAI_API_KEY", "hidden"),
        ("GREENROOM_TOKEN", "hidden"),
    ];
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "check"],
        &["watch", "--help"],
    ] {
        let ran = ran(greenroom(arguments).envs(secrets));
        assert!(
            !ran.out.contains("hidden") && !ran.err.contains("hidden"),
            "{} {}",
            ran.out,
            ran.err
        );
        assert_eq!(ran.code, Some(0));
    }
    let shown = ran(greenroom(&["config", "show"]).envs(secrets)).ok();
    assert!(
        shown.contains("url = \"***\"") && shown.contains("api_key = \"***\""),
        "{shown}"
    );
    let err =
        ran(greenroom(&["config", "check", "--set", "workers=x"]).env("OPENAI_API_KEY", "hid den")).failed(2);
    assert!(
        err.contains("`openai.api_key` = *** (environment variable OPENAI_API_KEY)"),
        "{err}"
    );
}

#[test]
fn keys_without_effect_are_warned_of() {
    let checked = ran(greenroom(&["config", "check"]).env("OPENAI_API_KEY", "sk-1"));
    assert!(
        checked
            .err
            .starts_with("warning: `openai.api_key` (environment variable OPENAI_API_KEY)"),
        "{}",
        checked.err
    );
    assert_eq!(checked.ok(), "ok\n");
}

#[test]
fn serve_refuses_an_address_that_others_reach_without_authentication() {
    let err = run(&["serve", "--listen", "0.0.0.0:0"]).failed(2);
    assert!(
        err.contains("`listen` = \"0.0.0.0:0\" (flag --listen) can be reached from other machines"),
        "{err}"
    );
    let check = [
        "config",
        "check",
        "--listen",
        "0.0.0.0:0",
        "--set",
        "auth.mode=off",
    ];
    assert_eq!(run(&check).ok(), "ok\n");
}

#[test]
fn publish_posts_the_event_with_the_token() {
    let node = Stub::new([json(
        "202 Accepted",
        r#"{"id":"01H","rooms":{"agent:42":17,"project:7":3}}"#,
    )]);
    let arguments = [
        "publish",
        "agent:42",
        "note",
        r#"{"n":1.10}"#,
        "--id",
        "01H",
        "--room",
        "project:7",
    ];
    let out = ran(greenroom(&arguments)
        .env("GREENROOM_URL", &node.url)
        .env("GREENROOM_TOKEN", "t0k"))
    .ok();
    assert_eq!(out, "published 01H in agent:42 at 17, project:7 at 3\n");
    let request = node.request();
    assert_eq!(request.line(), "POST /v1/rooms/agent:42/events HTTP/1.1");
    assert_eq!(request.header("authorization"), Some("Bearer t0k"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.body,
        r#"{"event":"note","data":{"n":1.10},"id":"01H","rooms":["project:7"]}"#
    );
}

#[test]
fn publish_reads_data_from_standard_input_and_hands_the_answer_on() {
    let answer = r#"{"id":"01H","rooms":{"a/b":1}}"#;
    let node = Stub::new([json("202 Accepted", answer)]);
    let arguments = ["publish", "a/b", "note", "-", "--json", "--url", &node.url];
    let mut child = greenroom(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"[1, 2]\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{answer}\n"));
    let request = node.request();
    assert_eq!(request.line(), "POST /v1/rooms/a%2Fb/events HTTP/1.1");
    assert_eq!(request.body, r#"{"event":"note","data":[1, 2]}"#);
}

#[test]
fn data_that_is_not_json_is_not_sent() {
    let node = Stub::new([json("202 Accepted", "{}")]);
    let err = ask(&node, &["publish", "lobby", "note", "hello"]).failed(1);
    assert!(err.starts_with("error: the data is not JSON"), "{err}");
    assert!(node.no_more_requests());
}

#[test]
fn an_error_of_the_node_is_told_with_its_code() {
    let body =
        r#"{"error":{"code":"room_name_invalid","message":"no \u001b[31mroom","details":{"path":"room"}}}"#;
    let node = Stub::new([json("400 Bad Request", body)]);
    let err = ask(&node, &["publish", "!", "note"]).failed(1);
    assert_eq!(
        err,
        "error [room_name_invalid]: no \\u{1b}[31mroom\n  details: {\"path\":\"room\"}\n"
    );
}

#[test]
fn an_answer_that_is_not_a_nodes_is_told() {
    let node = Stub::new([
        json("502 Bad Gateway", "<html>"),
        json("200 OK", "<html>"),
        json("200 OK", "{}"),
    ]);
    let err = ask(&node, &["workers"]).failed(1);
    assert!(
        err.contains("/v1/workers answered 502 Bad Gateway, which does not look like a Greenroom node"),
        "{err}"
    );
    let err = ask(&node, &["workers"]).failed(1);
    assert!(
        err.contains("/v1/workers answered 200 OK, which does not look like a Greenroom node"),
        "{err}"
    );
    let err = ask(&node, &["workers"]).failed(1);
    assert!(
        err.contains("not what this version of `greenroom` expects"),
        "{err}"
    );
}

#[test]
fn a_node_that_does_not_answer_is_told_with_its_address_and_no_token() {
    // A port that was just closed: nobody listens on it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    for command in [
        &["publish", "lobby", "note"][..],
        &["watch", "lobby"],
        &["history", "lobby"],
        &["rooms"],
    ] {
        let err = ran(greenroom(command).args(["--url", &url, "--token", "hidden"])).failed(1);
        assert!(
            err.starts_with(&format!("error: no node answers at {url}/ (")),
            "{err}"
        );
        assert!(
            err.contains("`greenroom serve`") && !err.contains("hidden"),
            "{err}"
        );
    }
}

#[test]
fn an_address_that_cannot_be_used_is_told() {
    for (url, told) in [
        ("ftp://host", "has to begin with http://"),
        ("nonsense", "is not an address"),
        ("http://me:hidden@host", "may not hold user or password"),
    ] {
        let err = run(&["rooms", "--url", url]).failed(1);
        assert!(err.contains(told) && !err.contains("hidden"), "{err}");
    }
    let err = run(&["rooms", ".."]).failed(1);
    assert!(err.contains("a room called `..`"), "{err}");
}

#[test]
fn watch_prints_events_until_there_are_enough() {
    let node = Stub::new([Answer::Stay(stream(&format!(
        "{}{}{}",
        joined("p0", true),
        sent(1),
        sent(2)
    )))]);
    let watched = ask(
        &node,
        &["watch", "agent:42", "project:7", "task:1", "--count", "2"],
    );
    assert_eq!(watched.err, "");
    assert_eq!(
        watched.ok(),
        "T1 agent:42 note {\"n\":1}\nT2 agent:42 note {\"n\":2}\n"
    );
    let request = node.request();
    assert_eq!(
        request.line(),
        "GET /v1/rooms/agent:42/stream?rooms=project%3A7%2Ctask%3A1 HTTP/1.1"
    );
    assert_eq!(request.header("accept"), Some("text/event-stream"));
    assert_eq!(resumes_from(&request), None);
}

#[test]
fn watch_resumes_after_a_cut_where_it_stopped() {
    let half = &sent(3)[..30];
    let node = Stub::new([
        Answer::Then(stream(&format!(
            "{}{}{}{half}",
            joined("p0", true),
            sent(1),
            sent(2)
        ))),
        json_with(
            "503 Service Unavailable",
            "retry-after: 0\r\n",
            r#"{"error":{"code":"draining","message":"later"}}"#,
        ),
        Answer::Then(stream(&joined("p9", true))),
        Answer::Stay(stream(&format!("{}{}{}", joined("p9", true), sent(3), sent(4)))),
    ]);
    let watched = ask(
        &node,
        &["watch", "agent:42", "--since", "p-1", "--json", "--count", "4"],
    );
    let resumed: Vec<_> = (0..4)
        .map(|_| resumes_from(&node.request()).map(str::to_owned).unwrap())
        .collect();
    assert_eq!(
        resumed,
        ["p-1", "p2", "p2", "p2"],
        "a position beyond what was printed would lose events"
    );
    let cuts: Vec<&str> = watched
        .err
        .lines()
        .map(|line| line.split(": coming back").next().unwrap())
        .collect();
    let ended = "cut off (the node ended the stream)";
    assert_eq!(cuts, [ended, "cut off (later)", ended]);
    assert_eq!(
        watched.ok().lines().collect::<Vec<_>>(),
        [event(1), event(2), event(3), event(4)]
    );
}

#[test]
fn watch_that_saw_no_event_resumes_where_it_joined() {
    let broken = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = joined("p5", true);
    let node = Stub::new([
        Answer::Then(format!("{broken}{:x}\r\n{chunk}\r\n", chunk.len())),
        Answer::Stay(stream(&format!("{}{}", joined("p9", false), sent(9)))),
    ]);
    let watched = ask(&node, &["watch", "agent:42", "--count", "1"]);
    assert_eq!(
        (resumes_from(&node.request()), resumes_from(&node.request())),
        (None, Some("p5"))
    );
    let told: Vec<&str> = watched.err.lines().collect();
    assert!(
        told[0].starts_with("cut off (the connection broke): coming back in 0.0 s"),
        "{told:?}"
    );
    assert_eq!(
        told[1..],
        ["the history does not reach back to where this stopped: some events are missing"]
    );
    assert_eq!(watched.ok(), "T9 agent:42 note {\"n\":9}\n");
}

#[test]
fn watch_ends_when_it_is_not_let_in_again() {
    let node = Stub::new([
        Answer::Then(stream(&format!("{}{}", joined("p0", true), sent(1)))),
        json(
            "403 Forbidden",
            r#"{"error":{"code":"forbidden","message":"not your room"}}"#,
        ),
    ]);
    let watched = ask(&node, &["watch", "agent:42"]);
    assert_eq!(watched.out, "T1 agent:42 note {\"n\":1}\n");
    assert!(watched.failed(1).ends_with("error [forbidden]: not your room\n"));
}

#[test]
fn watch_tells_what_the_node_says_about_itself_apart_from_events() {
    let notice = "id: p1\nevent: greenroom\ndata: {\"type\":\"draining\",\"message\":\"come back\"}\n\n";
    let node = Stub::new([
        Answer::Then(stream(&format!("{}{notice}", joined("p0", true)))),
        Answer::Stay(stream(&sent(2))),
    ]);
    let watched = ask(&node, &["watch", "agent:42", "--json", "--count", "1"]);
    assert!(
        watched.err.starts_with("greenroom: draining come back\n"),
        "{}",
        watched.err
    );
    assert_eq!(watched.ok(), event(2) + "\n");
    assert_eq!(
        (resumes_from(&node.request()), resumes_from(&node.request())),
        (None, Some("p1"))
    );
}

#[test]
fn a_reader_that_stops_ends_the_command_quietly() {
    let many: String = (1..20_000).map(sent).collect();
    let node = Stub::new([Answer::Stay(stream(&(joined("p0", true) + &many)))]);
    let mut command = greenroom(&["watch", "agent:42", "--url", &node.url]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert_eq!(first, "T1 agent:42 note {\"n\":1}\n");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap()),
        (Some(0), String::new())
    );
}

#[test]
fn an_empty_variable_counts_as_no_address_and_no_token() {
    let node = Stub::new([json("200 OK", r#"{"workers":[]}"#)]);
    let mut command = greenroom(&["workers", "--url", &node.url]);
    ran(command.env("GREENROOM_TOKEN", "")).ok();
    assert_eq!(node.request().header("authorization"), None);
    let err = ran(greenroom(&["rooms", ".."]).env("GREENROOM_URL", "")).failed(1);
    assert!(
        err.contains("a room called"),
        "the default address is used: {err}"
    );
}

#[test]
fn history_prints_a_page_and_how_to_go_on() {
    let body = format!(
        r#"{{"room":"agent:42","events":[{},{}],"position":"p2","more":true}}"#,
        event(1),
        event(2)
    );
    let node = Stub::new([json("200 OK", &body), json("200 OK", &body)]);
    let page = ask(&node, &["history", "agent:42", "--since", "p 0", "--limit", "2"]);
    assert_eq!(page.err, "there is more: --since p2\n");
    assert_eq!(
        page.ok(),
        "T1 agent:42 note {\"n\":1}\nT2 agent:42 note {\"n\":2}\n"
    );
    assert_eq!(
        node.request().line(),
        "GET /v1/rooms/agent:42/events?since=p+0&limit=2 HTTP/1.1"
    );
    assert_eq!(ask(&node, &["history", "agent:42", "--json"]).ok(), body + "\n");
}

#[test]
fn rooms_are_listed_over_all_pages_and_members_of_one() {
    let node = Stub::new([
        json(
            "200 OK",
            r#"{"rooms":[{"room":"agent:1","members":3}],"next":"agent:1"}"#,
        ),
        json("200 OK", r#"{"rooms":[{"room":"agent:2","members":1}]}"#),
        json(
            "200 OK",
            r#"{"room":"agent:1","count":1,"members":[{"id":"c1","node":"n1","joinedAt":"T"}],"position":"p"}"#,
        ),
    ]);
    assert_eq!(
        ask(&node, &["rooms", "--prefix", "agent:"]).ok(),
        "agent:1 3\nagent:2 1\n"
    );
    assert_eq!(node.request().line(), "GET /v1/rooms?prefix=agent%3A HTTP/1.1");
    assert_eq!(
        node.request().line(),
        "GET /v1/rooms?prefix=agent%3A&after=agent%3A1 HTTP/1.1"
    );
    let members = ask(&node, &["rooms", "agent:1"]);
    assert_eq!(
        (members.err.as_str(), members.out.as_str()),
        ("members: 1\n", "c1 - n1 T\n")
    );
}

#[test]
fn workers_are_listed_with_their_state() {
    let body = r#"{"workers":[{"name":"bridge","phase":"running","restarts":{"panics":2,"outages":0},"ageMs":12345,"lastExit":"panic: boom"}]}"#;
    let node = Stub::new([json("200 OK", body), json("200 OK", body)]);
    assert_eq!(
        ask(&node, &["workers"]).ok(),
        "bridge running for 12 s, restarts: 2 after panics, 0 after outages; last exit: panic: boom\n"
    );
    assert_eq!(ask(&node, &["workers", "--json"]).ok(), format!("{body}\n"));
}

#[test]
fn nodes_are_listed_with_what_others_know_of_them() {
    let body = r#"{"shared":true,"nodes":[{"node":"a","life":"x1","state":"alive","advertise":"http://10.0.0.7:7420","version":"0.1.0","startedAt":null,"connections":1,"silentMs":812}]}"#;
    let alone = r#"{"shared":false,"nodes":[{"node":"b","life":null,"state":"alive","advertise":null,"version":"0.1.0","startedAt":null,"connections":null,"silentMs":0}]}"#;
    let node = Stub::new([json("200 OK", body), json("200 OK", body), json("200 OK", alone)]);
    assert_eq!(
        ask(&node, &["nodes"]).ok(),
        "a alive, heard of 812 ms ago, at http://10.0.0.7:7420, version 0.1.0\n"
    );
    assert_eq!(ask(&node, &["nodes", "--json"]).ok(), format!("{body}\n"));
    let told = ask(&node, &["nodes"]);
    assert!(
        told.err.contains("shares its rooms with no other"),
        "{}",
        told.err
    );
    assert_eq!(told.ok(), "b alive, heard of 0 ms ago, version 0.1.0\n");
}

#[test]
fn health_is_told_by_a_word_and_by_the_exit_code() {
    let alive = r#"{"status":"alive"}"#;
    let draining = r#"{"status":"draining"}"#;
    let node = Stub::new([
        json("200 OK", alive),
        json("200 OK", alive),
        json("503 Service Unavailable", draining),
    ]);
    assert_eq!(ask(&node, &["health"]).ok(), "alive\n");
    assert_eq!(ask(&node, &["health", "--json"]).ok(), format!("{alive}\n"));
    let told = ask(&node, &["health", "--ready"]);
    assert_eq!((told.code, &*told.out), (Some(1), "not ready\n"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let err = ran(greenroom(&["health"]).env("GREENROOM_URL", format!("http://{nobody}"))).failed(1);
    assert!(err.contains("the node does not answer"), "{err}");
}
