//! Clients that come back to where they were, by a secret and not by naming their rooms.

use super::RoomRegistry;
use crate::{
    gate,
    logic::{
        position::Position,
        presence::{Card, Secret, SessionId},
        protocol::{Rooms, socket_io},
        room_name::RoomName,
        sessions::{Claimed, Kept, SessionRecord},
    },
    messages::Enter,
    peer::{CLOSED, CLOSING, GREETED, PERSONAL, Peer, Pending, PendingJoin, Ticket, UNTOLD, Written},
    ports::{Bus, BusError, PortFuture, Wire},
    reply::poll_once,
};
use actix::{AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{rc::Rc, sync::Arc};

/// Who a client is that is new.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Its id.
    pub id: SessionId,
    /// With what it may come back; `None` where nobody may.
    pub secret: Option<Secret>,
}

/// A client that shows its secret has been given its place. If nobody takes it there, the client may come again: it must
/// not count as connected for ever.
pub struct Claim {
    bus: Arc<dyn Bus>,
    secret: Secret,
    claimed: Option<Claimed>,
}

impl Claim {
    /// The place of the client with this secret, as the bus has given it.
    pub fn new(bus: Arc<dyn Bus>, secret: Secret, claimed: Claimed) -> Self {
        let claimed = Some(claimed);
        Self { bus, secret, claimed }
    }

    /// What a client has that was given nothing yet.
    pub fn start(&self) -> Option<Position> {
        self.claimed.as_ref().map(|claimed| claimed.record.start())
    }

    /// Whether its client may, as it stands, be in all the rooms where it was.
    pub fn may_be_taken<W: Wire>(&self, peer: &Peer<W>, now_ms: i64) -> bool {
        let rooms = self.claimed.iter().flat_map(|claimed| &claimed.record.rooms);
        gate::could_join(peer, rooms.map(|(room, _)| room), now_ms)
    }

    /// Somebody is there from now on.
    fn take(mut self) -> Option<(Secret, Claimed)> {
        self.claimed.take().map(|claimed| (self.secret, claimed))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(Claimed { record, .. }) = &self.claimed {
            let (secret, generation) = (self.secret, record.generation);
            self.bus.part_session(Ticket { secret, generation }, false);
        }
    }
}

/// What belongs to a join that restores a client.
#[derive(Debug)]
pub struct Restoring {
    /// At which sequence it joined each room, in the order of the rooms.
    pub joined_at: Vec<u64>,
    /// Who it is if the history does not reach back to where it was.
    pub otherwise: Newcomer,
}

impl<W: Wire> RoomRegistry<W> {
    pub(super) fn enter(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        let Enter {
            peer,
            claim,
            since,
            otherwise,
        } = enter;
        let Some(peer) = self.deps.hub.peer(peer).filter(|peer| !peer.is(CLOSING | CLOSED)) else {
            // It left again before it was there.
            return;
        };
        let Some((secret, Claimed { record, is_latest })) = claim.and_then(Claim::take) else {
            return self.begin_afresh(&peer, otherwise, since.as_ref(), ctx);
        };
        self.be(&peer, record.id, record.generation, Some(secret));
        // Another connection may have come for it since, and nobody would tell this one any more.
        let kept = self.deps.neighbours.bus.keep_session(secret, record.clone());
        self.heed(&peer, kept, false, ctx);
        // It may have joined or left rooms on a node that could tell nobody, or told a broker that does not know it any
        // more: so what it says itself counts, and silence only where nothing else can be known.
        let says = since.as_ref().and_then(|since| since.rooms);
        if !says.map_or(is_latest, |rooms| rooms == record.rooms_digest()) {
            return self.begin_afresh(&peer, otherwise, since.as_ref(), ctx);
        }
        if record.rooms.is_empty() {
            // Who was nowhere has missed nothing.
            let has = since.map_or(0, |since| self.floor(&since));
            self.go_live(&peer, self.state.applied.max(has));
            return self.greet(&peer);
        }
        let Some(since) = since.filter(|since| since.life == record.life) else {
            return self.begin_afresh(&peer, otherwise, None, ctx);
        };
        let (rooms, joined_at): (Vec<RoomName>, _) = record.rooms.into_iter().unzip();
        let join = PendingJoin {
            rooms,
            asked: Rooms::Many(Vec::new()),
            since: Some(since),
            reference: None,
            restoring: Some(Box::new(Restoring { joined_at, otherwise })),
            // It is what was read.
            written: Written::Done,
        };
        self.await_rooms(&peer, join, ctx);
    }

