//! Who publishes during a soak: a steady trickle into every room, more into some, and now and then a torrent into one.

use std::collections::VecDeque;

use super::books::Books;
use super::line::{Heard, Line};
use crate::frame;
use crate::generator::room_name;
use crate::protocol::{Protocol, Said};
use crate::stamp::Stamp;

/// All rooms.
pub const ROOMS: u32 = 40;
/// The room that is flooded. Who is in it may be cut off as too slow at any time.
pub const TORRENT: u32 = 0;
/// Rooms up to this one are busy.
const BUSY: u32 = 4;
/// Events a second in a busy room; elsewhere one.
const BUSY_RATE: u32 = 15;
/// Events of a torrent, and nanoseconds between two.
const TORRENT_EVENTS: u32 = 1_000;
const TORRENT_EVERY_NS: u64 = 10_000_000_000;
/// Events that may be published and not accepted.
const WINDOW: usize = 2_000;
const SECOND_NS: u64 = 1_000_000_000;

/// See the module's description.
pub struct Publisher {
    line: Line,
    ready: bool,
    /// The rooms of what is not accepted yet.
    waiting: VecDeque<u32>,
    /// Whose turn it is, a second long.
    turns: Vec<u32>,
    done: u64,
    torrents: u64,
    began_ns: u64,
}

impl Publisher {
    /// Over that connection.
    pub fn new(line: Line) -> Self {
        let busy = (0..BUSY_RATE).flat_map(|_| 0..BUSY);
        Self {
            line,
            ready: false,
            waiting: VecDeque::new(),
            turns: busy.chain(BUSY..ROOMS).collect(),
            done: 0,
            torrents: 0,
            began_ns: 0,
        }
    }

    /// Whether it may publish.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// From now on what is due is counted.
    pub fn begin(&mut self, now_ns: u64) {
        (self.began_ns, self.done, self.torrents) = (now_ns, 0, 0);
    }

    /// Publishes what is due. False when its connection is broken.
    pub fn publish_due(&mut self, books: &mut Books, now_ns: u64) -> bool {
        let elapsed_ns = now_ns - self.began_ns;
        let due = elapsed_ns * self.turns.len() as u64 / SECOND_NS;
        while self.done < due && self.waiting.len() < WINDOW {
            let room = self.turns[(self.done % self.turns.len() as u64) as usize];
            self.publish(room, books, now_ns);
            self.done += 1;
        }
        while self.torrents < elapsed_ns / TORRENT_EVERY_NS {
            (0..TORRENT_EVENTS).for_each(|_| self.publish(TORRENT, books, now_ns));
            self.torrents += 1;
        }
        self.line.flush()
    }

    /// Publishes one event.
    pub fn publish(&mut self, room: u32, books: &mut Books, now_ns: u64) {
        let stamp = Stamp {
            room,
            sequence: books.publish(room),
            sent_ns: now_ns,
        };
        let text = Protocol::GreenroomV1.publish(&room_name(room), &stamp.data(), u64::from(stamp.sequence));
        self.line.say(&text);
        self.waiting.push_back(room);
    }

    /// Hears what was accepted. An error says what else came.
    pub fn attend(&mut self, scratch: &mut [u8], books: &mut Books) -> Result<(), String> {
        let (mut pongs, mut wrong) = (Vec::new(), None);
        let (waiting, ready) = (&mut self.waiting, &mut self.ready);
        let heard = self
            .line
            .listen(scratch, |opcode, payload| match (opcode, payload) {
                (frame::PING, payload) => pongs.push(payload.to_vec()),
                (frame::TEXT, []) => *ready = true,
                (frame::TEXT, text) => match (Protocol::GreenroomV1.understand(text), waiting.pop_front()) {
                    (Said::Published, Some(room)) => books.accept(room),
                    (said, _) => wrong = Some(format!("{said:?}")),
                },
                _ => {}
            });
        pongs.iter().for_each(|payload| self.line.pong(payload));
        if matches!(heard, Heard::End) || !self.line.flush() {
            wrong.get_or_insert("its connection was ended".to_owned());
        }
        wrong.map_or(Ok(()), Err)
    }
}
