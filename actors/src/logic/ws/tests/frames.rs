//! What the decoder keeps and copies, and what the encoder writes.

use super::*;

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
}

#[test]
fn whole_frames_are_handed_over_in_the_buffer_they_were_read_into() {
    let mut input = [
        text("one"),
        client(Opcode::Ping, true, b"two"),
        client(Opcode::Binary, true, b"three"),
    ]
    .concat();
    let range = input.as_ptr_range();
    let mut places = vec![];
    let mut decoder = server();
    let fed = decoder.feed(&mut input, &mut |incoming| {
        places.push(match incoming {
            Incoming::Text(text) => text.as_ptr(),
            Incoming::Binary(bytes) | Incoming::Ping(bytes) => bytes.as_ptr(),
            other => panic!("{other:?}"),
        });
        ControlFlow::Continue(())
    });
    assert!(fed.is_ok());
    assert_eq!(places.iter().filter(|place| range.contains(place)).count(), 3);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn between_messages_and_within_a_head_no_heap_is_held() {
    let frames = [
        (14, client(Opcode::Text, true, &[b'x'; 70_000])),
        (8, client(Opcode::Binary, true, &[7; 200])),
        (6, client(Opcode::Ping, true, b"ping")),
        (6, client(Opcode::Text, false, b"")),
        (6, client(Opcode::Ping, true, b"ping")),
        (6, client(Opcode::Continuation, true, b"abc")),
    ];
    let mut decoder = server();
    for (size, frame) in frames {
        let (head, payload) = frame.split_at(size);
        for byte in head.chunks(1) {
            assert_eq!(feed(&mut decoder, [byte]).1, None);
            assert_eq!(decoder.buffered(), 0);
        }
        let (most, last) = payload.split_at(payload.len().saturating_sub(1));
        feed(&mut decoder, [most]);
        assert_eq!(decoder.buffered(), most.len());
        feed(&mut decoder, [last]);
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn a_large_frame_in_small_slices_is_moved_few_times_and_not_kept_twice() {
    let stream = client(Opcode::Text, true, &[b'x'; 60_000]);
    let mut decoder = server();
    let mut sizes = vec![];
    for slice in stream.chunks(1000) {
        feed(&mut decoder, [slice]);
        sizes.push(decoder.buffered());
    }
    assert_eq!(sizes.pop(), Some(0));
    assert!(
        sizes
            .iter()
            .zip(1..)
            .all(|(&size, slices)| size <= 2 * 1000 * slices && size <= 60_000)
    );
    sizes.dedup();
    assert!(sizes.len() <= 8, "{sizes:?}");
}

#[test]
fn many_small_fragments_among_cut_pings_move_the_message_few_times() {
    let mut decoder = Decoder::new(Limits {
        frame_bytes: 125,
        message_bytes: 1_000_000,
    });
    feed(&mut decoder, [&client(Opcode::Binary, false, b"start")[..]]);
    let fragment = client(Opcode::Continuation, false, &[7; 125]);
    let ping = client(Opcode::Ping, true, &[7; 125]);
    let mut sizes = vec![];
    for _ in 0..7000 {
        feed(&mut decoder, [&fragment[..], &ping[..130], &ping[130..]]);
        sizes.push(decoder.buffered());
    }
    sizes.dedup();
    assert!(sizes.len() <= 20, "{sizes:?}");
}

#[test]
fn a_receiver_that_breaks_finds_the_rest_untouched() {
    let stream = [text("one"), text("two"), text("three")].concat();
    let mut input = stream.clone();
    let mut decoder = server();
    let mut seen = vec![];
    let taken = decoder.feed(&mut input, &mut |incoming| {
        seen.push(Event::from(incoming));
        if seen.len() == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let taken = taken.expect("no violation");
    assert_eq!(taken, 2 * text("one").len());
    assert_eq!(input[taken..], stream[taken..]);
    assert_eq!(
        feed(&mut decoder, [&input[taken..]]),
        (vec![Event::Text("three".to_owned())], None)
    );
}

#[test]
fn after_a_violation_the_decoder_is_deaf_and_empty() {
    let mut decoder = server();
    let bad = [
        client(Opcode::Text, false, b"abc"),
        client(Opcode::Text, true, b"abc"),
    ]
    .concat();
    assert_eq!(feed(&mut decoder, [&bad[..]]), (vec![], Some(1002)));
    assert_eq!(feed(&mut decoder, [&text("hello")[..], &bad]), (vec![], None));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn frames_are_written_as_the_rfc_shows_them() {
    // Section 5.7.
    assert_eq!(
        encode_text(b"Hello")[..],
        [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
    );
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(masked(Opcode::Text, true, b"Hello", MASK), hello);
    assert_eq!(
        ping_frame(b"Hello")[..],
        [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
    );
    assert_eq!(
        pong_frame(b"Hello")[..],
        [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
    );
    assert_eq!(encode_binary(&[0; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(
        encode_binary(&[0; 65_536])[..10],
        [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]
    );
    assert_eq!(
        close_frame(1001, "bye")[..],
        [0x88, 5, 0x03, 0xe9, b'b', b'y', b'e']
    );
    assert_eq!(close_reply(None)[..], [0x88, 0]);
    assert_eq!(close_reply(Some(1000))[..], [0x88, 2, 0x03, 0xe8]);
}

#[test]
fn a_head_is_as_short_as_it_can_be() {
    for (len, size) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let mut head = vec![];
        encode_head(&mut head, Opcode::Binary, len);
        assert_eq!((head.len(), head_len(len)), (size, size), "{len}");
    }
}

#[test]
fn what_does_not_fit_a_control_frame_is_cut() {
    assert_eq!(ping_frame(&[7; 300]), ping_frame(&[7; 125]));
    assert_eq!(pong_frame(&[7; 300]), pong_frame(&[7; 125]));
    let reason = format!("{}☺ and more", "x".repeat(121));
    assert_eq!(close_frame(1000, &reason), close_frame(1000, &"x".repeat(121)));
    assert_eq!(close_frame(1000, &"x".repeat(124)).len(), 127);
}

proptest::proptest! {
    #[test]
    fn messages_are_found_again_in_frames_of_our_own(
        messages in proptest::collection::vec((proptest::bool::ANY, 0usize..3, 0usize..200), 0..8)
    ) {
        // Lengths on both sides of where a head gets longer.
        let messages: Vec<(Opcode, Vec<u8>)> = messages
            .into_iter()
            .map(|(is_text, class, more)| {
                let length = [more, 0xffff - 100 + more, 126][class];
                (if is_text { Opcode::Text } else { Opcode::Binary }, vec![b'x'; length])
            })
            .collect();
        let frame = |(opcode, payload): &(Opcode, Vec<u8>)| match opcode {
            Opcode::Text => encode_text(payload),
            _ => encode_binary(payload),
        };
        let frames = messages.iter().map(frame).collect::<Vec<_>>().concat();
        let found: Vec<_> = own_messages(&frames).map(|(opcode, message)| (opcode, message.to_vec())).collect();
        proptest::prop_assert_eq!(found, messages);
    }
}

#[test]
fn what_is_cut_short_is_no_message() {
    let frame = encode_text(&[b'x'; 200]);
    for length in 0..frame.len() {
        assert_eq!(own_messages(&frame[..length]).count(), 0, "{length}");
    }
    assert_eq!(own_messages(&frame).count(), 1);
}
