//! `history`, `rooms`, `workers`, `nodes` and `health`.

use crate::{
    ask, event, greenroom, ran,
    stub::{Stub, json},
};
use std::net::TcpListener;

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
