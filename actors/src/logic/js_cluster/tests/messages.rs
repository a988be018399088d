//! Golden messages: those of wire captures of the adapter 8.3.0 and the emitter 5.1.0, and some that notepack.io 3.0.1 made
//! of the values beside them, under Node.js 20.

use super::*;

/// `io.to("task:42").emit("task-update", {id: "42", p: 0.5})`
const TO_ONE_ROOM: &str = "93a641624364456683a47479706502a46461746192ab7461736b2d75706461746582a26964a23432a170cb3fe00000\
    00000000a36e7370a12f83a5726f6f6d7391a77461736b3a3432a665786365707490a5666c61677380";
/// `io.emit("hi", 1)`
const TO_ALL: &str = "93a641624364456683a47479706502a46461746192a2686901a36e7370a12f83a5726f6f6d7390a665786365707490a566\
    6c61677380";
/// `em.to("task:42").emit("task-update", {id: "42"})`: other keys first.
const BY_EMITTER: &str = "93a7656d697474657283a47479706502a46461746192ab7461736b2d75706461746581a26964a23432a36e7370a12f83\
    a5726f6f6d7391a77461736b3a3432a5666c61677380a665786365707490";
/// `["AbCdEf", {type: 2, data: ["file", {name: "a", bytes: [<01 02 03>]}], nsp: "/admin"}, {rooms: ["a", "b"], ..}]`
const WITH_BYTES: &str = "93a641624364456683a47479706502a46461746192a466696c6582a46e616d65a161a5627974657391c403010203a3\
    6e7370a62f61646d696e83a5726f6f6d7392a161a162a665786365707490a5666c61677380";
/// `[.., {type: 2, data: ["x"], nsp: "/"}, {rooms: [42, "a"], except: ["s"], flags: {volatile: true, compress: false,
/// timeout: 1000}}]`
const WITH_FLAGS: &str = "93a641624364456683a47479706502a46461746191a178a36e7370a12f83a5726f6f6d73922aa161a6657863657074\
    91a173a5666c61677383a8766f6c6174696c65c3a8636f6d7072657373c2a774696d656f7574cd03e8";

fn golden_hex(text: &str) -> Vec<u8> {
    hex(&text.replace([' ', '\n'], ""))
}

fn with_flags() -> Opts {
    Opts {
        rooms: vec![Room::Number(42.into()), Room::from("a")],
        except: vec![Room::from("s")],
        flags: Flags {
            volatile: true,
            compress: Some(false),
            timeout_ms: Some(1_000),
        },
    }
}

