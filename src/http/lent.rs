//! The body of a large answer, which counts as held by the node until its client has taken it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use greenroom_actors::memory::Lent;

/// Bytes handed to the HTTP server at once: it copies what it is handed.
const PIECE_BYTES: usize = 64 << 10;

/// See the module's description.
pub struct LentBody {
    rest: Bytes,
    /// Counts it. The server asks for the end only when it has hardly anything left to send.
    _lent: Lent,
}

impl LentBody {
    /// All of a body, counted by `lent`.
    pub fn new(body: Vec<u8>, lent: Lent) -> Self {
        Self {
            rest: body.into(),
            _lent: lent,
        }
    }
}

impl MessageBody for LentBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE_BYTES.min(self.rest.len());
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}
