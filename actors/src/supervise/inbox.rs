//! A worker's mailbox, held outside of its context so that it outlives every run.
//!
//! `ContextFut::restart` would keep a mailbox of its own just as well. But it also keeps the cancellations asked for in
//! the last turn of the old run, and applies them to the new run, whose futures are numbered from one again: a worker
//! that cancels its timer and then fails would come back without the timer, and nobody would know. Only new
//! `ContextParts` forget them, and those need the channel's receiver, which `ContextFut` does not give out.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};

use actix::dev::channel::{self, AddressReceiver, AddressSender};
use actix::dev::{ContextParts, Envelope, EnvelopeProxy};
use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context};
use futures_util::Stream;

/// The receiving end of a worker's addresses.
pub(super) struct Inbox<A: Actor> {
    messages: Rc<RefCell<AddressReceiver<A>>>,
    /// Whether a [`Pump`] of the current run hands the messages over.
    pumped: Rc<Cell<bool>>,
}

impl<A: Actor<Context = Context<A>>> Inbox<A> {
    pub(super) fn new(capacity: usize) -> (Addr<A>, Self) {
        // To actix, no capacity means no limit.
        let (sender, receiver): (AddressSender<A>, _) = channel::channel(capacity.max(1));
        let inbox = Self {
            messages: Rc::new(RefCell::new(receiver)),
            pumped: Rc::default(),
        };
        (Addr::new(sender), inbox)
    }

    /// Parts of a context that know nothing of an earlier run, and whose address is this inbox's.
    pub(super) fn parts(&self) -> ContextParts<A> {
        ContextParts::new(self.messages.borrow().sender_producer())
    }

    /// Lets the actor hear its messages.
    pub(super) fn pump_into(&self, ctx: &mut Context<A>) {
        self.pump_from(None, ctx);
    }

    /// Lets the actor hear its messages again, if there are addresses or messages since the last [`Pump`] found none.
    /// Returns whether the context is to be polled for it.
    pub(super) fn pump_again(&self, ctx: &mut Context<A>, cx: &mut task::Context<'_>) -> bool {
        if self.pumped.get() {
            return false;
        }
        // This also asks to be woken by a weak address.
        let next = Pin::new(&mut *self.messages.borrow_mut()).poll_next(cx);
        let first = match next {
            Poll::Ready(first) => first,
            Poll::Pending => None,
        };
        let is_needed = first.is_some() || self.messages.borrow().connected();
        if is_needed {
            self.pump_from(first, ctx);
        }
        is_needed
    }

    fn pump_from(&self, first: Option<Envelope<A>>, ctx: &mut Context<A>) {
        self.pumped.set(true);
        ctx.spawn(Pump {
            first,
            messages: self.messages.clone(),
            pumped: self.pumped.clone(),
        });
    }
}

/// Does what actix's own mailbox does at each poll, as a future of the context. It ends when there is no address left,
/// so that the actor stops once its other futures have ended too.
struct Pump<A: Actor> {
    first: Option<Envelope<A>>,
    messages: Rc<RefCell<AddressReceiver<A>>>,
    pumped: Rc<Cell<bool>>,
}

impl<A: Actor<Context = Context<A>>> Pump<A> {
    fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Envelope<A>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut *self.messages.borrow_mut()).poll_next(cx),
        }
    }
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Self::Output> {
        while !ctx.waiting() {
            // Nothing is borrowed while the message is handled: a handler may start, or stop, anything.
            match self.poll_next(cx) {
                Poll::Ready(Some(mut envelope)) => envelope.handle(actor, ctx),
                Poll::Pending if self.messages.borrow().connected() => return Poll::Pending,
                Poll::Pending | Poll::Ready(None) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl<A: Actor> Drop for Pump<A> {
    fn drop(&mut self) {
        self.pumped.set(false);
    }
}
