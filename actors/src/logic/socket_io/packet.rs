//! One packet: `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`.

use super::json::{depth_within, token_len};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// How deep a payload's JSON may go. What wraps it later, such as an event or a stored entry, adds a few levels and stays
/// below the 128 at which `serde_json` gives up.
pub const JSON_DEPTH_MAX: usize = 100;

/// The largest ack id: the last whole number before those that JavaScript cannot tell apart.
pub const ACK_ID_MAX: u64 = (1 << 53) - 1;

/// Names that an event must not have: both ends use them for something else.
pub(in crate::logic) const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client asks to be let into a namespace, or the server lets it.
    Connect = 0,
    /// One side leaves the namespace.
    Disconnect = 1,
    /// An event; with an id where the other side is to answer.
    Event = 2,
    /// The answer to the event of this id.
    Ack = 3,
    /// The client is not let in.
    ConnectError = 4,
    /// An event whose attachments follow.
    BinaryEvent = 5,
    /// An answer whose attachments follow.
    BinaryAck = 6,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    /// Whether attachments follow.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    /// The same without attachments: what a packet is once they are in their places.
    pub const fn without_attachments(self) -> Self {
        match self {
            Self::BinaryEvent => Self::Event,
            Self::BinaryAck => Self::Ack,
            other => other,
        }
    }

    /// The same with attachments, where there is such a kind.
    pub const fn with_attachments(self) -> Self {
        match self {
            Self::Event => Self::BinaryEvent,
            Self::Ack => Self::BinaryAck,
            other => other,
        }
    }
}

/// What a client may send in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attachments. The stock server takes 10.
    pub attachments: u32,
    /// Bytes of a packet's attachments, all together.
    pub attachment_bytes: usize,
}

/// A packet. Its text and its JSON are borrowed from the message, unless attachments were put into it.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// How many attachments follow; 0 for kinds that have none.
    pub attachments: u32,
    /// The namespace with its slash; `None` is the main one, `/`. What looks like a query in it is a part of the name.
    pub namespace: Option<Cow<'a, str>>,
    /// The ack id, at most [`ACK_ID_MAX`].
    pub id: Option<u64>,
    /// The payload: of an event or ack an array, of a connect an object or nothing.
    pub data: Option<Cow<'a, RawValue>>,
}

/// Equal as they are written.
impl PartialEq for Packet<'_> {
    fn eq(&self, other: &Self) -> bool {
        let head = |packet: &Self| (packet.kind, packet.attachments, packet.id);
        let json = |packet: &Self| packet.data.as_ref().map(|data| data.get().to_owned());
        head(self) == head(other) && self.namespace == other.namespace && json(self) == json(other)
    }
}

/// Why a message is no packet, or why packets and attachments do not go together. Any of them ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It does not begin with `0` to `6`.
    #[error("unknown packet type")]
    UnknownType,
    /// The number of attachments is none, or the attachments do not match their places.
    #[error("illegal attachments")]
    IllegalAttachments,
    /// More attachments than a packet may have.
    #[error("a packet has at most {limit} attachments")]
    TooManyAttachments {
        /// The limit.
        limit: u32,
    },
    /// The attachments are too large.
    #[error("the attachments of a packet have at most {limit} bytes")]
    AttachmentsTooLarge {
        /// The limit.
        limit: usize,
    },
    /// An ack id beyond [`ACK_ID_MAX`].
    #[error("the ack id is too large")]
    IdTooLarge,
    /// A payload that this kind of packet must not have, or lacks, or that is not JSON.
    #[error("invalid payload")]
    InvalidPayload,
    /// Arrays and objects nested more than [`JSON_DEPTH_MAX`] deep.
    #[error("the payload is nested too deep")]
    TooDeep,
    /// A text where an attachment was announced.
    #[error("a text instead of an attachment")]
    TextInsteadOfAttachment,
    /// Bytes that nothing announced.
    #[error("an attachment that was not announced")]
    UnannouncedAttachment,
}

