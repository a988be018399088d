//! All visitors and the publisher, in one thread: who does what when, and what comes.

use anyhow::{Context, Result, bail};
use mio::{Events, Poll, Token};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::books::Books;
use super::habits::{Dice, Parting};
use super::line::{Heard, Line};
use super::publisher::{Publisher, ROOMS, TORRENT};
use super::visitor::{Means, Phase, Visitor};
use crate::frame;
use crate::protocol::Protocol;
use crate::stamp::Scanner;

const PUBLISHER: Token = Token(1 << 24);
/// How long coming in may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection that vanished is given up by then on both sides.
const GHOST: Duration = Duration::from_secs(40);
const TURN: Duration = Duration::from_millis(5);
/// Every fourth visitor takes little at once, so that it is one who is too slow soon.
const NARROW_BYTES: usize = 8 * 1024;

/// What the crowd did, and what was done to it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub visits: u64,
    pub partings: u64,
    pub vanished: u64,
    pub stalls: u64,
    /// Connections that the node ended because their client stalled, or was in the torrent.
    pub cut_off: u64,
    /// Connections that it ended without a reason, and visitors that it did not let in.
    pub refused: u64,
    pub complaint: Option<String>,
}

/// See the module's description.
pub struct Crowd {
    poll: Poll,
    address: SocketAddr,
    visitors: Vec<Visitor>,
    publisher: Publisher,
    ghosts: Vec<(u64, Line)>,
    dice: Dice,
    scratch: Vec<u8>,
    scanner: Scanner,
    epoch: Instant,
    forgotten: Duration,
    /// Nobody parts any more.
    calm: bool,
    /// Nobody publishes.
    quiet: bool,
    pub books: Books,
    pub tally: Tally,
}

