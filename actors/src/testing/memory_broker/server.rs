//! What the broker has, and what it does with it.

use crate::{
    broker::{Arrival, BrokerError, Errand, Hello, NodeCard, Outcome, Placed, Relayed},
    logic::{
        bus_log::{BusLog, Limits, Page, Published, Query},
        cluster::told::Told,
        event::{Draft, NodeTag, Origin},
        position::Life,
        presence::{Presence, Secret},
        room_name::RoomName,
        sessions::{self, Claimed, Kept, SessionRecord, Sessions},
    },
    peer::Ticket,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// A node that was not heard of for so long is in no room, milliseconds.
const DEAD_MS: i64 = 30_000;

/// Where a client is is forgotten so long after it was written down, milliseconds.
pub const RECORD_MS: i64 = 3 * 3_600_000;

/// Numbers leap by so much when a broker has been replaced.
const LEAP: u64 = 1 << 32;
/// What a broker has written down.
#[derive(Clone)]
pub(super) struct Data {
    pub(super) log: BusLog,
    pub(super) sessions: Sessions,
    /// In which era each client was written down last, and when.
    pub(super) kept_in: BTreeMap<Secret, (u64, i64)>,
    /// What each node has relayed.
    pub(super) sent: BTreeMap<NodeTag, Relayed>,
    /// What is known of the era before this one: its last number here, the highest that anybody knew, and where this one
    /// begins. Of those before that, nothing is whole below `dead`.
    pub(super) last: u64,
    pub(super) lost: u64,
    pub(super) base: u64,
    pub(super) dead: u64,
    /// Until when it is not known what was lost of earlier eras, and which nodes have not said yet what they know; `None`
    /// where nobody knows which there were.
    pub(super) unsure: Option<(Instant, Option<BTreeSet<NodeTag>>)>,
}

/// Nodes that were there are waited for so long after an era has begun.
const UNSURE: Duration = Duration::from_secs(6);

pub(super) struct Server {
    pub(super) limits: Limits,
    pub(super) kept: sessions::Limits,
    pub(super) data: Option<Data>,
    pub(super) saved: Option<Data>,
    /// It is another one than the data was written by.
    pub(super) replaced: bool,
    pub(super) presence: BTreeMap<NodeTag, Presence>,
    pub(super) nodes: BTreeMap<NodeTag, (NodeCard, i64)>,
    pub(super) lines: Vec<Line>,
    pub(super) links: u64,
    /// Eras that have begun, of any broker: no two begin with the same number, as if each looked at a clock.
    pub(super) eras: u64,
    pub(super) dead: BTreeSet<NodeTag>,
    pub(super) shut_out: BTreeSet<NodeTag>,
    pub(super) accepted: Vec<(u64, Draft)>,
}

/// A link's other end.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) tag: NodeTag,
    pub(super) rooms: BTreeSet<RoomName>,
    pub(super) out: mpsc::UnboundedSender<(Instant, Arrival)>,
    /// It has taken something without doing it: nothing that comes later is done either.
    pub(super) is_stalled: bool,
    /// It has refused something: nothing that is to be kept is taken any more.
    pub(super) has_refused: bool,
}
impl Data {
    /// Reads a part of the history, and tells what is missing of earlier eras.
    pub(super) fn read(&mut self, query: &Query, now_ms: i64) -> Result<Page, BrokerError> {
        let is_before = query.whole_from().any(|(_, from)| from < self.base);
        if is_before && self.is_unsure() {
            return Err(BrokerError::Refuses("it is not known yet what was lost".into()));
        }
        let mut page = self.log.read(query, now_ms);
        for (room, from) in query.whole_from() {
            let is_lost = from < self.base && self.lost > from.max(self.last);
            let lost = if is_lost { self.base } else { 0 };
            if lost.max(self.dead) > from {
                page.whole = false;
                page.gaps.push((room.clone(), lost.max(self.dead)));
            }
        }
        Ok(page)
    }

    fn is_unsure(&self) -> bool {
        self.unsure.as_ref().is_some_and(|(until, unheard)| {
            Instant::now() < *until && unheard.as_ref().is_none_or(|unheard| !unheard.is_empty())
        })
    }
}

impl Server {
    pub(super) fn data(&mut self) -> Result<&mut Data, BrokerError> {
        self.data.as_mut().ok_or(BrokerError::Replaced)
    }

    /// What a node finds: a broker that was replaced goes on in a new era, one that has nothing in the life that the node
    /// knows.
    pub(super) fn open(&mut self, hello: Hello) -> (Life, u64) {
        let (limits, kept, replaced) = (self.limits.clone(), self.kept, self.replaced);
        self.replaced = false;
        let existed = self.data.is_some();
        self.eras += 1;
        let floor = self.eras * LEAP;
        let until = Instant::now() + UNSURE;
        let newest = self.nodes.values().map(|(_, at)| *at).max().unwrap_or(0);
        let is_there = |(_, (_, at)): &(&NodeTag, &(NodeCard, i64))| newest - at < DEAD_MS;
        let there: BTreeSet<NodeTag> = self.nodes.iter().filter(is_there).map(|(tag, _)| *tag).collect();
        let data = self.data.get_or_insert_with(|| {
            let life = match hello.life {
                Life::NONE => hello.fresh,
                life => life,
            };
            // Who knows a life may not be the one who knows most of it.
            let base = match hello.life {
                Life::NONE => 0,
                _ => era_after(hello.known).max(floor),
            };
            let mut log = BusLog::new(life, limits);
            log.leap(base);
            Data {
                log,
                sessions: Sessions::new(kept),
                kept_in: BTreeMap::new(),
                sent: BTreeMap::new(),
                last: 0,
                lost: hello.known,
                base,
                dead: 0,
                unsure: (base > 0).then_some((until, None)),
            }
        });
        let known = if hello.life == data.log.life() {
            hello.known
        } else {
            0
        };
        // Numbers that somebody knows and that it does not are never given out again.
        let is_older = known > data.log.head();
        if (replaced && existed) || is_older {
            if data.lost > data.last {
                data.dead = data.base;
            }
            data.last = data.log.head();
            data.lost = 0;
            data.base = era_after(data.last.max(known)).max(floor);
            data.log.leap(data.base);
            data.unsure = Some((until, Some(there)));
            if !replaced || !existed {
                // Its numbers since then are those of another era as well.
                data.dead = data.base;
            }
        }
        if let Some((_, Some(unheard))) = &mut data.unsure {
            unheard.remove(&hello.tag);
        }
        if known < data.base && known > data.last {
            data.lost = data.lost.max(known);
        }
        (data.log.life(), data.log.head())
    }

