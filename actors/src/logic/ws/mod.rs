//! WebSocket frames (RFC 6455 section 5) as pure functions and one small state machine; nothing here reads a
//! socket.
//!
//! - [`Decoder`] turns the bytes of a peer into [`Incoming`] messages. It works in the buffer they were read
//!   into and keeps only what is unfinished, so that an idle connection costs the struct and no heap.
//! - [`encode_text`], [`close_frame`] and their neighbours build a server's frames; [`masked`] builds a
//!   client's.
//!
//! No extensions are negotiated, hence every reserved bit is a violation (section 5.2).

mod close;
mod decode;
mod encode;
mod head;
#[cfg(test)]
mod tests;

pub use close::{Violation, allowed_on_the_wire};
pub use decode::{Decoder, Incoming, Limits};
pub use encode::{
    close_frame, close_reply, encode_binary, encode_head, encode_text, head_len, masked, own_messages,
    ping_frame, pong_frame,
};
pub use head::{CONTROL_BYTES, Opcode};
