//! Values as notepack.io writes them. The bytes are what its versions 3.0.1, which the adapter and the emitter use, and
//! 2.2.0, which their old versions use, wrote under Node.js 20.

use super::{DecodeError, hex};
use crate::logic::js_cluster::{
    DEPTH_MAX,
    msgpack::{Reader, push_json},
};

fn written(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_json(&mut out, json);
    out
}

fn read(message: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader::new(message);
    let json = reader.json()?;
    assert!(reader.is_at_end());
    let mut skipping = Reader::new(message);
    assert_eq!(skipping.skip(), Ok(()));
    assert!(skipping.is_at_end());
    Ok(json)
}

#[test]
fn numbers_have_the_same_bytes_in_both_directions() {
    for (json, bytes) in [
        ("0", "00"),
        ("127", "7f"),
        ("128", "cc80"),
        ("255", "ccff"),
        ("256", "cd0100"),
        ("65535", "cdffff"),
        ("65536", "ce00010000"),
        ("4294967295", "ceffffffff"),
        ("4294967296", "cf0000000100000000"),
        ("9007199254740991", "cf001fffffffffffff"),
        ("9223372036854775808", "cf8000000000000000"),
        ("-1", "ff"),
        ("-32", "e0"),
        ("-33", "d0df"),
        ("-128", "d080"),
        ("-129", "d1ff7f"),
        ("-32768", "d18000"),
        ("-32769", "d2ffff7fff"),
        ("-2147483648", "d280000000"),
        ("-2147483649", "d3ffffffff7fffffff"),
        ("-9007199254740991", "d3ffe0000000000001"),
        ("-9223372036854775808", "d38000000000000000"),
        ("0.5", "cb3fe0000000000000"),
        ("-1.25", "cbbff4000000000000"),
        ("15000000000", "cf000000037e11d600"),
    ] {
        assert_eq!(written(json), hex(bytes), "{json}");
        assert_eq!(read(&hex(bytes)).as_deref(), Ok(json));
    }
    assert_eq!(written("-1e-7"), hex("cbbe7ad7f29abcaf48"));
}

#[test]
fn numbers_that_javascript_does_not_tell_apart_are_written_as_one() {
    for (json, bytes) in [
        ("3.0", "03"),
        ("30e-1", "03"),
        ("-0", "00"),
        ("-0.0", "00"),
        ("-3.0", "fd"),
        ("1.5e10", "cf000000037e11d600"),
        ("9.223372036854775808e18", "cf8000000000000000"),
        ("-9.223372036854775808e18", "d38000000000000000"),
    ] {
        assert_eq!(written(json), hex(bytes), "{json}");
    }
    // Here notepack.io writes an integer without its highest bits; as a float it is read for what it is.
    assert_eq!(written("1e300"), hex("cb7e37e43c8800759c"));
    assert_eq!(
        written("18446744073709551616"),
        hex("cb43f0000000000000"),
        "one more than the largest integer"
    );
    assert_eq!(
        written("1e999"),
        hex("c0"),
        "JSON may have it, JavaScript makes it null"
    );
    assert_eq!(
        written("18446744073709551615"),
        hex("cfffffffffffffffff"),
        "exact, though JavaScript rounds it"
    );
}

#[test]
fn floats_are_read_as_javascript_writes_json() {
    for (bytes, json) in [
        ("cb7ff8000000000000", "null"),
        ("cb7ff0000000000000", "null"),
        ("cbfff0000000000000", "null"),
        ("ca7fc00000", "null"),
        ("ca3f800000", "1"),
        ("ca3fc00000", "1.5"),
        ("cb8000000000000000", "0"),
        ("cb4008000000000000", "3"),
    ] {
        assert_eq!(read(&hex(bytes)).as_deref(), Ok(json), "{bytes}");
    }
    let large = read(&hex("cb7e37e43c8800759c")).unwrap();
    assert_eq!(large.parse(), Ok(1e300));
}

