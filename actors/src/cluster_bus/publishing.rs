//! What this node accepts: it is told to the broker, and while that is away, given to the node's own connections.

use super::{
    OnOutage,
    outbox::{Outgoing, cost},
    state::State,
};
use crate::{
    broker::{Placed, Relayed},
    logic::{
        event::{Draft, Event, NodeTag, Origin, Place, Receipt},
        position::{Life, Seen},
        room_name::RoomName,
    },
    messages::Accepted,
    ports::{BusError, PortFuture},
};
use futures_util::future::FutureExt as _;
use std::{future::ready, sync::Arc};
use tokio::sync::oneshot;

/// Other nodes of which it is remembered what they have relayed.
const RELAYED_MAX: usize = 1_024;

impl State {
    pub fn publish(&mut self, draft: Draft) -> PortFuture<Result<Receipt, BusError>> {
        if self.outbox.bytes() + cost(&draft) > self.outbox_bytes && self.outbox.len() > 0 {
            return Box::pin(ready(Err(BusError::Full)));
        }
        if self.link.is_none() {
            return Box::pin(ready(self.publish_locally(draft)));
        }
        let (answer, answered) = oneshot::channel();
        let origin = self.next_origin();
        self.outbox.push(origin, Arc::new(draft), Some(answer));
        let gone = |_| Err(BusError::Away("the node is going".into()));
        Box::pin(answered.map(move |answer| answer.unwrap_or_else(gone)))
    }

    fn next_origin(&mut self) -> Origin {
        self.count += 1;
        Origin {
            node: self.tag,
            count: self.count,
        }
    }

    fn publish_locally(&mut self, draft: Draft) -> Result<Receipt, BusError> {
        if self.on_outage == OnOutage::Refuse {
            return Err(BusError::Away(self.reason.clone()));
        }
        let receipt = local_receipt(&draft);
        match self.outbox.repeats(&draft) {
            Some(false) => return Err(BusError::IdReused),
            Some(true) => {
                return Ok(Receipt {
                    repeated: true,
                    ..receipt
                });
            }
            None => {}
        }
        let origin = self.next_origin();
        self.outbox.push(origin, Arc::new(draft), None);
        self.give_out_locally();
        Ok(receipt)
    }

    /// Gives what waits, and nobody was given, to the node's own connections.
    pub(super) fn give_out_locally(&mut self) {
        let (life, seq) = (self.life, self.applied);
        for outgoing in self.outbox.not_given_out(self.heard) {
            let from = *self.local_from.get_or_insert(outgoing.origin.count);
            let event = local_event(&outgoing.draft, life, seq, outgoing.origin, from);
            outgoing.local = Some(event.clone());
            self.subscriptions.hand_over(&event);
        }
    }

    /// What was given to the node's own connections in this outage, after that count.
    pub fn local_events(&self, after: u64) -> Vec<Arc<Event>> {
        let Some(from) = self.local_from.filter(|_| self.link.is_none()) else {
            return Vec::new();
        };
        let newer = self
            .outbox
            .iter()
            .filter(|outgoing| outgoing.origin.count > after.max(from - 1));
        newer.filter_map(|outgoing| outgoing.local.clone()).collect()
    }

    /// The link is down: whoever waits for the broker's answer is told that his event was accepted here.
    pub(super) fn answer_locally(&mut self) {
        for outgoing in self.outbox.iter_mut() {
            let Some(answer) = outgoing.answer.take() else {
                continue;
            };
            let receipt = local_receipt(&outgoing.draft);
            // Whoever asked may be gone.
            let _ = answer.send(match outgoing.repeats {
                None => Ok(receipt),
                Some(true) => Ok(Receipt {
                    repeated: true,
                    ..receipt
                }),
                Some(false) => Err(BusError::IdReused),
            });
        }
    }