impl Crowd {
    /// Nobody is there yet. `history`: events that a room keeps; `forgotten`: when a client of Socket.IO that is away is.
    pub fn new(
        address: SocketAddr,
        visitors: usize,
        seed: u64,
        history: u32,
        forgotten: Duration,
    ) -> Result<Self> {
        let poll = Poll::new().context("cannot poll")?;
        let line = Line::open(poll.registry(), address, Protocol::GreenroomV1, PUBLISHER, None)?;
        let protocol = |visitor| match visitor % 2 {
            0 => Protocol::GreenroomV1,
            _ => Protocol::SocketIo,
        };
        Ok(Self {
            poll,
            address,
            // Both protocols in every room.
            books: Books::new(
                (0..visitors).map(|visitor| visitor as u32 / 2 % ROOMS),
                ROOMS,
                history,
            ),
            visitors: (0..visitors)
                .map(|visitor| Visitor::new(protocol(visitor), u64::MAX))
                .collect(),
            publisher: Publisher::new(line),
            ghosts: Vec::new(),
            dice: Dice::new(seed),
            scratch: vec![0; 256 * 1024],
            scanner: Scanner::default(),
            epoch: Instant::now(),
            forgotten,
            calm: false,
            quiet: true,
            tally: Tally::default(),
        })
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Awaits that there is somebody who publishes.
    pub fn begin(&mut self) -> Result<()> {
        self.until("the publisher to connect", |crowd| crowd.publisher.is_ready())
    }

    /// Fills every room's history, in that time, on top of what is published anyway. Who is there hears it: an event
    /// that was delivered is kept as it went out, over each protocol, and costs more than one that nobody has heard.
    pub fn fill(&mut self, events: u32, within: Duration) -> Result<()> {
        for _ in 0..events {
            let now_ns = self.now_ns();
            (0..ROOMS).for_each(|room| self.publisher.publish(room, &mut self.books, now_ns));
            self.pass(within / events)?;
        }
        Ok(())
    }

    /// Everybody comes, within that time, and does as it likes; events are published.
    pub fn let_loose(&mut self, within: Duration) {
        let now_ns = self.now_ns();
        let within_ns = within.as_nanos() as u64;
        for visitor in &mut self.visitors {
            visitor.due_ns = now_ns + self.dice.below(within_ns);
        }
        (self.calm, self.quiet) = (false, false);
        self.publisher.begin(now_ns);
    }

    /// Everybody comes back and stays, nothing is published any more, and what is owed is awaited.
    pub fn muster(&mut self) -> Result<()> {
        let now_ns = self.now_ns();
        self.calm = true;
        for visitor in &mut self.visitors {
            if visitor.phase != Phase::Here {
                visitor.due_ns = visitor.due_ns.min(now_ns + self.dice.below(2_000_000_000));
            }
        }
        self.until("everybody to be there", |crowd| {
            crowd.visitors.iter().all(|visitor| visitor.phase == Phase::Here)
        })?;
        self.quiet = true;
        let all_is_heard = |crowd: &Self| {
            crowd.books.all_accepted() && (0..crowd.visitors.len()).all(|at| crowd.books.behind(at) == 0)
        };
        // What does not come by then is lost, and counted.
        let _ = self.until("everything to be heard", all_is_heard);
        // And what comes after that is heard again.
        self.pass(Duration::from_secs(1))
    }

    /// Everybody goes, and does not come back.
    pub fn send_away(&mut self) {
        let now_ns = self.now_ns();
        for visitor in &mut self.visitors {
            visitor.line = None;
            visitor.phase = Phase::Away;
            visitor.gone_ns = now_ns;
            visitor.due_ns = u64::MAX;
        }
        self.ghosts.clear();
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + 2 * PATIENCE;
        while !is_so(self) {
            if Instant::now() > end {
                bail!("waited too long for {what}: {:?}", self.tally);
            }
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        let now_ns = self.now_ns();
        if !self.quiet {
            self.publisher.publish_due(&mut self.books, now_ns);
        }
        let mut events = Events::with_capacity(1_024);
        match self.poll.poll(&mut events, Some(TURN)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => other.context("cannot poll")?,
        }
        for event in &events {
            if event.token() != PUBLISHER {
                self.attend(event.token().0);
            }
        }
        let heard = self.publisher.attend(&mut self.scratch, &mut self.books);
        if let Err(why) = heard {
            bail!("the publisher: {why}");
        }
        self.ghosts.retain(|(until_ns, _)| *until_ns > now_ns);
        for visitor in 0..self.visitors.len() {
            if self.visitors[visitor].due_ns <= now_ns {
                self.act(visitor, now_ns)?;
            }
        }
        Ok(())
    }

    /// It is time for a visitor to do something.
    fn act(&mut self, at: usize, now_ns: u64) -> Result<()> {
        let visitor = &mut self.visitors[at];
        match visitor.phase {
            Phase::Away => {
                let buffer = (at % 8 < 2).then_some(NARROW_BYTES);
                let line = Line::open(
                    self.poll.registry(),
                    self.address,
                    visitor.protocol,
                    Token(at),
                    buffer,
                )?;
                visitor.line = Some(line);
                visitor.phase = Phase::Opening;
                visitor.has_stalled = false;
                visitor.due_ns = now_ns + PATIENCE.as_nanos() as u64;
            }
            Phase::Opening => {
                visitor.line = None;
                self.complain(at, "was not let in");
                self.leave(at, now_ns);
            }
            Phase::Here if self.calm => visitor.due_ns = u64::MAX,
            Phase::Here => self.part(at, now_ns),
            Phase::Stalled => {
                visitor.phase = Phase::Here;
                visitor.due_ns = now_ns + self.dice.visit().as_nanos() as u64;
                self.attend(at);
            }
        }
        Ok(())
    }

    fn part(&mut self, at: usize, now_ns: u64) {
        let parting = self.dice.parting();
        let visitor = &mut self.visitors[at];
        if parting == Parting::Stall {
            visitor.phase = Phase::Stalled;
            visitor.has_stalled = true;
            visitor.due_ns = now_ns + self.dice.stall().as_nanos() as u64;
            self.tally.stalls += 1;
            return;
        }
        self.tally.partings += 1;
        match (parting, visitor.line.take()) {
            (Parting::Farewell, Some(line)) => line.farewell(),
            (Parting::Reset, Some(line)) => line.reset(),
            (Parting::Vanish, Some(mut line)) => {
                line.forget(self.poll.registry());
                self.ghosts.push((now_ns + GHOST.as_nanos() as u64, line));
                self.tally.vanished += 1;
            }
            _ => {}
        }
        self.leave(at, now_ns);
    }

    /// A visitor has no connection any more.
    fn leave(&mut self, at: usize, now_ns: u64) {
        let absence = if self.calm {
            Duration::ZERO
        } else {
            self.dice.absence()
        };
        let visitor = &mut self.visitors[at];
        visitor.line = None;
        visitor.phase = Phase::Away;
        visitor.gone_ns = now_ns;
        visitor.due_ns = now_ns + absence.as_nanos() as u64;
    }

    fn complain(&mut self, at: usize, why: &str) {
        self.tally.refused += 1;
        let protocol = self.visitors[at].protocol;
        self.tally.complaint = Some(format!("a visitor over {protocol:?} {why}"));
    }

    /// Reads what has come for a visitor, and answers.
    fn attend(&mut self, at: usize) {
        let now_ns = self.now_ns();
        let Some(visitor) = self
            .visitors
            .get_mut(at)
            .filter(|visitor| visitor.phase != Phase::Stalled)
        else {
            return;
        };
        let Some(mut line) = visitor.line.take() else {
            return;
        };
        let mut messages: Vec<(u8, Vec<u8>)> = Vec::new();
        let is_open = line.flush();
        let heard = line.listen(&mut self.scratch, |opcode, payload| {
            messages.push((opcode, payload.to_vec()));
        });
        visitor.line = Some(line);
        let ended = !is_open || matches!(heard, Heard::End);
        self.take(at, messages, ended, now_ns);
    }

    /// Messages in the order in which they came, and perhaps the end.
    fn take(&mut self, at: usize, messages: Vec<(u8, Vec<u8>)>, mut ended: bool, now_ns: u64) {
        let forgotten_ns = self.forgotten.as_nanos() as u64;
        for (opcode, payload) in messages {
            let visitor = &mut self.visitors[at];
            let is_text = opcode == frame::TEXT;
            if let Some(stamp) = is_text.then(|| self.scanner.find(&payload)).flatten() {
                self.books.hears(at, stamp.room, stamp.sequence);
                visitor.last_event = payload;
                continue;
            }
            ended |= opcode == frame::CLOSE;
            match visitor.take(at, (opcode, &payload), &mut self.books, now_ns, forgotten_ns) {
                Means::Nothing => {}
                Means::Here => {
                    visitor.phase = Phase::Here;
                    visitor.due_ns = now_ns + self.dice.visit().as_nanos() as u64;
                    self.tally.visits += 1;
                }
                Means::Refused(code) => self.complain(at, &format!("was refused: {code}")),
            }
        }
        let visitor = &mut self.visitors[at];
        ended |= !visitor.line.as_mut().is_some_and(Line::flush);
        if ended {
            if visitor.has_stalled || self.books.room_of(at) == TORRENT {
                self.tally.cut_off += 1;
            } else {
                self.complain(at, "was ended");
            }
            self.leave(at, now_ns);
        }
    }
}
