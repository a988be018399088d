//! What the shard's connections hold, told to the node; and what is done about it when the node is full.

use super::RoomRegistry;
use crate::{
    logic::memory::Tally,
    peer::{CLOSED, CLOSING, Peer},
    ports::Wire,
};
use std::rc::Rc;

impl<W: Wire> RoomRegistry<W> {
    /// Weighs what waits for these connections, which are all that the shard has.
    pub(super) fn weigh(&self, peers: &[Rc<Peer<W>>]) {
        let gauges = self.deps.neighbours.bus.gauges();
        let kept = gauges.bytes + gauges.remembered_bytes;
        let summed: usize = peers.iter().map(|peer| peer.holds(self.who(peer))).sum();
        let weighed = || {
            let mut tally = Tally::default();
            peers
                .iter()
                .for_each(|peer| peer.weigh(self.who(peer), &mut tally));
            tally.bytes() as u64
        };
        let counts = self.deps.share.tell(summed as u64, kept as u64, weighed);
        self.deps.hub.stats.waiting_bytes.set(counts);
    }

    /// Whether the node takes nothing new.
    pub(super) fn is_full(&self) -> bool {
        self.deps.share.memory().is_full()
    }

    /// While the node is full, whoever has been behind for long without a break is cut off: else a few clients that never
    /// read could keep it full.
    pub(super) fn sweep_outbox(&self, peer: &Rc<Peer<W>>, now_ms: u64) {
        if !peer.is_behind() || peer.is(CLOSING | CLOSED) {
            peer.behind_ms.set(u64::MAX);
            return;
        }
        let since_ms = peer.behind_ms.get().min(now_ms);
        peer.behind_ms.set(since_ms);
        if self.is_full() && now_ms - since_ms >= self.deps.settings.behind_ms {
            self.deps
                .hub
                .too_slow(peer, "the node is full, and this client is behind");
        }
    }
}
