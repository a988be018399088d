//! Numbers in base 36, lower case: short, and without a character that needs escaping anywhere.

use std::fmt;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Writes a number, as short as it can be.
pub fn write(f: &mut fmt::Formatter<'_>, mut number: u64) -> fmt::Result {
    let mut text = [0u8; 13]; // 36^13 > 2^64
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = DIGITS[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            return f.write_str(std::str::from_utf8(&text[at..]).map_err(|_| fmt::Error)?);
        }
    }
}

/// Reads a number as [`write()`] writes it.
pub fn read(text: &str) -> Option<u64> {
    let lower = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    // `from_str_radix` alone would take a sign and capitals: one position has one spelling.
    (!text.is_empty() && text.bytes().all(lower))
        .then(|| u64::from_str_radix(text, 36).ok())
        .flatten()
}
