//! A client's connection, plain or TLS, as the HTTP server has it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls::{self, TlsStream};

/// See the module's description. TLS is boxed, so that a plain connection is no larger for it.
pub enum Stream {
    /// As it comes from the kernel.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream>),
}

/// A connection on its way to another thread.
pub enum Detached {
    /// A plain one.
    Plain(std::net::TcpStream),
    /// One by TLS.
    Tls(Box<tls::Detached>),
}

impl Stream {
    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// For another thread.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Plain(tcp) => Detached::Plain(tcp.into_std()?),
            Self::Tls(tls) => Detached::Tls(Box::new(tls.detach()?)),
        })
    }
}

impl Detached {
    /// In the thread where it goes on.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Plain(tcp) => Stream::Plain(TcpStream::from_std(tcp)?),
            Self::Tls(tls) => Stream::Tls(Box::new(tls.attach()?)),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(task, buffer),
            Self::Tls(tls) => loop {
                match tls.try_read(buffer.initialize_unfilled()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(tls.poll_read_ready(task))?;
                    }
                    read => return Poll::Ready(read.map(|bytes| buffer.advance(bytes))),
                }
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(task, bytes),
            Self::Tls(tls) => poll_write(tls, task, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(task, slices),
            Self::Tls(tls) => poll_write(tls, task, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(task),
            Self::Tls(tls) => tls.poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(task),
            Self::Tls(tls) => {
                ready!(tls.poll_flush(task))?;
                tls.shutdown(false);
                Poll::Ready(Ok(()))
            }
        }
    }
}

fn poll_write(tls: &TlsStream, task: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    loop {
        match tls.try_write_vectored(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(tls.poll_write_ready(task))?;
            }
            written => return Poll::Ready(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_is_no_larger_for_tls() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }
}
