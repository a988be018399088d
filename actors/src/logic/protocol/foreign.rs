//! Events of other servers: they have no number, no id and no history, so they move nobody's position.

use super::{Protocol, push_field, push_json_str, socket_io};
use crate::logic::{
    event::EventName,
    known::rfc3339,
    socket_io::encode::{self, Args, Outgoing},
    ws,
};
use bytes::Bytes;
use serde_json::value::RawValue;

/// An event of another server.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments: a JSON array, bytes as `{"$binary":"<base64>"}`.
    pub args: &'a str,
    /// The rooms it is for.
    pub rooms: &'a [&'a str],
    /// When it was heard, milliseconds since 1970.
    pub ts_ms: i64,
}

/// The part of every event of another server that tells it from one of this service.
const FOREIGN_FIELD: &[u8] = b",\"scope\":\"foreign\"";

impl Foreign<'_> {
    /// The frame for a client of Socket.IO. The stock client keeps the last argument as its position if it is a text,
    /// whatever it is: so what the client has already is repeated there.
    pub fn socket_io(&self, position: &str) -> Bytes {
        socket_io::frames(&encode::event(&Outgoing {
            namespace: None,
            id: None,
            args: Args::Many(self.name, self.args),
            offset: Some(position),
        }))
    }

    /// The frame that every client of another protocol gets. `None`: nobody could publish an event of this name here, so
    /// such clients do not know what to do with it; or it is for no room.
    pub fn shared(&self, protocol: Protocol) -> Option<Bytes> {
        EventName::parse(self.name).ok()?;
        let fields = self.fields()?;
        match protocol {
            Protocol::GreenroomV1 | Protocol::Own => {
                let json = [b"{\"type\":\"event\",", &fields[..], b"}"].concat();
                Some(ws::encode_text(&json))
            }
            // Without an id: the browser keeps the last one.
            Protocol::Sse => {
                let head = format!("event: {}\ndata: {{", self.name);
                Some([head.as_bytes(), &fields[..], b"}\n\n"].concat().into())
            }
            Protocol::SocketIo => None,
        }
    }

    /// The fields of the event, without braces.
    fn fields(&self) -> Option<Vec<u8>> {
        let first = self.rooms.first()?;
        let mut out = Vec::with_capacity(self.args.len() + 200);
        out.extend_from_slice(b"\"room\":");
        push_json_str(&mut out, first);
        if self.rooms.len() > 1 {
            out.extend_from_slice(b",\"rooms\":");
            // Texts are always serialisable.
            let _ = serde_json::to_writer(&mut out, self.rooms);
        }
        out.extend_from_slice(b",\"event\":");
        push_json_str(&mut out, self.name);
        let args: Vec<&RawValue> = serde_json::from_str(self.args).ok()?;
        let (field, json) = match args[..] {
            [only] => (",\"data\":", only.get()),
            _ => (",\"args\":", self.args),
        };
        out.extend_from_slice(field.as_bytes());
        // Line breaks in JSON stand between tokens only, and here an event is one line.
        out.extend(
            json.bytes()
                .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }),
        );
        push_field(&mut out, ",\"ts\":\"", &rfc3339(self.ts_ms));
        out.push(b'"');
        out.extend_from_slice(FOREIGN_FIELD);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign<'a>(name: &'a str, args: &'a str, rooms: &'a [&'a str]) -> Foreign<'a> {
        Foreign {
            name,
            args,
            rooms,
            ts_ms: 0,
        }
    }

    fn text(frame: &Bytes) -> String {
        let (_, message) = ws::own_messages(frame).next().unwrap();
        String::from_utf8(message.to_vec()).unwrap()
    }

    #[test]
    fn a_client_of_socket_io_is_told_again_what_it_has() {
        let event = foreign("hi", r#"["a",{"b":{"$binary":"AQID"}}]"#, &[]);
        let frames = event.socket_io("a-1z");
        assert_eq!(
            text(&frames),
            r#"451-["hi","a",{"b":{"_placeholder":true,"num":0}},"a-1z"]"#
        );
        assert_eq!(
            text(&foreign("hi", "[]", &[]).socket_io("a-1z")),
            r#"42["hi","a-1z"]"#
        );
    }

    #[test]
    fn others_see_an_event_without_id_and_place() {
        let one = foreign("hi", "[1]", &["r"])
            .shared(Protocol::GreenroomV1)
            .unwrap();
        assert_eq!(
            text(&one),
            r#"{"type":"event","room":"r","event":"hi","data":1,"ts":"1970-01-01T00:00:00.000Z","scope":"foreign"}"#
        );
        let many = foreign("hi", "[1,\n2]", &["r", "ö"])
            .shared(Protocol::Sse)
            .unwrap();
        assert_eq!(
            std::str::from_utf8(&many).unwrap(),
            "event: hi\ndata: {\"room\":\"r\",\"rooms\":[\"r\",\"ö\"],\"event\":\"hi\",\"args\":[1, 2],\
             \"ts\":\"1970-01-01T00:00:00.000Z\",\"scope\":\"foreign\"}\n\n"
        );
        for (name, rooms) in [("hi", &[][..]), ("joined", &["r"]), ("a\nid: 9", &["r"])] {
            assert_eq!(foreign(name, "[]", rooms).shared(Protocol::Sse), None, "{name:?}");
        }
    }
}
