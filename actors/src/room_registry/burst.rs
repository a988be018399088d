//! Events of one turn for the same rooms go out as one frame each connection.
//!
//! While one event is given out, others come: queued one by one they would cost each connection an entry a piece. They are
//! kept until the end of the turn instead, and their frames are joined, once a protocol, into one that all connections
//! share. An event that is kept has not been handed over yet as far as anything else is concerned: what is done meanwhile
//! is done as if it had come before the event.

use super::RoomRegistry;
use crate::{
    logic::{event::Event, protocol::Protocol, throttle::same_rooms},
    peer::{CLOSED, CLOSING, LAGGING, PERSONAL, Peer},
    ports::Wire,
};
use actix::Context;
use bytes::{Bytes, BytesMut};
use std::{rc::Rc, sync::Arc};

/// Bytes of frames that are joined, at most: the outbox of a client that does not read is cut off with this granularity.
/// Larger ones gain nothing: the kernel copies them all the same.
const JOINED_BYTES: usize = 16 << 10;

/// The part of an outbox that joined frames may take, so that a small one is not overrun by them.
const PART_OF_OUTBOX: usize = 8;

/// What has come in this turn and is not given out yet: one after the other in the sequence, for the same rooms.
#[derive(Default)]
pub(super) struct Burst {
    events: Vec<Arc<Event>>,
    bytes: usize,
}

impl Burst {
    /// The last number of what is kept, 0 if that is nothing.
    pub(super) fn upto(&self) -> u64 {
        self.events.last().map_or(0, |last| last.seq)
    }

    fn takes(&self, event: &Event, bytes_max: usize) -> bool {
        self.events.last().is_none_or(|last| {
            last.life == event.life
                && same_rooms(last, event)
                && self.bytes + event.payload.json().len() <= bytes_max
        })
    }
}

impl<W: Wire> RoomRegistry<W> {
    /// The bus hands over an event.
    pub(super) fn take_in(&mut self, event: Arc<Event>, ctx: &mut Context<Self>) {
        let settings = &self.deps.settings;
        // Those of an outage are given one by one: each is noted as seen.
        let is_alone = settings.rules.of(&event).is_some() || event.local_from.is_some();
        let bytes_max = JOINED_BYTES.min(settings.outbox_bytes / PART_OF_OUTBOX);
        if is_alone || !self.state.burst.takes(&event, bytes_max) {
            self.give_out(ctx);
        }
        if is_alone {
            self.fan_out(&event, ctx);
        } else {
            let burst = &mut self.state.burst;
            burst.bytes += event.payload.json().len();
            burst.events.push(event);
        }
    }

    /// Gives out what was kept. Before anything else from the bus, and at the end of the turn.
    pub(super) fn give_out(&mut self, ctx: &mut Context<Self>) {
        let mut burst = std::mem::take(&mut self.state.burst);
        let is_known = |event: &Arc<Event>| Some(event.life) == self.deps.life;
        match &burst.events[..] {
            [] => return,
            [first, _, ..] if is_known(first) => self.fan_out_joined(&burst.events, ctx),
            events => events.iter().for_each(|event| self.fan_out(event, ctx)),
        }
        // The memory is used again.
        burst.events.clear();
        burst.bytes = 0;
        self.state.burst = burst;
    }

    fn fan_out_joined(&mut self, events: &[Arc<Event>], ctx: &mut Context<Self>) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return;
        };
        let count = events.len() as u64;
        self.deps.hub.stats.events.add(count);
        let now_ms = self.now_ms();
        let mut joined = Joined::default();
        self.each_member(&first.places, |act, peer| {
            if is_plain(peer) && peer.upto.get() < first.seq {
                act.deps.hub.stats.deliveries.add(count);
                act.deps.hub.send(peer, joined.frame(events, peer.protocol));
                peer.upto.set(last.seq);
            } else {
                for event in events {
                    act.offer(peer, event, None, now_ms, ctx);
                }
            }
        });
        self.state.applied = self.state.applied.max(last.seq);
    }
}

/// Whether what it gets is the same bytes for all, and they are written to a socket of its own: the answer to a poll and a
/// chunk of a stream are cut where a frame ends.
fn is_plain<W: Wire>(peer: &Rc<Peer<W>>) -> bool {
    !peer.is(LAGGING | CLOSING | CLOSED | PERSONAL) && peer.line.socket().is_some()
}

/// The joined frames of a burst, each made when the first connection of its protocol is met.
#[derive(Default)]
struct Joined([Option<Bytes>; Protocol::FORMS]);

impl Joined {
    fn frame(&mut self, events: &[Arc<Event>], protocol: Protocol) -> Bytes {
        let frame = self.0[protocol.form()].get_or_insert_with(|| {
            let frames = || events.iter().map(|event| event.frame(protocol));
            let mut joined = BytesMut::with_capacity(frames().map(|frame| frame.len()).sum());
            frames().for_each(|frame| joined.extend_from_slice(&frame));
            joined.freeze()
        });
        frame.clone()
    }
}
