//! The sockets of one session, one a namespace.

use super::{Asked, Namespaces, Socket, Work, shown};
use crate::{
    engine::{App, Engine},
    gate,
    logic::{
        engine_io::Reason,
        fault::{Code, Fault},
        presence::Card,
        socket_io::{Assembly, DecodeError, Event, Kind, Packet, encode},
        ws,
    },
    ports::Wire,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::{rc::Rc, sync::Arc};

/// Namespaces of one session, at most.
const SOCKETS_MAX: usize = 32;

/// How often answers that are waited for are looked at, milliseconds.
const ACKS_EVERY_MS: u64 = 1_000;

/// See the module's description.
pub struct Connection<W: Wire> {
    shared: Rc<Namespaces<W>>,
    sockets: Vec<Rc<Socket<W>>>,
    assembly: Assembly,
    /// When it is ended if it is nowhere.
    until_ms: u64,
    /// When it is ended if attachments are still missing.
    missing_ms: u64,
    looked_ms: u64,
}

impl<W: Wire> Connection<W> {
    /// A session that has just begun, at `now_ms` of its shard.
    pub fn new(shared: Rc<Namespaces<W>>, now_ms: u64) -> Self {
        let until_ms = now_ms + shared.connect_timeout_ms;
        Self {
            shared,
            sockets: Vec::new(),
            assembly: Assembly::default(),
            until_ms,
            missing_ms: u64::MAX,
            looked_ms: now_ms,
        }
    }

    fn packet(&mut self, packet: Result<Option<Packet<'_>>, DecodeError>, engine: &mut Engine<'_, W>) {
        self.missing_ms = match self.assembly.is_waiting() {
            // From the first on: a client that sends one now and then is not waited for either.
            true => self
                .missing_ms
                .min(engine.now_ms + self.shared.connect_timeout_ms),
            false => u64::MAX,
        };
        let packet = match packet {
            Ok(Some(packet)) => packet,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a client sends what is no packet");
                return engine.close(Reason::ParseError);
            }
        };
        self.drop_ended(engine);
        let namespace = packet.namespace.as_deref().unwrap_or("/");
        let socket = self
            .sockets
            .iter()
            .find(|socket| socket.namespace() == namespace)
            .cloned();
        match (packet.kind, socket) {
            (Kind::Connect, None) => self.connect(namespace, packet.data.as_deref(), engine),
            (Kind::Event, Some(socket)) if socket.is_connected() => self.event(socket, &packet, engine),
            (Kind::Ack, Some(socket)) if socket.is_connected() => {
                if let (Some(id), Some(args)) = (packet.id, packet.data) {
                    socket.answered(id, args.into_owned());
                }
            }
            (Kind::Disconnect, Some(socket)) => {
                socket.end(Reason::ClientNamespaceDisconnect);
                self.drop_ended(engine);
            }
            // Out of place, as for the stock server.
            _ => engine.close(Reason::ForcedServerClose),
        }
    }

    fn connect(&mut self, namespace: &str, auth: Option<&RawValue>, engine: &mut Engine<'_, W>) {
        let name = Some(namespace).filter(|name| *name != "/");
        let Some(handler) = self.shared.handlers.get(namespace) else {
            let error = encode::connect_error(name, "Invalid namespace", None);
            return engine.send(ws::encode_text(&error));
        };
        if self.sockets.len() >= SOCKETS_MAX {
            let error = encode::connect_error(name, "too many namespaces", None);
            return engine.send(ws::encode_text(&error));
        }
        let comes_back = handler.comes_back(auth);
        if let Err(fault) = self.admit(auth, comes_back, engine) {
            let error = encode::connect_error(name, &fault.message, Some(&shown::error_data(&fault)));
            return engine.send(ws::encode_text(&error));
        }
        let socket = Socket::new(name.map(Into::into), engine.peer, engine.hub, self.shared.acks);
        self.sockets.push(socket.clone());
        if let Some(work) = handler.connect(socket, auth.map(ToOwned::to_owned)) {
            engine.spawn(work);
        }
    }

    /// Lets the client in by the token it shows, or by the one of its handshake. All namespaces of a session are one
    /// client's: a token that it shows later has to be of the same subject, and takes the place of the one before.
    fn admit(&self, auth: Option<&RawValue>, comes_back: bool, engine: &Engine<'_, W>) -> Result<(), Fault> {
        let peer = engine.peer;
        let token = shown::token(auth);
        let grant = gate::admit(&*self.shared.gate, peer, token.as_deref(), (self.shared.clock)())?;
        let card = peer.card();
        let is_another = card.subject != grant.subject;
        if is_another && self.sockets.iter().any(|socket| socket.is_connected()) {
            let message = "another namespace of this session is another subject's";
            return Err(Fault::new(Code::Forbidden, message));
        }
        count_in(grant.subject.as_ref(), comes_back, engine)?;
        if is_another {
            peer.set_card(Arc::new(Card {
                subject: grant.subject.clone(),
                node: card.node.clone(),
                ..*card
            }));
        }
        peer.stand(Ok(grant), self.shared.expiring_ms);
        Ok(())
    }

    fn event(&self, socket: Rc<Socket<W>>, packet: &Packet<'_>, engine: &mut Engine<'_, W>) {
        let Some(handler) = self.shared.handlers.get(socket.namespace()) else {
            return;
        };
        let Some(event) = packet.data.as_deref().and_then(Event::of) else {
            return engine.close(Reason::ParseError);
        };
        let Ok(args) = RawValue::from_string(format!("[{}]", event.args)) else {
            return engine.close(Reason::ParseError);
        };
        let asked = Asked {
            name: event.name.into_owned(),
            args,
            ack: packet.id,
        };
        if let Some(work) = handler.event(socket, asked) {
            engine.spawn(work);
        }
    }

    /// A socket is over; its handler hears of it, unless it was the handler that did not let it in.
    fn ended(&self, socket: &Rc<Socket<W>>, reason: Reason) -> Work {
        let handler = self.shared.handlers.get(socket.namespace())?;
        let was_refused = !socket.is_connected() && reason == Reason::ServerNamespaceDisconnect;
        if was_refused {
            None
        } else {
            handler.disconnect(socket, reason)
        }
    }

    /// Sockets that the client has left, or that a handler has refused or put out.
    fn drop_ended(&mut self, engine: &mut Engine<'_, W>) {
        let ended: Vec<_> = self.sockets.extract_if(.., |socket| socket.is_over()).collect();
        for socket in ended {
            let reason = socket.over.get().unwrap_or(Reason::ServerNamespaceDisconnect);
            if let Some(work) = self.ended(&socket, reason) {
                engine.spawn(work);
            }
        }
    }
}

