//! Coming and going.

use super::RoomRegistry;
use crate::{
    logic::{
        event::{Event, Place, Receipt},
        fault::{Code, Fault},
        position::{Life, Position},
        presence::Card,
        protocol::{self, Answer, Protocol, Rooms},
        room_name::RoomName,
        sessions::rooms_digest,
    },
    messages::{Heard, Join, Leave, PeerKey, Publish, Watch},
    peer::{
        CLOSED, CatchUp, GREETED, LAGGING, Line, PERSONAL, Peer, Pending, PendingJoin, PendingLeave,
        PendingPublish, UNTOLD, Written,
    },
    ports::{BusError, PortFuture, Wire},
    reply::poll_once,
};
use actix::{AsyncContext as _, Context, WrapFuture as _, fut::ActorFutureExt as _};
use futures_util::future::FutureExt as _;
use serde_json::value::RawValue;
use std::{future::ready, rc::Rc, sync::Arc};
use tokio::sync::oneshot;

impl<W: Wire> RoomRegistry<W> {
    pub(super) fn join(&mut self, join: Join, ctx: &mut Context<Self>) {
        let Some(peer) = self.deps.hub.peer(join.peer) else {
            return;
        };
        if let Err(fault) = self.check_room_count(&peer, &join.rooms) {
            return self.answer(&peer, &Answer::Error(&fault), join.reference.as_deref());
        }
        let Join {
            rooms,
            asked,
            since,
            reference,
            ..
        } = join;
        let join = PendingJoin {
            rooms,
            asked,
            since,
            reference,
            restoring: None,
            written: Written::No,
        };
        self.await_rooms(&peer, join, ctx);
    }

    /// Sees to it that the bus hands over the events of a join's rooms; then it is carried out.
    pub(super) fn await_rooms(&mut self, peer: &Rc<Peer<W>>, join: PendingJoin, ctx: &mut Context<Self>) {
        let mut unknown = Vec::new();
        for name in &join.rooms {
            if !self.state.rooms.contains_key(name) {
                unknown.push(name.clone());
            }
            let room = self.room(name);
            if !room.confirmed {
                room.waiters.push(peer.clone());
            }
        }
        peer.pending.borrow_mut().push_back(Box::new(Pending::Join(join)));
        if !unknown.is_empty() {
            self.say_interest(unknown, Vec::new(), ctx);
        }
        self.settle(peer, ctx);
    }

    fn check_room_count(&self, peer: &Peer<W>, rooms: &[RoomName]) -> Result<(), Fault> {
        let limit = self.deps.settings.rooms_per_connection;
        let rooms_of = |pending: &Pending| match pending {
            Pending::Join(join) => join.rooms.len(),
            Pending::Leave(_) | Pending::Publish(_) => 0,
        };
        let pending: usize = peer
            .pending
            .borrow()
            .iter()
            .map(|pending| rooms_of(pending))
            .sum();
        let count = peer.rooms.borrow().len() + pending + rooms.len();
        // Rooms it is in already count again only where that could matter.
        let new = || {
            rooms
                .iter()
                .filter(|room| !peer.rooms.borrow().iter().any(|(has, _)| has == *room))
                .count()
        };
        if count > limit && peer.rooms.borrow().len() + pending + new() > limit {
            let message = format!("a connection may be in {limit} rooms at once");
            return Err(Fault::new(Code::TooManyRooms, message));
        }
        Ok(())
    }

    /// From `at` on everything of these rooms is handed over.
    pub(super) fn confirmed(&mut self, rooms: &[RoomName], at: u64, ctx: &mut Context<Self>) {
        self.state.applied = self.state.applied.max(at);
        for name in rooms {
            let Some(room) = self.state.rooms.get_mut(name) else {
                continue;
            };
            room.confirmed = true;
            for peer in std::mem::take(&mut room.waiters) {
                self.settle(&peer, ctx);
            }
        }
    }

    /// Publishes, behind the joins of the connection that wants it. Errors: the node is full.
    pub(super) fn publish(&self, publish: Publish) -> PortFuture<Result<Receipt, BusError>> {
        if self.is_full() {
            self.deps.hub.stats.refused.add(1);
            return Box::pin(ready(Err(BusError::Full)));
        }
        let Publish { draft, behind } = publish;
        let peer = behind.and_then(|key| self.deps.hub.peer(key));
        match peer.filter(|peer| !peer.pending.borrow().is_empty()) {
            Some(peer) => {
                let (answer, answered) = oneshot::channel();
                let publish = PendingPublish { draft, answer };
                peer.pending
                    .borrow_mut()
                    .push_back(Box::new(Pending::Publish(publish)));
                // Dropped with the connection: nobody is left to be answered.
                let gone = |_| Err(BusError::Away("its connection is gone".into()));
                Box::pin(answered.map(move |answer| answer.unwrap_or_else(gone)))
            }
            None => self.deps.neighbours.bus.publish(draft),
        }
    }

