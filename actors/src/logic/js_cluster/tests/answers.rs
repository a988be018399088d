//! Requests as the adapter and the emitter write them, what is done about them, and what their senders want to hear.

use super::*;
use std::sync::Arc;

/// Three sockets: `a` in `r` and `42`, `b` in `r` and in the room of its id, `c` in none.
struct Here {
    rooms: [Vec<Arc<str>>; 3],
}

impl Here {
    fn new() -> Self {
        let names = |names: &[&str]| -> Vec<Arc<str>> { names.iter().map(|name| Arc::from(*name)).collect() };
        Self {
            rooms: [names(&["r", "42"]), names(&["b", "r"]), names(&[])],
        }
    }

    fn sockets(&self) -> Vec<Socket<'_>> {
        let ids = ["a", "b", "c"].into_iter();
        ids.zip(&self.rooms)
            .map(|(id, rooms)| Socket { id, rooms })
            .collect()
    }
}

fn answer_of(node: &Node, json: &str) -> Answer {
    node.answer(request(json.as_bytes()), &Here::new().sockets())
}

fn answer(json: &str) -> Answer {
    answer_of(&node(), json)
}

fn said(json: &str) -> Publish {
    Publish {
        channel: "socket.io-response#/#".to_owned(),
        message: json.to_owned().into(),
    }
}