/// Reads a packet: the text of a message, without the `4` of Engine.IO.
///
/// # Errors
///
/// Whatever is not a packet as the protocol document has it. The stock parser also takes an event or ack without any
/// payload, and attachments of which there are "" or `1e1`; its client sends none of these.
pub fn decode(text: &str, attachments_max: u32) -> Result<Packet<'_>, DecodeError> {
    let first = text.bytes().next().ok_or(DecodeError::UnknownType)?;
    let index = usize::from(first.wrapping_sub(b'0'));
    let kind = *Kind::ALL.get(index).ok_or(DecodeError::UnknownType)?;
    let rest = &text[1..];
    let (attachments, rest) = if kind.is_binary() {
        take_attachments(rest, attachments_max)?
    } else {
        (0, rest)
    };
    let (namespace, rest) = take_namespace(rest);
    let (id, rest) = take_id(rest)?;
    Ok(Packet {
        kind,
        attachments,
        namespace: namespace.map(Cow::Borrowed),
        id,
        data: payload(kind, rest)?.map(Cow::Borrowed),
    })
}

fn split_digits(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

fn take_attachments(text: &str, limit: u32) -> Result<(u32, &str), DecodeError> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix('-').ok_or(DecodeError::IllegalAttachments)?;
    if digits.is_empty() {
        return Err(DecodeError::IllegalAttachments);
    }
    // All digits: what does not parse is too large.
    let number = digits.parse().ok().filter(|&number| number <= limit);
    let number = number.ok_or(DecodeError::TooManyAttachments { limit })?;
    Ok((number, rest))
}

fn take_namespace(text: &str) -> (Option<&str>, &str) {
    if !text.starts_with('/') {
        return (None, text);
    }
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    (Some(name).filter(|&name| name != "/"), rest)
}

fn take_id(text: &str) -> Result<(Option<u64>, &str), DecodeError> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let id = digits.parse().ok().filter(|&id| id <= ACK_ID_MAX);
    Ok((Some(id.ok_or(DecodeError::IdTooLarge)?), rest))
}

fn payload(kind: Kind, text: &str) -> Result<Option<&RawValue>, DecodeError> {
    let optional = matches!(kind, Kind::Connect | Kind::Disconnect);
    if text.is_empty() && optional {
        return Ok(None);
    }
    let first = text.bytes().next().ok_or(DecodeError::InvalidPayload)?;
    let shape_fits = match kind {
        Kind::Connect => first == b'{',
        Kind::Disconnect => false,
        Kind::ConnectError => matches!(first, b'{' | b'"'),
        Kind::Event | Kind::BinaryEvent | Kind::Ack | Kind::BinaryAck => first == b'[',
    };
    if !shape_fits {
        return Err(DecodeError::InvalidPayload);
    }
    // This checks every byte, and does not recurse.
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| DecodeError::InvalidPayload)?;
    if !depth_within(raw.get(), JSON_DEPTH_MAX) {
        return Err(DecodeError::TooDeep);
    }
    if kind.without_attachments() == Kind::Event {
        Event::of(raw).ok_or(DecodeError::InvalidPayload)?;
    }
    Ok(Some(raw))
}

/// The payload of an event, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name. A number, which the protocol allows, is given as it is written.
    pub name: Cow<'a, str>,
    /// What stands behind the name: JSON values with commas between them; `[` and `]` around it make it an array.
    pub args: &'a str,
}

impl<'a> Event<'a> {
    /// Takes a payload apart; `None` where it is not an array, has no name, or one that is reserved. `data` is valid JSON.
    pub fn of(data: &'a RawValue) -> Option<Self> {
        let inside = data.get().strip_prefix('[')?.strip_suffix(']')?.trim_ascii();
        let first = inside.bytes().next()?;
        let (name, rest) = inside.split_at(token_len(inside));
        let name = match first {
            b'"' => serde_json::from_str::<Text<'_>>(name).ok()?.0,
            b'-' | b'0'..=b'9' => Cow::Borrowed(name),
            _ => return None,
        };
        if RESERVED.contains(&name.as_ref()) {
            return None;
        }
        let rest = rest.trim_ascii_start();
        let args = rest.strip_prefix(',').unwrap_or(rest).trim_ascii_start();
        Some(Self { name, args })
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);
