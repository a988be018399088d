//! Answers of ports, given back without a detour where they are there at once.

use crate::ports::PortFuture;
use actix::{Actor, AsyncContext, Message, dev::MessageResponse, dev::OneshotSender, fut::ActorFutureExt};
use futures_util::future::{Either, ready};
use std::{
    future::Future,
    task::{Context, Poll, Waker},
};

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

/// A message that was sent is in the mailbox when this returns. Left to itself it would be put there when it is first
/// polled, if the mailbox was full, and an actor does not poll what it waits for in the order in which it came.
pub fn posted<T: 'static>(sent: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
    let mut sent = Box::pin(sent);
    match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Either::Left(ready(answer)),
        Poll::Pending => Either::Right(sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_virtual_time;
    use actix::{Context as ActorContext, Handler};

    #[derive(Message)]
    #[rtype(result = "usize")]
    struct Which(u32);

    /// Answers how many came before.
    struct Clerk(Vec<u32>);

    impl Actor for Clerk {
        type Context = ActorContext<Self>;
        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(1);
        }
    }

    impl Handler<Which> for Clerk {
        type Result = usize;
        fn handle(&mut self, Which(number): Which, _: &mut Self::Context) -> usize {
            self.0.push(number);
            self.0.len() - 1
        }
    }

    #[test]
    fn what_is_posted_to_a_full_mailbox_keeps_its_order_however_it_is_awaited() {
        on_virtual_time(async {
            let clerk = Clerk(Vec::new()).start();
            tokio::task::yield_now().await;
            let mut sent: Vec<_> = (0..20).map(|number| posted(clerk.send(Which(number)))).collect();
            let mut answers = Vec::new();
            while let Some(last) = sent.pop() {
                answers.insert(0, last.await.expect("a clerk"));
            }
            assert_eq!(answers, (0..20).collect::<Vec<_>>());
        });
    }
}
