//! Cuts, and nodes and Redis killed, for a while and from a seed: every client ends with every event of its room.

use anyhow::Result;
use std::time::{Duration, Instant};

use super::feeder::{Accepted, Feeder, ask};
use super::{RATE, SETTLE, redis};
use crate::figures::{Figures, accounted, add};
use crate::generator::Generator;
use crate::peer::Peer;
use crate::process::{Cores, Server};
use crate::run::say;

/// Connections cut a second.
const CUTS: f64 = 100.0;
const TICK: Duration = Duration::from_millis(10);
/// Between two kills.
const CALM: Duration = Duration::from_secs(3);
/// How long a node is away.
const NODE_AWAY: Duration = Duration::from_secs(2);
/// How long Redis is.
const REDIS_AWAY: Duration = Duration::from_millis(1_500);
/// One in so many kills is Redis's.
const REDIS_TURN: u64 = 3;
/// Clients that are told of when something is wrong.
const EXAMPLES: usize = 8;
/// Events that may wait to be accepted: beyond that none is made.
const WAITING: u64 = 200;

/// What is being done to the servers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Calm,
    NodeAway(usize),
    RedisAway,
}

struct Trouble {
    server: Server,
    generator: Generator,
    feeder: Feeder,
    members: usize,
    rooms: u32,
    chance: u64,
    phase: Phase,
    since: Instant,
    cuts: u64,
    node_kills: u64,
    redis_kills: u64,
    /// What was done when.
    diary: Vec<(u64, String)>,
}

/// One round.
pub fn run(
    peer: &Peer,
    clients: usize,
    rooms: u32,
    (time, seed): (Duration, u64),
    cores: Cores,
) -> Result<Figures> {
    let server = peer.start(cores)?;
    let mut generator = Generator::new(server.addresses.clone(), peer.protocol)?;
    let members = generator.connect(clients)?;
    members
        .clone()
        .for_each(|client| generator.client(client).keep_position());
    generator.join(members, |client| client as u32 % rooms)?;
    let mut trouble = Trouble {
        feeder: Feeder::new(server.addresses.clone()),
        server,
        generator,
        members: clients,
        rooms,
        chance: seed,
        phase: Phase::Calm,
        since: Instant::now(),
        cuts: 0,
        node_kills: 0,
        redis_kills: 0,
        diary: Vec::new(),
    };
    trouble.make(time)?;
    trouble.end()
}

impl Trouble {
    fn make(&mut self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        let mut made = 0_u64;
        while begin.elapsed() < time {
            let elapsed = begin.elapsed().as_secs_f64();
            while (made as f64) < elapsed * RATE && self.feeder.waiting() < WAITING {
                let stamp = self.generator.stamp((made % u64::from(self.rooms)) as u32);
                self.feeder.publish(stamp);
                made += 1;
            }
            while (self.cuts as f64) < elapsed * CUTS {
                let client = self.draw(self.members as u64) as usize;
                self.bring_back(client)?;
                self.cuts += 1;
            }
            self.look_after()?;
            self.next_phase()?;
        }
        Ok(())
    }

    /// Everything is there again: what is owed comes.
    fn end(mut self) -> Result<Figures> {
        match self.phase {
            Phase::NodeAway(node) => self.server.revive(node)?,
            Phase::RedisAway => redis(&mut self.server)?.begin()?,
            Phase::Calm => {}
        }
        let begin = Instant::now();
        while (self.feeder.waiting() > 0 || self.generator.ledger().outstanding() > 0)
            && begin.elapsed() < SETTLE / 2
        {
            self.look_after()?;
        }
        let settled = begin.elapsed();
        let account = self.generator.grace()?;
        let tally = self.generator.tally();
        let (refused, told) = (tally.refused + self.feeder.refused(), tally.unrecovered);
        if account.wrong() + refused > 0 {
            say(&format!("    {account:?}; {tally:?}"));
            let behind = self.generator.behind();
            say(&format!("    {} clients miss something", behind.len()));
            behind
                .iter()
                .take(EXAMPLES)
                .for_each(|client| say(&format!("    {client}")));
            self.tell_missing();
        }
        let mut figures = accounted(account, refused);
        add(&mut figures, "accepted", self.feeder.accepted() as f64);
        let not_once = account.lost + account.duplicated + account.strays + refused;
        add(&mut figures, "not_once", not_once as f64);
        add(&mut figures, "told", told as f64);
        add(&mut figures, "cuts", self.cuts as f64);
        add(&mut figures, "node_kills", self.node_kills as f64);
        add(&mut figures, "redis_kills", self.redis_kills as f64);
        add(&mut figures, "settled_ms", settled.as_secs_f64() * 1e3);
        Ok(figures)
    }

