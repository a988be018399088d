//! Tables of what is a violation and what is not, after the kinds of cases of the Autobahn suite (its
//! sections in brackets).

use super::*;

/// A client's close frame with this payload.
fn close(payload: &[u8]) -> Vec<u8> {
    client(Opcode::Close, true, payload)
}

fn close_with(code: u16, reason: &[u8]) -> Vec<u8> {
    close(&[&code.to_be_bytes(), reason].concat())
}

/// A frame head without payload: first byte, second byte, what follows, and a mask.
fn head(first: u8, second: u8, extended: &[u8]) -> Vec<u8> {
    [&[first, second], extended, &MASK].concat()
}

/// Cases fail with this code whether they are read at once or byte by byte, and what came before them counts.
fn assert_refused(code: u16, cases: &[(&str, Vec<u8>)]) {
    for (name, bytes) in cases {
        let bytes = [text("before"), bytes.clone(), text("after")].concat();
        let expected = (vec![Event::Text("before".to_owned())], Some(code));
        assert_eq!(outcome(&bytes), expected, "{name}");
        assert_eq!(outcome_bytewise(&bytes), expected, "{name}, byte by byte");
    }
}

fn assert_understood(cases: &[(&str, Vec<u8>, Vec<Event>)]) {
    for (name, bytes, events) in cases {
        let expected = (events.clone(), None);
        assert_eq!(outcome(bytes), expected, "{name}");
        assert_eq!(outcome_bytewise(bytes), expected, "{name}, byte by byte");
    }
}

#[test]
fn messages_of_every_length_encoding_arrive_whole_and_in_pieces() {
    // [1]
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        let (letters, bytes) = ("*".repeat(len), vec![0xfe; len]);
        let stream = [text(&letters), client(Opcode::Binary, true, &bytes)].concat();
        let expected = (vec![Event::Text(letters), Event::Binary(bytes)], None);
        assert_eq!(outcome(&stream), expected, "{len}");
        assert_eq!(
            feed(&mut server(), stream.chunks(997)),
            expected,
            "{len} in pieces"
        );
        assert_eq!(outcome_bytewise(&stream), expected, "{len} byte by byte");
    }
}

#[test]
fn pings_and_pongs_arrive_with_their_payload() {
    // [2]
    let binary: Vec<u8> = (0..125).map(|at| 255 - at).collect();
    assert_understood(&[
        ("ping", client(Opcode::Ping, true, b""), vec![Event::Ping(vec![])]),
        (
            "ping of 125",
            client(Opcode::Ping, true, &binary),
            vec![Event::Ping(binary.clone())],
        ),
        (
            "unasked pong",
            client(Opcode::Pong, true, b"hi"),
            vec![Event::Pong(b"hi".to_vec())],
        ),
        (
            "pong, then ping",
            [client(Opcode::Pong, true, b""), client(Opcode::Ping, true, b"p")].concat(),
            vec![Event::Pong(vec![]), Event::Ping(b"p".to_vec())],
        ),
        (
            "ten pings",
            client(Opcode::Ping, true, b"x").repeat(10),
            vec![Event::Ping(b"x".to_vec()); 10],
        ),
    ]);
}

#[test]
fn reserved_bits_and_opcodes_are_1002() {
    // [3, 4]
    for rsv in 1..8 {
        for opcode in [1, 2, 8, 9, 10] {
            assert_refused(
                1002,
                &[("reserved bits", head(0x80 | rsv << 4 | opcode, 0x80, &[]))],
            );
        }
    }
    for opcode in (3..=7).chain(11..=15) {
        assert_refused(1002, &[("reserved opcode", head(0x80 | opcode, 0x80, &[]))]);
        assert_refused(1002, &[("reserved opcode, fragment", head(opcode, 0x83, b"abc"))]);
    }
}

#[test]
fn control_frames_that_are_long_or_fragmented_are_1002() {
    // [2.5, 5.1, 5.2, 7.3.6]
    let long = [b'x'; 126];
    let mut cases = vec![];
    for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
        cases.push(("126 bytes", client(opcode, true, &long)));
        cases.push(("not final", client(opcode, false, b"")));
        cases.push((
            "few bytes, 16-bit length",
            head(0x80 | opcode as u8, 0xfe, &[0, 3]),
        ));
        cases.push((
            "few bytes, 64-bit length",
            head(0x80 | opcode as u8, 0xff, &[0, 0, 0, 0, 0, 0, 0, 3]),
        ));
    }
    assert_refused(1002, &cases);
}

