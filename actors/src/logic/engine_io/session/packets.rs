//! What comes of a packet, from whichever transport.

use super::{Effect, Life, Link, NOOP_EVERY_MS, Polling, Session, Source, State};
use crate::logic::engine_io::{Control, Fault, Packet, Reason, Timing};
use std::mem;

impl Session {
    /// A packet, or `None` for what is none.
    pub(super) fn packet(
        &mut self,
        from: Source,
        packet: Option<&Packet<'_>>,
        now_ms: u64,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        match (&mut self.state, from) {
            (State::Polling(Polling { post: true, .. }), Source::Post) => {
                self.session_packet(packet, now_ms, timing, effects);
            }
            (State::Socket { link, .. }, Source::Socket(from)) if *link == from => {
                self.session_packet(packet, now_ms, timing, effects);
            }
            (State::Polling(polling), Source::Socket(from)) => {
                let Some(upgrade) = polling.upgrade.as_mut().filter(|upgrade| upgrade.link == from) else {
                    return;
                };
                match packet {
                    Some(Packet::Ping("probe")) => {
                        upgrade.noop_ms = Some(now_ms + NOOP_EVERY_MS);
                        effects.push(Effect::Write(from, Control::ProbePong));
                    }
                    Some(Packet::Upgrade) => self.upgrade(from, now_ms, timing, effects),
                    _ => {
                        polling.upgrade = None;
                        effects.push(Effect::CloseSocket(from));
                    }
                }
            }
            // From a request or a socket that has been told off already.
            _ => {}
        }
    }

    /// A packet on the transport that carries the session.
    fn session_packet(
        &mut self,
        packet: Option<&Packet<'_>>,
        now_ms: u64,
        timing: &Timing,
        effects: &mut Vec<Effect>,
    ) {
        if packet == Some(&Packet::Close) {
            return self.closed_by_client(effects);
        }
        if self.life != Life::Open {
            return;
        }
        match packet {
            None => self.finish(Reason::ParseError, effects),
            // The heartbeat goes the other way; the stock server calls this an error of the transport.
            Some(Packet::Ping(_)) => self.finish(Reason::TransportError, effects),
            Some(Packet::Pong(_)) => self.heartbeat.pong(now_ms, timing),
            Some(Packet::Text(_) | Packet::Binary(_)) => effects.push(Effect::Deliver),
            Some(Packet::Open(_) | Packet::Close | Packet::Upgrade | Packet::Noop) => {}
        }
    }

    fn upgrade(&mut self, link: Link, now_ms: u64, timing: &Timing, effects: &mut Vec<Effect>) {
        let upgraded = true;
        let old = mem::replace(&mut self.state, State::Socket { link, upgraded });
        let State::Polling(polling) = old else { return };
        if polling.get {
            effects.push(Effect::AnswerGet(Control::Noop));
        }
        if polling.post {
            // Whatever it says would come behind what the client says on the socket: it has to say it there.
            effects.push(Effect::AbortPost(Fault::BadRequest));
        }
        effects.push(Effect::Upgraded(link));
        if polling.ping_due {
            effects.push(Effect::Write(link, Control::Ping));
        }
        self.heartbeat.wait_anew(now_ms, timing);
        if let Life::Ending { reason, .. } = self.life {
            self.finish(reason, effects);
        }
    }
}