    /// What some of them miss, how that was accepted, and what was done when.
    fn tell_missing(&self) {
        let ms = |ns: u64| ns / 1_000_000;
        for (at_ns, what) in &self.diary {
            say(&format!("    {:6} ms: {what}", ms(*at_ns)));
        }
        let notes = self.feeder.notes();
        for (client, room, (from, to)) in self.generator.missing().into_iter().take(4 * EXAMPLES) {
            let of = |number| {
                let is_it = |note: &&Accepted| (note.stamp.room, note.stamp.sequence) == (room, number);
                let found = notes.iter().find(is_it);
                found.map_or_else(String::new, |note| {
                    let Accepted {
                        stamp,
                        node,
                        local,
                        failed,
                    } = note;
                    format!(
                        "sent at {} ms, accepted by {node}, local {local}, failed {failed}",
                        ms(stamp.sent_ns)
                    )
                })
            };
            say(&format!(
                "    client {client}, room {room}: {from}..{to}: {}; last {}",
                of(from),
                of(to - 1)
            ));
        }
    }

    fn note(&mut self, what: String) {
        self.diary.push((self.generator.now_ns(), what));
    }

    /// Whoever has lost its connection comes back, anywhere.
    fn look_after(&mut self) -> Result<()> {
        self.generator.idle(TICK)?;
        for client in 0..self.members {
            if self.generator.client(client).is_gone() {
                self.bring_back(client)?;
            }
        }
        Ok(())
    }

    /// A client connects again, mostly to a node that is there. What it had is cut, if it had anything.
    fn bring_back(&mut self, client: usize) -> Result<()> {
        let nodes = self.server.addresses.len();
        let mut at = self.draw(nodes as u64) as usize;
        if self.phase == Phase::NodeAway(at) && self.draw(10) > 0 {
            at = (at + 1) % nodes;
        }
        let address = self.server.addresses[at];
        self.generator
            .come_back_at(client, address, client as u32 % self.rooms)
    }

    fn next_phase(&mut self) -> Result<()> {
        let over = |lasts| self.since.elapsed() > lasts;
        match self.phase {
            Phase::Calm if over(CALM) && self.is_well() => {
                let kills = self.node_kills + self.redis_kills;
                self.phase = if kills % REDIS_TURN == REDIS_TURN - 1 {
                    redis(&mut self.server)?.kill();
                    self.redis_kills += 1;
                    Phase::RedisAway
                } else {
                    let node = self.draw(self.server.addresses.len() as u64) as usize;
                    self.server.kill(node);
                    self.node_kills += 1;
                    Phase::NodeAway(node)
                };
            }
            Phase::NodeAway(node) if over(NODE_AWAY) => {
                self.server.revive(node)?;
                self.phase = Phase::Calm;
            }
            Phase::RedisAway if over(REDIS_AWAY) => {
                redis(&mut self.server)?.begin()?;
                self.phase = Phase::Calm;
            }
            _ => return Ok(()),
        }
        self.note(format!("{:?}", self.phase));
        self.since = Instant::now();
        Ok(())
    }

    /// Whether all nodes are there and have told Redis all that they have accepted: what a node alone has is lost with it,
    /// and nobody was promised anything else.
    fn is_well(&self) -> bool {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        self.server.addresses.iter().all(|address| {
            let answer = ask(&mut None, *address, request);
            answer.is_ok_and(|(status, body)| {
                let says = |line| body.lines().any(|said| said == line);
                status == 200 && says("greenroom_bus_up 1") && says("greenroom_bus_waiting_events 0")
            })
        })
    }

    /// A number below that, from the seed.
    fn draw(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}
