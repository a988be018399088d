//! The life of a link: it is opened, told what this node wants, and served until it ends.

use super::{ClusterBus, state::Asked, subscriptions::Order};
use crate::{
    broker::{Arrival, BrokerError, Errand, Hello, Link, Opened, Outcome, Placed, Relayed},
    logic::{event::NodeTag, room_name::RoomName},
    ports::PortFuture,
};
use futures_util::{
    future::FutureExt as _,
    stream::{FuturesOrdered, StreamExt as _},
};
use std::{future::pending, sync::Arc};
use tokio::time::{Instant, interval, timeout};

/// Rooms that are subscribed to at once.
const ROOMS_AT_ONCE: usize = 512;
/// Events and their bytes that are sent at once, and how many such batches are on their way.
const EVENTS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 1 << 20;
const BATCHES: usize = 4;
/// Errands that are run at once.
const ERRANDS_AT_ONCE: usize = 512;
/// Arrivals that are taken in before anything else is looked at.
const ARRIVALS_AT_ONCE: usize = 256;

type Running = PortFuture<Result<Vec<Outcome>, BrokerError>>;
type Asking = PortFuture<Result<Vec<Relayed>, BrokerError>>;
type Published = (Vec<Placed>, Result<(), BrokerError>);

/// A link and all that is on its way over it.
struct Run<'a> {
    bus: &'a ClusterBus,
    link: Arc<dyn Link>,
    publishing: FuturesOrdered<PortFuture<Published>>,
    errands: Option<(Running, Vec<Asked>)>,
    ordering: Option<(PortFuture<Result<(), BrokerError>>, Order)>,
    marking: Option<PortFuture<Result<(), BrokerError>>>,
    /// What other nodes have relayed is being asked.
    asking: Option<(Asking, Vec<NodeTag>)>,
    /// A mark that is to be set next.
    mark: Option<u64>,
    /// When a mark has last come.
    marked: Instant,
}

/// When this is dropped the link is over, however that came about.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        // `run` has said why, if it knows.
        let now_ms = (self.bus.clock)();
        let mut state = self.bus.lock();
        if state.link().is_ok() {
            state.go_down("the bridge was restarted", now_ms);
            self.bus.idle.notify_one();
        }
        if let Some((_, asked)) = self.errands.take() {
            state.alone(asked, now_ms);
        }
    }
}

impl ClusterBus {
    /// Reaches the broker, and serves the link until it ends. Answers why it did.
    pub async fn run(self: Arc<Self>) -> String {
        let reason = match self.reach().await {
            Ok((run, opened)) => {
                self.tried.send_replace(true);
                let error = run.serve(opened).await;
                error.to_string()
            }
            Err(error) => error.to_string(),
        };
        self.lock().go_down(&reason, (self.clock)());
        self.tried.send_replace(true);
        reason
    }

    /// Opens a link, and has it hand out what the shards want.
    async fn reach(&self) -> Result<(Run<'_>, Opened), BrokerError> {
        let limit = self.settings.silent_max;
        let late = |_| self.late();
        let hello = {
            let state = self.lock();
            Hello {
                tag: self.settings.tag,
                life: state.life(),
                known: state.known(),
                fresh: self.settings.fresh,
            }
        };
        let opened = timeout(limit, self.broker.open(hello)).await.map_err(late)??;
        let mut opened = opened;
        let run = Run::new(self, opened.link.clone());
        let rooms = self.lock().subscriptions().all_rooms();
        let seq = timeout(limit, begin(&mut opened, &rooms, self))
            .await
            .map_err(late)??;
        let mut state = self.lock();
        state.go_up(opened.link.clone(), opened.life, &rooms, seq, (self.clock)());
        let card = state.card(&self.settings.card);
        state.ask(Errand::Beat(card));
        drop(state);
        Ok((run, opened))
    }
}

/// Subscribes to rooms, and waits until a mark says from where on nothing is missing. What comes before is in the history.
async fn begin(opened: &mut Opened, rooms: &[RoomName], bus: &ClusterBus) -> Result<u64, BrokerError> {
    for rooms in rooms.chunks(ROOMS_AT_ONCE) {
        opened.link.subscribe(rooms.to_vec()).await?;
    }
    let wanted = bus.lock().subscriptions().next_mark();
    opened.link.mark(wanted).await?;
    loop {
        match opened.arrivals.next().await {
            Some(Arrival::Mark { number, seq }) if number == wanted => return Ok(seq),
            Some(_) => {}
            None => return Err(BrokerError::Away("the connection was closed".into())),
        }
    }
}

impl<'a> Run<'a> {
    fn new(bus: &'a ClusterBus, link: Arc<dyn Link>) -> Self {
        Self {
            bus,
            link,
            publishing: FuturesOrdered::new(),
            errands: None,
            ordering: None,
            marking: None,
            asking: None,
            mark: None,
            marked: Instant::now(),
        }
    }

