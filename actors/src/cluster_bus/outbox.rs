//! What this node has accepted and the broker has not: in the order in which it was accepted.

use crate::{
    logic::event::{Draft, Event, EventId, Origin, Receipt},
    ports::BusError,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Who is told what became of an event.
pub(super) type Answer = oneshot::Sender<Result<Receipt, BusError>>;

/// One event on its way to the broker.
pub(super) struct Outgoing {
    pub origin: Origin,
    pub draft: Arc<Draft>,
    /// Its publisher waits.
    pub answer: Option<Answer>,
    /// It was given to the node's own connections.
    pub local: Option<Arc<Event>>,
    /// It was sent over the link that is up.
    pub sent: bool,
    /// Its publisher has sent this id before, and whether with the same content: nobody is given it again.
    pub repeats: Option<bool>,
    cost: usize,
}

type IdKey = (Option<Arc<str>>, EventId);

/// See the module's description.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    /// Ids that publishers chose, with their digests: of what waits, and of the latest that do not any more. While the
    /// broker is away nobody else knows them.
    ids: HashMap<IdKey, u64>,
    id_ages: VecDeque<IdKey>,
}

/// Ids that are remembered, at most.
const IDS_MAX: usize = 10_000;

/// What an event costs beside its payload, bytes, about.
const EVENT_BYTES: usize = 600;

/// What keeping a draft costs, bytes.
pub(super) fn cost(draft: &Draft) -> usize {
    EVENT_BYTES + 2 * draft.payload.json().len()
}

fn key(draft: &Draft) -> Option<IdKey> {
    draft
        .id_chosen
        .then(|| (draft.publisher.clone(), draft.id.clone()))
}

impl Outbox {
    pub fn push(&mut self, origin: Origin, draft: Arc<Draft>, answer: Option<Answer>) {
        let cost = cost(&draft);
        self.bytes += cost;
        let repeats = self.repeats(&draft);
        if repeats.is_none() {
            self.remember(&draft);
        }
        self.waiting.push_back(Outgoing {
            origin,
            draft,
            answer,
            local: None,
            sent: false,
            repeats,
            cost,
        });
    }

    /// Whether the publisher has sent this id before, and with the same content.
    pub fn repeats(&self, draft: &Draft) -> Option<bool> {
        let digest = self.ids.get(&key(draft)?)?;
        Some(*digest == draft.digest())
    }

    fn remember(&mut self, draft: &Draft) {
        let Some(key) = key(draft) else { return };
        self.ids.insert(key.clone(), draft.digest());
        self.id_ages.push_back(key);
        if self.id_ages.len() > IDS_MAX
            && let Some(oldest) = self.id_ages.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Outgoing> {
        self.waiting.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.waiting.iter_mut()
    }

    /// What was not given out, above that count, the first of them first. All before them were.
    pub fn not_given_out(&mut self, above: u64) -> impl Iterator<Item = &mut Outgoing> {
        let is_new = |outgoing: &&Outgoing| outgoing.local.is_none() && outgoing.origin.count > above;
        let new = self.waiting.iter().rev().take_while(is_new).count();
        let from = self.waiting.len() - new;
        let new = self.waiting.iter_mut().skip(from);
        new.filter(|outgoing| outgoing.repeats.is_none())
    }

    /// Nothing has been sent over the link that is up now.
    pub fn unsend(&mut self) {
        self.iter_mut().for_each(|outgoing| outgoing.sent = false);
    }

    /// The next events to be sent, at most so many and so large together; one always fits.
    pub fn take_unsent(&mut self, events_max: usize, bytes_max: usize) -> Vec<(Origin, Arc<Draft>)> {
        let from = self.waiting.partition_point(|outgoing| outgoing.sent);
        let mut bytes = 0;
        let mut taken = Vec::new();
        for outgoing in self.waiting.iter_mut().skip(from).take(events_max) {
            bytes += outgoing.cost;
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            outgoing.sent = true;
            taken.push((outgoing.origin, outgoing.draft.clone()));
        }
        taken
    }

    /// The broker has the first one.
    pub fn pop(&mut self) -> Option<Outgoing> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.cost;
        Some(first)
    }

    /// Forgets those of which nobody has been told anything.
    pub fn drop_unanswered(&mut self) -> Vec<Answer> {
        let mut dropped = Vec::new();
        let (bytes, ids) = (&mut self.bytes, &mut self.ids);
        self.waiting.retain_mut(|outgoing| match outgoing.answer.take() {
            Some(answer) => {
                *bytes -= outgoing.cost;
                if outgoing.repeats.is_none()
                    && let Some(key) = key(&outgoing.draft)
                {
                    ids.remove(&key);
                }
                dropped.push(answer);
                false
            }
            None => true,
        });
        dropped
    }

    /// The one with this count.
    pub fn get_mut(&mut self, count: u64) -> Option<&mut Outgoing> {
        let at = self
            .waiting
            .binary_search_by_key(&count, |outgoing| outgoing.origin.count);
        self.waiting.get_mut(at.ok()?)
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
