//! Attachments: bytes that travel behind a packet, each with a place in its JSON.

use super::json::replace_objects;
use super::packet::{DecodeError, Limits, Packet, Text, decode};
use crate::logic::engine_io::BASE64;
use base64::Engine as _;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::{borrow::Cow, convert::Infallible, mem};

/// The messages of one connection, put together to packets. A pointer in size while nothing is missing.
#[derive(Debug, Default)]
pub struct Assembly {
    waiting: Option<Box<Waiting>>,
}

/// A packet whose attachments have not all come.
#[derive(Debug)]
struct Waiting {
    packet: Packet<'static>,
    attachments: Vec<Bytes>,
    bytes: usize,
}

impl Assembly {
    /// Takes a message of text: the packet, or `None` if its attachments have yet to come.
    ///
    /// # Errors
    ///
    /// Not a packet, or not the time for one.
    pub fn text<'a>(&mut self, text: &'a str, limits: &Limits) -> Result<Option<Packet<'a>>, DecodeError> {
        if self.is_waiting() {
            return Err(DecodeError::TextInsteadOfAttachment);
        }
        let packet = decode(text, limits.attachments)?;
        match (packet.kind.is_binary(), packet.attachments) {
            (false, _) => Ok(Some(packet)),
            (true, 0) => complete(packet, &[]).map(Some),
            (true, _) => {
                self.waiting = Some(Box::new(Waiting {
                    packet: owned(packet),
                    attachments: Vec::new(),
                    bytes: 0,
                }));
                Ok(None)
            }
        }
    }

    /// Takes a message of bytes: the packet whose last attachment it is, if it is. There each place has become
    /// `{"$binary":"<base64>"}`, and the kind is that without attachments.
    ///
    /// # Errors
    ///
    /// Nobody announced it, it is too large, or the places do not match. Nothing waits any more then.
    pub fn bytes(&mut self, message: Bytes, limits: &Limits) -> Result<Option<Packet<'static>>, DecodeError> {
        let mut waiting = self.waiting.take().ok_or(DecodeError::UnannouncedAttachment)?;
        waiting.bytes = waiting.bytes.saturating_add(message.len());
        if waiting.bytes > limits.attachment_bytes {
            let limit = limits.attachment_bytes;
            return Err(DecodeError::AttachmentsTooLarge { limit });
        }
        waiting.attachments.push(message);
        if waiting.attachments.len() < waiting.packet.attachments as usize {
            self.waiting = Some(waiting);
            return Ok(None);
        }
        let Waiting {
            packet, attachments, ..
        } = *waiting;
        complete(packet, &attachments).map(Some)
    }

    /// Whether attachments are missing.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

fn owned(packet: Packet<'_>) -> Packet<'static> {
    Packet {
        namespace: packet.namespace.map(|name| Cow::Owned(name.into_owned())),
        data: packet.data.map(|data| Cow::Owned(data.into_owned())),
        ..packet
    }
}

/// Puts the attachments in their places.
///
/// A place is any object with `"_placeholder":true`, as in the stock parser. An attachment without a place is dropped, as
/// there. One with two places is refused, unlike there: no client writes that, and a small packet could become a huge one.
fn complete<'a>(mut packet: Packet<'a>, attachments: &[Bytes]) -> Result<Packet<'a>, DecodeError> {
    packet.kind = packet.kind.without_attachments();
    packet.attachments = 0;
    let Some(data) = &packet.data else {
        return Ok(packet);
    };
    let mut left: Vec<Option<&Bytes>> = attachments.iter().map(Some).collect();
    let json = replace_objects(data.get(), ["\"_placeholder\"", "\"num\""], |object| {
        let [Some("true"), number] = object.watched else {
            return Ok(None);
        };
        let number = number.and_then(|number| number.parse::<usize>().ok());
        let bytes = number.and_then(|number| left.get_mut(number)).and_then(mem::take);
        let base64 = BASE64.encode(bytes.ok_or(DecodeError::IllegalAttachments)?);
        Ok(Some(format!("{{\"$binary\":\"{base64}\"}}")))
    })?;
    let data = RawValue::from_string(json).map_err(|_| DecodeError::InvalidPayload)?;
    packet.data = Some(Cow::Owned(data));
    Ok(packet)
}

/// JSON with its bytes taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The JSON with a place for each of them.
    pub json: String,
    /// The bytes, in the order of their places. Not empty.
    pub attachments: Vec<Bytes>,
}

/// Takes out every `{"$binary":"<base64>"}`: an object with exactly this key, and valid base64 in it. What only looks like
/// it stays. `None` if there is none; to find that out costs one search in the usual case. `json` is valid JSON.
pub fn take_out(json: &str) -> Option<Taken> {
    if !json.contains("$binary") {
        return None;
    }
    let mut attachments = Vec::new();
    let Ok(json) = replace_objects(json, ["\"$binary\"", ""], |object| {
        let bytes = match (object.members, object.watched) {
            (1, [Some(text), _]) => bytes_in(text),
            _ => None,
        };
        Ok::<_, Infallible>(bytes.map(|bytes| {
            attachments.push(bytes);
            format!("{{\"_placeholder\":true,\"num\":{}}}", attachments.len() - 1)
        }))
    });
    (!attachments.is_empty()).then_some(Taken { json, attachments })
}

/// The bytes that a JSON string says, if it is one and is base64. It may have escapes: some write every `/` as `\/`.
pub(in crate::logic) fn bytes_in(text: &str) -> Option<Bytes> {
    let Text(base64) = serde_json::from_str(text).ok()?;
    BASE64.decode(base64.as_bytes()).ok().map(Bytes::from)
}
