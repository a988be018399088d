//! An event reaches those it is for, at once or when the throttle lets it.

use super::RoomRegistry;
use crate::{
    logic::{
        event::{Event, Place},
        fault::CloseCode,
        protocol::{self, View},
        throttle::{Offer, Release, Rule, Who},
    },
    messages::Heard,
    peer::{CLOSED, CLOSING, CatchUp, HUNGRY, LAGGING, Line, PERSONAL, Peer},
    ports::Wire,
    subjects::User,
};
use actix::{AsyncContext, Context};
use std::{rc::Rc, sync::Arc, time::Duration};

impl<W: Wire> RoomRegistry<W> {
    /// Gives an event to every connection in one of its rooms, once each.
    pub(super) fn fan_out(&mut self, event: &Arc<Event>, ctx: &mut Context<Self>) {
        self.deps.hub.stats.events.add(1);
        if Some(event.life) != self.deps.life {
            // A life that the shard does not know yet, or no longer: its numbers mean nothing here.
            if self.is_attached() {
                self.attach(ctx);
            }
            return;
        }
        if event.local_from.is_some() && !self.is_attached() {
            // One before it may have been lost. All of them are given when the shard is attached.
            return;
        }
        let now_ms = self.now_ms();
        let settings = self.deps.settings.clone();
        let rule = settings.rules.of(event);
        self.note_outage(event);
        self.each_member(&event.places, |act, peer| {
            act.offer(peer, event, rule, now_ms, ctx)
        });
        self.state.applied = self.state.applied.max(event.seq);
    }

    /// Calls for each connection in one of these rooms, for one in several of them several times.
    pub(super) fn each_member(&mut self, places: &[Place], mut call: impl FnMut(&mut Self, &Rc<Peer<W>>)) {
        for place in places {
            // The members are taken out so that giving may look at everything else; nobody joins or leaves meanwhile.
            let Some(room) = self.state.rooms.get_mut(&place.room) else {
                continue;
            };
            let members = std::mem::take(&mut room.members);
            for peer in &members {
                #[cfg(feature = "testing")]
                super::faults::trip(self.deps.shard);
                call(self, peer);
            }
            if let Some(room) = self.state.rooms.get_mut(&place.room) {
                room.members = members;
            }
        }
    }

    /// Gives one event to one connection, if it does not have it yet.
    pub(super) fn offer(
        &mut self,
        peer: &Rc<Peer<W>>,
        event: &Arc<Event>,
        rule: Option<&Rule>,
        now_ms: u64,
        ctx: &mut Context<Self>,
    ) {
        if event.local_from.is_some() {
            return self.offer_local(peer, event, rule, now_ms, ctx);
        }
        let takes = peer.upto.get() < event.seq && !peer.is(LAGGING | CLOSING | CLOSED);
        if takes && (self.was_given(peer, event) || self.give(peer, event, rule, now_ms, ctx)) {
            peer.upto.set(event.seq);
        }
    }

    /// Gives one event to one connection. Returns whether it took it; the caller then advances `upto`.
    pub(super) fn give(
        &mut self,
        peer: &Rc<Peer<W>>,
        event: &Arc<Event>,
        rule: Option<&Rule>,
        now_ms: u64,
        ctx: &mut Context<Self>,
    ) -> bool {
        if let Line::Watcher(to) = &peer.line {
            let took = to.try_send(Heard::Event(event.clone())).is_ok();
            if !took {
                self.lag(peer);
                self.feed_soon(peer, ctx);
            }
            return took;
        }
        if let Some(rule) = rule {
            match self.ask_throttle(peer, event, rule, now_ms, ctx) {
                Offer::Now => {}
                Offer::Waits => {
                    self.deps.hub.stats.throttled.add(1);
                    peer.set(PERSONAL);
                    return true;
                }
                Offer::Overflow => {
                    self.deps.hub.stats.slow_clients.add(1);
                    let reason = "too many throttled events wait";
                    self.deps.hub.close(peer, CloseCode::SlowClient, reason);
                    return true;
                }
            }
        }
        self.deps.hub.stats.deliveries.add(1);
        if event.local_from.is_some() {
            self.send_local(peer, event);
        } else if peer.is(PERSONAL) {
            peer.upto.set(peer.upto.get().max(event.seq));
            self.send_view(peer, View { event, merged: None });
        } else {
            self.deps.hub.send(peer, event.frame(peer.protocol));
        }
        true
    }

    /// Sends an event with this connection's own position.
    pub(super) fn send_view(&self, peer: &Rc<Peer<W>>, view: View<'_>) {
        let frame = protocol::event_frame(view, &self.position(peer), peer.protocol);
        self.deps.hub.send(peer, frame);
    }

    /// A connection within its user's throttle.
    pub(super) fn who(&self, peer: &Peer<W>) -> Who {
        Who {
            shard: self.deps.shard.0,
            key: peer.key.get(),
        }
    }

