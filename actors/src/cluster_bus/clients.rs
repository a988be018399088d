//! Clients that may come back, and who is in which room: told to the broker, and kept here for when it is away.

use super::state::{Asked, State};
use crate::{
    broker::{Errand, Outcome},
    logic::{
        presence::{Card, Secret},
        protocol::Member,
        room_name::RoomName,
        sessions::{Claimed, Kept, SessionRecord},
    },
    messages::FromBus,
    peer::Ticket,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Clients that leave while the broker is away, and of whom it is told later, at most.
const PARTED_MAX: usize = 100_000;

impl State {
    /// Does by itself what the broker did not do, or has not said that it did.
    pub fn alone(&mut self, asked: Vec<Asked>, now_ms: i64) {
        for (errand, answer) in asked {
            // Whoever asked may be gone.
            let _ = answer.send(self.do_alone(errand, now_ms));
        }
    }

    /// Writes everything down that the broker may not have.
    pub(super) fn write_down_all(&mut self, now_ms: i64) {
        let mut errands = vec![Errand::Empty];
        errands.extend(
            self.presence
                .all()
                .map(|(room, card, since_ms)| Errand::Enter(vec![room.clone()], card.clone(), since_ms)),
        );
        errands.extend(self.keep_connected(now_ms));
        for (ticket, for_good) in std::mem::take(&mut self.parted) {
            // Where it was when it left.
            let record = self.sessions.get(ticket.secret);
            errands.extend(record.map(|record| Errand::Keep(ticket.secret, record.clone())));
            errands.push(Errand::Part(ticket, for_good));
        }
        // Before anything that is asked from now on.
        let later = std::mem::take(&mut self.errands);
        let all = errands.into_iter().map(|errand| (errand, oneshot::channel().0));
        self.errands = all.chain(later).collect();
    }

    /// Where everybody is that is connected.
    fn keep_connected(&mut self, now_ms: i64) -> Vec<Errand> {
        self.renewed_ms = now_ms;
        let mut connected: Vec<_> = self.sessions.connected().collect();
        connected.sort_unstable_by_key(|(secret, _)| *secret);
        let keep = |(secret, record): (Secret, &SessionRecord)| Errand::Keep(secret, record.clone());
        connected.into_iter().map(keep).collect()
    }

    pub fn run_errand(&mut self, errand: Errand, now_ms: i64) -> oneshot::Receiver<Outcome> {
        let (answer, answered) = oneshot::channel();
        if self.link.is_some() {
            match &errand {
                Errand::Keep(secret, record) => drop(self.sessions.keep(*secret, record.clone())),
                Errand::Part(Ticket { secret, generation }, for_good) => {
                    self.sessions.part(*secret, *generation, *for_good, now_ms);
                }
                _ => {}
            }
            self.errands.push((errand, answer));
        } else {
            let _ = answer.send(self.do_alone(errand, now_ms));
        }
        answered
    }

    /// What an errand comes to while the broker is away.
    fn do_alone(&mut self, errand: Errand, now_ms: i64) -> Outcome {
        match errand {
            Errand::Keep(secret, record) => {
                let is_last = self.sessions.keep(secret, record);
                Outcome::Kept(if is_last { Kept::Here } else { Kept::Superseded })
            }
            Errand::Claim(secret, subject) => {
                let claimed = self.sessions.claim_alone(secret, subject.as_deref(), now_ms);
                if let Some(record) = &claimed {
                    let (id, generation) = (record.id, record.generation);
                    self.subscriptions.tell(&FromBus::TakenOver { id, generation });
                }
                Outcome::Claimed(claimed.map(|record| Claimed {
                    record,
                    is_latest: false,
                }))
            }
            Errand::Part(ticket, for_good) => {
                let Ticket { secret, generation } = ticket;
                self.sessions.part(secret, generation, for_good, now_ms);
                if self.parted.len() < PARTED_MAX {
                    self.parted.push((ticket, for_good));
                }
                Outcome::Done
            }
            _ => Outcome::Done,
        }
    }

    pub fn take_errands(&mut self, most: usize) -> Vec<Asked> {
        let most = most.min(self.errands.len());
        self.errands.drain(..most).collect()
    }

    pub fn ask(&mut self, errand: Errand) {
        if self.link.is_some() {
            self.errands.push((errand, oneshot::channel().0));
        }
    }

    pub fn enter(&mut self, rooms: &[RoomName], card: &Arc<Card>, now_ms: i64) {
        rooms
            .iter()
            .for_each(|room| self.presence.enter(room, card, now_ms));
        self.ask(Errand::Enter(rooms.to_vec(), card.clone(), now_ms));
    }

    pub fn exit(&mut self, rooms: &[RoomName], card: &Arc<Card>) {
        rooms.iter().for_each(|room| self.presence.exit(room, card));
        self.ask(Errand::Exit(rooms.to_vec(), card.clone()));
    }

    pub fn members(&self, room: &RoomName) -> Vec<Member> {
        self.presence.members(room)
    }

    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(RoomName, usize)> {
        self.presence.rooms(prefix, after, limit)
    }

    pub fn tend(&mut self, now_ms: i64) {
        self.sessions.tend(now_ms);
        self.ask(Errand::Tend);
        if self.link.is_some() && now_ms - self.renewed_ms >= self.renew_every_ms {
            let again = self.keep_connected(now_ms);
            again.into_iter().for_each(|errand| self.ask(errand));
        }
    }
}
