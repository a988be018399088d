//! A client's connection as the session's port to it.

use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::task::{Context, Poll};

use greenroom_actors::callers::Socket;
use greenroom_actors::ports::Wire;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

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
            Stream::Plain(tcp) => read_plain(tcp, buffer),
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
            // One frame is the common case. The kernel is asked without asking the runtime first, whose word on whether the
            // socket takes something is one more place in memory to fetch for each delivery.
            (Stream::Plain(tcp), [only]) => match SockRef::from(tcp).send(only) {
                // Now it has to know that the socket takes nothing, so that it will say when it does again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp.try_write(only),
                sent => sent,
            },
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

/// A read that leaves room in the buffer has emptied the socket: the runtime is told so at once, which saves the read that
/// would find nothing. What comes in between is not missed, since the runtime compares when it last heard of the socket.
fn read_plain(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut last = None;
    let read = tcp.try_io(Interest::READABLE, || {
        let bytes = (&*SockRef::from(tcp)).read(buffer)?;
        if 0 < bytes && bytes < buffer.len() {
            last = Some(bytes);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(bytes)
    });
    last.map_or(read, Ok)
}