    fn complete_publish(&self, publish: PendingPublish, ctx: &mut Context<Self>) {
        let answer = publish.answer;
        match poll_once(self.deps.neighbours.bus.publish(publish.draft)) {
            Ok(receipt) => drop(answer.send(receipt)),
            Err(pending) => {
                ctx.spawn(
                    pending
                        .into_actor(self)
                        .map(|receipt, _, _| drop(answer.send(receipt))),
                );
            }
        }
    }

    /// Carries out what a connection asked, in that order, as far as the bus has confirmed it.
    pub(super) fn settle(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        while let Some(next) = self.next_pending(peer, ctx) {
            match next {
                // What its client said before it went is for others.
                Pending::Publish(publish) => self.complete_publish(publish, ctx),
                _ if peer.is(CLOSED) => {}
                Pending::Join(join) => self.complete(peer, join, ctx),
                Pending::Leave(leave) => self.complete_leave(peer, &leave, ctx),
            }
        }
    }

    fn next_pending(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) -> Option<Pending> {
        let is_told = |catch_up: &CatchUp| catch_up.told.is_none();
        // Nobody is left to hear how the join of a closed connection went, and its session waits for what is behind it.
        if !peer.is(CLOSED) && !peer.catch_up.borrow().as_deref().is_none_or(is_told) {
            return None;
        }
        let is_confirmed = |name| self.state.rooms.get(name).is_some_and(|room| room.confirmed);
        let pending = peer.pending.borrow();
        let is_ready = match &**pending.front()? {
            Pending::Join(join) => self.is_attached() && join.rooms.iter().all(is_confirmed),
            Pending::Leave(_) | Pending::Publish(_) => true,
        };
        drop(pending);
        if !is_ready || !self.is_written(peer, ctx) {
            return None;
        }
        peer.pending.borrow_mut().pop_front().map(|next| *next)
    }

