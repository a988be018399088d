//! One session as a state machine: polling, a WebSocket, or the one on its way to the other.
//!
//! The owner holds the requests, the sockets and a bounded outbox of messages; the machine says what may happen to them.
//! After each input the owner carries out the effects in order, then looks at [`Session::outlet`]: while that is not
//! [`Outlet::Hold`], what waits in the outbox may go. That is all there is to "buffered while switching": between the
//! last GET and the client's `5` there is no outlet, so nothing is lost and nothing overtakes.
//!
//! Before the first input the owner sends the [open packet](super::open_packet): in the answer to the request that began
//! the session, or as the first frame.

mod ending;
mod packets;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod words;

pub use words::{Carrier, Effect, Input, Link, Outlet, Source};

use super::{
    fault::Fault,
    heartbeat::{Beat, Heartbeat, Timing},
    packet::{Control, Transport},
    reason::Reason,
};
use std::mem;

/// How often a waiting GET is ended while an upgrade is under way, as the stock server does.
const NOOP_EVERY_MS: u64 = 100;

/// One session of one client. No timers: whoever owns it calls [`Session::handle`] with [`Input::Tick`], each
/// 100 ms while [`Carrier::Polling`], else when [`Session::due_ms`] says.
#[derive(Clone, Debug)]
pub struct Session {
    heartbeat: Heartbeat,
    state: State,
    life: Life,
}

#[derive(Clone, Debug)]
enum State {
    Polling(Polling),
    Socket { link: Link, upgraded: bool },
    Closed,
}

#[derive(Clone, Debug, Default)]
struct Polling {
    /// A GET waits.
    get: bool,
    /// A POST is being read.
    post: bool,
    /// A ping is due that found no GET waiting.
    ping_due: bool,
    /// Apart, so that a session on its socket is small.
    upgrade: Option<Box<Upgrade>>,
}

#[derive(Clone, Debug)]
struct Upgrade {
    link: Link,
    until_ms: u64,
    /// Once it has been probed: when to end the waiting GET next.
    noop_ms: Option<u64>,
}

/// Whether the server has begun to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// When the outbox is empty; in the end, anyway.
    Draining {
        reason: Reason,
        until_ms: u64,
    },
    /// When a GET comes that can be told; in the end, anyway.
    Ending {
        reason: Reason,
        until_ms: u64,
    },
}

impl Session {
    /// A session that begins by polling; the GET that began it is answered with the open packet and does not wait.
    pub fn polling(now_ms: u64, timing: &Timing) -> Self {
        Self::new(State::Polling(Polling::default()), now_ms, timing)
    }

    /// A session that begins on a WebSocket.
    pub fn websocket(link: Link, now_ms: u64, timing: &Timing) -> Self {
        let upgraded = false;
        Self::new(State::Socket { link, upgraded }, now_ms, timing)
    }

    fn new(state: State, now_ms: u64, timing: &Timing) -> Self {
        Self {
            heartbeat: Heartbeat::start(now_ms, timing),
            state,
            life: Life::Open,
        }
    }

    /// What carries it, while it is alive: for [`super::request::verify`].
    pub fn carrier(&self) -> Option<Carrier> {
        match self.state {
            State::Polling(_) => Some(Carrier::Polling),
            State::Socket { upgraded: false, .. } => Some(Carrier::WebSocket),
            State::Socket { upgraded: true, .. } => Some(Carrier::Upgraded),
            State::Closed => None,
        }
    }

    /// The transport by which it is reached.
    pub fn transport(&self) -> Option<Transport> {
        self.carrier().map(|carrier| match carrier {
            Carrier::Polling => Transport::Polling,
            Carrier::WebSocket | Carrier::Upgraded => Transport::WebSocket,
        })
    }

    /// Whether messages are accepted for sending: from the beginning until somebody ends it.
    pub fn is_open(&self) -> bool {
        self.life == Life::Open && !matches!(self.state, State::Closed)
    }

    /// Where messages may go now.
    pub fn outlet(&self) -> Outlet {
        match (&self.state, self.life) {
            (State::Closed, _) | (_, Life::Ending { .. }) => Outlet::Hold,
            (State::Polling(polling), _) if polling.get => Outlet::Get,
            (State::Polling(_), _) => Outlet::Hold,
            (State::Socket { link, .. }, _) => Outlet::Socket(*link),
        }
    }

    /// When a tick has something to do next; `None` once it is over.
    pub fn due_ms(&self) -> Option<u64> {
        let upgrade = match &self.state {
            State::Closed => return None,
            State::Polling(polling) => polling.upgrade.as_deref(),
            State::Socket { .. } => None,
        };
        let life = match self.life {
            Life::Open => self.heartbeat.due_ms(),
            Life::Draining { until_ms, .. } | Life::Ending { until_ms, .. } => until_ms,
        };
        let upgrade = upgrade.map(|upgrade| upgrade.noop_ms.unwrap_or(u64::MAX).min(upgrade.until_ms));
        Some(life.min(upgrade.unwrap_or(u64::MAX)))
    }

