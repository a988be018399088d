//! Properties of whole streams, cut at arbitrary points.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::model;
use super::*;

const SMALL: Limits = Limits {
    frame_bytes: 200,
    message_bytes: 300,
};

/// The stream in pieces, cut at these points.
fn cut<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let starts = [0].into_iter().chain(ends.clone());
    starts.zip(ends).map(|(start, end)| &stream[start..end]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let bytes = any::<u8>;
    prop_oneof![4 => vec(bytes(), 0..40), 1 => vec(bytes(), 100..300), 1 => vec(bytes(), 65_500..65_560)]
}

/// A message in the frames that carry it, pings between them, and what has to come out.
fn sent() -> impl Strategy<Value = (Vec<u8>, Vec<Event>)> {
    let message = prop_oneof![
        "\\PC{0,60}".prop_map(Event::Text),
        any::<String>().prop_map(Event::Text),
        payload().prop_map(Event::Binary),
    ];
    let fragments = vec(
        (
            any::<Index>(),
            any::<[u8; 4]>(),
            proptest::option::of(vec(any::<u8>(), 0..=125)),
        ),
        0..5,
    );
    (message, fragments).prop_map(|(message, fragments)| {
        let (mut opcode, bytes) = match &message {
            Event::Text(text) => (Opcode::Text, text.as_bytes()),
            Event::Binary(bytes) => (Opcode::Binary, &bytes[..]),
            other => panic!("{other:?} is no message"),
        };
        let points: Vec<Index> = fragments.iter().map(|fragment| fragment.0).collect();
        let (mut stream, mut events) = (vec![], vec![]);
        let pieces = cut(bytes, &points);
        for (at, piece) in pieces.iter().enumerate() {
            let (mask, ping) = fragments
                .get(at)
                .map_or((MASK, None), |(_, mask, ping)| (*mask, ping.clone()));
            stream.extend(masked(opcode, at + 1 == pieces.len(), piece, mask));
            opcode = Opcode::Continuation;
            // The last piece has no ping behind it: there is one fragment more than there are cuts.
            if let Some(ping) = ping {
                stream.extend(masked(Opcode::Ping, true, &ping, mask));
                events.push(Event::Ping(ping));
            }
        }
        events.push(message);
        (stream, events)
    })
}

/// One frame of a client that keeps the rules now and then.
fn wild_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => select(vec![0x00_u8, 0x01, 0x02, 0x80, 0x81, 0x82, 0x80, 0x00]),
        3 => select(vec![0x89_u8, 0x8a]),
        1 => any::<u8>(),
    ];
    let content = prop_oneof![
        3 => "[a-zß☺🦀]{0,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..8),
        1 => vec(Just(b'x'), 0..220),
    ];
    // A character may go on in the next frame.
    let trimmed = (content, 0_usize..3).prop_map(|(mut content, less)| {
        content.truncate(content.len().saturating_sub(usize::from(less == 2)));
        content
    });
    (first, trimmed, any::<[u8; 4]>(), 0_u8..40).prop_map(|(first, content, mask, slip)| {
        let mut frame = masked(Opcode::Continuation, true, &content, mask);
        frame[0] = first;
        if slip == 0 {
            frame[1] ^= 0x80;
        } else if slip == 1 {
            frame[1] ^= mask[0] & 0x7f;
        }
        frame
    })
}

/// Such frames in a row. Most fragments are in their place, so that a stream gets far before it breaks a
/// rule.
fn wild_stream() -> impl Strategy<Value = Vec<u8>> {
    let close = (0_u16..6000, "[a-z☺]{0,5}").prop_map(|(code, reason)| {
        client(
            Opcode::Close,
            true,
            &[&code.to_be_bytes(), reason.as_bytes()].concat(),
        )
    });
    let frames = vec((prop_oneof![12 => wild_frame(), 1 => close], 0..20), 0..12);
    (frames, 0_usize..4).prop_map(|(frames, less)| {
        let (mut stream, mut open) = (vec![], false);
        for (mut frame, slip) in frames {
            let control = frame[0] & 8 != 0;
            if !control && slip > 0 && open != (frame[0] & 15 == 0) {
                frame[0] = frame[0] & 0xf0 | u8::from(!open);
            }
            open = if control { open } else { frame[0] & 0x80 == 0 };
            stream.extend(frame);
        }
        stream.truncate(stream.len().saturating_sub(less));
        stream
    })
}

