//! What a node knows of its bus, under one lock. Nothing here waits: what has to be told to the broker is left for
//! [`run`](super::run) to take.

use super::{OnOutage, Settings, outbox::Outbox, subscriptions::Subscriptions};
use crate::{
    broker::{Arrival, Errand, Link, NodeCard, Outcome, Relayed},
    logic::{
        cluster::told::{self, Told},
        event::{Event, NodeTag, Origin, Place, Receipt},
        position::Life,
        presence::Presence,
        room_name::RoomName,
        sessions::Sessions,
    },
    messages::{Accepted, FromBus},
    peer::Ticket,
    ports::{BusError, BusGauges, BusState, Inlet, ShardId},
};
use actix::Recipient;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio::sync::oneshot;

/// An errand, and who waits for what it comes to.
pub(super) type Asked = (Errand, oneshot::Sender<Outcome>);

/// See the module's description.
pub(super) struct State {
    pub(super) tag: NodeTag,
    pub(super) on_outage: OnOutage,
    pub(super) outbox_bytes: usize,
    pub(super) life: Life,
    /// Everything up to here has been handed over, of what the shards want.
    pub(super) applied: u64,
    /// The highest number that was ever heard of.
    pub(super) known: u64,
    /// Events that this node has accepted.
    pub(super) count: u64,
    /// The highest of them that the broker has handed out again.
    pub(super) heard: u64,
    pub(super) link: Option<Arc<dyn Link>>,
    /// Since when the link is up or down, milliseconds since 1970.
    since_ms: i64,
    /// Why there is no link.
    pub(super) reason: String,
    outages: u64,
    /// The first event that was given out while the link was down, where one was.
    pub(super) local_from: Option<u64>,
    /// What was given out in outages that are over: from, to, and the number of the last of them once all are relayed.
    pub(super) outings: Vec<(u64, u64, Option<u64>)>,
    /// What other nodes have relayed, as far as somebody wanted to know.
    pub(super) relayed: HashMap<NodeTag, Relayed>,
    /// Nodes of which somebody wants to know it.
    pub(super) unsure_of: BTreeSet<NodeTag>,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Subscriptions,
    pub(super) errands: Vec<Asked>,
    pub(super) presence: Presence,
    pub(super) sessions: Sessions,
    /// When all that are connected were written down last, milliseconds since 1970.
    pub(super) renewed_ms: i64,
    pub(super) renew_every_ms: i64,
    /// Clients that have left while the link was down, and whether for good.
    pub(super) parted: Vec<(Ticket, bool)>,
    /// The last number that there was when the broker was reached for the first time.
    began_at: u64,
    /// Events were on their way when the link ended.
    pub(super) doubtful: bool,
    /// Who is told of what this node has accepted.
    pub(super) told: Option<Recipient<Accepted>>,
}

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
            relayed: HashMap::new(),
            unsure_of: BTreeSet::new(),
            outbox: Outbox::default(),
            subscriptions: Subscriptions::default(),
            errands: Vec::new(),
            presence: Presence::default(),
            sessions: Sessions::new(settings.sessions),
            renewed_ms: now_ms,
            renew_every_ms: i64::try_from(settings.renew_every.as_millis()).unwrap_or(i64::MAX),
            parted: Vec::new(),
            began_at: 0,
            doubtful: false,
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
            began_at: self.began_at,
        }
    }

    /// Whether the broker does not have all that this node has accepted, or has not said so.
    pub fn has_to_relay(&self) -> bool {
        self.outbox.len() > 0
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
        if self.life == Life::NONE {
            self.began_at = seq;
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
        self.relayed.clear();
        self.since_ms = now_ms;
        self.reason.clear();
        self.outbox.unsend();
        self.write_down_all(now_ms);
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
        self.doubtful = self.outbox.is_doubtful(self.heard);
        match self.on_outage {
            OnOutage::Local => {
                self.give_out_locally();
                self.answer_locally();
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
