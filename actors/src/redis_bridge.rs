//! RedisBridge: between the shards of a node and the bus.
//!
//! **Owns** which shards there are and how to reach them.
//! **Hears** [`Attach`], [`Detach`], [`Interest`].
//! **Tells** the bus what each shard wants; the shards, after a restart, to say it again.
//! **Fails** when the bus is away, which is weather: retried with back-off.
//! **After a restart** every shard attaches again, and catches up from the history what it may have missed.
//!
//! Events themselves do not pass through its mailbox: the bus hands them to the shards' inlets in order, which saves a
//! hop an event and keeps the order where it was made.

use crate::{
    messages::{Attach, Detach, Interest, SayInterest},
    ports::{Bus, BusError, ShardId},
    reply::Reply,
};
use actix::{Actor, AsyncContext, Context, Handler, Recipient, Supervised};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often the bus drops what is too old.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// How long a shard's full mailbox is given before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// See the module's description.
pub struct RedisBridge {
    bus: Arc<dyn Bus>,
    /// Kept over a restart: only they can say what they want.
    shards: BTreeMap<ShardId, Recipient<SayInterest>>,
    restarted: bool,
}

impl RedisBridge {
    /// A bridge to `bus`.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            bus,
            shards: BTreeMap::new(),
            restarted: false,
        }
    }

    fn ask(&mut self, shard: ShardId, ctx: &mut Context<Self>) {
        if self
            .shards
            .get(&shard)
            .is_some_and(|shard| shard.try_send(SayInterest).is_err())
        {
            ctx.run_later(ASK_AGAIN, move |act, ctx| act.ask(shard, ctx));
        }
    }
}

impl Actor for RedisBridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TEND_EVERY, |act, _| act.bus.tend());
        if self.restarted {
            let shards: Vec<ShardId> = self.shards.keys().copied().collect();
            shards.into_iter().for_each(|shard| self.ask(shard, ctx));
        }
    }
}

impl Supervised for RedisBridge {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.restarted = true;
    }
}

impl Handler<Attach> for RedisBridge {
    type Result = Reply<Result<u64, BusError>>;
    fn handle(&mut self, attach: Attach, _: &mut Self::Context) -> Self::Result {
        self.shards.retain(|_, ask| ask.connected());
        self.shards.insert(attach.inlet.shard, attach.ask);
        Reply(self.bus.attach(attach.inlet, attach.rooms))
    }
}

impl Handler<Detach> for RedisBridge {
    type Result = ();
    fn handle(&mut self, Detach(shard): Detach, _: &mut Self::Context) {
        self.shards.remove(&shard);
        self.bus.detach(shard);
    }
}

impl Handler<Interest> for RedisBridge {
    type Result = ();
    fn handle(&mut self, interest: Interest, _: &mut Self::Context) {
        if !interest.wanted.is_empty() {
            self.bus.subscribe(interest.shard, &interest.wanted);
        }
        if !interest.unwanted.is_empty() {
            self.bus.unsubscribe(interest.shard, &interest.unwanted);
        }
    }
}
