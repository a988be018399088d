//! What a session needs that polls, or is on its way to a socket. One that is on its socket for good does without, and an
//! idle one is the smaller for it.

use super::{Answered, sockets::Candidate};
use actix::SpawnHandle;
use bytes::BytesMut;
use std::mem;
use tokio::sync::oneshot;

/// See the module's description.
pub(super) struct Transit<W> {
    pub(super) requests: Requests,
    /// What had been read before the socket was handed over.
    pub(super) early: BytesMut,
    /// The socket that is to take over from polling.
    pub(super) candidate: Option<Candidate<W>>,
    /// The one that was to take over when another one came.
    pub(super) arriving: Option<Candidate<W>>,
    /// Sockets that are told that they are not wanted.
    pub(super) parting: Vec<Candidate<W>>,
    /// While it polls: when it looks at the time by itself, which the sweep is too coarse for.
    pub(super) alarm: Option<(u64, SpawnHandle)>,
    /// What goes out in the same answer as the end of the session.
    pub(super) last_words: Vec<u8>,
}

impl<W> Default for Transit<W> {
    fn default() -> Self {
        Self {
            requests: Requests::default(),
            early: BytesMut::new(),
            candidate: None,
            arriving: None,
            parting: Vec::new(),
            alarm: None,
            last_words: Vec::new(),
        }
    }
}

impl<W> Transit<W> {
    /// Whether nothing of it is needed.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
            && self.early.is_empty()
            && self.candidate.is_none()
            && self.arriving.is_none()
            && self.parting.is_empty()
            && self.alarm.is_none()
            && self.last_words.is_empty()
    }
}

/// The requests that wait for an answer.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) get: Option<oneshot::Sender<Answered>>,
    pub(super) post: Option<oneshot::Sender<Answered>>,
    /// The one that has just come.
    pub(super) arriving: Option<oneshot::Sender<Answered>>,
}

impl Requests {
    /// Answers the GET with this, to be followed by more.
    pub(super) fn answer_with(&mut self, body: Vec<u8>) {
        answer(self.get.take(), Answered::Payload(body));
    }

    /// Whoever has just come waits from now on.
    pub(super) fn wait(&mut self, place: impl FnOnce(&mut Self) -> &mut Option<oneshot::Sender<Answered>>) {
        if let Some(arriving) = mem::take(&mut self.arriving) {
            *place(self) = Some(arriving);
        }
    }

    fn is_empty(&self) -> bool {
        self.get.is_none() && self.post.is_none() && self.arriving.is_none()
    }
}

/// Answers a request, if there is one.
pub(super) fn answer(request: Option<oneshot::Sender<Answered>>, answered: Answered) {
    // Whoever asked may be gone; that is noticed where it matters.
    drop(request.map(|request| request.send(answered)));
}
