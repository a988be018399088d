//! Room names with every wrong character there is, on every surface.

use serde_json::{Value, json};

use super::{MIB, Scene};
use crate::kit::{Http, Process, Raw, Sio, Ws};

/// Every character that a byte can be, and some that look like others, look like nothing, or turn text around.
fn characters() -> impl Iterator<Item = char> {
    let odd = "\u{391}\u{430}\u{ff11}\u{2044}\u{200b}\u{202e}\u{feff}\u{e000}\u{fffd}\u{1f600}\u{10ffff}";
    (0..=255_u8).map(char::from).chain(odd.chars())
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:/@-".contains(c)
}

fn is_right(c: char, granted: bool, code: &Value) {
    let expected = if is_allowed(c) {
        &Value::Null
    } else {
        &json!("room_name_invalid")
    };
    assert_eq!((granted, code), (is_allowed(c), expected), "{c:?}");
}

/// Each character of a text as `%XX`, byte by byte.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn names_in_messages_are_refused_by_their_character() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let mut ws = Ws::connect(node.address).await;
        let mut sio = Sio::enter(node.address).await;
        for c in characters() {
            let room = format!("a{c}b");
            for kind in ["join", "publish", "presence", "leave"] {
                let mut command = json!({"type": kind, "room": room});
                let mut argument = json!(room);
                if kind == "publish" {
                    command["event"] = "note".into();
                    argument = json!({"room": room, "event": "note"});
                }
                let answer = ws.ask(command).await;
                is_right(c, answer["type"] != "error", &answer["code"]);
                let answer = sio.ask(kind, &argument).await;
                is_right(c, answer["ok"] == true, &answer["error"]["code"]);
                // The node's own event comes to who is in the room.
                if kind == "publish" && is_allowed(c) {
                    for _ in 0..2 {
                        assert_eq!(ws.event().await["room"], room);
                        assert_eq!(sio.event().await[0], "note");
                    }
                }
            }
        }
    };
    scene.survives(8 * MIB, attack).await;
}

async fn is_right_over_http(http: &Http, c: char, path: &str, body: Option<Value>) {
    let answer = match body {
        Some(body) => http.post(path, &body).await,
        None => http.get(path).await,
    };
    if is_allowed(c) {
        assert!(matches!(answer.status, 200 | 202), "{c:?} {path}: {answer:?}");
    } else {
        answer.error(400, "room_name_invalid");
    }
}

#[tokio::test]
async fn names_in_paths_and_bodies_are_refused_by_their_character() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        let http = &node.http;
        for c in characters() {
            let path = format!("/v1/rooms/a{}b", percent(&c.to_string()));
            let body = json!({"event": "note"});
            is_right_over_http(http, c, &format!("{path}/events"), None).await;
            is_right_over_http(http, c, &format!("{path}/events"), Some(body)).await;
            let more = json!({"event": "note", "rooms": [format!("a{c}b")]});
            is_right_over_http(http, c, "/v1/rooms/lobby/events", Some(more)).await;
            if !is_allowed(c) {
                let stream = http.get(&format!("{path}/stream")).await;
                stream.error(400, "room_name_invalid");
            }
        }
        // Bytes that are no character at all.
        for byte in 0x80..=0xff_u8 {
            let answer = http.get(&format!("/v1/rooms/a%{byte:02X}b/events")).await;
            answer.error(400, "room_name_invalid");
        }
        for malformed in ["%", "%2", "%zz", "%%20", "%u0041"] {
            let answer = http.get(&format!("/v1/rooms/a{malformed}/events")).await;
            assert!(matches!(answer.status, 400 | 404), "{malformed}: {answer:?}");
        }
    };
    scene.survives(8 * MIB, attack).await;
}

/// Every byte as it is, in the middle of a path: refused, or a path that is plainly another one; the node stays.
#[tokio::test]
async fn raw_bytes_in_a_path_are_refused() {
    let mut scene = Scene::set(&[]).await;
    let attack = async |node: &Process| {
        for byte in 0..=255_u8 {
            let mut raw = Raw::connect(node.address).await;
            let head = [
                b"GET /v1/rooms/a".as_slice(),
                &[byte],
                b"b/events HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
            ];
            raw.send(&head.concat()).await;
            let answer = raw.read_to_the_end().await;
            let status = std::str::from_utf8(&answer[..12]).unwrap();
            // What follows a question mark is no part of the path, and what follows a hash not even sent on.
            let allowed = matches!(byte, b'?' | b'#') || is_allowed(char::from(byte)) && byte != b'/';
            let expected = if allowed {
                &["200"][..]
            } else {
                &["400", "404"][..]
            };
            assert!(expected.contains(&&status[9..]), "{byte:#x}: {status}");
        }
    };
    scene.survives(8 * MIB, attack).await;
}