#[test]
fn other_values_have_the_same_bytes_in_both_directions() {
    for (json, bytes) in [
        (r#""""#, "a0"),
        (r#""ä€😀""#, "a9c3a4e282acf09f9880"),
        (r#""\u0000\n\"\\""#, "a4000a225c"),
        ("true", "c3"),
        ("false", "c2"),
        ("null", "c0"),
        ("[]", "90"),
        ("{}", "80"),
        ("[[],{}]", "929080"),
        (r#"{"a":{"b":[1,{"c":null}]}}"#, "81a16181a162920181a163c0"),
        (r#"{"b":1,"a":2}"#, "82a16201a16102"),
        (r#"{"$binary":""}"#, "c400"),
        (r#"{"$binary":"AQID"}"#, "c403010203"),
        (
            r#"{"deep":[{"b":{"$binary":"/w=="}}]}"#,
            "81a4646565709181a162c401ff",
        ),
    ] {
        assert_eq!(written(json), hex(bytes), "{json}");
        assert_eq!(read(&hex(bytes)).as_deref(), Ok(json));
    }
    assert_eq!(
        written(" { \"a\" :\n[ 1 , \"\\u00e4\" ] } "),
        hex("81a1619201a2c3a4")
    );
    assert_eq!(written(r#"{"$binary":"\/w"}"#), hex("c401ff"));
}

#[test]
fn what_only_looks_like_bytes_is_an_object() {
    for (json, bytes) in [
        (r#"{"$binary":"*"}"#, "81a72462696e617279a12a"),
        (r#"{"$binary":1}"#, "81a72462696e61727901"),
        (r#"{"$binary":["AQ=="]}"#, "81a72462696e61727991a441513d3d"),
        (
            r#"{"$binary":"AQ==","a":1}"#,
            "82a72462696e617279a441513d3da16101",
        ),
        (
            r#"{"a":1,"$binary":"AQ=="}"#,
            "82a16101a72462696e617279a441513d3d",
        ),
        (
            r#"["$binary",{"x":"$binary"}]"#,
            "92a72462696e61727981a178a72462696e617279",
        ),
    ] {
        assert_eq!(written(json), hex(bytes), "{json}");
    }
}

/// A head, and how many values or bytes follow it.
#[test]
fn lengths_take_as_few_bytes_as_they_can() {
    for (len, head) in [
        (31, "bf"),
        (32, "d920"),
        (255, "d9ff"),
        (256, "da0100"),
        (65_535, "daffff"),
        (65_536, "db00010000"),
    ] {
        let json = format!("\"{}\"", "x".repeat(len));
        let bytes = [hex(head), vec![b'x'; len]].concat();
        assert_eq!(written(&json), bytes);
        assert_eq!(read(&bytes), Ok(json));
    }
    for (len, head) in [
        (255, "c4ff"),
        (258, "c50102"),
        (65_535, "c5ffff"),
        (65_538, "c600010002"),
    ] {
        // A multiple of three zeros is as many times "AAAA".
        let json = format!("{{\"$binary\":\"{}\"}}", "AAAA".repeat(len / 3));
        let bytes = [hex(head), vec![0; len]].concat();
        assert_eq!(written(&json), bytes);
        assert_eq!(read(&bytes), Ok(json));
    }
    for (len, array, map) in [
        (15, "9f", "8f"),
        (16, "dc0010", "de0010"),
        (65_535, "dcffff", "deffff"),
        (65_536, "dd00010000", "df00010000"),
    ] {
        let json = format!("[{}]", vec!["0"; len].join(","));
        let bytes = [hex(array), vec![0; len]].concat();
        assert_eq!(written(&json), bytes);
        assert_eq!(read(&bytes), Ok(json));
        let json = format!("{{{}}}", vec!["\"k\":7"; len].join(","));
        let bytes = [hex(map), b"\xa1k\x07".repeat(len)].concat();
        assert_eq!(written(&json), bytes);
        assert_eq!(read(&bytes), Ok(json));
    }
}

#[test]
fn dates_are_read_as_their_texts() {
    for (bytes, date) in [
        // Version 3, the timestamps of the specification.
        ("d6ff00000000", "1970-01-01T00:00:00.000Z"),
        ("d7ff7735940000000001", "1970-01-01T00:00:01.500Z"),
        ("d6ff6553f100", "2023-11-14T22:13:20.000Z"),
        ("d7ff1d5353006553f100", "2023-11-14T22:13:20.123Z"),
        ("d7ff0000000100000000", "2106-02-07T06:28:16.000Z"),
        ("c70cff000000000000003afff2d3e0", "9999-12-30T22:00:00.000Z"),
        ("c70cff3b8b87c0ffffffffffffffff", "1969-12-31T23:59:59.999Z"),
        ("c70cff1dcd6500fffffffffffffffe", "1969-12-31T23:59:58.500Z"),
        // Version 2.
        ("d7000000000000000000", "1970-01-01T00:00:00.000Z"),
        ("d7000000018bcfe5687b", "2023-11-14T22:13:20.123Z"),
        ("d700ffffffffffffffff", "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(read(&hex(bytes)), Ok(format!("\"{date}\"")), "{bytes}");
    }
    for beyond_9999 in [
        "c70cff00000000000007dba8218000",
        "d700001eb208c2dc0000",
        "c70cffffffffff7fffffffffffffff",
    ] {
        assert_eq!(read(&hex(beyond_9999)).as_deref(), Ok("null"));
    }
}

#[test]
fn what_version_2_wrote_is_read() {
    // [undefined, {u: undefined, v: 1}, undefined]
    let undefined = read(&hex("93d4000082a175d40000a17601d40000"));
    assert_eq!(undefined.as_deref(), Ok(r#"[null,{"v":1},null]"#));
    assert_eq!(
        read(&hex("82a17601a175d40000")).as_deref(),
        Ok(r#"{"v":1}"#),
        "not the comma either"
    );
    // Buffers of JavaScript, also such as are as long as a date or an undefined.
    for (bytes, json) in [
        ("c70000", r#"{"$binary":""}"#),
        ("c7010007", r#"{"$binary":"Bw=="}"#),
        ("c7040007070707", r#"{"$binary":"BwcHBw=="}"#),
        ("c708000707070707070707", r#"{"$binary":"BwcHBwcHBwc="}"#),
        ("c80001000f", r#"{"$binary":"Dw=="}"#),
        ("c900000001000f", r#"{"$binary":"Dw=="}"#),
    ] {
        assert_eq!(read(&hex(bytes)).as_deref(), Ok(json), "{bytes}");
    }
    assert_eq!(read(&hex("d4050f")).as_deref(), Ok(r#"[5,{"$binary":"Dw=="}]"#));
    assert_eq!(read(&hex("d500010f")).as_deref(), Ok(r#"[0,{"$binary":"AQ8="}]"#));
}

#[test]
fn keys_that_are_numbers_become_texts_and_others_are_refused() {
    assert_eq!(read(&hex("820501ff02")).as_deref(), Ok(r#"{"5":1,"-1":2}"#));
    for key in ["c0", "c3", "90", "c400", "cb3fe0000000000000"] {
        let bytes = hex(&format!("81{key}01"));
        assert_eq!(Reader::new(&bytes).json(), Err(DecodeError::NotMessagePack));
    }
}

#[test]
fn text_that_is_not_unicode_is_mended() {
    assert_eq!(read(&hex("a3ff61c3")).as_deref(), Ok("\"\u{fffd}a\u{fffd}\""));
    let half = String::from_utf8(written(r#""\ud83dx""#)[1..].to_vec()).unwrap();
    assert!(half.starts_with('\u{fffd}') && half.ends_with('x'), "{half}");
    assert_eq!(written(r#""\ud83d\ude00""#), hex("a4f09f9880"));
}

#[test]
fn a_message_that_is_cut_off_or_lies_about_its_length_is_refused() {
    for bytes in [
        "",
        "c1",
        "91",
        "9301",
        "81a161",
        "a2c3",
        "d9",
        "db00010000",
        "dbffffffff",
        "c6ffffffff",
        "ddffffffff",
        "dfffffffff",
        "ddffffffff00",
        "cb00",
        "d6ff0000",
        "c9ffffffff00",
        "c7",
    ] {
        let bytes = hex(bytes);
        assert_eq!(Reader::new(&bytes).json(), Err(DecodeError::NotMessagePack));
        assert_eq!(Reader::new(&bytes).skip(), Err(DecodeError::NotMessagePack));
    }
}

#[test]
fn depth_is_bounded_when_reading_and_takes_no_stack_otherwise() {
    let nested = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(
        Reader::new(&nested(DEPTH_MAX + 1)).json(),
        Err(DecodeError::TooDeep)
    );
    let deep = nested(3_000_000);
    assert_eq!(Reader::new(&deep).json(), Err(DecodeError::TooDeep));
    assert_eq!(Reader::new(&deep).skip(), Ok(()));
    let maps = b"\x81\xa1k".repeat(1_000_000);
    assert_eq!(Reader::new(&maps).json(), Err(DecodeError::TooDeep));
    let json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(written(&json).len(), 100_000);
}