    /// A connection is that of this client from now on.
    fn be(&self, peer: &Rc<Peer<W>>, id: SessionId, generation: u32, secret: Option<Secret>) {
        let card = peer.card();
        peer.set_card(Arc::new(Card {
            id,
            generation,
            subject: card.subject.clone(),
            node: card.node.clone(),
            ..*card
        }));
        peer.ticket
            .set(secret.map(|secret| Ticket { secret, generation }));
        if secret.is_none() {
            return;
        }
        match self.deps.hub.seated(id) {
            // This one is the older: the bus will say so.
            Some(other) if other.card().generation > generation => {}
            Some(other) if !Rc::ptr_eq(&other, peer) => {
                self.deps.hub.seat(id, peer.key.get());
                self.supersede(&other);
            }
            _ => self.deps.hub.seat(id, peer.key.get()),
        }
    }

    /// The history does not reach back to where a client was.
    pub(super) fn cannot_restore(&mut self, peer: &Rc<Peer<W>>, head: u64, ctx: &mut Context<Self>) {
        self.deps.hub.stats.resumes_incomplete.add(1);
        let told = peer.catch_up.take().and_then(|catch_up| catch_up.told);
        let Some(PendingJoin { since, restoring, .. }) = told else {
            return;
        };
        // What it said that it has may be more than there is.
        peer.upto.set(peer.upto.get().min(head));
        if let Some(restoring) = restoring {
            self.begin_afresh(peer, restoring.otherwise, since.as_ref(), ctx);
        }
    }

    /// A client that could not be restored, or never was here, is a new one, in no room.
    fn begin_afresh(
        &mut self,
        peer: &Rc<Peer<W>>,
        newcomer: Newcomer,
        has: Option<&Position>,
        ctx: &mut Context<Self>,
    ) {
        self.forget(peer, true);
        let has = has.map_or(0, |has| self.floor(has));
        peer.upto.set(peer.upto.get().max(self.state.applied).max(has));
        self.be(peer, newcomer.id, 0, newcomer.secret);
        self.keep(peer, ctx);
        self.greet(peer);
    }

    /// From where on a client is given events that says that it has these. Another shard, or the history, may have been
    /// ahead of this one, and the client keeps that position until it is given a later one: were it given an earlier
    /// event now and cut off, it would seem to have all in between.
    fn floor(&self, has: &Position) -> u64 {
        if Some(has.life) != self.deps.life {
            return 0;
        }
        self.deps.neighbours.bus.bound(has.seq)
    }

    /// Tells a client that it is connected, and as whom.
    pub(super) fn greet(&self, peer: &Rc<Peer<W>>) {
        let secret = peer.ticket.get().map(|ticket| ticket.secret);
        peer.set(GREETED);
        self.deps.hub.note_id(peer.card().id, peer.key.get());
        self.deps
            .hub
            .send(peer, socket_io::connected(peer.card().id, secret));
    }

    /// Writes down where a client is, if it may come back to it.
    pub(super) fn keep(&self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        self.write_down(peer, false, ctx);
    }

    /// The same, of a client that has left rooms since it was written down last.
    pub(super) fn keep_change(&self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        self.write_down(peer, true, ctx);
    }

    fn write_down(&self, peer: &Rc<Peer<W>>, has_changed: bool, ctx: &mut Context<Self>) {
        let Some(ticket) = peer.ticket.get() else { return };
        let record = self.record_of(peer, ticket);
        let bus = &self.deps.neighbours.bus;
        self.heed(peer, bus.keep_session(ticket.secret, record), has_changed, ctx);
    }

    /// Where a client is, and where it will be by the join that is next, once that is being written down: whatever is
    /// written meanwhile must not take that back.
    fn record_of(&self, peer: &Peer<W>, ticket: Ticket) -> SessionRecord {
        let card = peer.card();
        let mut rooms = rooms_of(peer);
        if let Some(Pending::Join(join)) = peer.pending.borrow().front().map(|next| &**next)
            && join.restoring.is_none()
            && join.written != Written::No
        {
            // As `complete` will have it, if not a little earlier.
            let joined_at = match peer.rooms.borrow().is_empty() {
                true => peer.upto.get().max(self.state.applied),
                false => self.position(peer).seq,
            };
            for room in &join.rooms {
                if !rooms.iter().any(|(has, _)| has == room) {
                    rooms.push((room.clone(), joined_at));
                }
            }
        }
        SessionRecord {
            id: card.id,
            subject: card.subject.clone(),
            generation: ticket.generation,
            life: self.deps.life.unwrap_or_else(|| self.deps.neighbours.bus.life()),
            rooms,
        }
    }

