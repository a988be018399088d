//! From MessagePack to JSON.

use crate::logic::{
    engine_io::BASE64,
    js_cluster::{DEPTH_MAX, DecodeError},
    protocol::push_json_str,
};
use base64::Engine as _;
use jiff::{SignedDuration, civil};
use std::io::Write as _;

/// Whole floats below this are written without a point.
const EXACT_BELOW: f64 = (1_u64 << 53) as f64;

/// The extension of dates, in the specification of MessagePack.
const TIMESTAMP: i8 = -1;

/// What is still to be read of a message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// A value, or the beginning of one that has others in it.
enum Head<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Array(u64),
    Map(u64),
    Extension(Extension<'a>),
}

/// A value of a kind that MessagePack leaves open.
struct Extension<'a> {
    /// Whether it has one of the forms whose length is fixed: notepack.io tells kinds apart by that, too.
    is_fixed: bool,
    kind: i8,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads this from its beginning.
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Whether everything was read.
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The beginning of an array: how many values follow, as it claims.
    pub fn array(&mut self) -> Result<u64, DecodeError> {
        match self.head()? {
            Head::Array(len) => Ok(len),
            _ => Err(DecodeError::Shape),
        }
    }

    /// One whole value as JSON, of at most nine times as many bytes and at most [`DEPTH_MAX`] deep.
    pub fn json(&mut self) -> Result<String, DecodeError> {
        let mut out = Vec::new();
        self.value(&mut out, 0)?;
        // All that was pushed is text.
        String::from_utf8(out).map_err(|_| DecodeError::NotMessagePack)
    }

    /// Passes over one whole value.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let mut left = 1_u64;
        while left > 0 {
            // What an array claims to hold is never more than its bytes when this ends well.
            left = left.saturating_sub(1).saturating_add(match self.head()? {
                Head::Array(len) => len,
                Head::Map(len) => len.saturating_mul(2),
                _ => 0,
            });
        }
        Ok(())
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), DecodeError> {
        // Writing to a Vec does not fail.
        match self.head()? {
            Head::Nil => out.extend_from_slice(b"null"),
            Head::Bool(true) => out.extend_from_slice(b"true"),
            Head::Bool(false) => out.extend_from_slice(b"false"),
            Head::Unsigned(number) => drop(write!(out, "{number}")),
            Head::Signed(number) => drop(write!(out, "{number}")),
            Head::Float(number) => push_float(out, number),
            Head::Text(text) => push_json_str(out, &String::from_utf8_lossy(text)),
            Head::Bytes(bytes) => push_bytes(out, bytes),
            Head::Extension(extension) => push_extension(out, &extension),
            Head::Array(_) | Head::Map(_) if depth >= DEPTH_MAX => return Err(DecodeError::TooDeep),
            Head::Array(len) => {
                out.push(b'[');
                for index in 0..len {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(out, depth + 1)?;
                }
                out.push(b']');
            }
            Head::Map(len) => self.members(out, len, depth + 1)?,
        }
        Ok(())
    }

    fn members(&mut self, out: &mut Vec<u8>, len: u64, depth: usize) -> Result<(), DecodeError> {
        out.push(b'{');
        let begin = out.len();
        for _ in 0..len {
            let member = out.len();
            if member > begin {
                out.push(b',');
            }
            self.key(out)?;
            out.push(b':');
            let undefined = self.rest.starts_with(&[0xd4, 0]);
            self.value(out, depth)?;
            if undefined {
                out.truncate(member);
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// A member's name. JavaScript has texts only, and makes texts of numbers.
    fn key(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self.head()? {
            Head::Text(text) => push_json_str(out, &String::from_utf8_lossy(text)),
            Head::Unsigned(number) => drop(write!(out, "\"{number}\"")),
            Head::Signed(number) => drop(write!(out, "\"{number}\"")),
            _ => return Err(DecodeError::NotMessagePack),
        }
        Ok(())
    }

    fn head(&mut self) -> Result<Head<'a>, DecodeError> {
        let first = self.number(1)? as u8;
        Ok(match first {
            0x00..=0x7f => Head::Unsigned(first.into()),
            0x80..=0x8f => Head::Map(u64::from(first & 0x0f)),
            0x90..=0x9f => Head::Array(u64::from(first & 0x0f)),
            0xa0..=0xbf => Head::Text(self.take(u64::from(first & 0x1f))?),
            0xc0 => Head::Nil,
            0xc1 => return Err(DecodeError::NotMessagePack),
            0xc2 | 0xc3 => Head::Bool(first == 0xc3),
            0xc4..=0xc6 => Head::Bytes(self.counted(1 << (first - 0xc4))?),
            0xc7..=0xc9 => {
                let len = self.number(1 << (first - 0xc7))?;
                self.extension(len, false)?
            }
            0xca => Head::Float(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => Head::Float(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Head::Unsigned(self.number(1 << (first - 0xcc))?),
            0xd0..=0xd3 => {
                let width = 1 << (first - 0xd0);
                let unused_bits = 64 - 8 * u32::from(width);
                let bits = self.number(width)? << unused_bits;
                Head::Signed(bits.cast_signed() >> unused_bits)
            }
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4), true)?,
            0xd9..=0xdb => Head::Text(self.counted(1 << (first - 0xd9))?),
            0xdc | 0xdd => Head::Array(self.number(2 << (first - 0xdc))?),
            0xde | 0xdf => Head::Map(self.number(2 << (first - 0xde))?),
            0xe0..=0xff => Head::Signed(first.cast_signed().into()),
        })
    }

    fn extension(&mut self, len: u64, is_fixed: bool) -> Result<Head<'a>, DecodeError> {
        let kind = (self.number(1)? as u8).cast_signed();
        let bytes = self.take(len)?;
        Ok(Head::Extension(Extension {
            is_fixed,
            kind,
            bytes,
        }))
    }

    /// Bytes behind a number of `width` bytes that says how many.
    fn counted(&mut self, width: u8) -> Result<&'a [u8], DecodeError> {
        let len = self.number(width)?;
        self.take(len)
    }

    fn number(&mut self, width: u8) -> Result<u64, DecodeError> {
        let bytes = self.take(width.into())?;
        Ok(big_endian(bytes))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::NotMessagePack)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::NotMessagePack)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The number that at most eight bytes are.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn push_float(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        out.extend_from_slice(b"null");
    } else if number.fract() == 0.0 && number.abs() < EXACT_BELOW {
        let _ = write!(out, "{}", number as i64);
    } else {
        let _ = serde_json::to_writer(out, &number);
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let _ = write!(out, "{{\"$binary\":\"{}\"}}", BASE64.encode(bytes));
}

