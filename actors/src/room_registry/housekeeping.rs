//! The end of each turn, and the sweep.

use super::{Room, RoomRegistry};
use crate::{
    logic::{
        fault::CloseCode,
        protocol::{Answer, Notice, Protocol, sse},
        room_name::RoomName,
        ws,
    },
    messages::{Drain, Heard},
    peer::{CLOSED, CLOSING, GREETED, LAGGING, Line, Peer, Pending},
    ports::Wire,
};
use actix::{ActorFuture, Context};
use std::{
    collections::BTreeSet,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

/// Runs after the messages of a turn: forgets who is gone, reads on for who wants more, writes to whom something waits.
pub(super) struct EndOfTurn;

impl<W: Wire> ActorFuture<RoomRegistry<W>> for EndOfTurn {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut RoomRegistry<W>,
        ctx: &mut Context<RoomRegistry<W>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let hub = act.deps.hub.clone();
        hub.set_turn(task.waker());
        // The mailbox may have been full of anything, and nothing be left in it that tells.
        act.notice_behind(ctx);
        act.give_out(ctx);
        for peer in hub.take_gone() {
            act.forget(&peer, false);
        }
        for peer in hub.take_hungry() {
            act.feed(&peer, ctx);
        }
        hub.flush_dirty();
        if hub.has_work() {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<W: Wire> RoomRegistry<W> {
    /// Often enough for the shortest of the times it watches over, at most once a second.
    pub(super) fn sweep_period(&self) -> Duration {
        let settings = &self.deps.settings;
        let shortest = settings
            .ping_interval_ms
            .min(settings.ping_timeout_ms)
            .min(settings.engine_ping_ms)
            .min(settings.comment_ms);
        Duration::from_millis((shortest / 4).clamp(10, 1_000))
    }

    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.now_ms();
        let wall_ms = self.deps.neighbours.bus.now_ms();
        let peers = self.deps.hub.all();
        self.weigh(&peers);
        for peer in peers {
            if peer.cut_off_ms.get() <= now_ms {
                peer.kill();
                if matches!(peer.line, Line::Stream) {
                    // Its body is not asked again while its client takes nothing.
                    self.deps.hub.remove(&peer);
                }
                continue;
            }
            if peer.grant_due_ms.get() <= wall_ms {
                self.sweep_grant(&peer, wall_ms);
            }
            self.sweep_outbox(&peer, now_ms);
            self.sweep_seen(&peer);
            match &peer.line {
                Line::Socket(_) => self.sweep_socket(&peer, now_ms),
                // Its session knows what is due.
                Line::Engine(_) if peer.due_ms.get() <= now_ms => peer.wake(),
                Line::Engine(_) => {}
                Line::Stream => self.sweep_stream(&peer, now_ms),
                Line::Watcher(to) if !to.connected() => self.deps.hub.remove(&peer),
                Line::Watcher(_) => {}
            }
            // Nobody waits for ever for a page that could not be read, or that the throttle had no room for.
            if peer.is(LAGGING) {
                self.feed(&peer, ctx);
            }
        }
        self.sweep_rooms(now_ms, ctx);
    }

    fn sweep_socket(&self, peer: &Rc<Peer<W>>, now_ms: u64) {
        let settings = &self.deps.settings;
        let silent_ms = now_ms.saturating_sub(peer.heard_ms.get());
        if silent_ms >= settings.ping_interval_ms + settings.ping_timeout_ms {
            return self.deps.hub.close(peer, CloseCode::PingTimeout, "");
        }
        if silent_ms >= settings.ping_interval_ms && peer.pinged_ms.get() <= peer.heard_ms.get() {
            peer.pinged_ms.set(now_ms.max(peer.heard_ms.get() + 1));
            self.deps.hub.send(peer, ws::ping_frame(b""));
        }
    }

    fn sweep_stream(&self, peer: &Rc<Peer<W>>, now_ms: u64) {
        if now_ms.saturating_sub(peer.pinged_ms.get()) >= self.deps.settings.comment_ms {
            peer.pinged_ms.set(now_ms);
            if peer.bytes() == 0 && !peer.is(CLOSING | CLOSED) {
                self.deps.hub.send(peer, sse::COMMENT);
            }
        }
    }

    /// Rooms that have been empty for a while are given up.
    fn sweep_rooms(&mut self, now_ms: u64, ctx: &mut Context<Self>) {
        let linger_ms = self.deps.settings.linger_ms;
        let is_over = |room: &Room<W>| {
            let is_idle = room.members.is_empty() && room.waiters.is_empty() && room.confirmed;
            let since_ms = room.empty_since_ms.unwrap_or(0);
            is_idle && now_ms >= since_ms + linger_ms
        };
        let over = self.state.rooms.iter().filter(|(_, room)| is_over(room));
        let mut unwanted: BTreeSet<RoomName> = over.map(|(name, _)| name.clone()).collect();
        if !unwanted.is_empty() {
            // A join may wait for another room, or for another join, with this one confirmed already.
            for peer in self.deps.hub.all() {
                for pending in peer.pending.borrow().iter() {
                    if let Pending::Join(join) = &**pending {
                        unwanted.retain(|room| !join.rooms.contains(room));
                    }
                }
            }
        }
        self.state.rooms.retain(|name, _| !unwanted.contains(name));
        self.deps.hub.stats.rooms.set(self.state.rooms.len() as u64);
        if !unwanted.is_empty() {
            self.say_interest(Vec::new(), unwanted.into_iter().collect(), ctx);
        }
    }

    pub(super) fn announce(&self, notice: &Notice) {
        for peer in self.deps.hub.all() {
            self.notify(&peer, notice);
        }
    }

    pub(super) fn notify(&self, peer: &Rc<Peer<W>>, notice: &Notice) {
        if let Line::Watcher(to) = &peer.line {
            // A watcher with a full mailbox has more to do than to hear about the node.
            let _ = to.try_send(Heard::Notice(notice.clone()));
            return;
        }
        if peer.protocol == Protocol::SocketIo && !peer.is(GREETED) {
            // Whoever is not in the main namespace would take it for something else.
            return;
        }
        let position = self.known_position(peer);
        let notice = Answer::Notice {
            notice,
            position: position.as_ref(),
        };
        self.answer(peer, &notice, None);
    }

    /// Tells every client to come back, each after a delay of its own, and closes it.
    pub(super) fn drain(&mut self, drain: Drain) {
        self.deps.hub.draining.set(true);
        for peer in self.deps.hub.all() {
            // A session's id is random, so its remainder spreads the clients evenly.
            let retry_ms = (peer.card().id.0 % u128::from(drain.spread_ms.max(1))) as u64;
            let notice = Notice {
                r#type: "draining",
                message: "this node is shutting down; come back after the delay, to any node".into(),
                retry_in_ms: Some(retry_ms),
            };
            self.notify(&peer, &notice);
            match &peer.line {
                Line::Watcher(_) => {}
                _ => self
                    .deps
                    .hub
                    .close(&peer, CloseCode::Draining, &format!("come back in {retry_ms} ms")),
            }
        }
    }
}
