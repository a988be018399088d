//! A client's connection as the session's port to it.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll};

use greenroom_actors::callers::Socket;
use greenroom_actors::ports::Wire;
use socket2::SockRef;

use super::stream::Stream;

/// A connection taken over from the HTTP server.
pub struct TcpWire {
    stream: Stream,
    /// That it is counted, for as long as it is there.
    _socket: Socket,
}

impl TcpWire {
    /// Takes a connection over. Small frames are sent at once: it was told so when it was accepted.
    pub fn new(stream: Stream, socket: Socket) -> Self {
        Self {
            stream,
            _socket: socket,
        }
    }
}

impl Wire for TcpWire {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.poll_read_ready(task),
            Stream::Tls(tls) => tls.poll_read_ready(task),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.try_read(buffer),
            Stream::Tls(tls) => tls.try_read(buffer),
        }
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.poll_write_ready(task),
            Stream::Tls(tls) => tls.poll_write_ready(task),
        }
    }

    fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&self.stream, buffers) {
            // One frame is the common case, and `write` is a little cheaper than `writev`.
            (Stream::Plain(tcp), [only]) => tcp.try_write(only),
            (Stream::Plain(tcp), _) => tcp.try_write_vectored(buffers),
            (Stream::Tls(tls), _) => tls.try_write_vectored(buffers),
        }
    }

    fn try_flush(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(tls) => tls.try_flush(),
        }
    }

    fn shutdown(&self, both: bool) {
        match &self.stream {
            Stream::Plain(tcp) => {
                let how = if both { Shutdown::Both } else { Shutdown::Write };
                // A connection that the client has reset cannot be shut down, and need not be.
                let _ = SockRef::from(tcp).shutdown(how);
            }
            Stream::Tls(tls) => tls.shutdown(both),
        }
    }
}
