//! `watch`: what it prints, where it goes on after a cut, and when it ends.

use crate::{
    ask, event, greenroom,
    stub::{Answer, Request, Stub, json, json_with, stream},
};
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

/// An event of `agent:42` as a stream carries it.
fn sent(number: u32) -> String {
    let event = event(number);
    format!("id: p{number}\nevent: note\ndata: {event}\n\n")
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