#[test]
fn a_selection_has_whom_the_adapter_has() {
    let here = Here::new();
    for (opts, expected) in [
        (r#"{"rooms":[],"except":[]}"#, vec!["a", "b", "c"]),
        ("{}", vec!["a", "b", "c"]),
        (r#"{"rooms":["r"],"except":[]}"#, vec!["a", "b"]),
        (r#"{"rooms":["r","c"],"except":["b"]}"#, vec!["a", "c"]),
        (r#"{"rooms":[],"except":["r"]}"#, vec!["c"]),
        (r#"{"rooms":["c"],"except":["c"]}"#, vec![]),
        (r#"{"rooms":[42]}"#, vec!["a"]),
        (r#"{"rooms":["42","42"]}"#, vec!["a"]),
        (r#"{"rooms":["none"]}"#, vec![]),
        // In such a room is nobody; it must not count as none, which would be everyone.
        (r#"{"rooms":[null,{"x":[]},true]}"#, vec![]),
        (r#"{"rooms":null,"except":[null,42.0]}"#, vec!["a", "b", "c"]),
    ] {
        let opts: Opts = serde_json::from_str(opts).unwrap();
        let selection = opts.selection();
        let sockets = here.sockets();
        let has = |socket: &&Socket<'_>| selection.has(socket.id, socket.rooms);
        let got: Vec<&str> = sockets.iter().filter(has).map(|socket| socket.id).collect();
        assert_eq!(got, expected, "{opts:?}");
    }
}

#[test]
fn questions_for_ids_and_rooms_are_answered_at_once() {
    for (ask, expected) in [
        (
            r#"{"uid":"AbCdEf","requestId":"q","type":0,"rooms":["r"]}"#,
            r#"{"requestId":"q","sockets":["a","b"]}"#,
        ),
        (
            r#"{"uid":"AbCdEf","requestId":"q","type":0,"rooms":[]}"#,
            r#"{"requestId":"q","sockets":["a","b","c"]}"#,
        ),
        (
            r#"{"uid":"AbCdEf","requestId":"q","type":0,"rooms":["none"]}"#,
            r#"{"requestId":"q","sockets":[]}"#,
        ),
        (
            r#"{"uid":"AbCdEf","requestId":"q","type":1}"#,
            r#"{"requestId":"q","rooms":["42","a","b","c","r"]}"#,
        ),
    ] {
        let Answer::Say(got) = answer(ask) else {
            panic!("{ask}")
        };
        assert_eq!(got, said(expected));
        assert_eq!(response(&got.message).id, "q");
    }
    // {uid: "AbCdEf", requestId: "ZyXwVu", type: 1}
    let packed = hex("83a3756964a6416243644566a9726571756573744964a65a7958775675a47479706501");
    let Answer::Say(got) = node().answer(request(&packed), &[]) else {
        panic!()
    };
    assert_eq!(got, said(r#"{"requestId":"ZyXwVu","rooms":[]}"#));
}

#[test]
fn commands_are_carried_out_and_not_answered() {
    let join =
        answer(r#"{"uid":"AbCdEf","type":2,"opts":{"rooms":["r"],"except":["b"]},"rooms":["s",7,null]}"#);
    let Answer::Join { sockets, rooms, then } = join else {
        panic!("{join:?}")
    };
    assert_eq!(
        (sockets, rooms, then),
        (vec!["a".into()], vec!["s".into(), "7".into()], None)
    );
    // The emitter does not say who it is.
    let leave = answer(r#"{"type":3,"opts":{"rooms":[],"except":[]},"rooms":["r"]}"#);
    let Answer::Leave { sockets, rooms, then } = leave else {
        panic!("{leave:?}")
    };
    assert_eq!((sockets.len(), rooms, then), (3, vec!["r".to_owned()], None));
    for (close, expected) in [("true", true), ("false", false), ("null", false), ("1", true)] {
        let json = format!(r#"{{"type":4,"opts":{{"rooms":["none"],"except":[]}},"close":{close}}}"#);
        let end = answer(&json);
        assert!(
            matches!(&end, Answer::Disconnect { sockets, close, then: None } if sockets.is_empty() && *close == expected),
            "{end:?}"
        );
    }
    let end = answer(r#"{"type":4,"opts":{"rooms":["c"],"except":[]}}"#);
    assert!(matches!(end, Answer::Disconnect { close: false, .. }));
}

#[test]
fn old_commands_for_one_socket_are_answered_by_its_server() {
    let done = Some(said(r#"{"requestId":"q"}"#));
    let join = answer(r#"{"uid":"AbCdEf","requestId":"q","type":2,"sid":"b","room":"s"}"#);
    let Answer::Join { sockets, rooms, then } = join else {
        panic!("{join:?}")
    };
    assert_eq!(
        (sockets, rooms, &then),
        (vec!["b".into()], vec!["s".into()], &done)
    );
    let leave = answer(r#"{"uid":"AbCdEf","requestId":"q","type":3,"sid":"b","room":1}"#);
    assert!(matches!(&leave, Answer::Leave { rooms, then, .. } if rooms == &["1"] && *then == done));
    let end = answer(r#"{"uid":"AbCdEf","requestId":"q","type":4,"sid":"b","close":true}"#);
    assert!(matches!(&end, Answer::Disconnect { close: true, then, .. } if *then == done));
    let elsewhere = answer(r#"{"uid":"AbCdEf","requestId":"q","type":2,"sid":"d","room":"s"}"#);
    assert!(matches!(elsewhere, Answer::Nothing));
}

#[test]
fn sockets_are_fetched_with_what_the_caller_knows() {
    let fetch = answer(r#"{"uid":"AbCdEf","requestId":"q","type":5,"opts":{"rooms":["r"],"except":[]}}"#);
    let Answer::Fetch { found, reply } = fetch else {
        panic!("{fetch:?}")
    };
    let row = |id: &str, rooms: &[&str]| Found {
        id: id.to_owned(),
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
    };
    assert_eq!(found, [row("a", &["a", "r", "42"]), row("b", &["b", "r"])]);
    let rows: Vec<Fetched> = found
        .into_iter()
        .map(|Found { id, rooms }| Fetched {
            id,
            handshake: raw(r#"{"url":"/"}"#),
            rooms,
            data: raw("{}"),
        })
        .collect();
    let expected = r#"{"requestId":"q","sockets":[{"id":"a","handshake":{"url":"/"},"rooms":["a","r","42"],"data":{}},{"id":"b","handshake":{"url":"/"},"rooms":["b","r"],"data":{}}]}"#;
    assert_eq!(reply.with(&rows), said(expected));
    assert_eq!(reply.with(&[]), said(r#"{"requestId":"q","sockets":[]}"#));
}

#[test]
fn the_program_is_given_what_servers_say_to_each_other() {
    let silent = answer(r#"{"uid":"emitter","type":6,"data":["ping",1]}"#);
    assert!(matches!(&silent, Answer::Emit { data, reply: None } if data.get() == r#"["ping",1]"#));
    // This answer goes to everyone, however the cluster is set up.
    let options = Options {
        answers_to_one: true,
        ..Options::default()
    };
    let node = Node::new(Uid::from_random(7), options);
    let asked = answer_of(
        &node,
        r#"{"uid":"AbCdEf","requestId":"q","type":6,"data":["ping"]}"#,
    );
    let Answer::Emit {
        reply: Some(reply), ..
    } = asked
    else {
        panic!("{asked:?}")
    };
    let value = reply.with(&raw(r#"{"x":[1]}"#));
    assert_eq!(value, said(r#"{"type":6,"requestId":"q","data":{"x":[1]}}"#));
    let nothing = reply.with(RawValue::NULL);
    assert_eq!(nothing, said(r#"{"type":6,"requestId":"q","data":null}"#));
}

/// `{uid: "AbCdEf", requestId: "ZyXwVu", type: 7, packet: {type: 2, data: ["q", <09>], nsp: "/"}, opts: {rooms: ["r"],
/// except: [], flags: {timeout: 500}}}`
const ASK: &str = "85a3756964a6416243644566a9726571756573744964a65a7958775675a47479706507a67061636b657483a47479706502a464\
    61746192a171c40109a36e7370a12fa46f70747383a5726f6f6d7391a172a665786365707490a5666c61677381a774696d656f7574cd01f4";

#[test]
fn sockets_are_asked_and_their_answers_passed_on() {
    let ask = request(&hex(&ASK.replace(' ', "")));
    let here = Here::new();
    let Answer::Deliver {
        sockets,
        event: asked,
        timeout_ms,
        reply,
    } = node().answer(ask.clone(), &here.sockets())
    else {
        panic!()
    };
    assert_eq!(
        (sockets, timeout_ms),
        (vec!["a".to_owned(), "b".to_owned()], Some(500))
    );
    assert_eq!(asked, event("q", r#"[{"$binary":"CQ=="}]"#));
    assert_eq!(
        reply.count(2),
        said(r#"{"type":8,"requestId":"ZyXwVu","clientCount":2}"#)
    );
    // {type: 9, requestId: "ZyXwVu", packet: {a: <01>}}, and with packet: undefined.
    for (args, expected) in [
        (
            r#"[{"a":{"$binary":"AQ=="}},2]"#,
            "83a47479706509a9726571756573744964a65a7958775675a67061636b657481a161c40101",
        ),
        ("[]", "82a47479706509a9726571756573744964a65a7958775675"),
    ] {
        let got = reply.ack(&raw(args));
        assert_eq!(got.channel, "socket.io-response#/#");
        assert_eq!(got.message, hex(expected));
    }
    // Nobody is asked here: the count is wanted all the same.
    let Answer::Deliver { sockets, reply, .. } = node().answer(ask, &[]) else {
        panic!()
    };
    assert!(sockets.is_empty());
    assert_eq!(
        response(&reply.count(0).message).id,
        "ZyXwVu",
        "the count of none is an answer"
    );
}

#[test]
fn answers_go_to_who_asks_where_the_cluster_is_set_up_so() {
    let options = Options {
        answers_to_one: true,
        prefix: "app".to_owned(),
        namespace: "/admin".to_owned(),
        ..Options::default()
    };
    let node = Node::new(Uid::from_random(7), options);
    for (ask, channel) in [
        (
            r#"{"uid":"AbCdEf","requestId":"q","type":1}"#,
            "app-response#/admin#AbCdEf#",
        ),
        (r#"{"requestId":"q","type":1}"#, "app-response#/admin#"),
    ] {
        let Answer::Say(got) = answer_of(&node, ask) else {
            panic!("{ask}")
        };
        assert_eq!(got.channel, channel);
    }
}

#[test]
fn requests_that_lack_something_are_refused() {
    use DecodeError::{NotJson, NotMessagePack, Shape, UnknownType};
    for (json, expected) in [
        ("{", NotJson),
        ("", NotMessagePack),
        ("\u{1}\u{1}", NotMessagePack),
        ("\u{1}", Shape),
        ("{}", Shape),
        (r#"{"type":"1","requestId":"q"}"#, Shape),
        (r#"{"type":8,"requestId":"q","clientCount":1}"#, UnknownType(8)),
        (r#"{"type":10}"#, UnknownType(10)),
        (r#"{"type":0,"rooms":[]}"#, Shape),
        (r#"{"type":1}"#, Shape),
        (r#"{"type":1,"requestId":null}"#, Shape),
        (r#"{"type":2,"rooms":["r"]}"#, Shape),
        (r#"{"type":2,"opts":{"rooms":"r"},"rooms":["r"]}"#, Shape),
        (r#"{"type":4}"#, Shape),
        (r#"{"type":5,"requestId":"q"}"#, Shape),
        (r#"{"type":6}"#, Shape),
        (r#"{"type":6,"data":{}}"#, Shape),
        (r#"{"type":7,"requestId":"q","opts":{}}"#, Shape),
        (
            r#"{"type":7,"requestId":"q","opts":{},"packet":{"type":2,"data":[]}}"#,
            Shape,
        ),
    ] {
        let got = node().hear("socket.io-request#/#", json.as_bytes());
        assert_eq!(got.unwrap_err(), expected, "{json}");
    }
    // A list of what would be the sender, the id and the type.
    let list = node().hear("socket.io-request#/#", b"\x93\xa1x\xa1q\x01");
    assert_eq!(list.unwrap_err(), Shape);
}
