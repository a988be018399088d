//! Reading from sockets, into the buffer of the thread.

use crate::{
    hub::Hub,
    peer::{CLOSED, Peer},
    ports::Wire,
};
use std::{
    io,
    task::{Context, Poll, ready},
};

/// Reads a turn: one busy client must not keep its thread from the others.
pub(crate) const READS_A_TURN: usize = 8;

impl<W: Wire> Hub<W> {
    /// Reads from a connection's socket for a turn, as long as the reader has room for more: it is to be woken when it has
    /// room again. Ready when the connection is over.
    pub(crate) fn read_turn<R>(
        &self,
        peer: &Peer<W>,
        task: &mut Context<'_>,
        reader: &mut R,
        has_room: impl Fn(&R) -> bool,
        mut take: impl FnMut(&mut R, &mut [u8]),
    ) -> Poll<()> {
        let Some(wire) = peer.line.socket() else {
            return Poll::Ready(());
        };
        for _ in 0..READS_A_TURN {
            if peer.is(CLOSED) {
                return Poll::Ready(());
            }
            if !has_room(reader) {
                return Poll::Pending;
            }
            match self.read_once(wire, task, |bytes| take(reader, bytes)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once from a socket, if something is there. An error, too, where the other
    /// side has ended.
    pub(crate) fn read_once(
        &self,
        wire: &W,
        task: &mut Context<'_>,
        take: impl FnOnce(&mut [u8]),
    ) -> Poll<io::Result<()>> {
        ready!(wire.poll_read_ready(task))?;
        let mut buffer = self.read_buffer.borrow_mut();
        match wire.try_read(&mut buffer) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(bytes) => take(&mut buffer[..bytes]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
        Poll::Ready(Ok(()))
    }
}
