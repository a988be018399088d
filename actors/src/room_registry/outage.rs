//! While the broker of several nodes is away, and what is left of that afterwards.
//!
//! What the node gives out meanwhile has no number of its own: whoever was given it has *seen* it, by the node's count. It
//! gets its number when it is relayed, comes by the history then, and is not given to him again.

use super::RoomRegistry;
use crate::{
    logic::{
        event::{Event, Place},
        position::{Life, Position, Seen},
        protocol::{Notice, View},
        throttle::{Rule, key_hash},
    },
    peer::{CLOSED, CLOSING, LAGGING, PERSONAL, Peer},
    ports::Wire,
};
use actix::Context;
use std::{rc::Rc, sync::Arc};

impl<W: Wire> RoomRegistry<W> {
    pub(super) fn broker_away(&mut self) {
        let refuses = self.deps.neighbours.bus.state().refuses;
        let message = match refuses {
            true => "other nodes cannot be reached: nothing can be published for now",
            false => "other nodes cannot be reached: this one goes on by itself, and catches up later",
        };
        self.deps.told_away = true;
        self.announce(&notice("degraded", message));
    }

    pub(super) fn broker_back(&mut self, ctx: &mut Context<Self>) {
        if std::mem::take(&mut self.deps.told_away) {
            self.announce(&notice("restored", "other nodes are reached again"));
        }
        self.attach(ctx);
    }

    /// The last event of an outage that the shard was given.
    pub(super) fn note_outage(&mut self, event: &Event) {
        if let Some(seen) = event.seen() {
            self.deps.local = Some(seen);
        }
    }

    /// Who joins while the broker is away begins behind what the shard has given out.
    pub(super) fn begin_in_outage(&self, peer: &Peer<W>) {
        let is_new = |seen: &Seen| {
            let all = peer.seen.borrow();
            !all.iter()
                .any(|known| known.node == seen.node && known.from == seen.from)
        };
        if let Some(seen) = self.deps.local.clone().filter(is_new)
            && !self.deps.neighbours.bus.state().up
        {
            peer.note_seen(seen);
        }
    }

    /// Whether a connection was given an event before it had its number.
    pub(super) fn was_given(&self, peer: &Peer<W>, event: &Event) -> bool {
        let rules = &self.deps.settings.rules;
        peer.has_seen(event, || rules.of(event).map(|rule| key_hash(event, rule)))
    }

    /// Gives an event of the outage to a connection, if it does not have it yet: to one that is behind as well, since
    /// nobody knows for how long.
    pub(super) fn offer_local(
        &mut self,
        peer: &Rc<Peer<W>>,
        event: &Arc<Event>,
        rule: Option<&Rule>,
        now_ms: u64,
        ctx: &mut Context<Self>,
    ) {
        let Some(seen) = event.seen() else { return };
        let takes = !peer.is(CLOSING | CLOSED) && !self.was_given(peer, event) && !self.is_unanswered(peer);
        if takes && self.give(peer, event, rule, now_ms, ctx) {
            peer.note_seen(seen);
        }
    }

    /// Whether its join is not answered yet: nothing goes out before that.
    fn is_unanswered(&self, peer: &Peer<W>) -> bool {
        let catch_up = peer.catch_up.borrow();
        catch_up.as_ref().is_some_and(|catch_up| catch_up.told.is_some())
    }

    /// Sends an event of the outage: the shared frame, where what it says of the position is true.
    pub(super) fn send_local(&self, peer: &Rc<Peer<W>>, event: &Arc<Event>) {
        if let Some(seen) = event.seen() {
            peer.note_seen(seen);
        }
        if peer.is(PERSONAL | LAGGING) || peer.seen.borrow().len() > 1 {
            self.send_view(peer, View { event, merged: None });
        } else {
            self.deps.hub.send(peer, event.frame(peer.protocol));
        }
    }

    /// What a connection has seen, with what waits of it.
    pub(super) fn seen_by(&self, peer: &Peer<W>) -> Vec<Seen> {
        let mut all = peer.seen.borrow().to_vec();
        if all.is_empty() || !peer.is(PERSONAL) {
            return all;
        }
        let user = peer.user.borrow();
        let waiting = user
            .as_ref()
            .map(|user| user.throttle().local_firsts(self.who(peer)));
        for (origin, unsent) in waiting.unwrap_or_default() {
            if let Some(seen) = all.iter_mut().find(|seen| seen.covers(origin)) {
                seen.waiting.push(unsent);
                seen.waiting.sort_unstable();
            }
        }
        all
    }

