//! A TLS connection: what rustls makes of a TCP connection's bytes.
//!
//! The same calls serve a session's `Wire`, which never waits, and the HTTP server, which polls. What rustls holds back
//! of either direction is bounded: of what comes in one record that is not whole and the plaintext of a few reads, of
//! what goes out [`OUT_BYTES`].

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{Error, InvalidMessage, ServerConfig, ServerConnection};
use socket2::SockRef;
use tokio::net::TcpStream;

/// Bytes that may be encrypted and not yet written. What a client does not take waits in its outbox, where it counts.
const OUT_BYTES: usize = 32 << 10;
/// Reads for one call: records may be empty, and a client that sends nothing else must not keep its thread.
const READS: usize = 16;

/// See the module's description.
pub struct TlsStream {
    tcp: TcpStream,
    session: RefCell<ServerConnection>,
    /// Bytes that the client's system has taken.
    taken: Cell<u64>,
}

/// A connection on its way to another thread.
pub struct Detached {
    tcp: std::net::TcpStream,
    session: ServerConnection,
}

/// A socket as rustls wants it: reading and writing without waiting.
struct Socket<'s>(&'s TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    /// A connection whose handshake is still to be done: see [`Self::poll_handshake`].
    pub fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut session = ServerConnection::new(config)?;
        session.set_buffer_limit(Some(OUT_BYTES));
        Ok(Self {
            tcp,
            session: RefCell::new(session),
            taken: Cell::new(0),
        })
    }

    /// The handshake. Errors: `InvalidData` where the client does not keep to the protocol, with what rustls says of it;
    /// what the socket says.
    pub fn poll_handshake(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(task))?;
            let session = &mut *self.session.borrow_mut();
            if !session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match self.take_in(session) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_read_ready(task))?;
                }
                read => drop(read?),
            }
        }
    }

    /// The socket below, for what is not TLS.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Bytes that the client's system has taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Ready when [`Self::try_read`] may give something.
    pub fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is decrypted already, or that the client has ended, the socket does not tell a second time.
        if !self.session.borrow().wants_read() {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(task)
    }

    /// Reads; `Ok(0)` is the end, `WouldBlock` nothing yet.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        for _ in 0..READS {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a close_notify: what is cut short is found by those who count, frames and bodies.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.take_in(session)?;
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Reads what is there, once, and lets rustls look at it. `Ok(0)` is the end of the connection.
    fn take_in(&self, session: &mut ServerConnection) -> io::Result<usize> {
        let read = session.read_tls(&mut Socket(&self.tcp))?;
        let processed = session.process_new_packets();
        let is_none_of_tls = session.is_handshaking() && processed.as_ref().is_err_and(is_foreign);
        if session.wants_write() && !is_none_of_tls {
            // An alert, or an answer within the protocol. Where the socket takes no more, it goes before what comes next.
            let _ = self.write_out(session);
        }
        match processed {
            Ok(_) => Ok(read),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// Ready when [`Self::try_write_vectored`] may take something.
    pub fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(task)
    }

    /// Encrypts what there is room for and writes as much of it as fits; `WouldBlock` if nothing does. What is encrypted
    /// and not written is left to [`Self::try_flush`].
    pub fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        self.write_out(session)?;
        let taken = session.writer().write_vectored(buffers)?;
        match self.write_out(session) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes what is encrypted; `WouldBlock` if not all of it fits.
    pub fn try_flush(&self) -> io::Result<()> {
        self.write_out(&mut self.session.borrow_mut())
    }

    /// The same, for those who can wait.
    pub fn poll_flush(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(task))?;
                }
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    fn write_out(&self, session: &mut ServerConnection) -> io::Result<()> {
        while session.wants_write() {
            match session.write_tls(&mut Socket(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.taken.set(self.taken.get() + written as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the sending side with a close_notify (`both`: and the receiving side with it). What waits before it is given
    /// one chance more.
    pub fn shutdown(&self, both: bool) {
        let session = &mut *self.session.borrow_mut();
        session.send_close_notify();
        let _ = self.write_out(session);
        let how = if both { Shutdown::Both } else { Shutdown::Write };
        // A connection that the client has reset cannot be shut down, and need not be.
        let _ = SockRef::from(&self.tcp).shutdown(how);
    }

    /// For another thread.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached {
            tcp: self.tcp.into_std()?,
            session: self.session.into_inner(),
        })
    }
}

/// Whether it is no TLS at all that was read; an alert would not be understood.
fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType))
}

/// Whether a handshake failed because the first bytes were none of TLS.
pub fn is_plaintext(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.is_some_and(is_foreign)
}

impl Detached {
    /// In the thread where it goes on.
    pub fn attach(self) -> io::Result<TlsStream> {
        Ok(TlsStream {
            tcp: TcpStream::from_std(self.tcp)?,
            session: RefCell::new(self.session),
            taken: Cell::new(0),
        })
    }
}
