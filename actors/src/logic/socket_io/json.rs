//! A walk over JSON text that is known to be valid: how deep it is, and objects that stand for something else.
//!
//! Text in, text out: whatever is not replaced keeps its spelling, its numbers their digits, its keys their order.

use std::ops::ControlFlow::{self, Break, Continue};

/// A bracket, a comma, a colon, or a whole string, number or literal. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Token<'a> {
    start: usize,
    /// As it is written.
    pub text: &'a str,
}

impl Token<'_> {
    /// What tells its kind.
    pub const fn first(&self) -> u8 {
        self.text.as_bytes()[0]
    }

    const fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Hands out the tokens of valid JSON one by one. (Of what is not valid JSON it makes tokens as well.)
pub(in crate::logic) fn tokens<'a, B>(
    json: &'a str,
    mut on: impl FnMut(Token<'a>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut start = 0;
    while let Some(rest) = json.get(start..).filter(|rest| !rest.is_empty()) {
        let len = token_len(rest);
        if !rest.as_bytes()[0].is_ascii_whitespace() {
            let text = &rest[..len];
            on(Token { start, text })?;
        }
        start += len;
    }
    Continue(())
}

/// How long the token is that this text begins with, at least 1 and always a whole number of characters. The text is not
/// empty.
pub(super) fn token_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'"' => {
            let mut at = 1;
            while let Some(&byte) = bytes.get(at) {
                match byte {
                    b'"' => return at + 1,
                    // The escaped character matters only where it is a quote or a backslash: one byte.
                    b'\\' => at += 2,
                    _ => at += 1,
                }
            }
            bytes.len()
        }
        b'[' | b']' | b'{' | b'}' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => 1,
        _ => {
            let ends = |byte: &u8| {
                matches!(
                    byte,
                    b'[' | b']' | b'{' | b'}' | b',' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r'
                )
            };
            bytes.iter().position(ends).unwrap_or(bytes.len())
        }
    }
}

/// Whether no array or object lies more than `max` deep. `"x"` has depth 0, `[[]]` has 2.
pub(in crate::logic) fn depth_within(json: &str, max: usize) -> bool {
    let mut depth = 0usize;
    let walk = tokens(json, |token| {
        match token.first() {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max { Break(()) } else { Continue(()) }
    });
    walk.is_continue()
}

/// What is known of an object when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Object<'a> {
    /// How many members it has.
    pub members: usize,
    /// The text of the value of each watched key, if that is a string, number or literal; of several the last.
    pub watched: [Option<&'a str>; 2],
}

/// Copies `json`, but what `replace` gives instead of an object. Inner objects come before those around them.
///
/// `keys` are compared as they are written, quotes included: a spelling with escapes is another key.
pub(super) fn replace_objects<'a, E>(
    json: &'a str,
    keys: [&str; 2],
    mut replace: impl FnMut(&Object<'a>) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(json.len());
    let (mut open, mut copied) = (Vec::<Frame<'a>>::new(), 0);
    let walk = tokens(json, |token| {
        match token.first() {
            first @ (b'[' | b'{') => {
                out.push_str(&json[copied..token.start]);
                copied = token.start;
                open.push(Frame::new(first == b'{', out.len()));
            }
            b']' | b'}' => {
                let object = open.pop().filter(|frame| frame.is_object);
                let Some(frame) = object else { return Continue(()) };
                match replace(&frame.object) {
                    Ok(None) => {}
                    Ok(Some(text)) => {
                        out.truncate(frame.out_start);
                        out.push_str(&text);
                        copied = token.end();
                    }
                    Err(error) => return Break(error),
                }
            }
            first => {
                if let Some(frame) = open.last_mut() {
                    frame.take(first, token.text, keys);
                }
            }
        }
        Continue(())
    });
    match walk {
        Break(error) => Err(error),
        Continue(()) => {
            out.push_str(&json[copied..]);
            Ok(out)
        }
    }
}

/// An array or object that has begun.
struct Frame<'a> {
    is_object: bool,
    /// How long the copy was when it began: what it is cut back to if something else comes instead.
    out_start: usize,
    object: Object<'a>,
    expects: Expects,
}

/// What the next string, number or literal of an object is.
#[derive(Clone, Copy)]
enum Expects {
    Key,
    /// The value of the watched key with this number, or of one that is not watched.
    Value(Option<usize>),
}

impl<'a> Frame<'a> {
    fn new(is_object: bool, out_start: usize) -> Self {
        Self {
            is_object,
            out_start,
            object: Object::default(),
            expects: Expects::Key,
        }
    }

    fn take(&mut self, first: u8, text: &'a str, keys: [&str; 2]) {
        match (first, self.expects) {
            (b',', _) => self.expects = Expects::Key,
            (b':', _) => {}
            (_, Expects::Key) => {
                self.object.members += 1;
                let watched = keys.iter().position(|key| *key == text);
                // A value that is an array or object never comes by here: then there is none.
                if let Some(which) = watched {
                    self.object.watched[which] = None;
                }
                self.expects = Expects::Value(watched);
            }
            (_, Expects::Value(Some(which))) => self.object.watched[which] = Some(text),
            (_, Expects::Value(None)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(depth_within(r#""[[[{{{""#, 0));
        assert!(depth_within(r#"["[\"[\\",{"a":1},[]]"#, 2));
        assert!(!depth_within(r#"[[],{"a":[]}]"#, 2));
        assert!(depth_within("[[],[],[],[]]", 2));
    }

    #[test]
    fn objects_are_told_by_what_lies_directly_in_them() {
        let json = r#"[{"k" : "v","x":{"k":1}}, {"k":{}} ,{"k":true,"n":-1.50}]"#;
        let mut seen = Vec::new();
        let out = replace_objects(json, ["\"k\"", "\"n\""], |object| {
            seen.push((object.members, object.watched));
            let text = object.watched[1].map(|_| "null".to_owned());
            Ok::<_, Infallible>(text)
        });
        assert_eq!(out.unwrap(), r#"[{"k" : "v","x":{"k":1}}, {"k":{}} ,null]"#);
        let none = [None, None];
        assert_eq!(
            seen,
            [
                (1, [Some("1"), None]),
                (2, [Some("\"v\""), None]),
                (0, none),
                (1, none),
                (2, [Some("true"), Some("-1.50")])
            ]
        );
    }

    proptest! {
        #[test]
        fn without_a_replacement_the_copy_is_the_text(json in "[\\[\\]{},:\"\\\\a1\u{e4} ]{0,40}", max in 0usize..5) {
            let out = replace_objects(&json, ["\"a\"", "\"1\""], |_| Ok::<_, Infallible>(None));
            prop_assert_eq!(out.unwrap(), json.as_str());
            let _ = depth_within(&json, max);
        }
    }
}