    /// Whether a connection's position is a plain number.
    pub(super) fn is_plain_position(&self, peer: &Peer<W>) -> bool {
        let Position { waiting, seen, .. } = self.position(peer);
        waiting.is_empty() && seen.is_empty()
    }

    /// A client that resumes while the broker is away is answered: what it missed is given to it when the broker is back,
    /// and if the history does not have it any more, it is told then.
    pub(super) fn promise(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        if self.deps.neighbours.bus.state().up || !self.is_unanswered(peer) {
            return;
        }
        let told = match &mut *peer.catch_up.borrow_mut() {
            Some(catch_up) => catch_up
                .told
                .take()
                .map(|join| (join, !catch_up.firsts.contains(&u64::MAX))),
            None => None,
        };
        let Some((join, may_be_whole)) = told else { return };
        if self.say_joined(peer, &join, may_be_whole) {
            return self.offer_earlier(peer, ctx);
        }
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.told = Some(join);
        }
    }

    /// Gives somebody who has missed it what the node has given out in this outage before: what comes next says that he has all
    /// of it.
    fn offer_earlier(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        let (now_ms, settings) = (self.now_ms(), self.deps.settings.clone());
        for event in &self.deps.neighbours.bus.local_events(0) {
            let is_his = |place: &Place| peer.rooms.borrow().iter().any(|(room, _)| *room == place.room);
            if event.places.iter().any(is_his) {
                self.offer_local(peer, event, settings.rules.of(event), now_ms, ctx);
            }
        }
    }

    /// Gives every connection what it was not given yet of the outage, if there is one: a shard that was behind, or began
    /// anew, was not told. And whoever has seen something says so in its position, once there is none any more.
    pub(super) fn go_on_in_outage(&mut self, ctx: &mut Context<Self>) {
        let bus = self.deps.neighbours.bus.clone();
        if bus.state().up {
            for peer in self.deps.hub.all() {
                if !peer.seen.borrow().is_empty() {
                    peer.set(PERSONAL);
                }
            }
            return;
        }
        let events = bus.local_events(0);
        let now_ms = self.now_ms();
        let settings = self.deps.settings.clone();
        for event in &events {
            self.note_outage(event);
            let rule = settings.rules.of(event);
            self.each_member(&event.places, |act, peer| {
                act.offer_local(peer, event, rule, now_ms, ctx)
            });
        }
    }

    /// Forgets what is part of the history that a connection has by now.
    pub(super) fn sweep_seen(&self, peer: &Peer<W>) {
        if peer.seen.borrow().is_empty() || peer.is(LAGGING) {
            return;
        }
        let bus = &self.deps.neighbours.bus;
        let upto = peer.upto.get().max(self.state.applied);
        let is_over = |seen: &Seen| bus.settled(seen).is_some_and(|seq| seq <= upto);
        let left: Vec<Seen> = peer
            .seen
            .borrow()
            .iter()
            .filter(|seen| !is_over(seen))
            .cloned()
            .collect();
        if left.len() < peer.seen.borrow().len() {
            *peer.seen.borrow_mut() = left.into();
            self.settle_personal(peer);
        }
    }

    /// Whether the bus is known now, and was not before.
    pub(super) fn begins_first_life(&self, life: Life) -> bool {
        self.deps.life == Some(Life::NONE) && life != Life::NONE
    }

    /// The bus is known from now on: whoever is there begins at its head, with what it has seen meanwhile.
    pub(super) fn adopt(&mut self, life: Life, head: u64) {
        self.deps.life = Some(life);
        for peer in self.deps.hub.all() {
            peer.upto.set(head);
            peer.rooms
                .borrow_mut()
                .iter_mut()
                .for_each(|(_, joined_at)| *joined_at = head);
            if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                catch_up.after = head;
                catch_up.base = head;
                catch_up.firsts.clear();
                catch_up.resend.clear();
            }
        }
    }
}

fn notice(r#type: &'static str, message: &str) -> Notice {
    Notice {
        r#type,
        message: message.to_owned(),
        retry_in_ms: None,
    }
}
