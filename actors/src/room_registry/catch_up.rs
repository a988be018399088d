//! Catching up: a cursor through the history, pulled as the connection drains.
//!
//! It serves resuming clients, watchers whose mailbox was full, and every connection after a restart of the shard or a
//! loss between bus and shard. Nothing live goes to a connection before its cursor has reached the shard.

use super::{RoomRegistry, joining::is_for};
use crate::{
    logic::{
        bus_log::{Page, Query},
        event::Event,
        fault::CloseCode,
        throttle::{self, Rule, same_key},
    },
    messages::Heard,
    peer::{CLOSED, CLOSING, CatchUp, HUNGRY, LAGGING, Line, PERSONAL, Peer},
    ports::{BusError, PortFuture, Wire},
    reply::poll_once,
};
use actix::{AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{rc::Rc, sync::Arc, time::Duration};

/// Events read at once.
const PAGE_EVENTS: usize = 128;

/// How long a watcher whose mailbox is full is left alone.
const FEED_AGAIN: Duration = Duration::from_millis(20);

impl<W: Wire> RoomRegistry<W> {
    /// Reads on for a connection, as long as it takes more and the bus answers at once.
    pub(super) fn feed(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        while self.may_read(peer) {
            let Some(query) = self.next_query(peer) else {
                return;
            };
            match poll_once(self.deps.neighbours.bus.read(query)) {
                Ok(page) if self.page_read(peer, &page, ctx) => {}
                Ok(_) => break,
                Err(pending) => return self.read_later(peer, pending, ctx),
            }
        }
        self.settle(peer, ctx);
    }

    fn read_later(
        &mut self,
        peer: &Rc<Peer<W>>,
        page: PortFuture<Result<Page, BusError>>,
        ctx: &mut Context<Self>,
    ) {
        self.deps.reads += 1;
        let read = Some(self.deps.reads);
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.reading = read;
        }
        let peer = peer.clone();
        ctx.spawn(page.into_actor(self).map(move |page, act, ctx| {
            match &mut *peer.catch_up.borrow_mut() {
                Some(catch_up) if catch_up.reading == read => catch_up.reading = None,
                // Meanwhile the connection has begun anew, elsewhere in the history.
                _ => return,
            }
            if act.page_read(&peer, &page, ctx) {
                act.feed(&peer, ctx);
            } else {
                act.settle(&peer, ctx);
            }
        }));
    }

    /// A watcher was too busy: it is asked again soon.
    pub(super) fn feed_soon(&self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        if !peer.is(HUNGRY) {
            peer.set(HUNGRY);
            let peer = peer.clone();
            ctx.run_later(FEED_AGAIN, move |act, ctx| {
                peer.clear(HUNGRY);
                act.feed(&peer, ctx);
            });
        }
    }

    fn may_read(&self, peer: &Peer<W>) -> bool {
        let is_reading = |catch_up: &CatchUp| catch_up.reading.is_some();
        self.is_attached()
            && peer.is(LAGGING)
            && !peer.is(CLOSING | CLOSED)
            && !peer.catch_up.borrow().as_deref().is_none_or(is_reading)
            && peer.bytes() <= peer.low_water()
            && self.throttle_has_room(peer)
            && self.may_replay(peer)
    }

    /// Whether its client's address may be given more of the history now. If not, the sweep tries again.
    fn may_replay(&self, peer: &Peer<W>) -> bool {
        let caller = peer.caller.as_ref().map(|session| session.caller());
        let may = caller.is_none_or(|caller| caller.may_replay().is_ok());
        if !may {
            self.deps.hub.stats.replays_delayed.add(1);
        }
        may
    }

    /// Whether the throttle has room for a page. What waits for other connections of the user keeps this one from
    /// nothing: they may be given so much that it would wait for ever.
    fn throttle_has_room(&self, peer: &Peer<W>) -> bool {
        let Some(user) = &*peer.user.borrow() else {
            return true;
        };
        let throttle = user.throttle();
        throttle.bytes() <= self.deps.settings.rules.wait_bytes / 2 || !throttle.waits(self.who(peer))
    }

    fn throttled_bytes(&self, peer: &Peer<W>) -> usize {
        let user = peer.user.borrow();
        user.as_ref().map_or(0, |user| user.throttle().bytes())
    }

    /// Whether an event of the history fits, if need be into the throttle: it comes no faster than that lets it out.
    fn has_room(&self, peer: &Peer<W>, event: &Event) -> bool {
        let waiting = self.throttled_bytes(peer);
        let fits = waiting + throttle::cost(event) <= self.deps.settings.rules.wait_bytes;
        peer.bytes() <= peer.high_water() && (fits || waiting == 0)
    }

    fn next_query(&self, peer: &Peer<W>) -> Option<Query> {
        let catch_up = peer.catch_up.borrow();
        let catch_up = catch_up.as_ref()?;
        Some(Query {
            rooms: peer.rooms.borrow().clone(),
            after: catch_up.after,
            whole_from: catch_up.after.max(catch_up.base),
            gaps: catch_up.gaps.clone(),
            must: catch_up.firsts.clone(),
            events_max: PAGE_EVENTS,
            bytes_max: peer.low_water(),
        })
    }

    /// A page is there. Returns whether the connection takes another one now.
    fn page_read(
        &mut self,
        peer: &Rc<Peer<W>>,
        page: &Result<Page, BusError>,
        ctx: &mut Context<Self>,
    ) -> bool {
        // The bus is away: the shard is attached again when it is back, and the sweep tries again anyway.
        let Ok(page) = page else {
            self.promise(peer, ctx);
            return false;
        };
        if let Some(session) = &peer.caller {
            session.caller().replayed(page.cost(peer.rooms.borrow().len()));
        }
        if self.is_lost(peer, page) {
            self.cannot_restore(peer, page.head, ctx);
            return false;
        }
        let is_told = self.say_how(peer, page, ctx);
        if !is_told || !self.take_page(peer, page, ctx) {
            if let Line::Watcher(_) = peer.line {
                self.feed_soon(peer, ctx);
            }
            return false;
        }
        let reached = peer.catch_up.borrow().as_ref().map(|catch_up| catch_up.after);
        if let Some(reached) = reached.filter(|reached| !page.more && *reached >= self.state.applied) {
            self.go_live(peer, reached);
        }
        true
    }

    /// Whether events are missing of a client that was to be restored.
    fn is_lost(&self, peer: &Peer<W>, page: &Page) -> bool {
        let catch_up = peer.catch_up.borrow();
        let Some(catch_up) = &*catch_up else { return false };
        let restores = catch_up
            .told
            .as_ref()
            .is_some_and(|join| join.restoring.is_some());
        let is_known = catch_up.base <= page.head.max(self.state.applied);
        restores && !(page.whole && is_known)
    }

    /// Says whether the history reaches back to where the connection is, if it was not said yet or has changed.
    /// Returns whether the connection may go on.
    fn say_how(&mut self, peer: &Rc<Peer<W>>, page: &Page, ctx: &mut Context<Self>) -> bool {
        let (told, is_whole) = match &mut *peer.catch_up.borrow_mut() {
            Some(catch_up) => {
                // Nobody has what the bus has never numbered.
                let is_known = catch_up.base <= page.head.max(self.state.applied);
                (catch_up.told.take(), page.whole && is_known)
            }
            None => return false,
        };
        let Some(join) = told else {
            return self.say_missed(peer, page, is_whole);
        };
        if !is_whole {
            self.deps.hub.stats.resumes_incomplete.add(1);
            if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                catch_up.firsts.clear();
                // Of several rooms the one with the longest gap may come in a later page.
                catch_up.note_gaps(&page.gaps);
                catch_up.base = catch_up.base.min(page.head.max(self.state.applied));
                catch_up.after = catch_up.after.min(catch_up.base);
                peer.upto.set(catch_up.base);
            }
        }
        let is_told = self.say_joined(peer, &join, is_whole);
        if !is_told && let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.told = Some(join);
            if !is_whole {
                // No history has this: it will be found incomplete again.
                catch_up.firsts = vec![u64::MAX];
            }
        }
        if is_told {
            self.go_on_alone(peer, ctx);
        }
        is_told
    }

    /// The history was overrun while the connection was reading it.
    fn say_missed(&self, peer: &Rc<Peer<W>>, page: &Page, is_whole: bool) -> bool {
        let Line::Watcher(to) = &peer.line else {
            if !is_whole {
                // It comes back with its position, and is told then.
                let reason = "the history was overrun";
                self.deps.hub.close(peer, CloseCode::Interrupted, reason);
            }
            return is_whole;
        };
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            if !is_whole {
                let first = page.events.first().map_or(page.upto, |event| event.seq - 1);
                catch_up.after = catch_up.after.max(first);
                catch_up.base = catch_up.after;
                catch_up.note_gaps(&page.gaps);
                catch_up.firsts.clear();
                catch_up.missed = true;
            }
            if !catch_up.missed {
                return true;
            }
        }
        let position = self.position(peer);
        let is_told = to.try_send(Heard::Missed { position }).is_ok();
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.missed = !is_told;
        }
        is_told
    }

    /// Gives the events of a page, in order; those that the connection has already are passed over. Returns whether it
    /// took them all: what it did not take is read again.
    fn take_page(&mut self, peer: &Rc<Peer<W>>, page: &Page, ctx: &mut Context<Self>) -> bool {
        let settings = self.deps.settings.clone();
        for event in &page.events {
            let Some(base) = peer.catch_up.borrow().as_ref().map(|catch_up| catch_up.base) else {
                return false;
            };
            // A connection may have left a room since the page was asked for.
            let is_wanted = is_for(peer, event);
            if is_wanted && event.seq > peer.upto.get().max(base) && !self.was_given(peer, event) {
                let took =
                    self.resend_all(peer, ctx) && self.has_room(peer, event) && self.replay(peer, event, ctx);
                if !took {
                    return false;
                }
            }
            if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                let lacks = event.seq <= base && Self::lacks(catch_up, event, settings.rules.of(event));
                if lacks && is_wanted {
                    catch_up.resend.push(event.clone());
                }
                catch_up.after = event.seq;
            }
        }
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.after = catch_up.after.max(page.upto);
        }
        page.more || self.resend_all(peer, ctx)
    }

    /// Whether an event at or below the base is one that waited when the client was cut off.
    fn lacks(catch_up: &mut CatchUp, event: &Arc<Event>, rule: Option<&Rule>) -> bool {
        if let Some(at) = catch_up.firsts.iter().position(|first| *first == event.seq) {
            catch_up.firsts.swap_remove(at);
            return true;
        }
        rule.is_some_and(|rule| catch_up.resend.iter().any(|first| same_key(first, event, rule)))
    }

    /// Gives what waited when the client was cut off, before anything newer: what is left of it is part of its position.
    fn resend_all(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) -> bool {
        loop {
            let next = match &mut *peer.catch_up.borrow_mut() {
                Some(catch_up) if catch_up.resend.is_empty() => return true,
                Some(catch_up) if self.has_room(peer, &catch_up.resend[0]) => catch_up.resend.remove(0),
                _ => return false,
            };
            if !self.replay(peer, &next, ctx) {
                if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                    catch_up.resend.insert(0, next);
                }
                return false;
            }
        }
    }

    /// Gives one event of the history. Returns whether the connection took it and takes more.
    fn replay(&mut self, peer: &Rc<Peer<W>>, event: &Arc<Event>, ctx: &mut Context<Self>) -> bool {
        self.deps.hub.stats.replayed.add(1);
        let settings = self.deps.settings.clone();
        let now_ms = self.deps.hub.now_ms.get();
        if !self.give(peer, event, settings.rules.of(event), now_ms, ctx) {
            return false;
        }
        peer.upto.set(peer.upto.get().max(event.seq));
        self.settle_replay(peer, event);
        !peer.is(CLOSING | CLOSED)
    }

    /// Once nothing below the base is missing, frames are shared ones again.
    fn settle_replay(&self, peer: &Peer<W>, event: &Event) {
        let plain = match &*peer.catch_up.borrow() {
            Some(catch_up) => {
                catch_up.resend.is_empty() && catch_up.firsts.is_empty() && event.seq >= catch_up.base
            }
            None => true,
        };
        if plain && self.is_plain_position(peer) {
            peer.clear(PERSONAL);
        }
    }

    /// The cursor has reached the shard.
    pub(super) fn go_live(&self, peer: &Rc<Peer<W>>, upto: u64) {
        peer.catch_up.take();
        peer.clear(LAGGING);
        peer.upto.set(peer.upto.get().max(upto));
        self.settle_personal(peer);
    }

    /// The first event of each throttle key among events that are still to be given.
    pub(super) fn firsts_of(&self, resend: &[Arc<Event>]) -> Vec<u64> {
        let mut firsts: Vec<&Arc<Event>> = Vec::new();
        for event in resend {
            let rule = self.deps.settings.rules.of(event);
            if !rule.is_some_and(|rule| firsts.iter().any(|first| same_key(first, event, rule))) {
                firsts.push(event);
            }
        }
        firsts.into_iter().map(|event| event.seq).collect()
    }

    /// The bus has begun a new life: what connections have is of no use any more. Each begins anew, from the first
    /// event of the new life, and the sockets are told by being closed so that they resume (and hear `recovered: false`).
    pub(super) fn new_life(&mut self) {
        self.state.applied = 0;
        for peer in self.deps.hub.all() {
            let is_nowhere = peer.rooms.borrow().is_empty() && peer.pending.borrow().is_empty();
            match &peer.line {
                // It has missed nothing.
                _ if is_nowhere => peer.upto.set(0),
                Line::Watcher(_) => {
                    peer.upto.set(0);
                    *peer.catch_up.borrow_mut() = Some(Box::new(CatchUp {
                        missed: true,
                        ..CatchUp::default()
                    }));
                }
                _ => self
                    .deps
                    .hub
                    .close(&peer, CloseCode::Interrupted, "the history was lost"),
            }
        }
    }
}
