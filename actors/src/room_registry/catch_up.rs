//! Catching up: a cursor through the history, pulled as the connection drains.
//!
//! It serves resuming clients, watchers whose mailbox was full, and every connection after a restart of the shard or a
//! loss between bus and shard. Nothing live goes to a connection before its cursor has reached the shard.

use super::RoomRegistry;
use crate::{
    logic::{
        bus_log::{Page, Query},
        event::Event,
        fault::CloseCode,
        throttle::{Rule, same_key},
    },
    messages::Heard,
    peer::{CLOSED, CLOSING, CatchUp, LAGGING, Line, PERSONAL, Peer},
    ports::{BusError, Wire},
    reply::poll_once,
};
use actix::{AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{rc::Rc, sync::Arc};

/// Events read at once.
const PAGE_EVENTS: usize = 128;

impl<W: Wire> RoomRegistry<W> {
    /// Reads on for a connection, as long as it takes more and the bus answers at once.
    pub(super) fn feed(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        while self.state.attached && self.may_read(peer) {
            let Some(query) = self.next_query(peer) else {
                return;
            };
            match poll_once(self.deps.neighbours.bus.read(query)) {
                Ok(page) => self.page_read(peer, page, ctx),
                Err(pending) => {
                    if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                        catch_up.reading = true;
                    }
                    let peer = peer.clone();
                    ctx.spawn(pending.into_actor(self).map(move |page, act, ctx| {
                        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                            catch_up.reading = false;
                        }
                        act.page_read(&peer, page, ctx);
                        act.feed(&peer, ctx);
                    }));
                    return;
                }
            }
        }
    }

    fn may_read(&self, peer: &Peer<W>) -> bool {
        let reading = peer
            .catch_up
            .borrow()
            .as_ref()
            .is_none_or(|catch_up| catch_up.reading);
        !reading && peer.is(LAGGING) && !peer.is(CLOSING | CLOSED) && peer.bytes() <= peer.low_water()
    }

    fn next_query(&self, peer: &Peer<W>) -> Option<Query> {
        let catch_up = peer.catch_up.borrow();
        let catch_up = catch_up.as_ref()?;
        Some(Query {
            rooms: peer.rooms.borrow().clone(),
            after: catch_up.after,
            whole_from: catch_up.after.max(catch_up.base),
            must: catch_up.firsts.clone(),
            events_max: PAGE_EVENTS,
            bytes_max: peer.low_water(),
        })
    }

    fn page_read(&mut self, peer: &Rc<Peer<W>>, page: Result<Page, BusError>, ctx: &mut Context<Self>) {
        // An error means that the bus is away: the shard is attached again when it is back, and everybody catches up.
        let Ok(page) = page else { return };
        let Some(mut catch_up) = peer.catch_up.take() else {
            return;
        };
        let whole = page.whole && catch_up.base <= page.upto.max(self.state.applied);
        if let Some(join) = catch_up.told.take() {
            if !whole {
                self.deps.hub.stats.resumes_incomplete.add(1);
                catch_up.firsts.clear();
                catch_up.base = catch_up.base.min(page.upto);
            }
            *peer.catch_up.borrow_mut() = Some(catch_up);
            self.say_joined(peer, &join, whole);
        } else {
            *peer.catch_up.borrow_mut() = Some(catch_up);
            if !whole && !self.overrun(peer, &page) {
                return;
            }
        }
        self.take_page(peer, &page, ctx);
        let Some(reached) = peer.catch_up.borrow().as_ref().map(|catch_up| catch_up.after) else {
            return;
        };
        if !page.more && reached >= self.state.applied && peer.is(LAGGING) {
            self.go_live(peer, reached);
        }
    }

    /// The history was overrun while the connection was reading it. Returns whether it may go on.
    fn overrun(&self, peer: &Rc<Peer<W>>, page: &Page) -> bool {
        let Line::Watcher(to) = &peer.line else {
            // It comes back with its position, and is told then.
            self.deps
                .hub
                .close(peer, CloseCode::Interrupted, "the history was overrun");
            return false;
        };
        let position = self.position(peer);
        let told = to.try_send(Heard::Missed { position }).is_ok();
        if told && let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.after = catch_up
                .after
                .max(page.events.first().map_or(page.upto, |event| event.seq - 1));
            catch_up.base = catch_up.after;
        }
        told
    }

    /// Gives the events of a page, in order; those that the connection has already are passed over.
    fn take_page(&mut self, peer: &Rc<Peer<W>>, page: &Page, ctx: &mut Context<Self>) {
        let settings = self.deps.settings.clone();
        for event in &page.events {
            let Some(mut catch_up) = peer.catch_up.take() else {
                return;
            };
            let has = event.seq <= catch_up.base;
            if has && Self::lacks(&mut catch_up, event, settings.rules.of(event)) {
                catch_up.resend.push(event.clone());
            }
            catch_up.after = event.seq;
            *peer.catch_up.borrow_mut() = Some(catch_up);
            if !has {
                self.resend_all(peer, ctx);
                if !self.replay(peer, event, ctx) {
                    return;
                }
            }
        }
        if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
            catch_up.after = catch_up.after.max(page.upto);
        }
        if !page.more {
            self.resend_all(peer, ctx);
        }
    }

    /// Whether an event at or below the base is one that waited when the client was cut off.
    fn lacks(catch_up: &mut CatchUp, event: &Arc<Event>, rule: Option<&Rule>) -> bool {
        if let Some(at) = catch_up.firsts.iter().position(|first| *first == event.seq) {
            catch_up.firsts.swap_remove(at);
            return true;
        }
        rule.is_some_and(|rule| catch_up.resend.iter().any(|first| same_key(first, event, rule)))
    }

    /// Gives what waited when the client was cut off, in one go: what is left of it is always part of its position.
    fn resend_all(&mut self, peer: &Rc<Peer<W>>, ctx: &mut Context<Self>) {
        loop {
            let next = match &mut *peer.catch_up.borrow_mut() {
                Some(catch_up) if !catch_up.resend.is_empty() => catch_up.resend.remove(0),
                _ => return,
            };
            if !self.replay(peer, &next, ctx) {
                return;
            }
        }
    }

    /// Gives one event of the history. Returns whether the connection takes more.
    fn replay(&mut self, peer: &Rc<Peer<W>>, event: &Arc<Event>, ctx: &mut Context<Self>) -> bool {
        let settings = self.deps.settings.clone();
        self.deps.hub.stats.replayed.add(1);
        if let Line::Watcher(to) = &peer.line {
            if to.try_send(Heard::Event(event.clone())).is_err() {
                if let Some(catch_up) = &mut *peer.catch_up.borrow_mut() {
                    catch_up.after = event.seq - 1;
                }
                return false;
            }
        } else {
            let now_ms = self.deps.hub.now_ms.get();
            self.give(peer, event, settings.rules.of(event), now_ms, ctx);
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
        if plain && self.position(peer).waiting.is_empty() {
            peer.clear(PERSONAL);
        }
    }

    /// The cursor has reached the shard.
    fn go_live(&self, peer: &Rc<Peer<W>>, upto: u64) {
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
            match &peer.line {
                Line::Watcher(_) => {
                    peer.upto.set(0);
                    *peer.catch_up.borrow_mut() = Some(Box::default());
                }
                _ => self
                    .deps
                    .hub
                    .close(&peer, CloseCode::Interrupted, "the history was lost"),
            }
        }
    }
}
