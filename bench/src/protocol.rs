//! What clients say and hear, a protocol a variant. Events themselves are never parsed, see `stamp`.

use clap::ValueEnum;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const POSITION: &[u8] = b"\"position\":\"";

/// A client protocol over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// JSON frames on `/v1/ws`, sub-protocol `greenroom.v1`.
    GreenroomV1,
    /// Socket.IO 5 over Engine.IO 4, WebSocket from the start: `join` and `publish` with an ack.
    SocketIo,
}

/// A frame that is no event, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The server waits to be greeted.
    Opened,
    /// The connection may be used; with a secret, its client may come back to where it was.
    Ready { pid: Option<String> },
    /// A join was answered; with `since`, `recovered` says whether nothing is missing.
    Joined {
        recovered: Option<bool>,
        position: Option<String>,
    },
    /// A publish was accepted.
    Published,
    /// Something was refused, with this code.
    Refused(String),
    /// The protocol wants this sent.
    Reply(String),
    /// Nothing of interest.
    Nothing,
}

impl Protocol {
    /// Where to connect.
    pub fn path(self) -> &'static str {
        match self {
            Self::GreenroomV1 => "/v1/ws",
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    /// The sub-protocol to ask for.
    pub fn sub_protocol(self) -> Option<&'static str> {
        match self {
            Self::GreenroomV1 => Some("greenroom.v1"),
            Self::SocketIo => None,
        }
    }

    /// Whether the upgrade alone makes a connection usable.
    pub fn ready_when_upgraded(self) -> bool {
        self == Self::GreenroomV1
    }

    /// Whether a client that comes back says so by a join. If not, it says so by its greeting.
    pub fn resumes_by_join(self) -> bool {
        self == Self::GreenroomV1
    }

    /// The frame that greets a server, as the client of this secret, which has everything up to this position.
    pub fn greet(self, credentials: Option<(&str, &str)>) -> String {
        credentials.map_or("40".to_owned(), |(pid, position)| {
            format!("40{}", json!({"pid": pid, "offset": position}))
        })
    }

    /// The position after an event.
    pub fn position_in(self, event: &[u8]) -> Option<String> {
        let start = match self {
            Self::GreenroomV1 => memmem::rfind(event, POSITION)? + POSITION.len(),
            // The last argument, which is a text.
            Self::SocketIo => memmem::rfind(event.strip_suffix(b"\"]")?, b",\"")? + 2,
        };
        let length = memchr::memchr(b'"', &event[start..])?;
        String::from_utf8(event[start..start + length].to_vec()).ok()
    }