    /// Whether it is written down that a client will be in the rooms of the join that is next; else that is begun. So it is
    /// there again after a crash of this node that comes right after the answer.
    pub(super) fn is_written(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) -> bool {
        let Some(ticket) = peer.ticket.get() else {
            return true;
        };
        let writing = match peer.pending.borrow_mut().front_mut().map(|next| &mut **next) {
            Some(Pending::Join(join)) => match join.written {
                Written::Done => return true,
                Written::Begun(_) => return false,
                Written::No => {
                    self.deps.writes += 1;
                    join.written = Written::Begun(self.deps.writes);
                    join.written
                }
            },
            _ => return true,
        };
        let record = self.record_of(peer, ticket);
        let kept = self.deps.neighbours.bus.keep_session(ticket.secret, record);
        match poll_once(kept) {
            Ok(kept) => self.written(peer, writing, &kept),
            Err(pending) => {
                let peer = peer.clone();
                ctx.spawn(pending.into_actor(self).map(move |kept, act, ctx| {
                    if act.written(&peer, writing, &kept) {
                        act.settle(&peer, ctx);
                    }
                }));
                false
            }
        }
    }

    /// After a restart: nobody waits any more for what was being written.
    pub(super) fn begin_writing_again(&self) {
        for peer in self.deps.hub.all() {
            if let Some(Pending::Join(join)) = peer.pending.borrow_mut().front_mut().map(|next| &mut **next)
                && let Written::Begun(_) = join.written
            {
                join.written = Written::No;
            }
        }
    }

    /// What waited for this may be carried out, or passed over if the connection is closed: a bus that is away is told again
    /// when it is back.
    fn written(&self, peer: &Rc<Peer<W>>, writing: Written, kept: &Result<Kept, BusError>) -> bool {
        let mut pending = peer.pending.borrow_mut();
        let Some(Pending::Join(join)) = pending.front_mut().map(|next| &mut **next) else {
            return false;
        };
        if join.written != writing {
            return false;
        }
        join.written = Written::Done;
        drop(pending);
        match kept {
            Ok(Kept::Superseded) => self.supersede(peer),
            Ok(Kept::ByAll) => self.all_are_told(peer),
            // It is told so when it is there, before it is told that it is.
            Ok(Kept::Here) | Err(_) => peer.set(UNTOLD | PERSONAL),
        }
        true
    }

    /// A connection whose place another has taken is closed. A bus that is away is told again when it is back.
    fn heed(
        &self,
        peer: &Rc<Peer<W>>,
        kept: PortFuture<Result<Kept, BusError>>,
        has_changed: bool,
        ctx: &mut Context<Self>,
    ) {
        let ticket = peer.ticket.get();
        match poll_once(kept) {
            Ok(kept) => self.heed_answer(peer, &kept, has_changed),
            Err(pending) => {
                let peer = peer.clone();
                ctx.spawn(pending.into_actor(self).map(move |kept, act, _| {
                    if peer.ticket.get() == ticket {
                        act.heed_answer(&peer, &kept, has_changed);
                    }
                }));
            }
        }
    }

    fn heed_answer(&self, peer: &Rc<Peer<W>>, kept: &Result<Kept, BusError>, has_changed: bool) {
        match kept {
            Ok(Kept::Superseded) => self.supersede(peer),
            Ok(Kept::ByAll) => self.all_are_told(peer),
            Ok(Kept::Here) | Err(_) => {
                peer.set(UNTOLD | PERSONAL);
                if has_changed {
                    self.say_untold(peer);
                }
            }
        }
    }

    /// A client has come back, here or elsewhere: its earlier connection, which may still look alive, is closed.
    pub(super) fn taken_over(&self, id: SessionId, generation: u32) {
        if let Some(peer) = self
            .deps
            .hub
            .seated(id)
            .filter(|peer| peer.card().generation < generation)
        {
            self.supersede(&peer);
        }
    }

    fn supersede(&self, peer: &Rc<Peer<W>>) {
        tracing::debug!(session = %peer.card().id, "taken over by a newer connection");
        peer.kill();
        self.deps.hub.remove(peer);
    }
}

/// The rooms of a connection, each with the sequence at which it joined: of one that is being restored those that it
/// comes back to.
fn rooms_of<W>(peer: &Peer<W>) -> Vec<(RoomName, u64)> {
    let mut rooms = peer.rooms.borrow().clone();
    for pending in peer.pending.borrow().iter() {
        if let Pending::Join(PendingJoin {
            rooms: names,
            restoring: Some(restoring),
            ..
        }) = &**pending
        {
            rooms.extend(names.iter().cloned().zip(restoring.joined_at.iter().copied()));
        }
    }
    rooms
}