#[test]
fn fragments_make_one_message_around_control_frames() {
    // [5]
    let start = client(Opcode::Text, false, b"frag");
    let middle = client(Opcode::Continuation, false, b"");
    let end = client(Opcode::Continuation, true, b"ments");
    let ping = client(Opcode::Ping, true, b"ping");
    let whole = Event::Text("fragments".to_owned());
    let pinged = Event::Ping(b"ping".to_vec());
    assert_understood(&[
        ("two", [&start[..], &end].concat(), vec![whole.clone()]),
        (
            "three, one empty",
            [&start[..], &middle, &end].concat(),
            vec![whole.clone()],
        ),
        (
            "around a ping",
            [&start[..], &ping, &end].concat(),
            vec![pinged.clone(), whole.clone()],
        ),
        (
            "around pings",
            [&start[..], &ping, &middle, &ping, &end, &ping].concat(),
            vec![pinged.clone(), pinged.clone(), whole, pinged],
        ),
        (
            "all empty",
            [
                client(Opcode::Text, false, b""),
                middle.clone(),
                client(Opcode::Continuation, true, b""),
            ]
            .concat(),
            vec![Event::Text(String::new())],
        ),
        (
            "binary",
            [
                client(Opcode::Binary, false, b"\xff"),
                client(Opcode::Continuation, true, b"\xfe"),
            ]
            .concat(),
            vec![Event::Binary(vec![0xff, 0xfe])],
        ),
    ]);
}

#[test]
fn fragments_out_of_place_are_1002() {
    // [5.9 - 5.18]
    let (start, end) = (
        client(Opcode::Text, false, b"start"),
        client(Opcode::Continuation, true, b"end"),
    );
    assert_refused(
        1002,
        &[
            ("continuation of nothing", end.clone()),
            (
                "continuation of nothing, not final",
                client(Opcode::Continuation, false, b"x"),
            ),
            ("text within a message", [&start[..], &text("new")].concat()),
            ("fragment of text within a message", [&start[..], &start].concat()),
            (
                "binary within a message",
                [&start[..], &client(Opcode::Binary, true, b"new")].concat(),
            ),
        ],
    );
    let (mut events, code) = outcome(&[&start[..], &end, &end].concat());
    assert_eq!(
        (events.pop(), code),
        (Some(Event::Text("startend".to_owned())), Some(1002))
    );
}

#[test]
fn frames_without_a_mask_are_1002_from_a_client_and_masked_ones_from_a_server() {
    assert_refused(
        1002,
        &[
            ("text", encode_text(b"hi").to_vec()),
            ("ping", ping_frame(b"").to_vec()),
            ("close", close_reply(None).to_vec()),
        ],
    );
    assert_eq!(
        feed(&mut Decoder::for_client(LIMITS), [&text("hi")[..]]),
        (vec![], Some(1002))
    );
}

#[test]
fn text_may_be_cut_within_a_character() {
    // [6.2]
    let hello = "Hello-µ@ßöäüàá-UTF-8!! 🦀";
    let mut stream = vec![];
    for (at, byte) in hello.bytes().enumerate() {
        let opcode = if at == 0 {
            Opcode::Text
        } else {
            Opcode::Continuation
        };
        stream.extend(client(opcode, at + 1 == hello.len(), &[byte]));
    }
    assert_understood(&[("a byte a fragment", stream, vec![Event::Text(hello.to_owned())])]);
}

#[test]
fn text_that_is_not_utf8_is_1007() {
    // [6.3 - 6.21]
    let bad: [&[u8]; 10] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xce\xba\xf4\x90\x80\x80edited",
        b"\xf8\x88\x80\x80\x80",
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xbf\xbf",
        b"\xff",
        b"unfinished \xce",
        b"unfinished \xf0\x9f\xa6",
    ];
    for payload in bad {
        let mut stream = client(Opcode::Text, false, &payload[..1]);
        stream.extend(client(Opcode::Continuation, true, &payload[1..]));
        assert_refused(
            1007,
            &[
                ("whole", client(Opcode::Text, true, payload)),
                ("in fragments", stream),
            ],
        );
    }
    let noncharacters = "\u{fffe}\u{ffff}\u{10ffff}\u{0}";
    assert_understood(&[(
        "noncharacters",
        text(noncharacters),
        vec![Event::Text(noncharacters.to_owned())],
    )]);
}

#[test]
fn text_fails_on_its_first_invalid_byte_and_not_at_the_end_of_its_frame() {
    // [6.4]
    let payload = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";
    let stream = client(Opcode::Text, true, payload);
    let mut decoder = server();
    let until_f4 = 6 + 12;
    assert_eq!(feed(&mut decoder, [&stream[..until_f4]]), (vec![], None));
    assert_eq!(
        feed(&mut decoder, [&stream[until_f4..=until_f4]]),
        (vec![], Some(1007))
    );

    let mut decoder = server();
    assert_eq!(
        feed(&mut decoder, [&client(Opcode::Text, false, &payload[..12])[..]]),
        (vec![], None)
    );
    assert_eq!(
        feed(&mut decoder, [&client(Opcode::Continuation, false, b"\x90")[..]]),
        (vec![], Some(1007))
    );
}

