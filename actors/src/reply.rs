//! Answers of ports, given back without a detour where they are there at once.

use crate::ports::PortFuture;
use actix::{Actor, AsyncContext, Message, dev::MessageResponse, dev::OneshotSender, fut::ActorFutureExt};
use std::task::{Context, Poll, Waker};

/// A handler's answer that a port gives. An embedded port has it at once, and then no task is made for it.
pub struct Reply<T>(pub PortFuture<T>);

impl<A, M, T> MessageResponse<A, M> for Reply<T>
where
    A: Actor,
    A::Context: AsyncContext<A>,
    M: Message<Result = T>,
    T: 'static,
{
    fn handle(self, ctx: &mut A::Context, sender: Option<OneshotSender<T>>) {
        // Whoever asked may be gone; that is not this actor's concern.
        let give = |sender: Option<OneshotSender<T>>, answer| sender.map(|sender| sender.send(answer));
        match poll_once(self.0) {
            Ok(answer) => drop(give(sender, answer)),
            Err(pending) => {
                // The actor is not borrowed: its context only runs the future, and drops it at a restart.
                ctx.spawn(Detached(pending).map(move |answer, _, _| drop(give(sender, answer))));
            }
        }
    }
}

/// A port's future as an actor's.
struct Detached<T>(PortFuture<T>);

impl<A: Actor, T> actix::ActorFuture<A> for Detached<T> {
    type Output = T;
    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut A,
        _: &mut A::Context,
        task: &mut Context<'_>,
    ) -> Poll<T> {
        self.0.as_mut().poll(task)
    }
}

/// The answer if it is there at once, else the future, to be awaited.
pub fn poll_once<T>(mut future: PortFuture<T>) -> Result<T, PortFuture<T>> {
    let mut task = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut task) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => Err(future),
    }
}
