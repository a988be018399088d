//! A server-sent event stream as the body of an HTTP response: takes what the shard has queued for it.

use crate::{
    hub::Hub,
    peer::{CLOSED, CLOSING, Peer},
    ports::Wire,
};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// Bytes handed to the HTTP layer at once.
const CHUNK_BYTES: usize = 64 << 10;

/// See the module's description. Dropping it takes its connection out of all rooms.
pub struct EventStream<W: Wire> {
    peer: Rc<Peer<W>>,
    hub: Rc<Hub<W>>,
}

impl<W: Wire> EventStream<W> {
    /// The stream of a connection that is in the hub already.
    pub fn new(peer: Rc<Peer<W>>, hub: Rc<Hub<W>>) -> Self {
        Self { peer, hub }
    }
}

impl<W: Wire> Stream for EventStream<W> {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        *self.peer.task.borrow_mut() = Some(task.waker().clone());
        if let Some(chunk) = self.peer.take_chunk(CHUNK_BYTES) {
            self.peer.heard_ms.set(self.hub.now_ms.get());
            self.peer.pinged_ms.set(self.hub.now_ms.get());
            self.hub.drained(&self.peer);
            return Poll::Ready(Some(Ok(chunk)));
        }
        if self.peer.is(CLOSING | CLOSED) {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

impl<W: Wire> Drop for EventStream<W> {
    fn drop(&mut self) {
        self.hub.remove(&self.peer);
        self.peer.task.take();
    }
}