    /// The number up to which all of this has been relayed, if it has.
    pub fn settled(&mut self, seen: &Seen) -> Option<u64> {
        if seen.node != self.tag {
            return self.settled_elsewhere(seen);
        }
        if self.local_from == Some(seen.from) {
            // It goes on.
            return None;
        }
        let outing = self.outings.iter().find(|(from, ..)| *from == seen.from);
        // One that is forgotten was over long ago.
        outing.map_or(Some(self.applied), |(_, _, seq)| *seq)
    }

    /// The same of an outage of another node: the broker is asked what that has relayed.
    fn settled_elsewhere(&mut self, seen: &Seen) -> Option<u64> {
        match self.relayed.get(&seen.node) {
            Some(relayed) if relayed.count >= seen.upto => Some(relayed.seq),
            _ => {
                self.unsure_of.insert(seen.node);
                None
            }
        }
    }

    /// Nodes of which it is to be asked what they have relayed.
    pub fn take_unsure(&mut self) -> Vec<NodeTag> {
        std::mem::take(&mut self.unsure_of).into_iter().collect()
    }

    /// So far these nodes have relayed.
    pub fn note_relayed_by(&mut self, nodes: Vec<NodeTag>, relayed: Vec<Relayed>) {
        if self.relayed.len() > RELAYED_MAX {
            self.relayed.clear();
        }
        self.relayed.extend(nodes.into_iter().zip(relayed));
    }

    /// The broker has placed the first events of the outbox.
    pub fn placed(&mut self, placed: Vec<Placed>) {
        for placed in placed {
            let Some(outgoing) = self.outbox.pop() else { return };
            let seq = match &placed {
                Placed::New { seq, .. } => *seq,
                _ => 0,
            };
            self.known = self.known.max(seq);
            self.note_relayed(outgoing.origin.count, seq);
            self.hand_on(&outgoing, &placed);
            let Some(answer) = outgoing.answer else { continue };
            let draft = &outgoing.draft;
            let receipt = match placed {
                Placed::New { offsets, .. } => Ok(Receipt {
                    id: draft.id.clone(),
                    offsets: draft.rooms.iter().cloned().zip(offsets).collect(),
                    repeated: false,
                    local: false,
                }),
                Placed::Repeated(receipt) => Ok(receipt),
                Placed::IdReused => Err(BusError::IdReused),
                // It was accepted, where is not known any more.
                Placed::Already => Ok(local_receipt(draft)),
            };
            // Whoever asked may be gone.
            let _ = answer.send(receipt);
        }
    }

    /// An event has its number: whoever hands them on is told, but not of what this node has given out by itself before.
    fn hand_on(&self, outgoing: &Outgoing, placed: &Placed) {
        let is_accepted = matches!(placed, Placed::New { .. } | Placed::Already);
        if let Some(told) = self
            .told
            .as_ref()
            .filter(|_| is_accepted && outgoing.local.is_none())
        {
            // Who is that far behind counts what it did not hear.
            let _ = told.try_send(Accepted(outgoing.draft.clone()));
        }
    }

    fn note_relayed(&mut self, count: u64, seq: u64) {
        let (known, link_up) = (self.known, self.link.is_some());
        for (from, to, relayed) in &mut self.outings {
            if count == *to && *from <= count && link_up {
                // What was accepted over an earlier link has a number, if not one that this node was told.
                *relayed = Some(if seq == 0 { known } else { seq });
            }
        }
    }
}

/// What a publisher is told while the broker is away: the event has no number in any room yet.
fn local_receipt(draft: &Draft) -> Receipt {
    Receipt {
        id: draft.id.clone(),
        offsets: draft.rooms.iter().map(|room| (room.clone(), 0)).collect(),
        repeated: false,
        local: true,
    }
}

fn local_event(draft: &Draft, life: Life, seq: u64, origin: Origin, from: u64) -> Arc<Event> {
    let place = |room: &RoomName| Place {
        room: room.clone(),
        offset: 0,
        prev: 0,
    };
    let places = draft.rooms.iter().map(place).collect();
    let event = Event::new(draft.clone(), life, seq, places).from_node(origin);
    Arc::new(event.given_locally(from))
}
