//! RedisBridge: between the shards of a node and the bus.
//!
//! **Owns** which shards there are and how to reach them.
//! **Hears** [`Attach`], [`Detach`], [`Interest`].
//! **Tells** the bus what each shard wants; the shards, after a restart, to say it again.
//! **Fails** never by itself. It drives what the bus has to do: while a broker is away that is tried again and again, and the
//! bridge goes on, since the shards' joins need it then too.
//! **After a restart** every shard attaches again, and catches up from the history what it may have missed.
//!
//! Events themselves do not pass through its mailbox: the bus hands them to the shards' inlets in order, which saves a
//! hop an event and keeps the order where it was made.

use crate::{
    messages::{Attach, Detach, Interest, SayInterest},
    ports::{Bus, BusError, ShardId},
    reply::Reply,
};
use actix::{
    Actor, AsyncContext, Context, Handler, Recipient, Supervised, WrapFuture as _, fut::ActorFutureExt as _,
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

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
    retry: Retry,
    /// Attempts that have failed since the last one that lasted.
    failed: u32,
}

/// How a bus whose work has ended is driven again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first wait; each further one is twice as long.
    pub min: Duration,
    /// The longest wait. What has lasted for twice as long counts as a success.
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(5),
        }
    }
}

impl RedisBridge {
    /// A bridge to `bus`.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            bus,
            shards: BTreeMap::new(),
            restarted: false,
            retry: Retry::default(),
            failed: 0,
        }
    }

    /// The same, tried again in this way.
    pub fn retrying(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Drives the bus, for as long as it has something to do.
    fn drive(&mut self, ctx: &mut Context<Self>) {
        let began = Instant::now();
        let driven = self.bus.clone().drive().into_actor(self);
        ctx.spawn(driven.map(move |reason, act, ctx| {
            if began.elapsed() > 2 * act.retry.max {
                act.failed = 0;
            }
            if act.failed == 0 {
                tracing::warn!(reason, "the broker is away");
            } else {
                tracing::debug!(reason, failed = act.failed, "the broker is still away");
            }
            let wait = act.wait(began);
            act.failed = act.failed.saturating_add(1);
            ctx.run_later(wait, |act, ctx| act.drive(ctx));
        }));
    }

    /// Doubling, capped, and a random part of it off, so that nodes do not come all at once.
    fn wait(&self, began: Instant) -> Duration {
        let doubled = self.retry.min.saturating_mul(1 << self.failed.min(16));
        let longest = doubled.min(self.retry.max);
        // No two nodes have waited for the same number of nanoseconds, but for those of a test.
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(began.elapsed().as_nanos());
        let chance = hasher.finish() % 1_000;
        longest.mul_f64(1.0 - chance as f64 / 2_000.0)
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
        self.drive(ctx);
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
