//! One client in one namespace.

use crate::{
    hub::Hub,
    logic::{
        engine_io::Reason,
        protocol::socket_io::frames,
        socket_io::{
            Acks,
            encode::{self, Args, Outgoing},
        },
        ws,
    },
    peer::{GREETED, Peer},
    ports::Wire,
};
use serde_json::value::RawValue;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use tokio::sync::oneshot;

/// Who waits for which answer of the client.
type Awaited = Acks<oneshot::Sender<Box<RawValue>>>;

/// See the module's description.
pub struct Socket<W: Wire> {
    namespace: Option<Box<str>>,
    /// The connection, which it may share with sockets of other namespaces.
    pub peer: Rc<Peer<W>>,
    hub: Rc<Hub<W>>,
    connected: Cell<bool>,
    pub(super) over: Cell<Option<Reason>>,
    acks: RefCell<Option<Box<Awaited>>>,
    acks_max: usize,
}

/// An event as a client sends it.
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Its arguments: a JSON array, bytes in it as `{"$binary":"<base64>"}`.
    pub args: Box<RawValue>,
    /// What the answer is to carry, where one is wanted.
    pub ack: Option<u64>,
}

/// Why an answer will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// Too many are waited for.
    #[error("too many answers of this client are waited for")]
    TooMany,
    /// The client is gone, or did not answer in time.
    #[error("the client has not answered")]
    NoAnswer,
}

impl<W: Wire> Socket<W> {
    pub(super) fn new(
        namespace: Option<Box<str>>,
        peer: &Rc<Peer<W>>,
        hub: &Rc<Hub<W>>,
        acks_max: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            namespace,
            peer: peer.clone(),
            hub: hub.clone(),
            connected: Cell::new(false),
            over: Cell::new(None),
            acks: RefCell::default(),
            acks_max,
        })
    }

    /// The namespace with its slash.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("/")
    }

    /// Whether the client was let in. That of the main namespace may also be greeted by its shard.
    pub fn is_connected(&self) -> bool {
        self.connected.get() || (self.namespace.is_none() && self.peer.is(GREETED))
    }

    /// Whether the client is gone, was refused or was put out.
    pub fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// Lets the client in, as `sid`.
    pub fn accept(&self, sid: &str) {
        self.connected.set(true);
        self.send(&encode::connect(self.namespace.as_deref(), sid, None));
    }

    /// Does not let the client in.
    pub fn refuse(&self, message: &str, data: Option<&RawValue>) {
        self.send(&encode::connect_error(self.namespace.as_deref(), message, data));
        self.end(Reason::ServerNamespaceDisconnect);
    }

    /// Puts the client out of the namespace. The stock client does not come back.
    pub fn disconnect(&self) {
        self.send(&encode::disconnect(self.namespace.as_deref()));
        self.end(Reason::ServerNamespaceDisconnect);
    }

    /// It is over; whoever looks after the session's sockets finds out.
    pub(super) fn end(&self, reason: Reason) {
        if !self.is_over() {
            self.over.set(Some(reason));
            self.peer.wake();
        }
    }

    /// Sends an event; `args` is a JSON array.
    pub fn emit(&self, name: &str, args: &str) {
        self.hub.send(&self.peer, self.event(name, args, None));
    }

    /// Sends an event if the client can take it at once, and else not at all.
    pub fn emit_volatile(&self, name: &str, args: &str) {
        if self.peer.bytes() == 0 {
            self.emit(name, args);
        }
    }

    /// Sends an event and waits for the answer, a JSON array, until `until_ms` (shard milliseconds).
    pub fn emit_with_ack(
        &self,
        name: &str,
        args: &str,
        until_ms: u64,
    ) -> impl Future<Output = Result<Box<RawValue>, EmitError>> + use<W> {
        let (answer, answered) = oneshot::channel();
        let mut acks = self.acks.borrow_mut();
        let acks = acks.get_or_insert_with(|| Box::new(Acks::new(self.acks_max)));
        let id = acks.issue(answer, until_ms);
        if let Ok(id) = &id {
            self.hub.send(&self.peer, self.event(name, args, Some(*id)));
        }
        let is_sent = id.is_ok();
        async move {
            if !is_sent {
                return Err(EmitError::TooMany);
            }
            answered.await.map_err(|_| EmitError::NoAnswer)
        }
    }

    /// Whether one more answer may be waited for.
    pub fn may_ask(&self) -> bool {
        let waits_for = self.acks.borrow().as_ref().map_or(0, |acks| acks.len());
        waits_for < self.acks_max
    }

    /// Answers an event; `args` is a JSON array.
    pub fn answer(&self, ack: u64, args: &str) {
        let message = encode::ack(self.namespace.as_deref(), ack, args);
        self.hub.send(&self.peer, frames(&message));
    }

    /// The client has answered.
    pub(super) fn answered(&self, id: u64, args: Box<RawValue>) {
        let mut acks = self.acks.borrow_mut();
        if let Some(answer) = acks.as_mut().and_then(|acks| acks.take(id)) {
            // Whoever asked may have lost interest.
            let _ = answer.send(args);
        }
    }

    /// Gives up the answers that did not come in time.
    pub(super) fn expire(&self, now_ms: u64) {
        if let Some(acks) = &mut *self.acks.borrow_mut() {
            drop(acks.expire(now_ms));
        }
    }

    /// Whether answers are waited for.
    pub(super) fn awaits(&self) -> bool {
        self.acks.borrow().as_ref().is_some_and(|acks| !acks.is_empty())
    }

    fn event(&self, name: &str, args: &str, id: Option<u64>) -> bytes::Bytes {
        frames(&encode::event(&Outgoing {
            namespace: self.namespace.as_deref(),
            id,
            args: Args::Many(name, args),
            offset: None,
        }))
    }

    fn send(&self, text: &[u8]) {
        self.hub.send(&self.peer, ws::encode_text(text));
    }
}
