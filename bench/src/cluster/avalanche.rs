//! A node is killed and started again under all of its clients, which come back at once and want what they missed: the
//! histories are in Redis.

use anyhow::{Result, ensure};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::feeder::Feeder;
use super::{RATE, SETTLE};
use crate::figures::{Figures, accounted, add};
use crate::generator::Generator;
use crate::peer::Peer;
use crate::process::{Cores, Server};

const TICK: Duration = Duration::from_millis(10);
/// Connections begun at once: below any listener's backlog.
const AT_ONCE: usize = 512;
/// Events of each room before the node is killed, and while it is away.
const BEFORE: u32 = 5;
const MISSED: u32 = 10;

/// The node's clients, and who publishes by another node.
struct Avalanche {
    server: Server,
    generator: Generator,
    feeder: Feeder,
    clients: usize,
    rooms: u32,
}

/// One round.
pub fn run(peer: &Peer, clients: usize, rooms: u32, cores: Cores) -> Result<Figures> {
    let server = peer.start(cores)?;
    let [victim, other] = server.addresses[..] else {
        anyhow::bail!("two nodes are wanted");
    };
    let mut generator = Generator::new(vec![victim], peer.protocol)?;
    let members = generator.connect(clients)?;
    members
        .clone()
        .for_each(|client| generator.client(client).keep_position());
    generator.join(members, |client| client as u32 % rooms)?;
    let mut avalanche = Avalanche {
        server,
        generator,
        feeder: Feeder::new(vec![other]),
        clients,
        rooms,
    };
    avalanche.publish(BEFORE)?;
    avalanche.generator.settle(SETTLE)?;
    avalanche.server.kill(0);
    avalanche.until_gone()?;
    avalanche.publish(MISSED)?;
    avalanche.server.revive(0)?;
    avalanche.until_listens(victim)?;
    avalanche.come_back(victim)
}

impl Avalanche {
    /// So many events of each room, and all of them accepted.
    fn publish(&mut self, each: u32) -> Result<()> {
        let begin = Instant::now();
        for number in 0..each * self.rooms {
            let stamp = self.generator.stamp(number % self.rooms);
            self.feeder.publish(stamp);
            let due = Duration::from_secs_f64(f64::from(number) / RATE);
            if let Some(early) = due.checked_sub(begin.elapsed()) {
                self.generator.idle(early)?;
            }
        }
        while self.feeder.waiting() > 0 {
            self.generator.idle(TICK)?;
        }
        ensure!(self.feeder.refused() == 0, "events were refused");
        Ok(())
    }

    fn until_gone(&mut self) -> Result<()> {
        let begin = Instant::now();
        while (0..self.clients).any(|client| !self.generator.client(client).is_gone()) {
            ensure!(begin.elapsed() < SETTLE, "a client of a killed node stays");
            self.generator.idle(TICK)?;
        }
        Ok(())
    }

    fn until_listens(&mut self, address: SocketAddr) -> Result<()> {
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begin.elapsed() < SETTLE, "the node does not listen again");
            self.generator.idle(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// All come back, and again who was not let in, until all have what they are owed.
    fn come_back(mut self, address: SocketAddr) -> Result<Figures> {
        let begin = Instant::now();
        let mut connections = 0;
        while self.generator.ledger().outstanding() > 0 && begin.elapsed() < SETTLE {
            for client in 0..self.clients {
                if self.generator.client(client).is_gone() {
                    let room = client as u32 % self.rooms;
                    self.generator.come_back_at(client, address, room)?;
                    connections += 1;
                    if connections % AT_ONCE == 0 {
                        self.generator.idle(Duration::from_millis(1))?;
                    }
                }
            }
            self.generator.idle(TICK)?;
        }
        let caught_up = begin.elapsed();
        let account = self.generator.grace()?;
        let tally = self.generator.tally();
        let mut figures = accounted(account, tally.refused + self.feeder.refused());
        add(&mut figures, "told", tally.unrecovered as f64);
        add(&mut figures, "caught_up_ms", caught_up.as_secs_f64() * 1e3);
        let again = connections - self.clients;
        add(&mut figures, "again", again as f64);
        Ok(figures)
    }
}
