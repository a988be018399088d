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
use actix::dev::{ContextParts, EnvelopeProxy};
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
        self.pumped.set(true);
        ctx.spawn(Pump {
            messages: self.messages.clone(),
            pumped: self.pumped.clone(),
        });
    }

    /// Whether there are addresses again since the last [`Pump`] found none.
    pub(super) fn needs_pump(&self) -> bool {
        !self.pumped.get() && self.messages.borrow().connected()
    }
}

/// Does what actix's own mailbox does at each poll, as a future of the context. It ends when there is no address left,
/// so that the actor stops once its other futures have ended too.
struct Pump<A: Actor> {
    messages: Rc<RefCell<AddressReceiver<A>>>,
    pumped: Rc<Cell<bool>>,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Self::Output> {
        while !ctx.waiting() {
            // The borrow ends before the message is handled: a handler may start, or stop, anything.
            let next = Pin::new(&mut *self.messages.borrow_mut()).poll_next(cx);
            match next {
                Poll::Ready(Some(mut envelope)) => envelope.handle(actor, ctx),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if self.messages.borrow().connected() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
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