    /// The frame that joins a room, from a position on if there is one.
    pub fn join(self, room: &str, since: Option<&str>, reference: u64) -> String {
        match (self, since) {
            (Self::GreenroomV1, None) => format!(r#"{{"type":"join","room":"{room}","ref":{reference}}}"#),
            (Self::GreenroomV1, Some(since)) => {
                json!({"type": "join", "room": room, "since": since, "ref": reference}).to_string()
            }
            (Self::SocketIo, _) => format!(r#"42{reference}["join","{room}"]"#),
        }
    }

    /// The frame that publishes an event with this data.
    pub fn publish(self, room: &str, data: &str, reference: u64) -> String {
        match self {
            Self::GreenroomV1 => format!(
                r#"{{"type":"publish","room":"{room}","event":"bench","data":{data},"ref":{reference}}}"#
            ),
            Self::SocketIo => {
                format!(r#"42{reference}["publish",{{"room":"{room}","event":"bench","data":{data}}}]"#)
            }
        }
    }

    /// Understands a frame that carries no event.
    pub fn understand(self, text: &[u8]) -> Said {
        match self {
            Self::GreenroomV1 => greenroom(text),
            Self::SocketIo => socket_io(text),
        }
    }
}

fn greenroom(text: &[u8]) -> Said {
    let Ok(frame) = serde_json::from_slice::<Value>(text) else {
        return Said::Nothing;
    };
    match frame["type"].as_str() {
        Some("joined") => joined(&frame),
        Some("published") => Said::Published,
        Some("error") => Said::Refused(frame["code"].as_str().unwrap_or("error").to_owned()),
        _ => Said::Nothing,
    }
}

fn joined(answer: &Value) -> Said {
    let position = answer["position"].as_str().map(str::to_owned);
    Said::Joined {
        recovered: answer["recovered"].as_bool(),
        position,
    }
}

fn socket_io(text: &[u8]) -> Said {
    match text {
        [b'0', ..] => Said::Opened,
        [b'2', ..] => Said::Reply("3".to_owned()),
        [b'4', b'0', data @ ..] => {
            let data = serde_json::from_slice::<Value>(data).unwrap_or_default();
            let pid = data["pid"].as_str().map(str::to_owned);
            Said::Ready { pid }
        }
        [b'4', b'4', ..] => Said::Refused("connect_error".to_owned()),
        [b'4', b'3', ack @ ..] => {
            let start = ack.iter().position(|byte| *byte == b'[').unwrap_or(ack.len());
            let answer = serde_json::from_slice::<Value>(&ack[start..]).unwrap_or_default();
            acknowledged(&answer[0])
        }
        _ => Said::Nothing,
    }
}

fn acknowledged(answer: &Value) -> Said {
    if answer["ok"] == false {
        Said::Refused(answer["error"]["code"].as_str().unwrap_or("error").to_owned())
    } else if answer.get("rooms").is_some() {
        Said::Published
    } else {
        joined(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greenroom_answers_are_understood() {
        let say = |text: &str| Protocol::GreenroomV1.understand(text.as_bytes());
        let joined = Said::Joined {
            recovered: Some(true),
            position: Some("7-1".to_owned()),
        };
        assert_eq!(
            say(r#"{"type":"joined","ref":1,"room":"r","position":"7-1","recovered":true}"#),
            joined
        );
        assert_eq!(
            say(r#"{"type":"published","ref":7,"id":"x","rooms":{"r":17}}"#),
            Said::Published
        );
        assert_eq!(
            say(r#"{"type":"error","ref":1,"code":"no"}"#),
            Said::Refused("no".to_owned())
        );
        assert_eq!(say(r#"{"type":"pong"}"#), Said::Nothing);
        assert_eq!(say("not json"), Said::Nothing);
    }

    #[test]
    fn socket_io_answers_are_understood() {
        let say = |text: &str| Protocol::SocketIo.understand(text.as_bytes());
        assert_eq!(say(r#"0{"sid":"a"}"#), Said::Opened);
        assert_eq!(say(r#"40{"sid":"a"}"#), Said::Ready { pid: None });
        let pid = Some("p".to_owned());
        assert_eq!(say(r#"40{"sid":"a","pid":"p"}"#), Said::Ready { pid });
        assert_eq!(say("2"), Said::Reply("3".to_owned()));
        assert_eq!(
            say(r#"4312[{"ok":true,"id":"x","rooms":{"r":1}}]"#),
            Said::Published
        );
        let joined = Said::Joined {
            recovered: None,
            position: Some("p".to_owned()),
        };
        assert_eq!(say(r#"431[{"ok":true,"room":"r","position":"p"}]"#), joined);
        assert_eq!(
            say(r#"431[{"ok":false,"error":{"code":"no"}}]"#),
            Said::Refused("no".to_owned())
        );
    }

    #[test]
    fn the_position_is_that_of_the_event() {
        let [greenroom, socket_io] = [Protocol::GreenroomV1, Protocol::SocketIo]
            .map(|protocol| move |event: &str| protocol.position_in(event.as_bytes()));
        assert_eq!(
            greenroom(r#"{"type":"event","data":"\"position\":\"","position":"7-1"}"#).as_deref(),
            Some("7-1")
        );
        assert_eq!(
            socket_io(r#"42["bench",{"p":"x"},"7-1"]"#).as_deref(),
            Some("7-1")
        );
        for event in [r#"42["bench",{"p":"x"}]"#, r#"42["bench","#, ""] {
            assert_eq!(socket_io(event), None, "{event}");
        }
    }

    #[test]
    fn what_is_sent_is_json() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).expect("valid JSON");
        assert_eq!(
            parse(&Protocol::GreenroomV1.join("r", Some("a\"b"), 1))["since"],
            "a\"b"
        );
        assert_eq!(
            parse(&Protocol::GreenroomV1.publish("r", "{\"p\":1}", 7))["data"]["p"],
            1
        );
        assert_eq!(
            parse(&Protocol::SocketIo.publish("r", "{\"p\":1}", 7)[3..])[1]["data"]["p"],
            1
        );
        let greeting = Protocol::SocketIo.greet(Some(("a\"b", "7-1")));
        assert_eq!(parse(&greeting[2..]), json!({"pid": "a\"b", "offset": "7-1"}));
        assert_eq!(Protocol::SocketIo.greet(None), "40");
    }
}
