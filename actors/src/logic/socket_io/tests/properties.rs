//! What holds for all packets, and for all bytes that claim to be some. These stand for fuzzing: the strategies begin like
//! packets, so that the decoders are not left at the first character.

use super::*;
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        any::<String>().prop_map(Value::from),
        vec(any::<u8>(), 0..8).prop_map(|bytes| {
            use base64::Engine as _;
            json!({"$binary": crate::logic::engine_io::BASE64.encode(bytes)})
        }),
    ];
    leaf.prop_recursive(4, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec(("[a-z$_\"]{0,10}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn namespaces() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("/[^,]{1,10}")
}

/// A kind with a payload that it may have.
fn bodies() -> impl Strategy<Value = (Kind, Option<Value>)> {
    let named = ("[^c-r][a-z]{0,10}", vec(values(), 0..4))
        .prop_map(|(name, args)| Value::from_iter([Value::from(name)].into_iter().chain(args)));
    prop_oneof![
        Just((Kind::Connect, None)),
        any::<String>().prop_map(|token| (Kind::Connect, Some(json!({ "token": token })))),
        Just((Kind::Disconnect, None)),
        any::<String>().prop_map(|message| (Kind::ConnectError, Some(json!({ "message": message })))),
        named.prop_map(|args| (Kind::Event, Some(args))),
        vec(values(), 0..4).prop_map(|args| (Kind::Ack, Some(args.into()))),
    ]
}

/// Text that begins like a packet.
fn nearly_packets() -> impl Strategy<Value = String> {
    let json = prop_oneof![
        any::<String>(),
        "[\\[\\]{},:\"\\\\0-9a-z\u{e4} ]{0,30}",
        values().prop_map(|value| format!("[\"x\",{value}]")),
        "\\[\"x\"(,\\{\"_placeholder\":true,\"num\":[0-3]\\}){0,4}\\]?",
    ];
    (
        "[0-7]?",
        "([0-9]{1,2}-)?",
        "(/[a-z?]{0,4},?)?",
        "[0-9]{0,3}",
        json,
    )
        .prop_map(|(kind, count, namespace, id, json)| format!("{kind}{count}{namespace}{id}{json}"))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        (kind, data) in bodies(), namespace in namespaces(), id in proptest::option::of(0..=ACK_ID_MAX)
    ) {
        let json = data.map(|data| data.to_string());
        let packet = packet(kind, namespace.as_deref(), id, json.as_deref());
        let text = encode::packet(&packet);
        let text = std::str::from_utf8(&text[1..]).unwrap();
        prop_assert_eq!(decode(text, 0), Ok(packet));
    }

    /// Through attachments and back, the value is the same, wherever in it the bytes are.
    #[test]
    fn an_event_with_bytes_arrives_as_it_was(args in vec(values(), 0..4), namespace in namespaces()) {
        let args = Value::from_iter([Value::from("x")].into_iter().chain(args));
        let outgoing = Outgoing { namespace: namespace.as_deref(), id: None, args: Args::Whole(&args.to_string()), offset: None };
        let message = encode::event(&outgoing);
        let limits = Limits { attachments: 100, attachment_bytes: 10_000 };
        let mut assembly = Assembly::default();
        let text = std::str::from_utf8(&message.text[1..]).unwrap();
        let mut last = assembly.text(text, &limits).unwrap();
        for attachment in &message.attachments {
            prop_assert!(last.is_none());
            last = assembly.bytes(attachment.clone(), &limits).unwrap();
        }
        let got = last.unwrap();
        prop_assert_eq!((got.kind, got.attachments, got.namespace.as_deref()), (Kind::Event, 0, namespace.as_deref()));
        prop_assert_eq!(serde_json::from_str::<Value>(got.data.unwrap().get()).unwrap(), args);
    }

    #[test]
    fn no_text_makes_it_panic_and_what_passes_is_bounded(text in nearly_packets()) {
        if let Ok(packet) = decode(&text, LIMITS.attachments) {
            prop_assert!(packet.attachments <= LIMITS.attachments);
            if let Some(data) = &packet.data {
                prop_assert!(serde_json::from_str::<Value>(data.get()).is_ok() || data.get().contains("\\u"));
                let _ = take_out(data.get());
            }
            // Canonical: written again it reads the same.
            let again = encode::packet(&packet);
            prop_assert_eq!(decode(std::str::from_utf8(&again[1..]).unwrap(), LIMITS.attachments), Ok(packet));
        }
    }

    #[test]
    fn no_sequence_of_messages_makes_an_assembly_panic_or_keep_too_much(
        messages in vec(prop_oneof![
            nearly_packets().prop_map(Ok),
            vec(any::<u8>(), 0..600).prop_map(Err),
        ], 0..12)
    ) {
        let mut assembly = Assembly::default();
        for message in messages {
            let was_waiting = assembly.is_waiting();
            let result = match &message {
                Ok(text) => assembly.text(text, &LIMITS),
                Err(bytes) => assembly.bytes(Bytes::from(bytes.clone()), &LIMITS),
            };
            match (was_waiting, message.is_ok()) {
                (true, true) => prop_assert_eq!(result, Err(DecodeError::TextInsteadOfAttachment)),
                (false, false) => prop_assert_eq!(result, Err(DecodeError::UnannouncedAttachment)),
                _ => prop_assert!(!matches!(result, Ok(Some(packet)) if packet.kind.is_binary())),
            }
        }
    }
}