    /// Takes one input, and appends what is to be done.
    pub fn handle(&mut self, input: Input<'_>, now_ms: u64, timing: &Timing, effects: &mut Vec<Effect>) {
        match input {
            Input::Get => self.get(effects),
            Input::GetAborted if self.take_get() => self.finish(Reason::TransportError, effects),
            Input::GetAnswered => drop(self.take_get()),
            Input::Post { octets } => self.post(octets, effects),
            Input::PostTooLarge => drop(self.take_post()),
            Input::PostAborted if self.take_post() => self.finish(Reason::TransportError, effects),
            Input::PostEnded if self.take_post() => effects.push(Effect::AcceptPost),
            Input::GetAborted | Input::PostAborted | Input::PostEnded => {}
            Input::Attached(link) => self.attach(link, now_ms, timing, effects),
            Input::SocketClosed(link) => self.socket_gone(link, Reason::TransportClose, effects),
            Input::SocketFailed(link) => self.socket_gone(link, Reason::TransportError, effects),
            Input::Packet(from, packet) => self.packet(from, Some(packet), now_ms, timing, effects),
            Input::Malformed(from) => self.packet(from, None, now_ms, timing, effects),
            Input::Close { reason, backlog } => self.close(reason, backlog, now_ms, timing, effects),
            Input::Drained => self.drained(effects),
            Input::CloseNow(reason) => self.finish(reason, effects),
            Input::Tick => self.tick(now_ms, timing, effects),
        }
    }

    /// Whether a GET waits, which it does not from now on.
    fn take_get(&mut self) -> bool {
        match &mut self.state {
            State::Polling(polling) => mem::take(&mut polling.get),
            State::Socket { .. } | State::Closed => false,
        }
    }

    /// Whether a POST is being read, which it is not from now on.
    fn take_post(&mut self) -> bool {
        match &mut self.state {
            State::Polling(polling) => mem::take(&mut polling.post),
            State::Socket { .. } | State::Closed => false,
        }
    }

    fn get(&mut self, effects: &mut Vec<Effect>) {
        match (&mut self.state, self.life) {
            (State::Closed, _) => effects.push(Effect::Refuse(Fault::UnknownSid)),
            (State::Socket { .. }, _) => effects.push(Effect::Refuse(Fault::BadRequest)),
            (State::Polling(polling), _) if polling.get => {
                self.finish(Reason::TransportError, effects);
                effects.push(Effect::Refuse(Fault::BadRequest));
            }
            (State::Polling(polling), Life::Ending { reason, .. }) => {
                polling.get = true;
                self.finish(reason, effects);
            }
            (State::Polling(polling), _) if polling.ping_due => {
                polling.ping_due = false;
                effects.push(Effect::AnswerGet(Control::Ping));
            }
            (State::Polling(polling), _) => polling.get = true,
        }
    }

    fn post(&mut self, octets: bool, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Closed => effects.push(Effect::Refuse(Fault::UnknownSid)),
            State::Socket { .. } => effects.push(Effect::Refuse(Fault::BadRequest)),
            State::Polling(polling) if polling.post || octets => {
                self.finish(Reason::TransportError, effects);
                effects.push(Effect::Refuse(Fault::BadRequest));
            }
            State::Polling(polling) => polling.post = true,
        }
    }

    fn attach(&mut self, link: Link, now_ms: u64, timing: &Timing, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Polling(polling) if polling.upgrade.is_none() => {
                polling.upgrade = Some(Box::new(Upgrade {
                    link,
                    until_ms: now_ms + u64::from(timing.upgrade_timeout_ms),
                    noop_ms: None,
                }));
            }
            // The one that is there is not disturbed: who knows the session's id cannot end it so.
            State::Polling(_) | State::Socket { .. } | State::Closed => {
                effects.push(Effect::CloseSocket(link))
            }
        }
    }

    fn socket_gone(&mut self, gone: Link, reason: Reason, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Socket { link, .. } if *link == gone => {
                self.state = State::Closed;
                effects.push(Effect::Closed(reason));
            }
            // An upgrade that fails costs nothing: polling goes on.
            State::Polling(polling) => drop(polling.upgrade.take_if(|upgrade| upgrade.link == gone)),
            State::Socket { .. } | State::Closed => {}
        }
    }

    fn tick(&mut self, now_ms: u64, timing: &Timing, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match self.life {
            Life::Open => match self.heartbeat.tick(now_ms, timing) {
                Beat::Quiet => {}
                Beat::Ping => self.ping(effects),
                Beat::Timeout => return self.finish(Reason::PingTimeout, effects),
            },
            Life::Draining { reason, until_ms } | Life::Ending { reason, until_ms } => {
                if now_ms >= until_ms {
                    return self.finish(reason, effects);
                }
            }
        }
        if let State::Polling(polling) = &mut self.state {
            polling.tick(now_ms, effects);
        }
    }

    fn ping(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Polling(polling) => {
                polling.ping_due = !polling.get;
                if mem::take(&mut polling.get) {
                    effects.push(Effect::AnswerGet(Control::Ping));
                }
            }
            State::Socket { link, .. } => effects.push(Effect::Write(*link, Control::Ping)),
            State::Closed => {}
        }
    }
}

impl Polling {
    /// The timers of an upgrade.
    fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if now_ms >= upgrade.until_ms {
            effects.push(Effect::CloseSocket(upgrade.link));
            self.upgrade = None;
        } else if upgrade.noop_ms.is_some_and(|due| now_ms >= due) {
            upgrade.noop_ms = Some(now_ms + NOOP_EVERY_MS);
            if mem::take(&mut self.get) {
                effects.push(Effect::AnswerGet(Control::Noop));
            }
        }
    }
}
