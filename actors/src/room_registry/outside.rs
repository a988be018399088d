//! A cluster of JavaScript servers and the connections here: their events, which have no place in the sequence, and what
//! they want done with clients of Socket.IO.
//!
//! A client of Socket.IO is a socket in their eyes. It may be in rooms of any names: what may have that name here, too, it
//! joins as if it had asked for it; and beside that, at once, all that they have put it into is remembered in
//! [`SideRooms`](crate::logic::js_cluster::SideRooms). Other clients are no sockets, but they hear the events of their rooms.

use super::RoomRegistry;
use crate::{
    js_bridge::{ForeignEvent, Order},
    logic::{
        event::EventName,
        js_cluster::{Ask, Opts, Room},
        protocol::{Protocol, Rooms},
        room_name::RoomName,
    },
    messages::{CarryOut, Join, Leave, Overheard, PeerKey, SocketRow},
    peer::{CLOSED, CLOSING, GREETED, Line, Peer},
    ports::Wire,
};
use actix::{AsyncContext as _, Context, Handler, WrapFuture as _, fut::ActorFutureExt as _};
use bytes::Bytes;
use std::{rc::Rc, sync::Arc};

/// How long answers of clients are waited for if nobody says how long, and the longest that anybody may say, milliseconds.
const ANSWER_MS: u64 = 10_000;
const ANSWER_MS_MAX: u64 = 3_600_000;

/// The frame of an event for clients of Socket.IO with the same position: mostly all of them.
type Latest = Option<(String, Bytes)>;

impl<W: Wire> RoomRegistry<W> {
    fn overhear(&mut self, overheard: &Overheard, ctx: &mut Context<Self>) {
        let Overheard(foreign) = overheard;
        if foreign.room().is_some_and(|room| !self.has_somebody_in(room)) {
            return;
        }
        let Some(event) = foreign.event() else { return };
        // Whoever said it may have heard what was handed over before.
        self.give_out(ctx);
        let mut latest = None;
        for peer in self.reached(&event.to) {
            self.give_foreign(&peer, event, &mut latest);
        }
    }

    fn has_somebody_in(&self, room: &str) -> bool {
        let members = self.state.rooms.get(room).map(|room| room.members.len());
        members.is_some_and(|count| count > 0) || self.beside(room).next().is_some()
    }

    /// The clients that JavaScript servers have put into a room, and the one whose id it is.
    fn beside(&self, room: &str) -> impl Iterator<Item = PeerKey> {
        self.deps
            .side
            .in_room(room)
            .chain(self.deps.hub.socket_by_id(room))
    }

    /// A client has left rooms.
    pub(super) fn leave_beside(&mut self, peer: &Peer<W>, rooms: &[RoomName]) {
        rooms
            .iter()
            .for_each(|room| self.deps.side.leave(peer.key.get(), room.as_str()));
    }

    /// The connections that are meant, each once: for an event without rooms the clients of Socket.IO.
    fn reached(&self, to: &Opts) -> Vec<Rc<Peer<W>>> {
        let mut reached: Vec<Rc<Peer<W>>> = Vec::new();
        if to.rooms.is_empty() {
            reached.extend(self.deps.hub.all().into_iter().filter(is_socket));
        }
        for room in to.rooms.iter().filter_map(Room::name) {
            if let Some(room) = self.state.rooms.get(&*room) {
                reached.extend(room.members.iter().cloned());
            }
            reached.extend(self.beside(&room).filter_map(|key| self.deps.hub.peer(key)));
        }
        if reached.len() > 1 && !to.rooms.is_empty() {
            reached.sort_by_key(|peer| peer.key.get());
            reached.dedup_by_key(|peer| peer.key.get());
        }
        reached.retain(is_there);
        if !to.except.is_empty() {
            let selection = to.selection();
            reached.retain(|peer| selection.has(&peer.card().id.to_string(), &self.rooms_of(peer)));
        }
        reached
    }

