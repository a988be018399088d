//! MessagePack as notepack.io writes and reads it, to and from JSON text.
//!
//! Bytes are `{"$binary":"<base64>"}` in our JSON, as everywhere. What JavaScript does to a value on its way through
//! `JSON.stringify` happens here, too: what is not a finite number is `null`, a whole float has no point, a date is its
//! text, and a member that is undefined is not there. Integers stay exact, beyond those that JavaScript can tell apart.
//!
//! Text to text, without a tree of values between: a tree takes tens of bytes for a value of one byte, and would sort the
//! keys of objects.

mod read;
mod write;

pub use read::Reader;
pub use write::{push_array_head, push_json, push_map_head, push_str};
