//! Bytes, in and out.

use super::*;
use bytes::Bytes;

/// Gives the messages in and returns what the last one completes.
fn assemble<'a>(text: &'a str, attachments: &[&'static [u8]]) -> Result<Option<Packet<'a>>, DecodeError> {
    let mut assembly = Assembly::default();
    let mut last = assembly.text(text, &LIMITS)?;
    for bytes in attachments {
        last = assembly.bytes(Bytes::from_static(bytes), &LIMITS)?;
    }
    assert_eq!(assembly.is_waiting(), last.is_none());
    Ok(last)
}

fn outgoing<'a>(namespace: Option<&'a str>, args: &'a str, offset: Option<&'a str>) -> Outgoing<'a> {
    Outgoing {
        namespace,
        id: None,
        args: Args::Whole(args),
        offset,
    }
}

#[test]
fn attachments_take_their_places_and_leave_them_again() {
    let admin = Some("/admin");
    for (text, attachments, expected) in [
        (
            r#"51-["baz",{"_placeholder":true,"num":0}]"#,
            vec![&[1, 2, 3, 4][..]],
            packet(Kind::Event, None, None, Some(r#"["baz",{"$binary":"AQIDBA=="}]"#)),
        ),
        (
            r#"52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            vec![&[1, 2], &[3, 4]],
            packet(
                Kind::Event,
                admin,
                None,
                Some(r#"["baz",{"$binary":"AQI="},{"$binary":"AwQ="}]"#),
            ),
        ),
        (
            r#"61-15["bar",{"a":[{"_placeholder":true,"num":0}],"b":1.0}]"#,
            vec![&[]],
            packet(
                Kind::Ack,
                None,
                Some(15),
                Some(r#"["bar",{"a":[{"$binary":""}],"b":1.0}]"#),
            ),
        ),
    ] {
        let got = assemble(text, &attachments).unwrap().unwrap();
        assert_eq!(got, expected);
        let json = got.data.as_ref().unwrap().get();
        let message = match got.kind {
            Kind::Ack => encode::ack(got.namespace.as_deref(), got.id.unwrap(), json),
            _ => encode::event(&outgoing(got.namespace.as_deref(), json, None)),
        };
        assert_eq!(message.text, format!("4{text}"));
        assert_eq!(message.attachments, attachments);
    }
}

#[test]
fn places_may_come_in_any_order_and_an_attachment_without_one_is_dropped() {
    let got = assemble(
        r#"53-["x",{"num":2,"_placeholder":true},{"_placeholder" : true , "num" : 0 }]"#,
        &[b"a", b"b", b"c"],
    );
    let json = r#"["x",{"$binary":"Yw=="},{"$binary":"YQ=="}]"#;
    assert_eq!(got.unwrap(), Some(packet(Kind::Event, None, None, Some(json))));
}

#[test]
fn places_that_do_not_match_are_refused() {
    for place in [
        r#"{"_placeholder":true,"num":1}"#,
        r#"{"_placeholder":true,"num":-1}"#,
        r#"{"_placeholder":true,"num":0.5}"#,
        r#"{"_placeholder":true,"num":"0"}"#,
        r#"{"_placeholder":true,"num":null}"#,
        r#"{"_placeholder":true}"#,
        r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}"#,
    ] {
        let text = format!(r#"51-["x",{place}]"#);
        assert_eq!(
            assemble(&text, &[b"a"]),
            Err(DecodeError::IllegalAttachments),
            "{place}"
        );
    }
    let without = assemble(r#"50-["x",{"_placeholder":true,"num":0}]"#, &[]);
    assert_eq!(without, Err(DecodeError::IllegalAttachments));
}

#[test]
fn what_only_looks_like_a_place_is_data() {
    for data in [
        r#"{"_placeholder":false,"num":0}"#,
        r#"{"_placeholder":"true","num":0}"#,
        r#"["_placeholder",true]"#,
        r#"{"_placeholder":{"_placeholder":1}}"#,
        r#"{"_placeholder":true,"num":0,"_placeholder":{}}"#,
    ] {
        let text = format!(r#"51-["x",{data}]"#);
        let json = format!(r#"["x",{data}]"#);
        assert_eq!(
            assemble(&text, &[b"a"]),
            Ok(Some(packet(Kind::Event, None, None, Some(&json))))
        );
        let text = format!(r#"2["x",{data}]"#);
        assert!(assemble(&text, &[]).unwrap().is_some());
    }
}

#[test]
fn texts_and_attachments_come_in_their_turn() {
    let mut assembly = Assembly::default();
    let two = r#"52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(
        assembly.bytes(Bytes::new(), &LIMITS),
        Err(DecodeError::UnannouncedAttachment)
    );
    assert_eq!(assembly.text(two, &LIMITS), Ok(None));
    assert_eq!(
        assembly.text(r#"2["x"]"#, &LIMITS),
        Err(DecodeError::TextInsteadOfAttachment)
    );
    assert_eq!(assembly.bytes(Bytes::new(), &LIMITS), Ok(None));
    assert!(matches!(assembly.bytes(Bytes::new(), &LIMITS), Ok(Some(_))));
    assert_eq!(
        assembly.bytes(Bytes::new(), &LIMITS),
        Err(DecodeError::UnannouncedAttachment)
    );
    assert!(matches!(assembly.text(r#"50-["x"]"#, &LIMITS), Ok(Some(_))));
    assert!(
        matches!(assembly.text(r#"2["x"]"#, &LIMITS), Ok(Some(_))),
        "nothing is waited for after none"
    );
}

#[test]
fn attachments_are_bounded_all_together() {
    let mut assembly = Assembly::default();
    let two = r#"52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(assembly.text(two, &LIMITS), Ok(None));
    assert_eq!(assembly.bytes(vec![0; 600].into(), &LIMITS), Ok(None));
    let too_large = Err(DecodeError::AttachmentsTooLarge { limit: 1_000 });
    assert_eq!(assembly.bytes(vec![0; 401].into(), &LIMITS), too_large);
    assert!(!assembly.is_waiting());
}

#[test]
fn a_connection_between_packets_holds_a_pointer() {
    assert_eq!(size_of::<Assembly>(), size_of::<usize>());
}

#[test]
fn only_bytes_are_taken_out() {
    for stays in [
        r#"["x",{"$binary":"AQ==","more":1}]"#,
        r#"["x",{"$binary":"*"}]"#,
        r#"["x",{"$binary":1}]"#,
        r#"["x",{"$binary":["AQ=="]}]"#,
        r#"["x","{\"$binary\":\"AQ==\"}"]"#,
        r#"["$binary",{"binary":"AQ=="}]"#,
        r#"["x",{"$binary":"AQ==","$binary":"AQ=="}]"#,
    ] {
        let message = encode::event(&outgoing(None, stays, None));
        assert_eq!(message.text, format!("42{stays}"));
        assert!(message.attachments.is_empty());
    }
    let slashes = take_out(r#"[{"$binary":"\/\/8="}]"#).unwrap();
    assert_eq!(slashes.attachments, [vec![255, 255]]);
    let message = encode::event(&outgoing(None, r#"["x",{"y":{"$binary":"AQ=="}}]"#, Some("a-1")));
    assert_eq!(
        message.text,
        r#"451-["x",{"y":{"_placeholder":true,"num":0}},"a-1"]"#
    );
    assert_eq!(message.attachments, [vec![1]]);
}