#[test]
fn a_close_frame_says_why_or_nothing_and_silences_what_follows() {
    // [7.1, 7.3, 7.7, 7.13]
    let longest = "*".repeat(123);
    let mut cases = vec![
        (
            "nothing".to_owned(),
            close(b""),
            Event::Close(None, String::new()),
        ),
        (
            "longest".to_owned(),
            close_with(1000, longest.as_bytes()),
            Event::Close(Some(1000), longest),
        ),
    ];
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        let event = Event::Close(Some(code), "bye ☺".to_owned());
        cases.push((code.to_string(), close_with(code, "bye ☺".as_bytes()), event));
    }
    for (name, bytes, event) in cases {
        let garbage = [&text("more")[..], &close(b""), &[0xff; 40]].concat();
        let stream = [client(Opcode::Text, false, b"unfinished"), bytes, garbage].concat();
        for (event, bytes) in [(event.clone(), &stream[..]), (event, &stream[16..])] {
            assert_understood(&[(&name, bytes.to_vec(), vec![event])]);
        }
    }
}

#[test]
fn close_codes_that_are_not_for_the_wire_and_half_codes_are_1002() {
    // [7.3.2, 7.9]
    assert_refused(1002, &[("one byte", close(b"\x03"))]);
    let bad = (0..1000)
        .step_by(111)
        .chain([999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]);
    for code in bad {
        assert!(!allowed_on_the_wire(code));
        assert_refused(
            1002,
            &[
                ("bare", close_with(code, b"")),
                ("with a reason", close_with(code, b"bye")),
            ],
        );
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_is_1007() {
    // [7.5]
    assert_refused(
        1007,
        &[
            ("surrogate", close_with(1000, b"\xed\xa0\x80")),
            ("cut", close_with(1000, b"\xce")),
        ],
    );
}

#[test]
fn a_length_with_its_top_bit_set_is_1002() {
    let mut huge = u64::MAX.to_be_bytes();
    assert_refused(1002, &[("all ones", head(0x82, 0xff, &huge))]);
    huge = (1_u64 << 63).to_be_bytes();
    assert_refused(1002, &[("top bit alone", head(0x82, 0xff, &huge))]);
}

#[test]
fn a_length_in_more_bytes_than_it_needs_is_accepted_on_data_frames() {
    let mut payload = *b"abc";
    payload.iter_mut().zip(MASK).for_each(|(byte, key)| *byte ^= key);
    let event = || vec![Event::Text("abc".to_owned())];
    assert_understood(&[
        (
            "16 bits",
            [head(0x81, 0xfe, &[0, 3]), payload.to_vec()].concat(),
            event(),
        ),
        (
            "64 bits",
            [head(0x81, 0xff, &3_u64.to_be_bytes()), payload.to_vec()].concat(),
            event(),
        ),
    ]);
}

#[test]
fn a_frame_above_its_limit_is_1009_as_soon_as_its_length_is_known() {
    let limits = Limits {
        frame_bytes: 100,
        message_bytes: 1000,
    };
    let announced: [&[u8]; 4] = [
        &[0x82, 0x80 | 101],
        &[0x82, 0xfe, 0xff, 0xff],
        &[0x82, 0xff, 0, 0, 0, 2, 0, 0, 0, 0],
        &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    for head in announced {
        let mut decoder = Decoder::new(limits);
        let (last, before) = (&head[head.len() - 1..], &head[..head.len() - 1]);
        assert_eq!(feed(&mut decoder, [before]), (vec![], None), "{head:x?}");
        assert_eq!(feed(&mut decoder, [last]), (vec![], Some(1009)), "{head:x?}");
        assert_eq!(decoder.buffered(), 0);
    }
    let fits = client(Opcode::Binary, true, &[7; 100]);
    assert_eq!(
        feed(&mut Decoder::new(limits), [&fits[..]]),
        (vec![Event::Binary(vec![7; 100])], None)
    );
}

#[test]
fn fragments_that_add_up_above_the_message_limit_are_1009() {
    let mut decoder = Decoder::new(Limits {
        frame_bytes: 100,
        message_bytes: 250,
    });
    let start = client(Opcode::Binary, false, &[7; 100]);
    let more = client(Opcode::Continuation, false, &[7; 100]);
    let ping = client(Opcode::Ping, true, &[7; 125]);
    let (events, code) = feed(&mut decoder, [&start[..], &more, &ping, &more[..2]]);
    assert_eq!((events, code), (vec![Event::Ping(vec![7; 125])], Some(1009)));

    let mut decoder = Decoder::new(Limits {
        frame_bytes: 100,
        message_bytes: 250,
    });
    let end = client(Opcode::Continuation, true, &[7; 50]);
    let (events, code) = feed(&mut decoder, [&start[..], &more, &end, &start, &more, &end]);
    assert_eq!((events, code), (vec![Event::Binary(vec![7; 250]); 2], None));
}

#[test]
fn a_message_limit_below_the_frame_limit_bounds_a_single_frame() {
    let limits = Limits {
        frame_bytes: 100,
        message_bytes: 50,
    };
    assert_eq!(
        feed(
            &mut Decoder::new(limits),
            [&client(Opcode::Binary, true, &[7; 51])[..2]]
        ),
        (vec![], Some(1009))
    );
}
