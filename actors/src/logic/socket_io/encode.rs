//! What a server says: messages of Engine.IO, each with its leading `4`, without any frame around it.

use super::binary::take_out;
use super::packet::{Kind, Packet};
use crate::logic::protocol::push_json_str;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::io::Write as _;

/// What goes to the client: a message of text, and behind it the attachments that it announces, each a message of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The text with the `4`.
    pub text: Bytes,
    /// The attachments in order; usually none.
    pub attachments: Vec<Bytes>,
}

/// An event on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The namespace with its slash; `None` is the main one.
    pub namespace: Option<&'a str>,
    /// The ack id, where an answer is wanted.
    pub id: Option<u64>,
    /// The event's name and arguments.
    pub args: Args<'a>,
    /// The client's position after this event: one more argument, which the client keeps. Only events without an ack id
    /// may have one: the client does not look at others.
    pub offset: Option<&'a str>,
}

/// The name and the arguments of an event, as valid JSON.
#[derive(Clone, Copy, Debug)]
pub enum Args<'a> {
    /// The whole array, name first: `["task-update",{"n":1}]`.
    Whole(&'a str),
    /// A name and one argument.
    One(&'a str, &'a str),
    /// A name and an array of arguments, perhaps empty.
    Many(&'a str, &'a str),
}

impl Args<'_> {
    /// About how many bytes they take.
    const fn len(&self) -> usize {
        match self {
            Self::Whole(array) => array.len(),
            Self::One(name, json) | Self::Many(name, json) => name.len() + json.len(),
        }
    }
}

/// A packet as it stands: what a client sends, too. Attachments are not looked for.
pub fn packet(packet: &Packet<'_>) -> Bytes {
    let mut out = head(
        packet.kind,
        packet.attachments,
        packet.namespace.as_deref(),
        packet.id,
    );
    if let Some(data) = &packet.data {
        out.extend_from_slice(data.get().as_bytes());
    }
    out.into()
}

/// The client is in the namespace: its id there, and with `pid` the promise that it may come back.
pub fn connect(namespace: Option<&str>, sid: &str, pid: Option<&str>) -> Bytes {
    let mut out = head(Kind::Connect, 0, namespace, None);
    out.extend_from_slice(b"{\"sid\":");
    push_json_str(&mut out, sid);
    if let Some(pid) = pid {
        out.extend_from_slice(b",\"pid\":");
        push_json_str(&mut out, pid);
    }
    out.push(b'}');
    out.into()
}

/// The client is not let in: why, in words and, if need be, in data. The stock server says `Invalid namespace` of one that
/// there is not.
pub fn connect_error(namespace: Option<&str>, message: &str, data: Option<&RawValue>) -> Bytes {
    let mut out = head(Kind::ConnectError, 0, namespace, None);
    out.extend_from_slice(b"{\"message\":");
    push_json_str(&mut out, message);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.get().as_bytes());
    }
    out.push(b'}');
    out.into()
}

/// The client is put out of the namespace, for good: the stock client does not come back after this.
pub fn disconnect(namespace: Option<&str>) -> Bytes {
    head(Kind::Disconnect, 0, namespace, None).into()
}

/// An event; each `{"$binary":"<base64>"}` in it becomes an attachment.
pub fn event(event: &Outgoing<'_>) -> Message {
    message(Kind::Event, event.namespace, event.id, |out| {
        out.reserve_exact(event.args.len() + event.offset.map_or(0, str::len) + 16);
        match event.args {
            Args::Whole(array) => push_items(out, array),
            Args::One(name, data) => {
                out.push(b'[');
                push_json_str(out, name);
                out.push(b',');
                out.extend_from_slice(data.as_bytes());
            }
            Args::Many(name, array) => {
                out.push(b'[');
                push_json_str(out, name);
                let items = items(array);
                out.extend_from_slice(if items.is_empty() { b"" } else { b"," });
                out.extend_from_slice(items.as_bytes());
            }
        }
        if let Some(offset) = event.offset {
            out.push(b',');
            push_json_str(out, offset);
        }
        out.push(b']');
    })
}

/// The answer to the client's event of this id. `args` is a JSON array; bytes in it become attachments.
pub fn ack(namespace: Option<&str>, id: u64, args: &str) -> Message {
    message(Kind::Ack, namespace, Some(id), |out| {
        push_items(out, args);
        out.push(b']');
    })
}

fn push_items(out: &mut Vec<u8>, array: &str) {
    out.push(b'[');
    out.extend_from_slice(items(array).as_bytes());
}

/// What lies between the brackets of an array.
fn items(array: &str) -> &str {
    let inside = array.trim_ascii().strip_prefix('[');
    inside
        .and_then(|inside| inside.strip_suffix(']'))
        .unwrap_or("")
        .trim_ascii()
}

fn message(
    kind: Kind,
    namespace: Option<&str>,
    id: Option<u64>,
    push_json: impl FnOnce(&mut Vec<u8>),
) -> Message {
    let mut out = head(kind, 0, namespace, id);
    let json_start = out.len();
    push_json(&mut out);
    let taken = std::str::from_utf8(&out[json_start..]).ok().and_then(take_out);
    let Some(taken) = taken else {
        let attachments = Vec::new();
        return Message {
            text: out.into(),
            attachments,
        };
    };
    let mut out = head(
        kind.with_attachments(),
        taken.attachments.len() as u32,
        namespace,
        id,
    );
    out.extend_from_slice(taken.json.as_bytes());
    Message {
        text: out.into(),
        attachments: taken.attachments,
    }
}

/// Everything before the JSON.
fn head(kind: Kind, attachments: u32, namespace: Option<&str>, id: Option<u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&[b'4', b'0' + kind as u8]);
    // Writing to a Vec does not fail.
    if kind.is_binary() {
        let _ = write!(out, "{attachments}-");
    }
    if let Some(name) = namespace.filter(|&name| name != "/") {
        let _ = write!(out, "{name},");
    }
    if let Some(id) = id {
        let _ = write!(out, "{id}");
    }
    out
}
