//! What a node knows of its bus, under one lock. Nothing here waits: what has to be told to the broker is left for
//! [`run`](super::run) to take.

use super::{
    OnOutage, Settings,
    outbox::{Outbox, Outgoing, cost},
    subscriptions::Subscriptions,
};
use crate::{
    broker::{Arrival, Errand, Link, NodeCard, Outcome, Placed},
    logic::{
        cluster::told::{self, Told},
        event::{Draft, Event, NodeTag, Origin, Place, Receipt},
        position::{Life, Seen},
        presence::{Card, Presence},
        protocol::Member,
        room_name::RoomName,
        sessions::Sessions,
    },
    messages::{Accepted, FromBus},
    peer::Ticket,
    ports::{BusError, BusGauges, BusState, Inlet, PortFuture, ShardId},
};
use actix::Recipient;
use futures_util::future::FutureExt as _;
use std::{future::ready, sync::Arc};
use tokio::sync::oneshot;

/// An errand, and who waits for what it comes to.
pub(super) type Asked = (Errand, oneshot::Sender<Outcome>);

/// See the module's description.
pub(super) struct State {
    tag: NodeTag,
    on_outage: OnOutage,
    outbox_bytes: usize,
    life: Life,
    /// Everything up to here has been handed over, of what the shards want.
    applied: u64,
    /// The highest number that was ever heard of.
    known: u64,
    /// Events that this node has accepted.
    count: u64,
    /// The highest of them that the broker has handed out again.
    heard: u64,
    link: Option<Arc<dyn Link>>,
    /// Since when the link is up or down, milliseconds since 1970.
    since_ms: i64,
    /// Why there is no link.
    reason: String,
    outages: u64,
    /// The first event that was given out while the link was down, where one was.
    local_from: Option<u64>,
    /// What was given out in outages that are over: from, to, and the number of the last of them once all are relayed.
    outings: Vec<(u64, u64, Option<u64>)>,
    outbox: Outbox,
    subscriptions: Subscriptions,
    errands: Vec<Asked>,
    presence: Presence,
    sessions: Sessions,
    parted: Vec<(Ticket, bool)>,
    /// Who is told of what this node has accepted.
    told: Option<Recipient<Accepted>>,
}

/// Clients that leave while the broker is away, and of whom it is told later, at most.
const PARTED_MAX: usize = 100_000;
/// Outages that are remembered for those who have seen something of them.
const OUTINGS_MAX: usize = 64;

impl State {
    pub fn new(settings: &Settings, now_ms: i64) -> Self {
        Self {
            tag: settings.tag,
            on_outage: settings.on_outage,
            outbox_bytes: settings.outbox_bytes,
            life: Life::NONE,
            applied: 0,
            known: 0,
            count: 0,
            heard: 0,
            link: None,
            since_ms: now_ms,
            reason: "it has not been reached yet".into(),
            outages: 0,
            local_from: None,
            outings: Vec::new(),
            outbox: Outbox::default(),
            subscriptions: Subscriptions::default(),
            errands: Vec::new(),
            presence: Presence::default(),
            sessions: Sessions::new(settings.sessions),
            parted: Vec::new(),
            told: None,
        }
    }

    pub fn tell_accepted(&mut self, to: Recipient<Accepted>) {
        self.told = Some(to);
    }

    pub fn life(&self) -> Life {
        self.life
    }

    pub fn known(&self) -> u64 {
        self.known
    }

    pub fn link(&self) -> Result<Arc<dyn Link>, BusError> {
        self.link
            .clone()
            .ok_or_else(|| BusError::Away(self.reason.clone()))
    }

    pub fn card(&self, card: &NodeCard) -> NodeCard {
        NodeCard {
            connections: self.sessions.len(),
            ..card.clone()
        }
    }

    pub fn standing(&self) -> BusState {
        BusState {
            shared: true,
            up: self.link.is_some(),
            reason: self.reason.clone(),
            since_ms: self.since_ms,
            waiting: self.outbox.len(),
            waiting_bytes: self.outbox.bytes(),
            outages: self.outages,
            refuses: self.on_outage == OnOutage::Refuse,
        }
    }

    /// Whether something is on its way to the broker.
    pub fn is_relaying(&self) -> bool {
        self.link.is_some() && self.outbox.len() > 0
    }

    pub fn gauges(&self) -> BusGauges {
        BusGauges {
            head: self.applied,
            events: self.outbox.len(),
            bytes: self.outbox.bytes(),
            rooms: 0,
            remembered_bytes: self.sessions.bytes(),
        }
    }