/// Counts a session among the connections of its subject; that of another one is over. Errors: `rate_limited`, but not for
/// a client that may come back.
fn count_in<W: Wire>(name: Option<&Arc<str>>, comes_back: bool, engine: &Engine<'_, W>) -> Result<(), Fault> {
    let has = &engine.peer.subject;
    if has.borrow().as_ref().map(|subject| subject.name()) == name {
        return Ok(());
    }
    let subject = match name.map(|name| engine.hub.subjects.take(name)).transpose() {
        Err(fault) if !comes_back => {
            engine.hub.stats.refused.add(1);
            return Err(fault);
        }
        subject => subject.ok().flatten(),
    };
    drop(has.replace(subject));
    Ok(())
}

impl<W: Wire> App<W> for Connection<W> {
    fn text(&mut self, text: &str, engine: &mut Engine<'_, W>) {
        let limits = self.shared.limits;
        let packet = self.assembly.text(text, &limits);
        self.packet(packet, engine);
    }

    fn bytes(&mut self, bytes: Bytes, engine: &mut Engine<'_, W>) {
        let limits = self.shared.limits;
        let packet = self.assembly.bytes(bytes, &limits);
        self.packet(packet, engine);
    }

    fn tick(&mut self, engine: &mut Engine<'_, W>) {
        self.drop_ended(engine);
        self.looked_ms = engine.now_ms;
        for socket in &self.sockets {
            socket.expire(engine.now_ms);
        }
        let is_somewhere = self.sockets.iter().any(|socket| socket.is_connected());
        if is_somewhere {
            self.until_ms = u64::MAX;
        } else if engine.now_ms >= self.until_ms {
            engine.close(Reason::ForcedServerClose);
        }
        if engine.now_ms >= self.missing_ms {
            tracing::debug!("a client does not send the attachments that it has announced");
            engine.close(Reason::ParseError);
        }
    }

    fn due_ms(&self) -> Option<u64> {
        let acks = self.sockets.iter().any(|socket| socket.awaits());
        let acks = acks.then_some(self.looked_ms + ACKS_EVERY_MS);
        let ended = self.sockets.iter().any(|socket| socket.is_over());
        let ended = ended.then_some(self.looked_ms);
        let limit = self.until_ms.min(self.missing_ms);
        let limit = Some(limit).filter(|limit_ms| *limit_ms < u64::MAX);
        [acks, ended, limit].into_iter().flatten().min()
    }

    fn closed(&mut self, reason: Reason) {
        for socket in std::mem::take(&mut self.sockets) {
            socket.end(reason);
            drop(self.ended(&socket, socket.over.get().unwrap_or(reason)));
        }
    }
}
