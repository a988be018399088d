//! The messages of the adapter and the emitter, in both directions.

mod answers;
mod messages;
mod notepack;
mod properties;

use super::*;
use serde_json::value::RawValue;

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// The node of the tests, in the main namespace.
fn node() -> Node {
    Node::new(Uid::from_random(7), Options::default())
}

/// A node with the id that the golden vectors have. Such an id is none of ours.
fn golden(namespace: &str) -> Node {
    let options = Options {
        namespace: namespace.to_owned(),
        ..Options::default()
    };
    Node::new(Uid("AbCdEf".to_owned()), options)
}

fn broadcast(node: &Node, message: &[u8]) -> Broadcast {
    match node.hear(node.channels().broadcast(), message) {
        Ok(Heard::Broadcast(broadcast)) => broadcast,
        other => panic!("{other:?}"),
    }
}

fn request(message: &[u8]) -> Request {
    match node().hear("socket.io-request#/#", message) {
        Ok(Heard::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn response(message: &[u8]) -> Response {
    match node().hear("socket.io-response#/#", message) {
        Ok(Heard::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn event(name: &str, args: &str) -> Event {
    Event {
        name: name.to_owned(),
        args: raw(args),
    }
}