    // ---- publishing ----

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
        match self.outbox.known(&draft) {
            Some(digest) if digest != draft.digest() => return Err(BusError::IdReused),
            Some(_) => {
                return Ok(Receipt {
                    repeated: true,
                    ..receipt
                });
            }
            None => {}
        }
        let origin = self.next_origin();
        self.outbox.remember(&draft);
        self.outbox.push(origin, Arc::new(draft), None);
        self.give_out_locally();
        Ok(receipt)
    }

    /// Gives what waits, and nobody was given, to the node's own connections.
    fn give_out_locally(&mut self) {
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

    /// The number up to which all of this has been relayed, if it has.
    pub fn settled(&self, seen: &Seen) -> Option<u64> {
        if seen.node != self.tag || self.local_from == Some(seen.from) {
            return None;
        }
        let outing = self.outings.iter().find(|(from, ..)| *from == seen.from);
        // One that is forgotten was over long ago.
        outing.map_or(Some(self.applied), |(_, _, seq)| *seq)
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

    // ---- what the broker hands out ----

    pub fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Event(event) => self.take_in(&event),
            Arrival::Mark { number, seq } => {
                self.applied = self.applied.max(seq);
                self.known = self.known.max(seq);
                self.subscriptions.marked(number, self.applied);
            }
            Arrival::Told(Told::TakenOver { id, generation }) => {
                if let Some(id) = told::session_id(&id) {
                    // A shard that is too far behind to hear it is told when it keeps its sessions anew.
                    self.subscriptions.tell(&FromBus::TakenOver { id, generation });
                }
            }
        }
    }

    fn take_in(&mut self, event: &Arc<Event>) {
        if event.seq <= self.applied {
            // The copy of another room.
            return;
        }
        self.applied = event.seq;
        self.known = self.known.max(event.seq);
        if let Some(origin) = event.origin.filter(|origin| origin.node == self.tag) {
            self.heard = self.heard.max(origin.count);
            self.answer_by(event, origin);
        }
        self.subscriptions.hand_over(event);
    }

    /// An event of our own has come back before the broker's answer.
    fn answer_by(&mut self, event: &Event, origin: Origin) {
        let outgoing = self.outbox.get_mut(origin.count);
        if let Some(answer) = outgoing.and_then(|outgoing| outgoing.answer.take()) {
            let place = |place: &Place| (place.room.clone(), place.offset);
            let _ = answer.send(Ok(Receipt {
                id: event.id.clone(),
                offsets: event.places.iter().map(place).collect(),
                repeated: false,
                local: false,
            }));
        }
    }

    // ---- up and down ----

    /// The link hands out these rooms, and has handed out everything up to `seq`.
    pub fn go_up(&mut self, link: Arc<dyn Link>, life: Life, rooms: &[RoomName], seq: u64, now_ms: i64) {
        if self.life != life && self.life != Life::NONE {
            tracing::warn!(before = %self.life, now = %life, "the broker has lost its history: a new life begins");
            self.applied = 0;
            self.known = 0;
        }
        self.life = life;
        self.applied = self.applied.max(seq);
        self.known = self.known.max(seq);
        if let Some(from) = self.local_from.take() {
            let to = self
                .outbox
                .iter()
                .filter(|outgoing| outgoing.local.is_some())
                .last();
            let to = to.map_or(self.count, |outgoing| outgoing.origin.count);
            let relayed = (self.outbox.len() == 0).then_some(seq);
            self.outings.push((from, to, relayed));
            if self.outings.len() > OUTINGS_MAX {
                self.outings.remove(0);
            }
        }
        self.link = Some(link);
        self.since_ms = now_ms;
        self.reason.clear();
        self.outbox.unsend();
        self.write_down_all();
        self.subscriptions.go_up(rooms);
    }

    pub fn go_down(&mut self, reason: &str, now_ms: i64) {
        reason.clone_into(&mut self.reason);
        if self.link.take().is_none() {
            return;
        }
        self.since_ms = now_ms;
        self.outages += 1;
        self.subscriptions.go_down(self.applied);
        match self.on_outage {
            OnOutage::Local => {
                self.give_out_locally();
                for outgoing in self.outbox.iter_mut() {
                    if let Some(answer) = outgoing.answer.take() {
                        let _ = answer.send(Ok(local_receipt(&outgoing.draft)));
                    }
                }
            }
            OnOutage::Refuse => {
                for answer in self.outbox.drop_unanswered() {
                    let _ = answer.send(Err(BusError::Away(self.reason.clone())));
                }
            }
        }
        self.outbox.unsend();
        let asked = std::mem::take(&mut self.errands);
        self.alone(asked, now_ms);
    }

    /// Does by itself what the broker did not do, or has not said that it did.
    pub fn alone(&mut self, asked: Vec<Asked>, now_ms: i64) {
        for (errand, answer) in asked {
            // Whoever asked may be gone.
            let _ = answer.send(self.do_alone(errand, now_ms));
        }
    }

    // ---- clients and members ----

    /// Writes everything down that the broker may not have.
    fn write_down_all(&mut self) {
        let mut errands = vec![Errand::Empty];
        errands.extend(
            self.presence
                .all()
                .map(|(room, card, since_ms)| Errand::Enter(vec![room.clone()], card.clone(), since_ms)),
        );
        errands.extend(
            self.sessions
                .connected()
                .map(|(secret, record)| Errand::Keep(secret, record.clone())),
        );
        errands.extend(
            std::mem::take(&mut self.parted)
                .into_iter()
                .map(|(ticket, for_good)| Errand::Part(ticket, for_good)),
        );
        // Before anything that is asked from now on.
        let later = std::mem::take(&mut self.errands);
        let all = errands.into_iter().map(|errand| (errand, oneshot::channel().0));
        self.errands = all.chain(later).collect();
    }

    pub fn run_errand(&mut self, errand: Errand, now_ms: i64) -> oneshot::Receiver<Outcome> {
        let (answer, answered) = oneshot::channel();
        if self.link.is_some() {
            match &errand {
                Errand::Keep(secret, record) => drop(self.sessions.keep(*secret, record.clone())),
                Errand::Part(Ticket { secret, generation }, for_good) => {
                    self.sessions.part(*secret, *generation, *for_good, now_ms);
                }
                _ => {}
            }
            self.errands.push((errand, answer));
        } else {
            let _ = answer.send(self.do_alone(errand, now_ms));
        }
        answered
    }

    /// What an errand comes to while the broker is away.
    fn do_alone(&mut self, errand: Errand, now_ms: i64) -> Outcome {
        match errand {
            Errand::Keep(secret, record) => Outcome::Kept(self.sessions.keep(secret, record)),
            Errand::Claim(secret, subject) => {
                let claimed = self.sessions.claim(secret, subject.as_deref(), now_ms);
                if let Some(record) = &claimed {
                    let (id, generation) = (record.id, record.generation);
                    self.subscriptions.tell(&FromBus::TakenOver { id, generation });
                }
                Outcome::Claimed(claimed)
            }
            Errand::Part(ticket, for_good) => {
                let Ticket { secret, generation } = ticket;
                self.sessions.part(secret, generation, for_good, now_ms);
                if self.parted.len() < PARTED_MAX {
                    self.parted.push((ticket, for_good));
                }
                Outcome::Done
            }
            _ => Outcome::Done,
        }
    }

    pub fn take_errands(&mut self, most: usize) -> Vec<Asked> {
        let most = most.min(self.errands.len());
        self.errands.drain(..most).collect()
    }

    pub fn ask(&mut self, errand: Errand) {
        if self.link.is_some() {
            self.errands.push((errand, oneshot::channel().0));
        }
    }

    pub fn enter(&mut self, rooms: &[RoomName], card: &Arc<Card>, now_ms: i64) {
        rooms
            .iter()
            .for_each(|room| self.presence.enter(room, card, now_ms));
        self.ask(Errand::Enter(rooms.to_vec(), card.clone(), now_ms));
    }

    pub fn exit(&mut self, rooms: &[RoomName], card: &Arc<Card>) {
        rooms.iter().for_each(|room| self.presence.exit(room, card));
        self.ask(Errand::Exit(rooms.to_vec(), card.clone()));
    }

    pub fn members(&self, room: &RoomName) -> Vec<Member> {
        self.presence.members(room)
    }

    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(RoomName, usize)> {
        self.presence.rooms(prefix, after, limit)
    }

    pub fn tend(&mut self, now_ms: i64) {
        self.sessions.tend(now_ms);
        self.ask(Errand::Tend);
    }

    // ---- shards ----

    pub fn attach(&mut self, inlet: Inlet, rooms: Vec<RoomName>) -> oneshot::Receiver<u64> {
        self.subscriptions.attach(inlet, rooms, self.applied)
    }

    pub fn detach(&mut self, shard: ShardId) {
        self.subscriptions.detach(shard);
    }

    pub fn subscribe(&mut self, shard: ShardId, rooms: &[RoomName]) {
        self.subscriptions.subscribe(shard, rooms, self.applied);
    }

    pub fn unsubscribe(&mut self, shard: ShardId, rooms: &[RoomName]) {
        self.subscriptions.unsubscribe(shard, rooms);
    }

    pub fn subscriptions(&mut self) -> &mut Subscriptions {
        &mut self.subscriptions
    }

    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
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
