//! `publish`: what is sent, and what is not.

use crate::{
    ask, greenroom, ran,
    stub::{Stub, json},
};
use std::{io::Write, process::Stdio};

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
