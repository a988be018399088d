//! While the broker of several nodes is away, and what is left of that afterwards.
//!
//! What the node gives out meanwhile has no number of its own: whoever was given it has *seen* it, by the node's count. It
//! gets its number when it is relayed, comes by the history then, and is not given to him again.

use super::{RoomRegistry, joining::is_for};
use crate::{
    logic::{
        event::{Event, Origin},
        position::{Life, Position, Seen, Unsent},
        protocol::{Notice, View},
        throttle::{Rule, key_hash},
    },
    peer::{CLOSED, CLOSING, LAGGING, Line, PERSONAL, Peer, UNTOLD},
    ports::Wire,
};
use actix::Context;
use std::{rc::Rc, sync::Arc};

const RESTORED: &str = "other nodes are reached again";

impl<W: Wire> RoomRegistry<W> {
    /// The broker is away; `upto` is what the shard was handed before.
    pub(super) fn broker_away(&mut self, upto: Option<u64>) {
        if let Some(upto) = upto {
            self.state.applied = self.state.applied.max(upto);
        }
        self.say_whether_away();
    }

    /// Tells the connections if the broker has gone away, or has come back, and they were not told yet.
    fn say_whether_away(&mut self) {
        let state = self.deps.neighbours.bus.state();
        if std::mem::replace(&mut self.deps.told_away, !state.up) != state.up {
            return;
        }
        let (r#type, message) = match (state.up, state.refuses) {
            (true, _) => ("restored", RESTORED),
            (false, true) => (
                "degraded",
                "other nodes cannot be reached: nothing can be published for now",
            ),
            (false, false) => (
                "degraded",
                "other nodes cannot be reached: this one goes on by itself, and catches up later",
            ),
        };
        let notice = notice(r#type, message);
        for peer in self.deps.hub.all() {
            if !state.up && peer.ticket.get().is_some() {
                // Wherever it comes back, what it says of its rooms has to be enough.
                peer.set(UNTOLD | PERSONAL);
            } else if peer.is(UNTOLD) {
                // It hears it once all others know where it is.
                continue;
            }
            self.notify(&peer, &notice);
        }
    }

    /// Gives a client whose rooms this node could tell nobody a position that says so. If it moves to a node that does not
    /// know them, it is a new client there, and is told, instead of being restored to other rooms without a word.
    pub(super) fn say_untold(&self, peer: &Rc<Peer<W>>) {
        if peer.is(UNTOLD) {
            let message = "other nodes cannot be reached: they do not know yet which rooms this client is in";
            self.notify(peer, &notice("degraded", message));
        }
    }

    /// Every node knows where a client is.
    pub(super) fn all_are_told(&self, peer: &Rc<Peer<W>>) {
        if peer.is(UNTOLD) {
            peer.clear(UNTOLD);
            self.settle_personal(peer);
            self.notify(peer, &notice("restored", RESTORED));
        }
    }

    pub(super) fn broker_back(&mut self, ctx: &mut Context<Self>) {
        self.say_whether_away();
        self.attach(ctx);
    }

    /// The last event of an outage that the shard was given.
    pub(super) fn note_outage(&mut self, event: &Event) {
        if let Some(seen) = event.seen() {
            self.deps.local = Some((event.seq, seen));
        }
    }

    /// Who joins while the broker is away begins behind what was given out. One that was in rooms before, behind what
    /// the shard has given out, if it takes part in that: it is on its way to the rest.
    pub(super) fn begin_in_outage(&self, peer: &Peer<W>, is_first: bool) {
        let bus = &self.deps.neighbours.bus;
        if bus.state().up {
            return;
        }
        // What the shard has given out may be of an outage before this one.
        let last = bus.local_events(0).last().and_then(|event| event.seen());
        let last = last.and_then(|last| match &self.deps.local {
            _ if is_first => Some(last),
            Some((seq, seen)) if seen.from == last.from && peer.upto.get() <= *seq => Some(seen.clone()),
            _ => None,
        });
        let is_new = |seen: &Seen| {
            let all = peer.seen.borrow();
            !all.iter()
                .any(|known| known.node == seen.node && known.from == seen.from)
        };
        if let Some(seen) = last.filter(is_new) {
            peer.note_seen(seen);
        }
    }

    /// Whether a connection was given an event before it had its number. If it waits for that still, it waits under its
    /// number from now on: a position that is beyond that has to name it.
    pub(super) fn was_given(&self, peer: &Peer<W>, event: &Arc<Event>) -> bool {
        let rules = &self.deps.settings.rules;
        let was_given = peer.has_seen(event, || rules.of(event).map(|rule| key_hash(event, rule)));
        if was_given
            && event.local_from.is_none()
            && let Some(user) = &*peer.user.borrow()
        {
            user.throttle().number(self.who(peer), event);
        }
        was_given
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
        if matches!(peer.line, Line::Watcher(_)) {
            // It may have been too busy for those before.
            return self.go_on_alone(peer, ctx);
        }
        if self.takes_local(peer, event) && self.give(peer, event, rule, now_ms, ctx) {
            self.note_given(peer, event);
        }
    }

    fn takes_local(&self, peer: &Peer<W>, event: &Arc<Event>) -> bool {
        // One that has been further than this node was given by another what may be the same as this, under a number that
        // this node does not know. It is given the history later.
        let is_ahead = event.doubtful && peer.upto.get() > event.seq;
        !is_ahead
            && !peer.is(CLOSING | CLOSED)
            && !self.was_given(peer, event)
            && !self.is_unanswered(peer)
            && is_for(peer, event)
    }

    fn note_given(&self, peer: &Peer<W>, event: &Event) {
        let rules = &self.deps.settings.rules;
        peer.note_given(event, || rules.of(event).map(|rule| key_hash(event, rule)));
    }

    /// Gives a connection what it was not given yet of the outage, if there is one.
    pub(super) fn go_on_alone(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        let events = self.deps.neighbours.bus.local_events(0);
        let now_ms = self.now_ms();
        let settings = self.deps.settings.clone();
        for event in &events {
            if self.takes_local(peer, event) {
                if !self.give(peer, event, settings.rules.of(event), now_ms, ctx) {
                    return;
                }
                self.note_given(peer, event);
            }
        }
    }

    /// Whether its join is not answered yet: nothing goes out before that.
    pub(super) fn is_unanswered(&self, peer: &Peer<W>) -> bool {
        let catch_up = peer.catch_up.borrow();
        catch_up.as_ref().is_some_and(|catch_up| catch_up.told.is_some())
    }

    /// Sends an event of the outage: the shared frame, where what it says of the position is true.
    pub(super) fn send_local(&self, peer: &Rc<Peer<W>>, event: &Arc<Event>) {
        self.note_given(peer, event);
        if self.position(peer) == event.position() {
            self.deps.hub.send(peer, event.frame(peer.protocol));
        } else {
            self.send_view(peer, View { event, merged: None });
        }
    }

    /// What a connection has seen, with what waits of it.
    pub(super) fn seen_by(&self, peer: &Peer<W>) -> Vec<Seen> {
        let mut all = peer.seen.borrow().to_vec();
        if all.is_empty() || !peer.is(PERSONAL) {
            return all;
        }
        for (origin, unsent) in self.waiting_of(peer) {
            if let Some(seen) = all.iter_mut().find(|seen| seen.covers(origin)) {
                seen.waiting.push(unsent);
                seen.waiting.sort_unstable();
            }
        }
        all
    }

    /// What waits for a connection of what was given out in outages.
    fn waiting_of(&self, peer: &Peer<W>) -> Vec<(Origin, Unsent)> {
        let user = peer.user.borrow();
        let waiting = user
            .as_ref()
            .map(|user| user.throttle().local_firsts(self.who(peer)));
        waiting.unwrap_or_default()
    }

    /// Whether a connection's position is a plain number.
    pub(super) fn is_plain_position(&self, peer: &Peer<W>) -> bool {
        let Position {
            waiting, seen, rooms, ..
        } = self.position(peer);
        waiting.is_empty() && seen.is_empty() && rooms.is_none()
    }

    /// A client that resumes while the broker is away is answered: what it missed is given to it when the broker is back,
    /// and if the history does not have it any more, it is told then.
    pub(super) fn promise(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        if self.deps.neighbours.bus.state().up {
            return;
        }
        let told = match &mut *peer.catch_up.borrow_mut() {
            Some(catch_up) => {
                let may_be_whole = !catch_up.firsts.contains(&u64::MAX);
                catch_up.told.take().map(|join| (join, may_be_whole))
            }
            None => None,
        };
        match told {
            Some((join, may_be_whole)) if !self.say_joined(peer, &join, may_be_whole) => {
                if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                    catch_up.told = Some(join);
                }
            }
            // One that was answered before has what there was then, unless it was too busy.
            None if !matches!(peer.line, Line::Watcher(_)) => {}
            _ => self.go_on_alone(peer, ctx),
        }
    }

