//! The texts of the protocol document and of the test suite there, and what holds for all texts.

mod attachments;
mod properties;

use super::encode::{self, Args, Outgoing};
use super::*;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(super) const LIMITS: Limits = Limits {
    attachments: 10,
    attachment_bytes: 1_000,
};

pub(super) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

pub(super) fn packet(
    kind: Kind,
    namespace: Option<&str>,
    id: Option<u64>,
    data: Option<&str>,
) -> Packet<'static> {
    Packet {
        kind,
        attachments: 0,
        namespace: namespace.map(|name| Cow::Owned(name.to_owned())),
        id,
        data: data.map(|json| Cow::Owned(raw(json))),
    }
}

fn refused(text: &str) -> DecodeError {
    decode(text, LIMITS.attachments).expect_err(text)
}

#[test]
fn packets_have_the_texts_of_the_protocol_document() {
    let admin = Some("/admin");
    for (text, expected) in [
        ("0", packet(Kind::Connect, None, None, None)),
        ("0/admin,", packet(Kind::Connect, admin, None, None)),
        (
            r#"0/admin,{"token":"123"}"#,
            packet(Kind::Connect, admin, None, Some(r#"{"token":"123"}"#)),
        ),
        (
            r#"4{"message":"Not authorized"}"#,
            packet(
                Kind::ConnectError,
                None,
                None,
                Some(r#"{"message":"Not authorized"}"#),
            ),
        ),
        (r#"2["foo"]"#, packet(Kind::Event, None, None, Some(r#"["foo"]"#))),
        (
            r#"2/admin,["bar"]"#,
            packet(Kind::Event, admin, None, Some(r#"["bar"]"#)),
        ),
        (
            r#"212["foo"]"#,
            packet(Kind::Event, None, Some(12), Some(r#"["foo"]"#)),
        ),
        (
            r#"3/admin,13["bar"]"#,
            packet(Kind::Ack, admin, Some(13), Some(r#"["bar"]"#)),
        ),
        (
            r#"2456["message-with-ack",1,"2",{"3":[false]}]"#,
            packet(
                Kind::Event,
                None,
                Some(456),
                Some(r#"["message-with-ack",1,"2",{"3":[false]}]"#),
            ),
        ),
        ("1", packet(Kind::Disconnect, None, None, None)),
        ("1/admin,", packet(Kind::Disconnect, admin, None, None)),
    ] {
        assert_eq!(decode(text, 10).as_ref(), Ok(&expected));
        assert_eq!(encode::packet(&expected), format!("4{text}"));
    }
}

#[test]
fn a_namespace_runs_to_the_comma_or_the_end() {
    let name = |text| decode(text, 10).unwrap().namespace.map(Cow::into_owned);
    assert_eq!(name("0/custom").as_deref(), Some("/custom"));
    assert_eq!(name("1/custom").as_deref(), Some("/custom"));
    assert_eq!(name("0/,{}"), None, "the main one may be written out");
    // Since this revision a query is no longer cut off: it is a namespace that hardly exists.
    assert_eq!(name("0/admin?x=1,{}").as_deref(), Some("/admin?x=1"));
}

#[test]
fn texts_that_are_no_packets_are_refused() {
    use DecodeError::{IllegalAttachments, InvalidPayload, UnknownType};
    for text in ["", "abc", "7", "9[]", "-1", "€"] {
        assert_eq!(refused(text), UnknownType, "{text}");
    }
    for text in [
        // Not JSON, not all of it, or something behind it.
        r#"2abc["x"]"#,
        "2[",
        r#"2["x""#,
        r#"2["x"]]"#,
        r#"2["x"]x"#,
        r#"2 ["x"]"#,
        "2[\"x\u{1e}\"]",
        r#"2["\x"]"#,
        // Not what an event says.
        "2",
        "2{}",
        "2[]",
        "2[ ]",
        "2null",
        r#"2"x""#,
        "2[null]",
        "2[true,1]",
        r#"2[["x"]]"#,
        r#"2[{"a":1}]"#,
        "251",
        r#"2/admin["x"]"#,
        "2/admin,",
        r#"2["\ud800"]"#,
        // Nor the others.
        "3",
        "31",
        "3{}",
        r#"31"x""#,
        "0[]",
        r#"0"x""#,
        "0null",
        "0/admin,[]",
        "1{}",
        "1[]",
        "1null",
        r#"1/admin,["x"]"#,
        "4",
        "4[]",
        "41",
    ] {
        assert_eq!(refused(text), InvalidPayload, "{text}");
    }
    for text in [
        "5",
        "5[]",
        r#"5["x"]"#,
        r#"5-["x"]"#,
        r#"5a-["x"]"#,
        r#"5+1-["x"]"#,
        r#"51e1-["x"]"#,
        r#"51.5-["x"]"#,
        r#"5-1-["x"]"#,
        "61",
        "61/admin-[]",
    ] {
        assert_eq!(refused(text), IllegalAttachments, "{text}");
    }
}

#[test]
fn reserved_names_are_refused_however_they_are_spelt() {
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        r"\u0063onnect",
    ] {
        assert_eq!(
            refused(&format!(r#"2["{name}",1]"#)),
            DecodeError::InvalidPayload,
            "{name}"
        );
        assert_eq!(
            refused(&format!(r#"51-[ "{name}" ]"#)),
            DecodeError::InvalidPayload,
            "{name}"
        );
        assert!(
            decode(&format!(r#"31["{name}"]"#), 10).is_ok(),
            "an ack may say so"
        );
    }
}

#[test]
fn numbers_have_limits() {
    assert_eq!(
        decode(r#"29007199254740991["x"]"#, 10).unwrap().id,
        Some(ACK_ID_MAX)
    );
    assert_eq!(refused(r#"29007199254740992["x"]"#), DecodeError::IdTooLarge);
    assert_eq!(
        refused(&format!(r#"2{}["x"]"#, "9".repeat(100))),
        DecodeError::IdTooLarge
    );
    assert_eq!(
        decode(r#"2007["x"]"#, 10).unwrap().id,
        Some(7),
        "as JavaScript reads it"
    );
    for count in ["11", "4294967296", "99999999999999999999999"] {
        let text = format!(r#"5{count}-["x"]"#);
        assert_eq!(refused(&text), DecodeError::TooManyAttachments { limit: 10 });
    }
}

#[test]
fn depth_is_bounded_and_what_passes_can_be_parsed() {
    let nested = |depth: usize| format!(r#"2["x",{}{}]"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    let max = JSON_DEPTH_MAX;
    let text = nested(max);
    let json = decode(&text, 10).unwrap().data.unwrap().into_owned();
    assert!(serde_json::from_str::<serde_json::Value>(json.get()).is_ok());
    assert_eq!(refused(&nested(max + 1)), DecodeError::TooDeep);
    assert_eq!(refused(&nested(400_000)), DecodeError::TooDeep);
}

#[test]
fn an_event_is_a_name_and_arguments() {
    for (json, name, args) in [
        (r#"["foo"]"#, "foo", ""),
        (r#"[ "foo" , 1,"2" ]"#, "foo", r#"1,"2""#),
        (r#"["a\"b,\\",[1,{"x":","}]]"#, "a\"b,\\", r#"[1,{"x":","}]"#),
        ("[-1.5e3,null]", "-1.5e3", "null"),
    ] {
        let expected = Event {
            name: name.into(),
            args,
        };
        assert_eq!(Event::of(&raw(json)), Some(expected));
    }
}

#[test]
fn the_server_says_what_the_stock_server_says() {
    assert_eq!(encode::connect(None, "abc", None), r#"40{"sid":"abc"}"#);
    assert_eq!(
        encode::connect(Some("/admin"), "abc", Some("def")),
        r#"40/admin,{"sid":"abc","pid":"def"}"#
    );
    assert_eq!(
        encode::connect_error(Some("/random"), "Invalid namespace", None),
        r#"44/random,{"message":"Invalid namespace"}"#
    );
    assert_eq!(
        encode::connect_error(None, "a\"b", Some(&raw("[1]"))),
        r#"44{"message":"a\"b","data":[1]}"#
    );
    assert_eq!(encode::disconnect(None), "41");
    assert_eq!(encode::disconnect(Some("/admin")), "41/admin,");
    assert_eq!(
        encode::ack(None, 456, r#"[1,"2",{"3":[false]}]"#).text,
        r#"43456[1,"2",{"3":[false]}]"#
    );
    assert_eq!(encode::ack(Some("/admin"), 1, "[]").text, "43/admin,1[]");
}

#[test]
fn an_event_goes_out_with_its_offset_as_the_last_argument() {
    let outgoing = |args| Outgoing {
        namespace: None,
        id: None,
        args,
        offset: Some("Q831i4P"),
    };
    for args in [
        Args::Whole(r#"["task-update",{"n":1}]"#),
        Args::One("task-update", r#"{"n":1}"#),
        Args::Many("task-update", r#" [ {"n":1} ] "#),
    ] {
        let message = encode::event(&outgoing(args));
        assert_eq!(message.text, r#"42["task-update",{"n":1},"Q831i4P"]"#);
        assert!(message.attachments.is_empty());
    }
    assert_eq!(
        encode::event(&outgoing(Args::Many("x", "[]"))).text,
        r#"42["x","Q831i4P"]"#
    );
    let asks = Outgoing {
        namespace: Some("/admin"),
        id: Some(13),
        args: Args::Many("foo", "[]"),
        offset: None,
    };
    assert_eq!(encode::event(&asks).text, r#"42/admin,13["foo"]"#);
}
