//! What holds for all events, and for all bytes that claim to be a message. The strategies begin like messages, so that the
//! decoders are not left at the first byte.

use super::*;
use crate::logic::js_cluster::msgpack::{Reader, push_json};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z]{0,300}".prop_map(Value::from),
        vec(any::<u8>(), 0..300).prop_map(|bytes| {
            use base64::Engine as _;
            json!({"$binary": crate::logic::engine_io::BASE64.encode(bytes)})
        }),
    ];
    leaf.prop_recursive(4, 40, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            vec(("[a-z$_\"\u{e4}]{0,10}", inner), 0..20)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The value as JavaScript has it, which knows no whole floats.
fn as_in_javascript(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => {
                if (0.0..18_446_744_073_709_551_616.0).contains(&float) {
                    Value::from(float as u64)
                } else if (-9_223_372_036_854_775_808.0..0.0).contains(&float) {
                    Value::from(float as i64)
                } else {
                    Value::Number(number)
                }
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(as_in_javascript).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            members
                .map(|(key, value)| (key, as_in_javascript(value)))
                .collect()
        }
        other => other,
    }
}

fn rooms() -> impl Strategy<Value = Vec<Room>> {
    let room = prop_oneof![
        any::<String>().prop_map(Room::Text),
        any::<i64>().prop_map(|number| Room::Number(number.into())),
        Just(Room::Other),
    ];
    vec(room, 0..4)
}

fn opts() -> impl Strategy<Value = Opts> {
    let flags = (
        any::<bool>(),
        option::of(any::<bool>()),
        option::of(0..1_u64 << 53),
    );
    (rooms(), rooms(), flags).prop_map(|(rooms, except, (volatile, compress, timeout_ms))| Opts {
        rooms,
        except,
        flags: Flags {
            volatile,
            compress,
            timeout_ms,
        },
    })
}

fn namespaces() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,]{1,10}"]
}

/// Bytes of which many are the beginnings of values.
fn nearly_values() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (0x80..=0xa3_u8).prop_map(|byte| vec![byte]),
        (0xc0..=0xdf_u8).prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            &b"\xa4type\x02"[..],
            b"\xa4data\x92\xa1x",
            b"\xa3nsp\xa1/",
            b"\xa5rooms\x91",
            b"\xa6except\x90",
            b"\xa5flags\x80",
            b"\xa4type\x07",
            b"\xa9requestId\xa1q",
            b"\xa6packet\x83",
            b"\xa4opts\x82",
            b"\xd4\x00\x00",
            b"\xc7\x0c\xff\x00\x00\x00\x00",
            b"\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x01",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    let begin = prop::sample::select(vec![
        &b""[..],
        b"\x93\xa6AbCdEf\x83",
        b"\x93\xa1x\x83\xa4type\x02",
        b"\x85",
    ]);
    (begin, vec(piece, 0..30)).prop_map(|(begin, pieces)| [begin, &pieces.concat()].concat())
}

/// Text that begins like a request or an answer.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        (0..11_u8).prop_map(|kind| format!("\"type\":{kind}")),
        Just("\"requestId\":\"q\"".to_owned()),
        "\"(rooms|sockets|data)\":\\[(\"[ab]\",?|[0-9],?|null){0,3}\\]",
        "\"opts\":\\{(\"rooms\":\\[(\"r\")?\\])?(,\"except\":null)?\\}",
        Just("\"packet\":{\"type\":2,\"data\":[\"x\",1],\"nsp\":\"/\"}".to_owned()),
        "\"(sid|room|uid)\":(\"a\"|7|null)",
        "\"(close|clientCount)\":(true|false|0|1|\\[\\])",
        "[\\[\\]{},:\"\\\\0-9a-z\u{e4} ]{0,10}",
    ];
    (vec(member, 0..6), "\\}?")
        .prop_map(|(members, end)| format!("{{{}{end}", members.join(",")).into_bytes())
}

proptest! {
    #[test]
    fn what_is_published_is_heard(
        name in "[^c-r\u{0}-\u{1f}][a-z\u{e4}]{0,40}", args in vec(values(), 0..4), to in opts(), namespace in namespaces()
    ) {
        let node = golden(&namespace);
        let json = Value::from(args.clone()).to_string();
        let published = node.publish(Args::Many(&name, &json), &to).unwrap();
        let channel = node.channels().parse(&published.channel);
        let expected = match to.rooms.as_slice() {
            [room] => room.name().filter(|name| !name.is_empty()),
            _ => None,
        };
        let room = expected.as_deref();
        prop_assert_eq!(channel, Some(Channel::Broadcast { room }));
        let heard = broadcast(&node, &published.message);
        prop_assert_eq!((heard.namespace, heard.event.name, heard.to), (namespace, name, to));
        // As texts: serde_json does not read every float exactly.
        let args = Value::from_iter(args.into_iter().map(as_in_javascript));
        prop_assert_eq!(heard.event.args.get(), args.to_string());
    }

    /// Once through both, text and bytes stay as they are.
    #[test]
    fn what_was_read_is_written_and_read_as_it_is(value in values()) {
        let mut bytes = Vec::new();
        push_json(&mut bytes, &value.to_string());
        let json = Reader::new(&bytes).json().unwrap();
        let mut again = Vec::new();
        push_json(&mut again, &json);
        prop_assert_eq!(&again, &bytes);
        prop_assert_eq!(Reader::new(&again).json().unwrap(), json);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_write_too_much(bytes in prop_oneof![nearly_values(), vec(any::<u8>(), 0..200)]) {
        let mut reader = Reader::new(&bytes);
        if let Ok(json) = reader.json() {
            prop_assert!(json.len() <= 9 * bytes.len(), "{}", json);
            prop_assert!(serde_json::from_str::<&RawValue>(&json).is_ok(), "{}", json);
            let mut skipping = Reader::new(&bytes);
            prop_assert_eq!(skipping.skip(), Ok(()));
            prop_assert_eq!(skipping.is_at_end(), reader.is_at_end());
        }
    }

    #[test]
    fn no_text_makes_the_writer_panic(json in prop_oneof![any::<String>(), "[\\[\\]{},:\"\\\\$binary0-9.eE+-]{0,60}"]) {
        let mut out = Vec::new();
        push_json(&mut out, &json);
    }

    #[test]
    fn no_message_makes_a_node_panic(
        message in prop_oneof![nearly_values(), nearly_json(), vec(any::<u8>(), 0..200)],
        channel in prop::sample::select(vec!["socket.io#/#", "socket.io#/#r#", "socket.io-request#/#", "socket.io-response#/#"]),
    ) {
        let node = node();
        match node.hear(channel, &message) {
            Ok(Heard::Request(request)) => {
                let socket = Socket { id: "a", rooms: &[] };
                match node.answer(request, &[socket]) {
                    Answer::Say(publish) => prop_assert!(matches!(node.hear(&publish.channel, &publish.message), Ok(Heard::Response(_)))),
                    Answer::Join { sockets, .. } | Answer::Leave { sockets, .. } | Answer::Deliver { sockets, .. } => {
                        prop_assert!(sockets.iter().all(|id| id == "a"));
                    }
                    _ => {}
                }
            }
            Ok(Heard::Broadcast(broadcast)) => {
                prop_assert!(serde_json::from_str::<Value>(broadcast.event.args.get()).is_ok());
                let _ = broadcast.to.selection().has::<&str>("a", &[]);
            }
            _ => {}
        }
    }
}
