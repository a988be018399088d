//! A connection of the HTTP server that is given up when its client takes nothing for too long, or begins a request and
//! does not get to the end of its head.
//!
//! The server itself waits for ever: a client that asks for a stream or a large answer and reads none of it would keep
//! the connection, its buffers and what the response holds; and of all heads on a connection it times the first only. That it
//! does by a clock that may stand still on a busy machine, and then not at all (actix-http 3.20 forgets a timer that has run
//! out before it is first looked at): so the first is timed here too, with twice the time, for the server to answer before.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use greenroom_actors::callers::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::adapters::stream::Stream;

/// See the module's description.
pub struct Patience {
    stream: Stream,
    /// That it is counted.
    socket: Socket,
    /// How long the client may take no byte of what waits for it.
    lasts: Duration,
    /// Runs while the client takes nothing.
    runs_out: Option<Pin<Box<Sleep>>>,
    /// Bytes of TLS that the client had taken when it was last looked.
    taken: u64,
    /// How long the client may take from the first byte of its next request to the end of that one's head.
    request: Duration,
    /// Runs while there is a part of a head.
    late: Option<Pin<Box<Sleep>>>,
    stage: Rc<Stage>,
}

/// Where a connection is between two requests, as far as bytes tell.
#[derive(Default)]
pub struct Stage(Cell<At>);

#[derive(Clone, Copy, Default, PartialEq)]
enum At {
    /// The first request is awaited.
    #[default]
    First,
    /// A request is being answered.
    Request,
    /// Something of an answer has been written.
    Answer,
    /// And something has been read since.
    Next,
}

impl Stage {
    /// The head of a request is whole.
    pub fn has_request(&self) {
        self.0.set(At::Request);
    }
}

impl Patience {
    /// With a connection whose client may take no byte for as long as it `lasts`, and takes no longer to send the head of
    /// a `request`. Small answers are sent at once.
    pub fn new(stream: Stream, socket: Socket, lasts: Duration, request: Duration) -> Self {
        // Only a socket that is gone already refuses, and reading will tell.
        let _ = stream.tcp().set_nodelay(true);
        Self {
            stream,
            socket,
            lasts,
            runs_out: None,
            taken: 0,
            request,
            late: Some(Box::pin(sleep(2 * request))),
            stage: Rc::default(),
        }
    }

    /// To be told of requests.
    pub fn stage(&self) -> Rc<Stage> {
        self.stage.clone()
    }

    /// The connection and its count, for whoever looks after it better.
    pub fn into_inner(self) -> (Stream, Socket) {
        (self.stream, self.socket)
    }

    /// What became of a write, or that patience has run out.
    fn judge<T>(&mut self, task: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.runs_out = None;
            self.stage.0.set(At::Answer);
            return written;
        }
        if let Stream::Tls(tls) = &self.stream
            && tls.taken() != self.taken
        {
            // It took a part of what was encrypted before.
            self.taken = tls.taken();
            self.runs_out = None;
        }
        let lasts = self.lasts;
        let runs_out = self.runs_out.get_or_insert_with(|| Box::pin(sleep(lasts)));
        runs_out
            .as_mut()
            .poll(task)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patience {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(task, buffer);
        match (self.stage.0.get(), read.is_ready()) {
            (At::Answer, true) => {
                self.stage.0.set(At::Next);
                self.late = Some(Box::pin(sleep(self.request)));
            }
            (At::First | At::Next, false) => {
                if let Some(late) = &mut self.late {
                    return late
                        .as_mut()
                        .poll(task)
                        .map(|()| Err(io::ErrorKind::TimedOut.into()));
                }
            }
            (At::First | At::Next, true) => {}
            (At::Request | At::Answer, _) => self.late = None,
        }
        read
    }
}

impl AsyncWrite for Patience {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.judge(task, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, slices);
        self.judge(task, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(task);
        match self.stream {
            // Always ready, which says nothing of the client.
            Stream::Plain(_) => flushed,
            Stream::Tls(_) => self.judge(task, flushed),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