    /// Gives every connection what it was not given yet of the outage, if there is one: a shard that was behind, or began
    /// anew, was not told.
    pub(super) fn go_on_in_outage(&mut self, ctx: &mut Context<Self>) {
        self.say_whether_away();
        if let Some(last) = self.deps.neighbours.bus.local_events(0).last() {
            self.note_outage(last);
            for peer in self.deps.hub.all() {
                self.go_on_alone(&peer, ctx);
            }
        }
    }

    /// Forgets what is part of the history that a connection has by now.
    pub(super) fn sweep_seen(&self, peer: &Peer<W>) {
        if peer.seen.borrow().is_empty() || peer.is(LAGGING) {
            return;
        }
        let bus = &self.deps.neighbours.bus;
        let upto = peer.upto.get().max(self.state.applied);
        // What waits of it is named by its counts.
        let waits = |seen: &Seen| {
            self.waiting_of(peer)
                .iter()
                .any(|(origin, _)| seen.covers(*origin))
        };
        let is_over = |seen: &Seen| bus.settled(seen).is_some_and(|seq| seq <= upto) && !waits(seen);
        let all = peer.seen.borrow().to_vec();
        let left: Vec<Seen> = all.into_iter().filter(|seen| !is_over(seen)).collect();
        if left.len() < peer.seen.borrow().len() {
            *peer.seen.borrow_mut() = left.into();
            self.settle_personal(peer);
        }
    }

    /// Whether the bus is known now, and was not before.
    pub(super) fn begins_first_life(&self, life: Life) -> bool {
        self.deps.life == Some(Life::NONE) && life != Life::NONE
    }

    /// The bus is known from now on, and nothing had been published before: whoever is there has everything. (Were there
    /// anything, nobody would know what of it came after who is there.)
    pub(super) fn adopt(&mut self, life: Life) {
        self.deps.life = Some(life);
        for peer in self.deps.hub.all() {
            if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
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