    /// Places what a node has published.
    pub(super) fn place(
        &mut self,
        (origin, draft): (Origin, Arc<Draft>),
        at: Instant,
    ) -> Result<Placed, BrokerError> {
        let data = self.data()?;
        let sent = data.sent.entry(origin.node).or_default();
        if origin.count <= sent.count {
            return Ok(Placed::Already);
        }
        let published = data.log.publish_from((*draft).clone(), Some(origin), |_| true);
        *sent = Relayed {
            count: origin.count,
            seq: data.log.head(),
        };
        Ok(match published {
            Published::New(event, receipt) => {
                self.accepted.push((event.seq, (*draft).clone()));
                for place in &event.places {
                    let wants = |line: &Line| line.rooms.contains(&place.room);
                    self.hand_out(&Arrival::Event(event.clone()), at, wants);
                }
                Placed::New {
                    seq: event.seq,
                    offsets: receipt.offsets.iter().map(|(_, offset)| *offset).collect(),
                }
            }
            Published::Repeated(receipt) => Placed::Repeated(receipt),
            Published::IdReused => Placed::IdReused,
        })
    }

    /// Does what a node asks.
    pub(super) fn carry_out(
        &mut self,
        tag: NodeTag,
        errand: Errand,
        at: Instant,
        now_ms: i64,
    ) -> Result<Outcome, BrokerError> {
        match errand {
            Errand::Keep(secret, record) => return self.keep(secret, record, now_ms),
            Errand::Claim(secret, subject) => return self.claim(secret, subject.as_deref(), at, now_ms),
            Errand::Part(Ticket { secret, generation }, for_good) => {
                self.data()?.sessions.part(secret, generation, for_good, now_ms);
            }
            Errand::Enter(rooms, card, since_ms) => {
                let presence = self.presence.entry(tag).or_default();
                rooms
                    .iter()
                    .for_each(|room| presence.enter(room, &card, since_ms));
            }
            Errand::Exit(rooms, card) => {
                let presence = self.presence.entry(tag).or_default();
                rooms.iter().for_each(|room| presence.exit(room, &card));
            }
            Errand::Empty => drop(self.presence.remove(&tag)),
            Errand::Beat(card) => drop(self.nodes.insert(tag, (card, now_ms))),
            Errand::Bye => {
                self.presence.remove(&tag);
                self.nodes.remove(&tag);
            }
            Errand::Tend => self.tend(now_ms)?,
        }
        Ok(Outcome::Done)
    }

    fn keep(&mut self, secret: Secret, record: SessionRecord, now_ms: i64) -> Result<Outcome, BrokerError> {
        let data = self.data()?;
        if !data.sessions.keep(secret, record) {
            return Ok(Outcome::Kept(Kept::Superseded));
        }
        data.kept_in.insert(secret, (data.base, now_ms));
        Ok(Outcome::Kept(Kept::ByAll))
    }

    fn claim(
        &mut self,
        secret: Secret,
        subject: Option<&str>,
        at: Instant,
        now_ms: i64,
    ) -> Result<Outcome, BrokerError> {
        let data = self.data()?;
        let (era, kept_ms) = data.kept_in.get(&secret).copied().unwrap_or_default();
        if now_ms - kept_ms > RECORD_MS {
            return Ok(Outcome::Claimed(None));
        }
        let claimed = data.sessions.claim(secret, subject, now_ms);
        let is_latest = era == data.base;
        if let Some(record) = &claimed {
            let told = Arrival::Told(Told::taken_over(record.id, record.generation));
            self.hand_out(&told, at, |_| true);
        }
        let claimed = claimed.map(|record| Claimed { record, is_latest });
        Ok(Outcome::Claimed(claimed))
    }

    fn tend(&mut self, now_ms: i64) -> Result<(), BrokerError> {
        let nodes = &self.nodes;
        let is_alive = |tag: &NodeTag| nodes.get(tag).is_none_or(|(_, at)| now_ms - at < DEAD_MS);
        self.presence.retain(|tag, _| is_alive(tag));
        let data = self.data()?;
        data.log.tend(now_ms);
        data.sessions.tend(now_ms);
        Ok(())
    }

    pub(super) fn hand_out(&mut self, arrival: &Arrival, at: Instant, to: impl Fn(&Line) -> bool) {
        // Whoever is gone hears nothing.
        self.lines
            .retain(|line| !to(line) || line.out.send((at, arrival.clone())).is_ok());
    }
}

fn era_after(seq: u64) -> u64 {
    (seq / LEAP + 1) * LEAP
}