/// What notepack.io reads of an extension: undefined, dates and bytes as its version 2 wrote them (kind 0), the dates of the
/// specification, and of any other an array of kind and bytes.
fn push_extension(out: &mut Vec<u8>, extension: &Extension<'_>) {
    let Extension {
        is_fixed,
        kind,
        bytes,
    } = *extension;
    let ms = match (is_fixed, kind, bytes.len()) {
        (true, 0, 1) => None,
        (true, 0, 8) => Some(big_endian(bytes).cast_signed()),
        (false, 0, _) => return push_bytes(out, bytes),
        (true, TIMESTAMP, 4) => Some(big_endian(bytes) as i64 * 1_000),
        (true, TIMESTAMP, 8) => {
            let (nanoseconds, seconds) = (big_endian(bytes) >> 34, big_endian(bytes) & ((1 << 34) - 1));
            Some((seconds * 1_000 + nanoseconds / 1_000_000) as i64)
        }
        (false, TIMESTAMP, 12) => {
            let (nanoseconds, seconds) = bytes.split_at(4);
            let whole = big_endian(seconds).cast_signed().checked_mul(1_000);
            whole.and_then(|whole| whole.checked_add_unsigned(big_endian(nanoseconds) / 1_000_000))
        }
        _ => {
            let _ = write!(out, "[{kind},");
            push_bytes(out, bytes);
            return out.push(b']');
        }
    };
    match ms.and_then(date) {
        Some(date) => drop(write!(out, "\"{date:.3}Z\"")),
        None => out.extend_from_slice(b"null"),
    }
}

/// The date so many milliseconds after the beginning of 1970. None after the year 9999: those that JavaScript has there are
/// written in another form.
fn date(ms: i64) -> Option<civil::DateTime> {
    let epoch = civil::date(1970, 1, 1).at(0, 0, 0, 0);
    epoch.checked_add(SignedDuration::from_millis(ms)).ok()
}
