//! Clients that come back to where they were, by a secret and not by naming their rooms.

use super::RoomRegistry;
use crate::{
    logic::{
        presence::{Card, Secret, SessionId},
        protocol::{Rooms, socket_io},
        room_name::RoomName,
        sessions::SessionRecord,
    },
    messages::Restore,
    peer::{CLOSED, CLOSING, GREETED, LAGGING, PERSONAL, Peer, PendingJoin, Ticket},
    ports::Wire,
};
use actix::Context;
use std::{rc::Rc, sync::Arc};

/// What belongs to a join that restores a client.
#[derive(Debug)]
pub struct Restoring {
    /// At which sequence it joined each room, in the order of the rooms.
    pub joined_at: Vec<u64>,
    /// Who it is if the history does not reach back to where it was.
    pub otherwise: (SessionId, Secret),
}

impl<W: Wire> RoomRegistry<W> {
    pub(super) fn restore(&mut self, restore: Restore, ctx: &mut Context<Self>) {
        let Restore {
            peer,
            secret,
            record,
            since,
            otherwise,
        } = restore;
        let Some(peer) = self.deps.hub.peer(peer).filter(|peer| !peer.is(CLOSING | CLOSED)) else {
            // It left again before it was there.
            let generation = record.generation;
            self.deps
                .neighbours
                .bus
                .part_session(Ticket { secret, generation }, false);
            return;
        };
        self.be(&peer, record.id, record.generation, secret);
        let Some(since) = since else {
            return self.begin_afresh(&peer, otherwise);
        };
        if record.rooms.is_empty() {
            // Who was nowhere has missed nothing.
            self.go_live(&peer, self.state.applied);
            return self.greet(&peer);
        }
        let (rooms, joined_at): (Vec<RoomName>, _) = record.rooms.into_iter().unzip();
        let asked = Rooms::Many(Vec::new());
        let join = PendingJoin {
            rooms,
            asked,
            since: Some(since),
            reference: None,
            restoring: Some(Box::new(Restoring { joined_at, otherwise })),
        };
        self.await_rooms(&peer, join, ctx);
    }

    /// A connection is that of this client from now on.
    fn be(&self, peer: &Peer<W>, id: SessionId, generation: u32, secret: Secret) {
        let card = peer.card();
        peer.set_card(Arc::new(Card {
            id,
            generation,
            subject: card.subject.clone(),
            node: card.node.clone(),
            ..*card
        }));
        peer.ticket.set(Some(Ticket { secret, generation }));
    }

    /// A client that could not be restored is a new one, in no room.
    pub(super) fn begin_afresh(&mut self, peer: &Rc<Peer<W>>, (id, secret): (SessionId, Secret)) {
        let rooms: Vec<RoomName> = peer.rooms.take().into_iter().map(|(room, _)| room).collect();
        for name in &rooms {
            self.forget_member(name, peer);
        }
        let bus = &self.deps.neighbours.bus;
        bus.exit(&rooms, &peer.card());
        if let Some(ticket) = peer.ticket.take() {
            bus.part_session(ticket, true);
        }
        peer.catch_up.take();
        peer.clear(LAGGING | PERSONAL);
        peer.upto.set(self.state.applied);
        self.be(peer, id, 0, secret);
        self.keep(peer);
        self.greet(peer);
    }

    /// Tells a client that it is connected, and as whom.
    pub(super) fn greet(&self, peer: &Rc<Peer<W>>) {
        let secret = peer.ticket.get().map(|ticket| ticket.secret);
        peer.set(GREETED);
        self.deps
            .hub
            .send(peer, socket_io::connected(peer.card().id, secret));
    }

    /// Writes down where a client is, if it may come back to it.
    pub(super) fn keep(&self, peer: &Peer<W>) {
        let Some(ticket) = peer.ticket.get() else { return };
        let card = peer.card();
        let bus = &self.deps.neighbours.bus;
        let record = SessionRecord {
            id: card.id,
            subject: card.subject.clone(),
            generation: ticket.generation,
            life: self.deps.life.unwrap_or_else(|| bus.life()),
            rooms: peer.rooms.borrow().clone(),
        };
        bus.keep_session(ticket.secret, record);
    }

    /// A client has come back, here or elsewhere: its earlier connection, which may still look alive, is closed.
    pub(super) fn taken_over(&self, id: SessionId, generation: u32) {
        let is_it = |peer: &Rc<Peer<W>>| {
            let card = peer.card();
            card.id == id && card.generation < generation && peer.ticket.get().is_some()
        };
        for peer in self.deps.hub.all().into_iter().filter(is_it) {
            tracing::debug!(session = %id, generation, "taken over by a newer connection");
            peer.kill();
            self.deps.hub.remove(&peer);
        }
    }
}