    fn complete(&mut self, peer: &Rc<Peer<W>>, join: PendingJoin, ctx: &mut Context<Self>) {
        let resumes = join.since.is_some();
        let is_first = peer.rooms.borrow().is_empty();
        if is_first && !resumes {
            // Who is nowhere has missed nothing; nor is what was published before and is still kept back for him.
            self.go_live(peer, self.state.applied.max(self.state.burst.upto()));
        } else if !is_first && !self.deps.neighbours.bus.state().up {
            // A shard that failed half-way has not given it everything: before it begins to have what comes behind that.
            self.go_on_alone(peer, ctx);
        }
        // A resuming client had these rooms before; anybody else begins where it is, and is told so.
        let joined_at = if resumes { 0 } else { self.position(peer).seq };
        for (place, name) in join.rooms.iter().enumerate() {
            let restored_at = join
                .restoring
                .as_ref()
                .map(|restoring| restoring.joined_at[place]);
            let joined_at = restored_at.unwrap_or(joined_at);
            if !peer.rooms.borrow().iter().any(|(has, _)| has == name) {
                peer.rooms.borrow_mut().push((name.clone(), joined_at));
                self.room(name).members.push(peer.clone());
            }
            self.room(name).empty_since_ms = None;
        }
        self.deps.neighbours.bus.enter(&join.rooms, &peer.card());
        if resumes {
            return self.resume(peer, join, ctx);
        }
        if !peer.is(LAGGING) {
            peer.upto.set(peer.upto.get().max(joined_at));
        }
        self.begin_in_outage(peer, is_first);
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            // What was read so far was read without these rooms.
            catch_up.after = catch_up.after.min(joined_at);
            catch_up.reading = None;
        }
        self.say_untold(peer);
        if !self.say_joined(peer, &join, true) {
            self.lag(peer);
            if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                catch_up.told = Some(join);
            }
        }
        self.feed(peer, ctx);
    }

    fn resume(&mut self, peer: &Rc<Peer<W>>, join: PendingJoin, ctx: &mut Context<Self>) {
        self.deps.hub.stats.resumes.add(1);
        let Some(since) = join.since.clone() else { return };
        let known = Some(since.life) == self.deps.life;
        let mut catch_up = CatchUp::default();
        if known {
            (catch_up.base, catch_up.firsts) = (since.seq, since.waiting);
            // The first of what it lacks may lie below what it has.
            catch_up.after = catch_up
                .firsts
                .first()
                .map_or(since.seq, |first| first - 1)
                .min(since.seq);
        } else {
            // Of another life nothing is left, and nothing of this one has been seen: all that is kept is new.
            catch_up.firsts = vec![u64::MAX];
            if since.life == Life::NONE {
                // It was on a node that did not know the life, and what it had before that, nobody knows: so it begins here.
                (catch_up.base, catch_up.after) = (self.state.applied, self.state.applied);
            }
        }
        catch_up.told = Some(join);
        // What nodes gave out by themselves they have counted by themselves, whatever life that was in.
        *peer.seen.borrow_mut() = since.seen.into();
        peer.upto.set(catch_up.base);
        *peer.catch_up.borrow_mut() = Some(Box::new(catch_up));
        peer.set(LAGGING | PERSONAL);
        self.feed(peer, ctx);
    }

    /// Answers a join. Returns whether it was heard: a watcher that is too busy is told later.
    pub(super) fn say_joined(&self, peer: &Rc<Peer<W>>, join: &PendingJoin, recovered: bool) -> bool {
        let position = self.position(peer);
        if let Line::Watcher(to) = &peer.line {
            return to.try_send(Heard::Joined { position, recovered }).is_ok();
        }
        if join.restoring.is_some() {
            self.greet(peer);
            return true;
        }
        let answer = Answer::Joined {
            rooms: &join.asked,
            position: &position,
            recovered,
        };
        self.answer(peer, &answer, join.reference.as_deref());
        true
    }

    /// What a connection has, if it has anything yet: one that comes back has what it came with until it is answered.
    pub(super) fn known_position(&self, peer: &Peer<W>) -> Option<Position> {
        let came_with = |pending: &Pending| match pending {
            Pending::Join(join) => join.since.clone(),
            Pending::Leave(_) | Pending::Publish(_) => None,
        };
        let since = peer
            .pending
            .borrow()
            .iter()
            .find_map(|pending| came_with(pending));
        since.or_else(|| (!peer.rooms.borrow().is_empty()).then(|| self.position(peer)))
    }

    /// What a connection has.
    pub(super) fn position(&self, peer: &Peer<W>) -> Position {
        let life = self.deps.life.unwrap_or_else(|| self.deps.neighbours.bus.life());
        let told = |catch_up: &CatchUp| catch_up.told.as_ref().and_then(|join| join.since.clone());
        if let Some(since) = peer.catch_up.borrow().as_deref().and_then(told) {
            return since;
        }
        let mut waiting = match &*peer.user.borrow() {
            Some(user) if peer.is(PERSONAL) => user.throttle().firsts(self.who(peer)),
            _ => Vec::new(),
        };
        let seq = match &*peer.catch_up.borrow() {
            Some(catch_up) => {
                waiting.extend(catch_up.firsts.iter().filter(|first| **first <= catch_up.base));
                waiting.extend(self.firsts_of(&catch_up.resend));
                catch_up.base.max(peer.upto.get())
            }
            // A live connection has been given all that the shard has applied.
            None => peer.upto.get().max(self.state.applied),
        };
        waiting.sort_unstable();
        waiting.dedup();
        let seen = self.seen_by(peer);
        let rooms = peer.is(UNTOLD).then(|| {
            let rooms = peer.rooms.borrow();
            rooms_digest(rooms.iter().map(|(room, _)| room))
        });
        Position {
            life,
            seq,
            waiting,
            seen,
            rooms,
        }
    }

    pub(super) fn leave(&mut self, leave: Leave, ctx: &mut Context<Self>) {
        let Some(peer) = self.deps.hub.peer(leave.peer) else {
            return;
        };
        peer.pending
            .borrow_mut()
            .push_back(Box::new(Pending::Leave(PendingLeave {
                rooms: leave.rooms,
                asked: leave.asked,
                reference: leave.reference,
            })));
        self.settle(&peer, ctx);
    }

    fn complete_leave(&mut self, peer: &Rc<Peer<W>>, leave: &PendingLeave, ctx: &mut Context<Self>) {
        for name in &leave.rooms {
            peer.rooms.borrow_mut().retain(|(room, _)| room != name);
            self.forget_member(name, peer);
        }
        self.leave_beside(peer, &leave.rooms);
        self.deps.neighbours.bus.exit(&leave.rooms, &peer.card());
        self.keep_change(peer, ctx);
        if let Some(user) = &*peer.user.borrow() {
            let is_wanted = |event: &Event| is_for(peer, event);
            user.throttle().retain(self.who(peer), is_wanted);
        }
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.resend.retain(|event| is_for(peer, event));
        }
        self.settle_personal(peer);
        let answer = Answer::Left { rooms: &leave.asked };
        self.answer(peer, &answer, leave.reference.as_deref());
    }

    pub(super) fn forget_member(&mut self, name: &RoomName, peer: &Rc<Peer<W>>) {
        let now_ms = self.deps.hub.now_ms.get();
        let Some(room) = self.state.rooms.get_mut(name) else {
            return;
        };
        if let Some(at) = room.members.iter().position(|member| Rc::ptr_eq(member, peer)) {
            room.members.swap_remove(at);
        }
        if room.members.is_empty() {
            room.empty_since_ms = Some(now_ms);
        }
    }

    /// A connection is in no room from now on, and asks for nothing. Its client may come back, unless it left for good.
    pub(super) fn forget(&mut self, peer: &Rc<Peer<W>>, for_good: bool) {
        let rooms: Vec<RoomName> = peer.rooms.take().into_iter().map(|(room, _)| room).collect();
        for name in &rooms {
            self.forget_member(name, peer);
        }
        let mut pending = peer.pending.take();
        while let Some(asked) = pending.pop_front() {
            let Pending::Join(join) = *asked else { continue };
            for name in &join.rooms {
                if let Some(room) = self.state.rooms.get_mut(name) {
                    room.waiters.retain(|waiter| !Rc::ptr_eq(waiter, peer));
                    if room.members.is_empty() {
                        room.empty_since_ms = Some(self.deps.hub.now_ms.get());
                    }
                }
            }
        }
        self.deps.neighbours.bus.exit(&rooms, &peer.card());
        self.deps.hub.unseat(peer.card().id, peer.key.get());
        self.deps.hub.forget_id(peer.card().id, peer.key.get());
        self.deps.side.leave_all(peer.key.get());
        if let Some(ticket) = peer.ticket.take() {
            self.deps.neighbours.bus.part_session(ticket, for_good);
        }
        peer.catch_up.take();
        peer.seen.take();
        peer.clear(LAGGING | PERSONAL | GREETED | UNTOLD);
        if let Some(user) = peer.user.take() {
            user.throttle().forget(self.who(peer));
        }
    }

    pub(super) fn watch(&mut self, watch: Watch, ctx: &mut Context<Self>) -> Result<PeerKey, Fault> {
        let card = Arc::new(Card {
            id: (self.deps.settings.new_session_id)(),
            generation: 0,
            subject: None,
            node: self.deps.settings.node.clone(),
            connected_ms: self.deps.neighbours.bus.now_ms(),
        });
        let line = Line::Watcher(watch.to);
        let peer = self.deps.hub.add(Peer::new(
            card,
            Protocol::GreenroomV1,
            line,
            self.deps.settings.outbox_bytes,
        ));
        let checked = self.check_room_count(&peer, &watch.rooms);
        if let Err(fault) = checked {
            self.deps.hub.remove(&peer);
            return Err(fault);
        }
        let asked = Rooms::Many(watch.rooms.iter().map(RoomName::to_string).collect());
        let key = peer.key.get();
        self.join(
            Join {
                peer: key,
                rooms: watch.rooms,
                asked,
                since: watch.since,
                reference: None,
            },
            ctx,
        );
        Ok(key)
    }

    /// Sends an answer to a connection, where its protocol has one for it.
    pub(super) fn answer(&self, peer: &Rc<Peer<W>>, answer: &Answer<'_>, reference: Option<&RawValue>) {
        if let Line::Watcher(_) = peer.line {
            // An actor hears events, and has no outbox.
            return;
        }
        if let Some(frame) = protocol::answer_frame(answer, reference, peer.protocol) {
            self.deps.hub.send(peer, frame);
        }
    }
}

/// Whether an event is for a connection: for one of its rooms, since it is there.
pub(super) fn is_for<W>(peer: &Peer<W>, event: &Event) -> bool {
    let rooms = peer.rooms.borrow();
    // Those of an outage come after all that has their number.
    let is_since = |joined_at: u64| joined_at < event.seq || event.local_from.is_some();
    let is_in = |place: &Place| {
        rooms
            .iter()
            .any(|(room, joined_at)| *room == place.room && is_since(*joined_at))
    };
    event.places.iter().any(is_in)
}
