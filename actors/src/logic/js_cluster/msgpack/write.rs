//! From JSON to MessagePack, in the form of each value that notepack.io chooses.

use crate::logic::socket_io::{bytes_in, tokens};
use serde::de::{Deserializer, Error, Visitor};
use std::{borrow::Cow, fmt, ops::ControlFlow};

/// An array or object that has begun.
struct Frame<'a> {
    /// Where its head is: one byte, until it is known how long it is.
    start: usize,
    is_map: bool,
    /// Values so far, and keys.
    items: usize,
    /// The value behind the key `$binary`, if it is the first.
    binary: Option<&'a str>,
    binary_follows: bool,
}

/// Appends a value. `json` is valid JSON; of any other text, something is appended that is perhaps not MessagePack.
pub fn push_json(out: &mut Vec<u8>, json: &str) {
    let mut open: Vec<Frame<'_>> = Vec::new();
    let _ = tokens(json, |token| {
        let first = token.first();
        match first {
            b',' | b':' => {}
            b']' | b'}' => {
                if let Some(frame) = open.pop() {
                    frame.end(out);
                }
            }
            _ => {
                if let Some(frame) = open.last_mut() {
                    frame.item(token.text);
                }
                if matches!(first, b'[' | b'{') {
                    open.push(Frame::new(out.len(), first == b'{'));
                    out.push(0);
                } else {
                    push_scalar(out, first, token.text);
                }
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

impl<'a> Frame<'a> {
    const fn new(start: usize, is_map: bool) -> Self {
        Self {
            start,
            is_map,
            items: 0,
            binary: None,
            binary_follows: false,
        }
    }

    /// A key or a value comes, or an array or object begins.
    fn item(&mut self, text: &'a str) {
        if self.is_map && self.items < 2 {
            self.binary = self.binary_follows.then_some(text);
            self.binary_follows = self.items == 0 && text == "\"$binary\"";
        }
        self.items += 1;
    }

    fn end(self, out: &mut Vec<u8>) {
        let Self {
            start, items, is_map, ..
        } = self;
        let bytes = self.binary.filter(|_| items == 2).and_then(bytes_in);
        if let Some(bytes) = bytes {
            out.truncate(start);
            return push_bytes(out, &bytes);
        }
        let mut head = Vec::with_capacity(5);
        if is_map {
            push_map_head(&mut head, items / 2);
        } else {
            push_array_head(&mut head, items);
        }
        out.splice(start..=start, head);
    }
}

/// Appends a text.
pub fn push_str(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..0x20 => out.push(0xa0 | len as u8),
        len => push_len(out, len, [Some(0xd9), Some(0xda), Some(0xdb)]),
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends the beginning of an array with so many values.
pub fn push_array_head(out: &mut Vec<u8>, len: usize) {
    match len {
        0..0x10 => out.push(0x90 | len as u8),
        _ => push_len(out, len, [None, Some(0xdc), Some(0xdd)]),
    }
}

/// Appends the beginning of a map with so many members.
pub fn push_map_head(out: &mut Vec<u8>, len: usize) {
    match len {
        0..0x10 => out.push(0x80 | len as u8),
        _ => push_len(out, len, [None, Some(0xde), Some(0xdf)]),
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_len(out, bytes.len(), [Some(0xc4), Some(0xc5), Some(0xc6)]);
    out.extend_from_slice(bytes);
}

/// A length behind the first of the marks, for 1, 2 and 4 bytes, in which it has room. Nothing here is as long as 4 GiB.
fn push_len(out: &mut Vec<u8>, len: usize, [one, two, four]: [Option<u8>; 3]) {
    match (one, two, four) {
        (Some(mark), ..) if len < 0x100 => out.extend_from_slice(&[mark, len as u8]),
        (_, Some(mark), _) if len < 0x1_0000 => {
            out.push(mark);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        (.., mark) => {
            out.extend(mark);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn push_scalar(out: &mut Vec<u8>, first: u8, text: &str) {
    match first {
        b'"' => push_str(out, &unquoted(text)),
        b't' => out.push(0xc3),
        b'f' => out.push(0xc2),
        b'-' | b'0'..=b'9' => push_number(out, text),
        _ => out.push(0xc0),
    }
}

fn push_number(out: &mut Vec<u8>, text: &str) {
    if let Ok(number) = text.parse() {
        push_unsigned(out, number);
    } else if let Ok(number) = text.parse() {
        push_signed(out, number);
    } else {
        push_float(out, text.parse().unwrap_or(f64::NAN));
    }
}

/// JavaScript has one kind of number: what is whole goes as an integer.
fn push_float(out: &mut Vec<u8>, number: f64) {
    const BEYOND_UNSIGNED: f64 = 18_446_744_073_709_551_616.0;
    const LEAST_SIGNED: f64 = i64::MIN as f64;
    if !number.is_finite() {
        out.push(0xc0);
    } else if number.fract() == 0.0 && (0.0..BEYOND_UNSIGNED).contains(&number) {
        push_unsigned(out, number as u64);
    } else if number.fract() == 0.0 && (LEAST_SIGNED..0.0).contains(&number) {
        push_signed(out, number as i64);
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn push_unsigned(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let (mark, width) = match number {
        0..0x80 => (None, 1),
        0x80..0x100 => (Some(0xcc), 1),
        0x100..0x1_0000 => (Some(0xcd), 2),
        0x1_0000..0x1_0000_0000 => (Some(0xce), 4),
        _ => (Some(0xcf), 8),
    };
    out.extend(mark);
    out.extend_from_slice(&bytes[8 - width..]);
}

fn push_signed(out: &mut Vec<u8>, number: i64) {
    let bytes = number.to_be_bytes();
    let (mark, width) = match number {
        0.. => return push_unsigned(out, number.unsigned_abs()),
        -0x20..0 => (None, 1),
        -0x80..-0x20 => (Some(0xd0), 1),
        -0x8000..-0x80 => (Some(0xd1), 2),
        -0x8000_0000..-0x8000 => (Some(0xd2), 4),
        _ => (Some(0xd3), 8),
    };
    out.extend(mark);
    out.extend_from_slice(&bytes[8 - width..]);
}

/// What a string of JSON says. Half a pair of surrogates, which JSON may have and UTF-8 not, becomes U+FFFD.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('\\') => Cow::Borrowed(inside),
        _ => {
            let bytes = serde_json::Deserializer::from_str(text).deserialize_bytes(Bytes);
            Cow::Owned(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        }
    }
}

/// Takes a string as `serde_json` gives it who asks for bytes: half pairs of surrogates included.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}
