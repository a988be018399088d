//! What other servers ask, carried out by the shards and always answered: who asks counts the answers, and waits for five
//! seconds if one is missing.

use super::{JsBridge, Order};
use crate::{
    logic::{
        js_cluster::{Answer, Fetched, Found, Request, Socket},
        known::rfc3339,
    },
    messages::{CarryOut, SocketRow},
    reply::posted,
};
use actix::{
    AsyncContext, Context, WrapFuture as _,
    fut::{ActorFutureExt as _, ActorStreamExt as _, WrapStream as _},
};
use futures_util::{future::join_all, stream::poll_fn};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

/// A shard that does not say within this what it has counts as empty. Others wait for five seconds.
const ROWS_WITHIN: Duration = Duration::from_secs(2);

/// What sockets answer, one after the other. As many as were asked, so it needs no other bound.
type Answers = UnboundedReceiver<Box<RawValue>>;

impl JsBridge {
    pub(super) fn answer(&mut self, request: Request, ctx: &mut Context<Self>) {
        let (answers, answered) = unbounded_channel();
        let now_ms = (self.settings.clock)();
        let order = Order::of(request.clone(), self.settings.name_chars, now_ms, answers).map(Arc::new);
        let order = order.into_iter().flat_map(|order| vec![order; self.shards.len()]);
        // All of them are in the mailboxes when this returns: what is said later comes behind.
        let parts = self.shards.iter().zip(order).map(|(shard, order)| {
            let rows = posted(shard.carries_out.send(CarryOut(order)));
            async { timeout(ROWS_WITHIN, rows).await }
        });
        let parts = join_all(parts.collect::<Vec<_>>()).into_actor(self);
        ctx.spawn(parts.map(move |parts, act, ctx| {
            let rows = parts.into_iter().flatten().flatten().flatten();
            act.answer_with(request, &rows.collect::<Vec<_>>(), answered, ctx);
        }));
    }

    /// Answers, now that it is done.
    fn answer_with(
        &mut self,
        request: Request,
        rows: &[SocketRow],
        answered: Answers,
        ctx: &mut Context<Self>,
    ) {
        let mut sockets = Vec::with_capacity(rows.len());
        for SocketRow { id, rooms, .. } in rows {
            sockets.push(Socket { id, rooms });
        }
        let publish = match self.node.answer(request, &sockets) {
            Answer::Nothing => None,
            Answer::Say(publish) => Some(publish),
            Answer::Join { then, .. } | Answer::Leave { then, .. } | Answer::Disconnect { then, .. } => then,
            Answer::Fetch { found, reply } => Some(reply.with(&self.fetched(found, rows))),
            // This node has no listeners for what servers say to each other.
            Answer::Emit { reply, .. } => reply.map(|reply| reply.with(RawValue::NULL)),
            Answer::Deliver { sockets, reply, .. } => {
                self.say(reply.count(sockets.len()), ctx);
                let mut answered = answered;
                let answers = poll_fn(move |task| answered.poll_recv(task)).into_actor(self);
                let answers = answers.map(move |args, act, ctx| act.say(reply.ack(&args), ctx));
                ctx.spawn(answers.finish());
                None
            }
        };
        if let Some(publish) = publish {
            self.say(publish, ctx);
        }
    }

    /// Sockets as `fetchSockets` shows them. Their clients' tokens and heads are not told.
    fn fetched(&self, found: Vec<Found>, rows: &[SocketRow]) -> Vec<Fetched> {
        let by_id: HashMap<&str, &SocketRow> = rows.iter().map(|row| (&*row.id, row)).collect();
        let fetched = |Found { id, rooms }: Found| {
            let row = by_id.get(&*id)?;
            let handshake = json!({
                "headers": {},
                "time": rfc3339(row.connected_ms),
                "address": row.address.as_deref().unwrap_or_default(),
                "xdomain": false,
                "secure": self.settings.secure,
                "issued": row.connected_ms,
                "url": "/socket.io/",
                "query": {"EIO": "4"},
                "auth": {},
            });
            let data =
                json!({"greenroom": true, "node": &*self.settings.node, "subject": row.subject.as_deref()});
            Some(Fetched {
                handshake: to_raw_value(&handshake).ok()?,
                data: to_raw_value(&data).ok()?,
                id,
                rooms,
            })
        };
        found.into_iter().filter_map(fetched).collect()
    }
}