    async fn serve(mut self, mut opened: Opened) -> BrokerError {
        let settings = &self.bus.settings;
        let mut marks = interval(settings.mark_every);
        let mut beats = interval(settings.beat_every);
        self.marked = Instant::now();
        loop {
            self.begin_what_waits();
            // Answers come before what is handed out: of them there are no more than was asked.
            let ended = tokio::select! {
                biased;
                _ = marks.tick() => self.look_for_life(),
                _ = beats.tick() => {
                    let mut state = self.bus.lock();
                    let card = state.card(&settings.card);
                    state.ask(Errand::Beat(card));
                    Ok(())
                }
                Some((placed, result)) = self.publishing.next(), if !self.publishing.is_empty() => {
                    self.bus.lock().placed(placed);
                    self.bus.idle.notify_one();
                    result
                }
                outcomes = poll(&mut self.errands) => self.errands_done(outcomes),
                done = poll(&mut self.ordering) => self.ordered(done),
                done = poll_one(&mut self.marking) => {
                    self.marking = None;
                    done
                }
                relayed = poll(&mut self.asking) => self.asked(relayed),
                arrival = opened.arrivals.next() => self.take_in(arrival, &mut opened),
                () = self.bus.wake.notified() => Ok(()),
            };
            if let Err(error) = ended {
                self.bus.lock().go_down(&error.to_string(), (self.bus.clock)());
                self.bus.idle.notify_one();
                return error;
            }
        }
    }

    /// Sends what has been left to be sent.
    fn begin_what_waits(&mut self) {
        let mut state = self.bus.lock();
        while self.publishing.len() < BATCHES {
            let events = state.outbox().take_unsent(EVENTS_AT_ONCE, BYTES_AT_ONCE);
            if events.is_empty() {
                break;
            }
            let published = timeout(self.bus.settings.silent_max, self.link.publish(events));
            let late = self.bus.late();
            let or_late = move |published: Result<Published, _>| published.unwrap_or((Vec::new(), Err(late)));
            self.publishing.push_back(Box::pin(published.map(or_late)));
        }
        if self.errands.is_none() {
            let asked = state.take_errands(ERRANDS_AT_ONCE);
            if !asked.is_empty() {
                let errands = asked.iter().map(|(errand, _)| errand.clone()).collect();
                self.errands = Some((self.bus.limited(self.link.run(errands)), asked));
            }
        }
        if self.ordering.is_none()
            && self.mark.is_none()
            && let Some(order) = state.subscriptions().next_order(ROOMS_AT_ONCE)
        {
            let told = match &order {
                Order::Subscribe(rooms) => self.link.subscribe(rooms.clone()),
                Order::Unsubscribe(rooms) => self.link.unsubscribe(rooms.clone()),
            };
            self.ordering = Some((self.bus.limited(told), order));
        }
        if self.marking.is_none()
            && let Some(mark) = self.mark.take()
        {
            self.marking = Some(self.bus.limited(self.link.mark(mark)));
        }
    }

    fn take_in(&mut self, arrival: Option<Arrival>, opened: &mut Opened) -> Result<(), BrokerError> {
        let mut next = arrival;
        let mut state = self.bus.lock();
        for _ in 0..ARRIVALS_AT_ONCE {
            match next {
                Some(arrival) => {
                    if matches!(arrival, Arrival::Mark { .. }) {
                        self.marked = Instant::now();
                    }
                    state.arrived(arrival);
                }
                None => return Err(BrokerError::Away("the connection was closed".into())),
            }
            match opened.arrivals.next().now_or_never() {
                Some(arrival) => next = arrival,
                None => break,
            }
        }
        Ok(())
    }

    fn errands_done(&mut self, outcomes: Result<Vec<Outcome>, BrokerError>) -> Result<(), BrokerError> {
        // If they have failed, they are done alone when this is dropped.
        let outcomes = outcomes?;
        let asked = self.errands.take().map(|(_, asked)| asked).unwrap_or_default();
        for ((_, answer), outcome) in asked.into_iter().zip(outcomes) {
            // Whoever asked may be gone.
            let _ = answer.send(outcome);
        }
        Ok(())
    }

    fn ordered(&mut self, done: Result<(), BrokerError>) -> Result<(), BrokerError> {
        let order = self.ordering.take().map(|(_, order)| order);
        done?;
        if let Some(Order::Subscribe(rooms)) = order {
            self.mark = Some(self.bus.lock().subscriptions().subscribed(rooms));
        }
        Ok(())
    }

    fn asked(&mut self, relayed: Result<Vec<Relayed>, BrokerError>) -> Result<(), BrokerError> {
        let nodes = self.asking.take().map(|(_, nodes)| nodes).unwrap_or_default();
        self.bus.lock().note_relayed_by(nodes, relayed?);
        Ok(())
    }

    /// Both connections of the link are there if a mark that was set comes back.
    fn look_for_life(&mut self) -> Result<(), BrokerError> {
        let silent_max = self.bus.settings.silent_max;
        if self.marked.elapsed() > silent_max {
            let reason = format!("it has not answered for {} ms", silent_max.as_millis());
            return Err(BrokerError::Away(reason));
        }
        if self.mark.is_none() {
            self.mark = Some(self.bus.lock().subscriptions().next_mark());
        }
        if self.asking.is_none() {
            let nodes = self.bus.lock().take_unsure();
            if !nodes.is_empty() {
                let relayed = self.link.relayed(nodes.clone());
                self.asking = Some((self.bus.limited(relayed), nodes));
            }
        }
        Ok(())
    }
}

/// What the first of a pair comes to; never, where there is none.
async fn poll<T, R>(waiting: &mut Option<(PortFuture<T>, R)>) -> T {
    match waiting {
        Some((future, _)) => future.await,
        None => pending().await,
    }
}

async fn poll_one<T>(waiting: &mut Option<PortFuture<T>>) -> T {
    match waiting {
        Some(future) => future.await,
        None => pending().await,
    }
}