    /// The rooms of a connection, by any names.
    fn rooms_of(&self, peer: &Peer<W>) -> Vec<Arc<str>> {
        let own = peer.rooms.borrow();
        let own = own.iter().map(|(room, _)| Arc::from(room));
        let mut rooms: Vec<Arc<str>> = own.chain(self.deps.side.of(peer.key.get()).cloned()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// Gives an event of another server to a connection: now or never, and its position stays what it is.
    fn give_foreign(&self, peer: &Rc<Peer<W>>, event: &ForeignEvent, latest: &mut Latest) {
        let is_late = event.to.flags.volatile && peer.is_behind();
        if is_late || matches!(peer.line, Line::Watcher(_)) || self.is_unanswered(peer) {
            return;
        }
        let frame = match peer.protocol {
            Protocol::SocketIo if EventName::is_reserved(&event.event.name) => None,
            Protocol::SocketIo => {
                let position = self.position(peer).to_string();
                let known = latest.take().filter(|(known, _)| *known == position);
                let (_, frame) = latest.insert(known.unwrap_or_else(|| {
                    let frame = event.socket_io(&position);
                    (position, frame)
                }));
                Some(frame.clone())
            }
            protocol => event.shared(protocol),
        };
        // As for events of this service; another server knows nothing of outboxes, and none shall end for it.
        if let Some(frame) = frame.filter(|frame| frame.len() <= peer.low_water()) {
            self.deps.hub.stats.deliveries.add(1);
            self.deps.hub.send(peer, frame);
        }
    }

    fn carry_out(&mut self, order: &Arc<Order>, ctx: &mut Context<Self>) -> Vec<SocketRow> {
        let (mut meant, others): (Vec<_>, Vec<_>) = self
            .reached(&order.to)
            .into_iter()
            .partition(|peer| is_socket(peer));
        let mut rows: Vec<SocketRow> = meant.iter().map(|peer| self.row(peer)).collect();
        match &order.request.ask {
            Ask::Sockets { .. } | Ask::AllRooms { .. } | Ask::Fetch { .. } | Ask::Emit { .. } => {}
            Ask::Join { rooms, .. } => meant.iter().for_each(|peer| self.put_in(peer, rooms, order, ctx)),
            Ask::Leave { rooms, .. } => meant
                .iter()
                .for_each(|peer| self.take_out(peer, rooms, order, ctx)),
            Ask::Disconnect { close, .. } => meant.iter().for_each(|peer| self.send_away(peer, *close)),
            Ask::Broadcast { .. } => {
                let Some(event) = &order.event else { return rows };
                self.give_out(ctx);
                meant.retain(|peer| self.ask(peer, event, order, ctx));
                others
                    .iter()
                    .for_each(|peer| self.give_foreign(peer, event, &mut None));
                rows = meant.iter().map(|peer| self.row(peer)).collect();
            }
        }
        rows
    }

    fn row(&self, peer: &Peer<W>) -> SocketRow {
        let card = peer.card();
        let caller = peer.caller.as_ref();
        SocketRow {
            id: card.id.to_string(),
            rooms: self.rooms_of(peer),
            subject: card.subject.clone(),
            address: caller.map(|session| session.caller().network().address().to_string()),
            connected_ms: card.connected_ms,
        }
    }

    /// Another server puts a client into rooms.
    fn put_in(&mut self, peer: &Rc<Peer<W>>, rooms: &[Room], order: &Order, ctx: &mut Context<Self>) {
        let (key, limit) = (peer.key.get(), self.deps.settings.rooms_per_connection);
        for room in rooms.iter().filter_map(Room::name) {
            self.deps.side.join(key, &room, limit);
        }
        let is_new = |room: &&RoomName| !is_in(peer, room) || !peer.pending.borrow().is_empty();
        let names: Vec<RoomName> = order.names.iter().filter(is_new).cloned().collect();
        if !names.is_empty() {
            let join = Join {
                peer: key,
                rooms: names,
                asked: Rooms::Many(Vec::new()),
                since: None,
                reference: None,
            };
            self.join(join, ctx);
        }
    }

    /// Another server takes a client out of rooms.
    fn take_out(&mut self, peer: &Rc<Peer<W>>, rooms: &[Room], order: &Order, ctx: &mut Context<Self>) {
        let key = peer.key.get();
        for room in rooms.iter().filter_map(Room::name) {
            self.deps.side.leave(key, &room);
        }
        let is_left = |room: &&RoomName| is_in(peer, room) || !peer.pending.borrow().is_empty();
        let names: Vec<RoomName> = order.names.iter().filter(is_left).cloned().collect();
        if !names.is_empty() {
            let leave = Leave {
                peer: key,
                rooms: names,
                asked: Rooms::Many(Vec::new()),
                reference: None,
            };
            self.leave(leave, ctx);
        }
    }

    /// Another server puts a client out of the main namespace; with `close` its connection goes, too.
    fn send_away(&mut self, peer: &Rc<Peer<W>>, close: bool) {
        tracing::debug!(session = %peer.card().id, close, "a JavaScript server puts a client out");
        if let Some(socket) = self.deps.hub.socket(peer.key.get()) {
            socket.disconnect();
        }
        self.forget(peer, true);
        if close {
            // After the packet the stock client closes it by itself; before it, a polling client would just come back.
            let cut_off_ms = self.deps.hub.now_ms() + self.deps.hub.close_ms;
            peer.cut_off_ms.set(peer.cut_off_ms.get().min(cut_off_ms));
        }
    }

    /// Gives a client an event that it is to answer. Returns whether it was given it.
    fn ask(
        &self,
        peer: &Rc<Peer<W>>,
        event: &ForeignEvent,
        order: &Arc<Order>,
        ctx: &mut Context<Self>,
    ) -> bool {
        let (name, args) = (event.event.name.as_str(), event.event.args.get());
        let socket = self.deps.hub.socket(peer.key.get());
        let fits = name.len() + args.len() <= peer.low_water() && !EventName::is_reserved(name);
        let Some(socket) = socket.filter(|socket| fits && socket.may_ask()) else {
            return false;
        };
        let wait_ms = event.to.flags.timeout_ms.unwrap_or(ANSWER_MS).min(ANSWER_MS_MAX);
        let answer = socket.emit_with_ack(name, args, self.deps.hub.now_ms() + wait_ms);
        // Its session looks after answers that do not come.
        peer.wake();
        let answers = order.answers.clone();
        ctx.spawn(answer.into_actor(self).map(move |answer, _, _| {
            // Who does not answer in time is missing; so may be who asked.
            let _ = answer.map(|args| answers.send(args));
        }));
        true
    }
}

/// Whether a connection is a client of Socket.IO in the main namespace.
fn is_socket<W: Wire>(peer: &Rc<Peer<W>>) -> bool {
    peer.protocol == Protocol::SocketIo && is_there(peer)
}

fn is_in<W>(peer: &Peer<W>, room: &RoomName) -> bool {
    peer.rooms.borrow().iter().any(|(has, _)| has == room)
}

/// Whether it hears events now.
fn is_there<W: Wire>(peer: &Rc<Peer<W>>) -> bool {
    let is_greeted = peer.protocol != Protocol::SocketIo || peer.is(GREETED);
    is_greeted && !peer.is(CLOSING | CLOSED)
}

impl<W: Wire> Handler<Overheard> for RoomRegistry<W> {
    type Result = ();
    fn handle(&mut self, overheard: Overheard, ctx: &mut Self::Context) {
        self.overhear(&overheard, ctx);
    }
}

impl<W: Wire> Handler<CarryOut> for RoomRegistry<W> {
    type Result = Vec<SocketRow>;
    fn handle(&mut self, CarryOut(order): CarryOut, ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(&order, ctx)
    }
}
