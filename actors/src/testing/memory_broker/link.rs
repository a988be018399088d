//! A link to the broker in memory.

use super::{
    MemoryBroker, Mood,
    server::{Line, Server},
};
use crate::{
    broker::{Arrival, BrokerError, Errand, Link, NodeCard, NodeRow, Outcome, Placed, Relayed},
    logic::{
        bus_log::{Page, Query},
        event::{Draft, NodeTag, Origin},
        protocol::Member,
        room_name::RoomName,
    },
    ports::PortFuture,
};
use futures_util::future::pending;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::{Instant, sleep};

/// See the module's description.
pub(super) struct MemoryLink {
    pub(super) broker: Arc<MemoryBroker>,
    pub(super) number: u64,
    pub(super) tag: NodeTag,
}

impl MemoryLink {
    /// Does something at once, and answers later: if the link is still there then.
    fn ask<T: Send + 'static>(
        &self,
        keeps: bool,
        what: impl FnOnce(&mut Server, Instant) -> Result<T, BrokerError>,
    ) -> PortFuture<Result<T, BrokerError>> {
        let (broker, number) = (self.broker.clone(), self.number);
        let mood = *broker.mood.borrow();
        let cut = || Err(BrokerError::Away("the link is cut".into()));
        let at = Instant::now() + broker.takes;
        let done = {
            let mut server = broker.lock();
            match Self::own(&mut server, number) {
                None => cut(),
                Some(line) => {
                    line.is_stalled |= mood == Mood::Deaf;
                    line.has_refused |= mood == Mood::Full && keeps;
                    match (line.is_stalled, line.has_refused && keeps) {
                        (true, _) => return Box::pin(pending()),
                        (false, true) => Err(BrokerError::Refuses("full".into())),
                        (false, false) => what(&mut server, at),
                    }
                }
            }
        };
        Box::pin(async move {
            sleep(broker.takes).await;
            if *broker.mood.borrow() == Mood::Deaf {
                return pending().await;
            }
            let is_there = broker.lock().lines.iter().any(|line| line.number == number);
            if is_there { done } else { cut() }
        })
    }

    pub(super) fn own(server: &mut Server, number: u64) -> Option<&mut Line> {
        server.lines.iter_mut().find(|line| line.number == number)
    }
}

impl Link for MemoryLink {
    fn publish(
        &self,
        events: Vec<(Origin, Arc<Draft>)>,
    ) -> PortFuture<(Vec<Placed>, Result<(), BrokerError>)> {
        let placed = self.ask(true, |server, at| {
            let placed: Result<Vec<Placed>, BrokerError> =
                events.into_iter().map(|event| server.place(event, at)).collect();
            placed
        });
        Box::pin(async move {
            match placed.await {
                Ok(placed) => (placed, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            }
        })
    }

    fn run(&self, errands: Vec<Errand>) -> PortFuture<Result<Vec<Outcome>, BrokerError>> {
        let now_ms = (self.broker.clock)();
        self.ask(true, |server, at| {
            let done = errands
                .into_iter()
                .map(|errand| server.carry_out(self.tag, errand, at, now_ms));
            done.collect()
        })
    }

    fn subscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>> {
        let number = self.number;
        self.ask(false, |server, _| {
            if let Some(line) = Self::own(server, number) {
                line.rooms.extend(rooms);
            }
            Ok(())
        })
    }

    fn unsubscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>> {
        let number = self.number;
        self.ask(false, |server, _| {
            if let Some(line) = Self::own(server, number) {
                line.rooms.retain(|room| !rooms.contains(room));
            }
            Ok(())
        })
    }

    fn mark(&self, number: u64) -> PortFuture<Result<(), BrokerError>> {
        let own = self.number;
        self.ask(false, |server, at| {
            let seq = server.data()?.log.head();
            server.hand_out(&Arrival::Mark { number, seq }, at, |line| line.number == own);
            Ok(())
        })
    }

    fn read(&self, query: Query) -> PortFuture<Result<Page, BrokerError>> {
        let now_ms = (self.broker.clock)();
        self.ask(false, |server, _| server.data()?.read(&query, now_ms))
    }

    fn relayed(&self, nodes: Vec<NodeTag>) -> PortFuture<Result<Vec<Relayed>, BrokerError>> {
        self.ask(false, |server, _| {
            let sent = &server.data()?.sent;
            let of = |node: &NodeTag| sent.get(node).copied().unwrap_or_default();
            Ok(nodes.iter().map(of).collect())
        })
    }

    fn members(&self, room: RoomName) -> PortFuture<Result<Vec<Member>, BrokerError>> {
        self.ask(false, |server, _| {
            let all = server.presence.values();
            Ok(all.flat_map(|presence| presence.members(&room)).collect())
        })
    }

    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BrokerError>> {
        self.ask(false, |server, _| {
            let mut rooms: BTreeMap<RoomName, usize> = BTreeMap::new();
            for presence in server.presence.values() {
                for (room, members) in presence.rooms(&prefix, after.as_deref(), limit) {
                    *rooms.entry(room).or_default() += members;
                }
            }
            Ok(rooms.into_iter().take(limit).collect())
        })
    }

    fn nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BrokerError>> {
        let now_ms = (self.broker.clock)();
        self.ask(false, |server, _| {
            let row = |(tag, (card, seen_ms)): (&NodeTag, &(NodeCard, i64))| NodeRow {
                tag: *tag,
                card: card.clone(),
                silent_ms: u64::try_from(now_ms - seen_ms).unwrap_or(0),
            };
            Ok(server.nodes.iter().map(row).collect())
        })
    }
}