#[test]
fn what_we_publish_is_what_the_adapter_publishes() {
    let data = r#"{"id":"42","p":0.5}"#;
    let bytes = r#"[{"name":"a","bytes":[{"$binary":"AQID"}]}]"#;
    for (namespace, args, to, channel, message) in [
        (
            "/",
            Args::One("task-update", data),
            Opts::to(["task:42"]),
            "socket.io#/#task:42#",
            TO_ONE_ROOM,
        ),
        (
            "/",
            Args::Many("hi", "[1]"),
            Opts::default(),
            "socket.io#/#",
            TO_ALL,
        ),
        (
            "/admin",
            Args::Many("file", bytes),
            Opts::to(["a", "b"]),
            "socket.io#/admin#",
            WITH_BYTES,
        ),
        (
            "/",
            Args::Whole(r#"["x"]"#),
            with_flags(),
            "socket.io#/#",
            WITH_FLAGS,
        ),
        (
            "/",
            Args::Many("x", " [ ] "),
            with_flags(),
            "socket.io#/#",
            WITH_FLAGS,
        ),
    ] {
        let got = golden(namespace).publish(args, &to).unwrap();
        assert_eq!(got.channel, channel);
        assert_eq!(got.message, golden_hex(message), "{args:?}");
    }
    let numbered = Opts {
        rooms: vec![Room::Number(42.into())],
        ..Opts::default()
    };
    let got = golden("/").publish(Args::Whole(r#"["x"]"#), &numbered).unwrap();
    assert_eq!(got.channel, "socket.io#/#42#");
}

#[test]
fn what_others_publish_is_read() {
    let data = r#"[{"id":"42","p":0.5}]"#;
    for (message, namespace, event, to) in [
        (
            TO_ONE_ROOM,
            "/",
            event("task-update", data),
            Opts::to(["task:42"]),
        ),
        (TO_ALL, "/", event("hi", "[1]"), Opts::default()),
        (
            BY_EMITTER,
            "/",
            event("task-update", r#"[{"id":"42"}]"#),
            Opts::to(["task:42"]),
        ),
        (
            WITH_BYTES,
            "/admin",
            event("file", r#"[{"name":"a","bytes":[{"$binary":"AQID"}]}]"#),
            Opts::to(["a", "b"]),
        ),
        (WITH_FLAGS, "/", event("x", "[]"), with_flags()),
    ] {
        let got = broadcast(&golden(namespace), &golden_hex(message));
        let namespace = namespace.to_owned();
        assert_eq!(got, Broadcast { namespace, event, to });
    }
}

#[test]
fn what_javascript_has_and_json_has_not_is_read_as_it_writes_json() {
    let volatile = |to: Opts| Opts {
        flags: Flags {
            volatile: true,
            ..Flags::default()
        },
        ..to
    };
    for (message, event, to) in [
        // {type: 2, data: ["hi"], nsp: undefined}, {rooms: undefined, except: null, flags: undefined}
        (
            "93a641624364456682a47479706502a46461746191a2686981a6657863657074c0",
            event("hi", "[]"),
            Opts::default(),
        ),
        // {data: ["hi"], type: 5}, {}
        (
            "93a641624364456682a46461746191a26869a4747970650580",
            event("hi", "[]"),
            Opts::default(),
        ),
        // adapter: io.volatile.to(42).except("s").emit("x", new Date(1700000000123), undefined,
        // {u: undefined, n: NaN, big: 2 ** 60, b: new Uint8Array([1, 2])})
        (
            "93a641624364456683a47479706502a46461746194a178d7ff1d5353006553f100c083a16ecb7ff8000000000000a3626967cf10000000\
             00000000a162c4020102a36e7370a12f83a5726f6f6d73912aa665786365707491a173a5666c61677381a8766f6c6174696c65c3",
            event(
                "x",
                r#"["2023-11-14T22:13:20.123Z",null,{"n":null,"big":1152921504606846976,"b":{"$binary":"AQI="}}]"#,
            ),
            volatile(Opts {
                rooms: vec![Room::Number(42.into())],
                except: vec![Room::from("s")],
                ..Opts::default()
            }),
        ),
        // emitter: em.in(["a", "b"]).except("c").volatile.emit("e", 1.5)
        (
            "93a7656d697474657283a47479706502a46461746192a165cb3ff8000000000000a36e7370a12f83a5726f6f6d7392a161a162a5666c61\
             677381a8766f6c6174696c65c3a665786365707491a163",
            event("e", "[1.5]"),
            volatile(Opts {
                except: vec![Room::from("c")],
                ..Opts::to(["a", "b"])
            }),
        ),
        // A number for the sender, a null for the namespace, and something behind it in the array.
        (
            "940783a46461746191a26869a47479706502a36e7370c081a5666c616773c0c3",
            event("hi", "[]"),
            Opts::default(),
        ),
    ] {
        let got = broadcast(&golden("/"), &golden_hex(message));
        let namespace = "/".to_owned();
        assert_eq!(got, Broadcast { namespace, event, to });
    }
}

#[test]
fn what_is_not_for_us_or_by_us_is_told() {
    let node = node();
    let hear = |channel, message: &[u8]| node.hear(channel, message);
    let ours = node.publish(Args::One("x", "1"), &Opts::default()).unwrap();
    assert!(matches!(hear(&ours.channel, &ours.message), Ok(Heard::Ours)));
    let other = Node::new(Uid::from_random(8), Options::default());
    let other = other.publish(Args::One("x", "1"), &Opts::default()).unwrap();
    assert!(matches!(hear(&other.channel, &other.message), Ok(Heard::Ours)));
    let admin = golden_hex(WITH_BYTES);
    assert!(matches!(hear("socket.io#/#", &admin), Ok(Heard::NotForUs)));
    assert!(matches!(hear("socket.io#/admin#", &admin), Ok(Heard::NotForUs)));
    let json = br#"{"uid":"grn.1","type":1,"requestId":"r"}"#;
    assert!(matches!(hear("socket.io-request#/#", json), Ok(Heard::Ours)));
    assert_eq!(Uid::from_random(0xab).as_str(), "grn.00000000000000ab");
    assert!(!Uid::is_ours("AbCdEf") && !Uid::is_ours("emitter"));
}

#[test]
fn what_is_no_event_is_refused() {
    use DecodeError::{NotMessagePack, Shape};
    for (message, expected) in [
        ("", NotMessagePack),
        ("92a17881a164", Shape),
        ("81a17801", Shape),
        ("93a17880", NotMessagePack),
        ("93a178c080", Shape),
        ("93a1788080", Shape),
        // Without rooms everyone would be meant: no such thing as no object for null.
        ("93a17882a47479706502a46461746191a26869c0", Shape),
        // Rooms that are no array.
        ("93a17882a47479706502a46461746191a2686981a5726f6f6d73a161", Shape),
        // A type that is none of an event; data that is no array, empty, or has a reserved name.
        ("93a17882a47479706503a46461746191a2686980", Shape),
        ("93a17882a47479706502a464617461a2686980", Shape),
        ("93a17882a47479706502a4646174619080", Shape),
        ("93a17882a47479706502a46461746191a7636f6e6e65637480", Shape),
        // Something behind it.
        ("93a17882a47479706502a46461746191a2686980c0", NotMessagePack),
    ] {
        let got = golden("/").hear("socket.io#/#", &hex(message));
        assert_eq!(got.unwrap_err(), expected, "{message}");
    }
}

#[test]
fn messages_have_limits() {
    let options = Options {
        message_bytes: 40,
        ..Options::default()
    };
    let small = Node::new(Uid::from_random(1), options);
    let bytes = golden_hex(TO_ALL).len();
    let too_large = DecodeError::TooLarge { bytes, limit: 40 };
    assert_eq!(
        small.hear("socket.io#/#", &golden_hex(TO_ALL)).unwrap_err(),
        too_large
    );
    let request = |rooms: usize| {
        let rooms = vec!["1"; rooms].join(",");
        format!(r#"{{"uid":"AbCdEf","type":0,"requestId":"r","rooms":[{rooms}]}}"#)
    };
    let hear = |json: String| node().hear("socket.io-request#/#", json.as_bytes());
    assert!(hear(request(ROOMS_MAX)).is_ok());
    assert_eq!(hear(request(ROOMS_MAX + 1)).unwrap_err(), DecodeError::Shape);
    let deep = |levels: usize| {
        format!(
            r#"{{"type":6,"data":{}{}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert!(hear(deep(JSON_DEPTH_MAX)).is_ok());
    for levels in [JSON_DEPTH_MAX + 1, DEPTH_MAX + 1, 1_000_000] {
        assert_eq!(hear(deep(levels)).unwrap_err(), DecodeError::TooDeep);
    }
}

#[test]
fn events_that_are_nested_too_deep_are_neither_published_nor_taken() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let publish = |levels| golden("/").publish(Args::One("x", &nested(levels)), &Opts::default());
    let deepest = publish(JSON_DEPTH_MAX - 1).unwrap();
    assert_eq!(
        broadcast(&golden("/"), &deepest.message).event.args.get(),
        format!("[{}]", nested(JSON_DEPTH_MAX - 1))
    );
    assert_eq!(publish(JSON_DEPTH_MAX), Err(EncodeError::TooDeep));
    let mut deeper = deepest.message.to_vec();
    let data = deeper.windows(3).position(|three| three == b"\xa1x\x91").unwrap();
    deeper.insert(data + 2, 0x91);
    let refused = golden("/").hear("socket.io#/#", &deeper);
    assert_eq!(refused.unwrap_err(), DecodeError::TooDeep);
}

#[test]
fn answers_of_others_are_read() {
    let read = |message: &[u8]| response(message).answered;
    let sockets = read(br#"{"requestId":"r","sockets":[{"id":"a"}]}"#);
    assert!(matches!(sockets, Answered::Sockets(json) if json.get() == r#"[{"id":"a"}]"#));
    let rooms = read(br#"{"requestId":"r","rooms":["a",1]}"#);
    assert!(matches!(rooms, Answered::Rooms(rooms) if rooms == [Room::from("a"), Room::Number(1.into())]));
    let emitted = read(br#"{"type":6,"requestId":"r","data":{"x":1}}"#);
    assert!(matches!(emitted, Answered::Emitted(json) if json.get() == r#"{"x":1}"#));
    let nothing = read(br#"{"type":6,"requestId":"r"}"#);
    assert!(matches!(nothing, Answered::Emitted(json) if json.get() == "null"));
    let count = read(br#"{"type":8,"requestId":"r","clientCount":3}"#);
    assert!(matches!(count, Answered::ClientCount(3)));
    // {type: 9, requestId: "ZyXwVu", packet: {a: <01>}}
    let ack = response(&hex(
        "83a47479706509a9726571756573744964a65a7958775675a67061636b657481a161c40101",
    ));
    assert_eq!(ack.id, "ZyXwVu");
    assert!(matches!(ack.answered, Answered::Ack(json) if json.get() == r#"{"a":{"$binary":"AQ=="}}"#));
    assert!(matches!(read(br#"{"requestId":"r"}"#), Answered::Done));
    for (message, expected) in [
        (r#"{"requestId":7}"#, DecodeError::Shape),
        (r#"{"requestId":"r","type":8}"#, DecodeError::Shape),
        (r#"{"requestId":"r","type":7}"#, DecodeError::UnknownType(7)),
        (r#"{"requestId""#, DecodeError::NotJson),
        ("\u{1}\u{1}", DecodeError::NotMessagePack),
    ] {
        let got = node().hear("socket.io-response#/#x#", message.as_bytes());
        assert_eq!(got.unwrap_err(), expected, "{message}");
    }
}
