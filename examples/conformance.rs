//! A server for the public test suites of RFC 6455, Engine.IO and Socket.IO, which want one that echoes, on port 3000:
//! `scripts/conformance.sh` runs them. It shows too how a program adds namespaces and protocols of its own to a node.

use std::rc::Rc;
use std::sync::Arc;

use actix_rt::System;
use bytes::Bytes;
use greenroom::actors::engine::{App, Engine};
use greenroom::actors::logic::engine_io::Reason;
use greenroom::actors::logic::ws;
use greenroom::actors::ports::Wire;
use greenroom::actors::socket_io::{Asked, Handler, Socket, Work};
use greenroom::actors::speaker::{Client, Speaker};
use greenroom::buses;
use greenroom::config::Config;
use greenroom::extensions::{EngineDoor, Extensions, HandlerOf};
use greenroom::ids;
use greenroom::node::Node;
use serde_json::value::RawValue;

/// The largest message of the suite of RFC 6455.
const MESSAGE_BYTES: usize = 16 << 20;

/// Sends every message back.
struct Echo;

impl<W: Wire> App<W> for Echo {
    fn text(&mut self, text: &str, engine: &mut Engine<'_, W>) {
        engine.send(ws::encode_text(format!("4{text}").as_bytes()));
    }

    fn bytes(&mut self, bytes: Bytes, engine: &mut Engine<'_, W>) {
        engine.send(ws::encode_binary(&bytes));
    }

    fn tick(&mut self, _: &mut Engine<'_, W>) {}

    fn due_ms(&self) -> Option<u64> {
        None
    }

    fn closed(&mut self, _: Reason) {}
}

impl<W: Wire> Speaker<W> for Echo {
    fn text(&mut self, text: &str, client: &Client<W>) {
        client.text(text);
    }

    fn bytes(&mut self, bytes: &[u8], client: &Client<W>) {
        client.bytes(bytes);
    }
}

/// Tells each client what it said when it connected, and sends its events back.
struct Mirror;

impl<W: Wire> Handler<W> for Mirror {
    fn connect(&self, socket: Rc<Socket<W>>, auth: Option<Box<RawValue>>) -> Work {
        socket.accept(&ids::session_id().to_string());
        let auth = auth.as_deref().map_or("{}", RawValue::get);
        socket.emit("auth", &format!("[{auth}]"));
        None
    }

    fn event(&self, socket: Rc<Socket<W>>, asked: Asked) -> Work {
        match (asked.name.as_str(), asked.ack) {
            ("message", _) => socket.emit("message-back", asked.args.get()),
            ("message-with-ack", Some(ack)) => socket.answer(ack, asked.args.get()),
            _ => {}
        }
        None
    }

    fn disconnect(&self, _: &Rc<Socket<W>>, _: Reason) -> Work {
        None
    }
}

/// What the suites want of a node.
pub fn configure(config: &mut Config) {
    config.socketio.ping_interval_ms = 300;
    config.socketio.ping_timeout_ms = 200;
    config.socketio.connect_timeout_ms = 1_000;
    config.limits.frame_bytes = MESSAGE_BYTES;
    config.limits.message_bytes = MESSAGE_BYTES;
    config.rooms.outbox_bytes = 2 * MESSAGE_BYTES;
}

/// What echoes, and where.
pub fn extensions() -> Extensions {
    let mirror: HandlerOf = Arc::new(|_| Rc::new(Mirror));
    let namespaces = ["/", "/custom"].map(|name| (name.to_owned(), mirror.clone()));
    Extensions {
        namespaces: namespaces.into(),
        engines: vec![EngineDoor {
            path: "/engine.io/".into(),
            begins: Arc::new(|_| Box::new(Echo)),
            is_open: false,
        }],
        sockets: vec![("/echo".into(), Arc::new(|_| Box::new(Echo)))],
    }
}

fn main() -> anyhow::Result<()> {
    let mut config = Config {
        listen: ([127, 0, 0, 1], 3000).into(),
        ..Config::default()
    };
    configure(&mut config);
    System::new().block_on(async move {
        let bus = buses::embedded(&config);
        let node = Node::start_with(config, bus, extensions()).await?;
        node.run(async {
            // Whoever started it ends it.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await;
        Ok(())
    })
}
