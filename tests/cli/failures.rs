//! Nodes that refuse, answer nonsense or are not there; addresses that cannot be used.

use crate::{
    ask, greenroom, ran, run,
    stub::{Stub, json},
};
use std::net::TcpListener;

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
