//! Being attached: the bus hands over what the shard's connections want, and the shard knows from where on.

use super::{Attachment, Room, RoomRegistry};
use crate::{
    logic::room_name::RoomName,
    messages::{Attach, Interest},
    peer::Pending,
    ports::{Inlet, Wire},
};
use actix::{AsyncContext, Context, WrapFuture, fut::ActorFutureExt};
use std::{sync::atomic::Ordering, time::Duration};

/// How long a shard waits before it asks a bridge again that did not answer.
const ATTACH_AGAIN: Duration = Duration::from_millis(50);

impl<W: Wire> RoomRegistry<W> {
    /// Asks the bus to hand over everything that any connection wants, and catches every connection up from where it is.
    pub(super) fn attach(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.state.attachment, Attachment::Asked { .. }) {
            // One at a time: an older wish must not reach the bus after a newer one.
            self.state.attachment = Attachment::Asked { again: true };
            return;
        }
        self.state.attachment = Attachment::Asked { again: false };
        self.deps.hub.stats.catch_ups.add(1);
        self.lag_all();
        self.rebuild_rooms();
        let mut rooms: Vec<RoomName> = self.state.rooms.keys().cloned().collect();
        rooms.sort_unstable();
        self.deps.attachments += 1;
        let inlet = Inlet {
            shard: self.deps.shard,
            attachment: self.deps.attachments,
            mailbox: ctx.address().recipient(),
            behind: self.deps.behind.clone(),
        };
        let message = Attach {
            inlet,
            ask: ctx.address().recipient(),
            rooms: rooms.clone(),
        };
        let answer = self.deps.neighbours.attach.send(message).into_actor(self);
        ctx.spawn(answer.map(move |answer, act, ctx| {
            let again = act.state.attachment == Attachment::Asked { again: true };
            act.state.attachment = Attachment::None;
            match answer {
                Ok(Ok(_)) if again => act.attach(ctx),
                Ok(Ok(head)) => act.attached(&rooms, head, ctx),
                _ => act.plan_attach(ctx),
            }
        }));
    }

    pub(super) fn plan_attach(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.state.attach_planned, true) {
            ctx.run_later(ATTACH_AGAIN, |act, ctx| {
                act.state.attach_planned = false;
                act.attach(ctx);
            });
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.state.attachment == Attachment::Made
    }

    /// Whatever did not fit into the mailbox is in the history.
    pub(super) fn notice_behind(&mut self, ctx: &mut Context<Self>) {
        if self.is_attached() && self.deps.behind.load(Ordering::Relaxed) {
            self.attach(ctx);
        }
    }

    /// The rooms as the connections have them: what a restart cannot know otherwise.
    pub(super) fn rebuild_rooms(&mut self) {
        self.state.rooms.clear();
        for peer in self.deps.hub.all() {
            for (room, _) in &*peer.rooms.borrow() {
                self.room(room).members.push(peer.clone());
            }
            for pending in peer.pending.borrow().iter() {
                if let Pending::Join(join) = &**pending {
                    for room in &join.rooms {
                        self.room(room).waiters.push(peer.clone());
                    }
                }
            }
        }
    }

    pub(super) fn room(&mut self, name: &RoomName) -> &mut Room<W> {
        self.state.rooms.entry(name.clone()).or_insert_with(|| Room {
            members: Vec::new(),
            waiters: Vec::new(),
            confirmed: false,
            empty_since_ms: None,
        })
    }

    pub(super) fn attached(&mut self, rooms: &[RoomName], head: u64, ctx: &mut Context<Self>) {
        let life = self.deps.neighbours.bus.life();
        // Numbers may have been given out since, also to what this node has relayed.
        if self.begins_first_life(life) && self.deps.neighbours.bus.state().began_at == 0 {
            self.adopt(life);
        } else if self.deps.life.replace(life).is_some_and(|before| before != life) {
            self.new_life();
            // Events of the new life that came before it was known were passed over.
            return self.attach(ctx);
        }
        self.state.attachment = Attachment::Made;
        self.state.applied = self.state.applied.max(head);
        self.confirmed(rooms, head, ctx);
        // What was asked for meanwhile is not part of the attachment.
        let more = self
            .state
            .rooms
            .iter()
            .filter(|(_, room)| !room.confirmed)
            .map(|(name, _)| name.clone());
        let mut more: Vec<RoomName> = more.collect();
        if !more.is_empty() {
            more.sort_unstable();
            self.say_interest(more, Vec::new(), ctx);
        }
        self.go_on_in_outage(ctx);
        for peer in self.deps.hub.all() {
            // What the shard was not told meanwhile may have been that another connection has taken its place.
            self.keep(&peer, ctx);
            self.feed(&peer, ctx);
        }
    }

    /// Tells the bridge what has changed; what cannot be told is told whole, by attaching again.
    pub(super) fn say_interest(
        &mut self,
        wanted: Vec<RoomName>,
        unwanted: Vec<RoomName>,
        ctx: &mut Context<Self>,
    ) {
        let message = Interest {
            shard: self.deps.shard,
            wanted,
            unwanted,
        };
        if self.is_attached() && self.deps.neighbours.interest.try_send(message).is_err() {
            self.plan_attach(ctx);
        }
    }
}