    /// Asks the throttle of a connection's user about an event.
    fn ask_throttle(
        &mut self,
        peer: &Rc<Peer<W>>,
        event: &Arc<Event>,
        rule: &Rule,
        now_ms: u64,
        ctx: &mut Context<Self>,
    ) -> Offer {
        let user = self.user_of(peer);
        let rules = &self.deps.settings.rules;
        let (offer, due_ms) = {
            let mut throttle = user.throttle();
            let offer = throttle.offer(self.who(peer), event, rule, rules, now_ms);
            if offer == Offer::Overflow {
                // It is told no position any more, and what waits for it must not be too much for others of the user.
                throttle.forget(self.who(peer));
            }
            (offer, throttle.opens(event.name.as_str(), rule, rules))
        };
        if offer == Offer::Waits {
            self.look_at(&user, due_ms, now_ms, ctx);
        }
        offer
    }

    fn user_of(&self, peer: &Peer<W>) -> Arc<User> {
        let mut user = peer.user.borrow_mut();
        let user = user.get_or_insert_with(|| match &*peer.subject.borrow() {
            Some(subject) => subject.user(),
            None => self.deps.hub.subjects.nobody(),
        });
        user.clone()
    }

    /// Sees to it that the timer looks at a user at that time, if not before: whatever waits may go out then, or later.
    fn look_at(&mut self, user: &Arc<User>, due_ms: u64, now_ms: u64, ctx: &mut Context<Self>) {
        let due_ms = due_ms.max(now_ms);
        match self.state.users.get(&user.id) {
            Some((set_ms, _)) if *set_ms <= due_ms => return,
            Some((set_ms, _)) => drop(self.state.due.remove(&(*set_ms, user.id))),
            None => {}
        }
        self.state.due.insert((due_ms, user.id));
        self.state.users.insert(user.id, (due_ms, user.clone()));
        self.arm(now_ms, ctx);
    }

    /// After a restart: whatever waits is waited for again.
    pub(super) fn reschedule_all(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.deps.hub.now_ms.get();
        for peer in self.deps.hub.all() {
            let user = peer.user.borrow().clone();
            if let Some(user) = user {
                self.look_again(&user, now_ms, ctx);
            }
        }
    }

    fn look_again(&mut self, user: &Arc<User>, now_ms: u64, ctx: &mut Context<Self>) {
        let due_ms = user.throttle().due(self.deps.shard.0, &self.deps.settings.rules);
        if let Some(due_ms) = due_ms {
            self.look_at(user, due_ms, now_ms, ctx);
        }
    }

    /// One timer a shard, set to the earliest.
    fn arm(&mut self, now_ms: u64, ctx: &mut Context<Self>) {
        let earliest = self.state.due.first().map(|(due_ms, _)| *due_ms);
        match (earliest, self.state.timer) {
            (Some(due_ms), Some((set_ms, _))) if set_ms <= due_ms => {}
            (Some(due_ms), timer) => {
                if let Some((_, handle)) = timer {
                    ctx.cancel_future(handle);
                }
                let wait = Duration::from_millis(due_ms.saturating_sub(now_ms));
                let handle = ctx.run_later(wait, |act, ctx| {
                    act.state.timer = None;
                    act.release_due(ctx);
                });
                self.state.timer = Some((due_ms, handle));
            }
            (None, _) => {}
        }
    }

    fn release_due(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.now_ms();
        while let Some((due_ms, id)) = self
            .state
            .due
            .first()
            .copied()
            .filter(|(due_ms, _)| *due_ms <= now_ms)
        {
            self.state.due.remove(&(due_ms, id));
            let Some((_, user)) = self.state.users.remove(&id) else {
                continue;
            };
            while let Some(releases) = self.release(&user, now_ms) {
                releases
                    .into_iter()
                    .for_each(|release| self.send_release(release));
            }
            self.look_again(&user, now_ms, ctx);
        }
        self.arm(now_ms, ctx);
    }

    /// What may go out to a user's connections here. Nothing is sent while the throttle is locked.
    fn release(&self, user: &User, now_ms: u64) -> Option<Vec<Release>> {
        let rules = &self.deps.settings.rules;
        user.throttle().release(self.deps.shard.0, rules, now_ms)
    }

    fn send_release(&self, release: Release) {
        let Some(peer) = self.deps.hub.peer(release.who.key) else {
            return;
        };
        let stats = &self.deps.hub.stats;
        stats.merged.add(release.count as u64 - 1);
        stats.deliveries.add(1);
        let view = View {
            event: &release.event,
            merged: release.merged.as_deref(),
        };
        self.send_view(&peer, view);
        self.settle_personal(&peer);
    }

    /// Clears the mark once a connection's position is a plain number again.
    pub(super) fn settle_personal(&self, peer: &Peer<W>) {
        if !peer.is(LAGGING) && self.is_plain_position(peer) {
            peer.clear(PERSONAL);
        }
    }

    /// From now on a connection is given the history, from where it is.
    pub(super) fn lag(&self, peer: &Peer<W>) {
        if !peer.is(LAGGING) {
            let upto = peer.upto.get().max(self.state.applied);
            peer.set(LAGGING);
            *peer.catch_up.borrow_mut() = Some(Box::new(CatchUp {
                after: upto,
                base: upto,
                ..CatchUp::default()
            }));
        }
    }

    /// Whatever was under way for the connections is not any more.
    pub(super) fn lag_all(&self) {
        for peer in self.deps.hub.all() {
            self.lag(&peer);
            if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                catch_up.reading = None;
            }
            if let Line::Watcher(_) = peer.line {
                peer.clear(HUNGRY);
            }
        }
    }
}
