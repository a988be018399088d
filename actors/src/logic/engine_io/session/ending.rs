//! How a session ends: by the server, which is patient or not, or by the client.

use super::{Effect, Life, Session, State, Upgrade};
use crate::logic::engine_io::{Control, Fault, Reason, Timing};
use std::mem;

impl Session {
    pub(super) fn close(
        &mut self,
        reason: Reason,
        backlog: bool,
        now_ms: u64,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_open() {
            return;
        }
        let until_ms = now_ms + u64::from(timing.close_wait_ms);
        self.life = Life::Draining { reason, until_ms };
        if !backlog {
            self.drained(effects);
        }
    }

    pub(super) fn drained(&mut self, effects: &mut Vec<Effect>) {
        let Life::Draining { reason, until_ms } = self.life else {
            return;
        };
        match &self.state {
            State::Polling(polling) if !polling.get => self.life = Life::Ending { reason, until_ms },
            State::Polling(_) | State::Socket { .. } => self.finish(reason, effects),
            State::Closed => {}
        }
    }

    pub(super) fn closed_by_client(&mut self, effects: &mut Vec<Effect>) {
        if let State::Polling(polling) = &mut self.state {
            if mem::take(&mut polling.get) {
                effects.push(Effect::AnswerGet(Control::Noop));
            }
            if mem::take(&mut polling.post) {
                effects.push(Effect::AcceptPost);
            }
        }
        self.finish(Reason::TransportClose, effects);
    }

    /// Ends what is open, and the session.
    pub(super) fn finish(&mut self, reason: Reason, effects: &mut Vec<Effect>) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Closed => return,
            State::Socket { link, .. } => effects.push(Effect::CloseSocket(link)),
            State::Polling(polling) => {
                if polling.get {
                    effects.push(Effect::AnswerGet(Control::Close));
                }
                if polling.post {
                    effects.push(Effect::AbortPost(Fault::BadRequest));
                }
                if let Some(Upgrade { link, .. }) = polling.upgrade.as_deref() {
                    effects.push(Effect::CloseSocket(*link));
                }
            }
        }
        effects.push(Effect::Closed(reason));
    }
}