proptest! {
    #[test]
    fn messages_survive_every_way_to_fragment_and_to_cut_them(sent in vec(sent(), 0..6), cuts in cuts()) {
        let (streams, events): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let (stream, events) = (streams.concat(), events.concat());
        let mut decoder = server();
        prop_assert_eq!(feed(&mut decoder, cut(&stream, &cuts)), (events, None));
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn whatever_comes_is_what_the_model_makes_of_it_however_it_is_cut(
        stream in wild_stream(),
        cuts in cuts(),
    ) {
        let expected = model(&stream, SMALL);
        prop_assert_eq!(&feed(&mut Decoder::new(SMALL), [&stream[..]]), &expected);
        prop_assert_eq!(&feed(&mut Decoder::new(SMALL), cut(&stream, &cuts)), &expected);
        prop_assert_eq!(&feed(&mut Decoder::new(SMALL), stream.chunks(1)), &expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(stream in vec(any::<u8>(), 0..400), cuts in cuts()) {
        prop_assert_eq!(feed(&mut Decoder::new(SMALL), cut(&stream, &cuts)), model(&stream, SMALL));
    }

    #[test]
    fn no_more_is_buffered_than_the_limits_say(
        stream in wild_stream(),
        cuts in cuts(),
        message_bytes in 0_u32..300,
    ) {
        let mut decoder = Decoder::new(Limits { message_bytes, ..SMALL });
        let most = message_bytes as usize + CONTROL_BYTES;
        for chunk in cut(&stream, &cuts) {
            let (_, code) = feed(&mut decoder, [chunk]);
            prop_assert!(decoder.buffered() <= most, "{} of {most}", decoder.buffered());
            prop_assert!(code.is_none() || decoder.buffered() == 0);
        }
    }

    #[test]
    fn what_the_server_writes_its_client_reads(
        text in any::<String>(),
        bytes in payload(),
        code in 3000_u16..5000,
        cuts in cuts(),
    ) {
        let control = &bytes[..bytes.len().min(CONTROL_BYTES)];
        let reason: String = text.chars().take(30).collect();
        let stream = [
            encode_text(text.as_bytes()),
            encode_binary(&bytes),
            ping_frame(control),
            pong_frame(control),
            close_frame(code, &reason),
        ]
        .concat();
        let events = vec![
            Event::Text(text),
            Event::Binary(bytes.clone()),
            Event::Ping(control.to_vec()),
            Event::Pong(control.to_vec()),
            Event::Close(Some(code), reason),
        ];
        prop_assert_eq!(feed(&mut Decoder::for_client(LIMITS), cut(&stream, &cuts)), (events, None));
    }

    #[test]
    fn a_close_reason_of_any_length_is_cut_to_what_fits(reason in any::<String>(), code in 3000_u16..5000) {
        let frame = close_frame(code, &reason.repeat(3));
        prop_assert!(frame.len() <= 2 + CONTROL_BYTES);
        let (events, violation) = feed(&mut Decoder::for_client(LIMITS), [&frame[..]]);
        prop_assert_eq!(violation, None);
        match &events[..] {
            [Event::Close(Some(got), kept)] => {
                prop_assert_eq!(*got, code);
                prop_assert!(reason.repeat(3).starts_with(kept.as_str()));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_mask_goes_on_where_the_last_piece_ended(
        bytes in vec(any::<u8>(), 0..100),
        mask in any::<[u8; 4]>(),
        at in any::<Index>(),
    ) {
        let naive: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let mut pieces = bytes.clone();
        let at = at.index(bytes.len() + 1);
        let (left, right) = pieces.split_at_mut(at);
        head::apply_mask(left, mask, 0);
        head::apply_mask(right, mask, at as u32);
        prop_assert_eq!(pieces, naive);
    }
}
