//! One client that comes, stays, goes and comes back: what it says, and what it keeps in order to go on.

use super::books::{Asked, Books};
use super::line::Line;
use crate::frame;
use crate::generator::room_name;
use crate::protocol::{Protocol, Said};

/// Where a visitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Away,
    /// On its way in.
    Opening,
    Here,
    /// Here, and reading nothing.
    Stalled,
}

/// See the module's description.
pub struct Visitor {
    pub protocol: Protocol,
    pub phase: Phase,
    /// When it does the next thing.
    pub due_ns: u64,
    pub line: Option<Line>,
    /// It has stalled on this connection, which may therefore be ended.
    pub has_stalled: bool,
    /// When its last connection ended.
    pub gone_ns: u64,
    /// The last event it was given, whose position is its own.
    pub last_event: Vec<u8>,
    /// The position of its join.
    joined_at: Option<String>,
    /// What lets it back in, over Socket.IO.
    secret: Option<String>,
    asked: Option<Asked>,
}

/// What a message means to whoever looks after visitors.
#[derive(Debug, PartialEq, Eq)]
pub enum Means {
    Nothing,
    /// It is in its room.
    Here,
    /// It was refused, with this code.
    Refused(String),
}

impl Visitor {
    /// Somebody who has never been here.
    pub fn new(protocol: Protocol, due_ns: u64) -> Self {
        Self {
            protocol,
            phase: Phase::Away,
            due_ns,
            line: None,
            has_stalled: false,
            gone_ns: 0,
            last_event: Vec::new(),
            joined_at: None,
            secret: None,
            asked: None,
        }
    }

    /// Takes a message that is no event. `forgotten_ns`: how long a client of Socket.IO is remembered.
    pub fn take(
        &mut self,
        me: usize,
        (opcode, payload): (u8, &[u8]),
        books: &mut Books,
        now_ns: u64,
        forgotten_ns: u64,
    ) -> Means {
        match (opcode, payload) {
            (frame::PING, payload) => self.answer(|line| line.pong(payload)),
            (frame::TEXT, []) if self.protocol == Protocol::GreenroomV1 => self.join(me, books),
            (frame::TEXT, text) => {
                let excused = now_ns - self.gone_ns > forgotten_ns;
                return self.understand(me, text, books, excused);
            }
            _ => {}
        }
        Means::Nothing
    }

    fn answer(&mut self, say: impl FnOnce(&mut Line)) {
        if let Some(line) = &mut self.line {
            say(line);
        }
    }

    fn join(&mut self, me: usize, books: &Books) {
        let since = self.position();
        self.asked = since.is_none().then(|| books.asks(me));
        let room = room_name(books.room_of(me));
        let join = self.protocol.join(&room, since.as_deref(), 1);
        self.answer(|line| line.say(&join));
    }

    fn greeted(&mut self, me: usize, secret: Option<String>, books: &mut Books, excused: bool) -> Means {
        if self.secret.is_some() && self.secret == secret {
            books.returned(me, true, false);
            return Means::Here;
        }
        self.asked = Some(books.asks(me));
        if self.secret.is_some() {
            books.returned(me, false, excused);
            self.asked = None;
        }
        self.secret = secret;
        self.last_event.clear();
        let join = self.protocol.join(&room_name(books.room_of(me)), None, 1);
        self.answer(|line| line.say(&join));
        Means::Nothing
    }

    fn understand(&mut self, me: usize, text: &[u8], books: &mut Books, excused: bool) -> Means {
        match self.protocol.understand(text) {
            Said::Opened => {
                let position = self.position();
                let credentials = self.secret.as_deref().zip(position.as_deref());
                let greeting = self.protocol.greet(credentials);
                self.answer(|line| line.say(&greeting));
                Means::Nothing
            }
            Said::Ready { pid } => self.greeted(me, pid, books, excused),
            Said::Joined { recovered, position } => {
                let is_back = self.protocol == Protocol::GreenroomV1 && self.asked.is_none();
                if is_back && recovered == Some(true) {
                    // What it missed follows: where it was is where it is, until an event says otherwise.
                    books.returned(me, true, false);
                } else if is_back {
                    books.returned(me, false, false);
                    self.starts_at(position);
                } else {
                    books.joined(me, self.asked.take());
                    self.starts_at(position);
                }
                Means::Here
            }
            Said::Reply(text) => {
                self.answer(|line| line.say(&text));
                Means::Nothing
            }
            Said::Refused(code) => Means::Refused(code),
            Said::Published | Said::Nothing => Means::Nothing,
        }
    }

    fn starts_at(&mut self, position: Option<String>) {
        self.joined_at = position;
        self.last_event.clear();
    }

    /// The position after everything heard.
    fn position(&self) -> Option<String> {
        let in_event = self.protocol.position_in(&self.last_event);
        in_event.or_else(|| self.joined_at.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_the_last_event_or_from_its_join() {
        let mut visitor = Visitor::new(Protocol::GreenroomV1, 0);
        assert_eq!(visitor.position(), None);
        visitor.starts_at(Some("7-1".to_owned()));
        assert_eq!(visitor.position().as_deref(), Some("7-1"));
        visitor.last_event = br#"{"type":"event","data":{},"position":"7-13"}"#.to_vec();
        assert_eq!(visitor.position().as_deref(), Some("7-13"));
    }
}
