//! A client's TCP connection as the session's port to it.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll};

use greenroom_actors::ports::Wire;
use socket2::SockRef;
use tokio::net::TcpStream;

/// A TCP connection taken over from the HTTP server.
pub struct TcpWire(TcpStream);

impl TcpWire {
    /// Takes a connection over. Small frames are sent at once: it was told so when it was accepted.
    pub fn new(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl Wire for TcpWire {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(task)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(task)
    }

    fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match buffers {
            // One frame is the common case, and `write` is a little cheaper than `writev`.
            [only] => self.0.try_write(only),
            _ => self.0.try_write_vectored(buffers),
        }
    }

    fn shutdown(&self, both: bool) {
        let how = if both { Shutdown::Both } else { Shutdown::Write };
        // A connection that the client has reset cannot be shut down, and need not be.
        let _ = SockRef::from(&self.0).shutdown(how);
    }
}
