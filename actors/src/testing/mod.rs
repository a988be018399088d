//! What tests of actors need: virtual time and probes. Never part of a released binary.

pub mod cluster;
pub mod memory_broker;
pub mod memory_far;
pub mod memory_radio;
pub mod slow_bus;
pub mod socket_io;
pub mod tokens;
pub mod universe;
pub mod wire;

use std::future::Future;

use actix::{Actor, Context, Handler, Message, Recipient, System};
use tokio::sync::mpsc;

/// Runs `test` in an actix system on a clock that jumps to the next timer whenever all tasks wait.
///
/// What `test` started is dropped with the system. No real sockets in here: time would jump ahead of them.
pub fn on_virtual_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime needs no more than a thread")
    };
    System::with_tokio_rt(runtime).block_on(test)
}

/// An actor that only listens. It stands where a neighbour would be: see [`probe`].
pub struct Probe<M>(mpsc::UnboundedSender<M>);

impl<M: Unpin + 'static> Actor for Probe<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // More than any test says in one turn: a probe is to hear everything.
        ctx.set_mailbox_capacity(1 << 16);
    }
}

impl<M: Message<Result = ()> + Unpin + 'static> Handler<M> for Probe<M> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Self::Context) {
        // A test that has dropped its end no longer listens.
        let _ = self.0.send(message);
    }
}

/// What a [`Probe`] has heard.
pub struct Heard<M>(mpsc::UnboundedReceiver<M>);

impl<M> Heard<M> {
    /// The next message, as soon as there is one; `None` once nobody can send one any more.
    pub async fn next(&mut self) -> Option<M> {
        self.0.recv().await
    }

    /// Everything heard so far.
    pub fn so_far(&mut self) -> Vec<M> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Starts a probe: the recipient is for the actor under test, the rest for the test.
pub fn probe<M: Message<Result = ()> + Send + Unpin + 'static>() -> (Recipient<M>, Heard<M>) {
    let (heard, inbox) = mpsc::unbounded_channel();
    (Probe(heard).start().recipient(), Heard(inbox))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{Instant, sleep};

    #[derive(Message, Debug, PartialEq)]
    #[rtype(result = "()")]
    struct Said(u32);

    #[test]
    fn a_probe_hears_everything_in_order() {
        on_virtual_time(async {
            let (recipient, mut heard) = probe();
            recipient.send(Said(0)).await.unwrap();
            for number in 1..1_000 {
                recipient.try_send(Said(number)).unwrap();
            }
            drop(recipient);
            for number in 0..1_000 {
                assert_eq!(heard.next().await, Some(Said(number)));
            }
            assert_eq!(heard.next().await, None);
        });
    }

    #[test]
    fn an_hour_of_virtual_time_is_over_at_once() {
        let real = std::time::Instant::now();
        on_virtual_time(async {
            let virtually = Instant::now();
            sleep(Duration::from_secs(3_600)).await;
            assert!(virtually.elapsed() >= Duration::from_secs(3_600));
        });
        assert!(real.elapsed() < Duration::from_secs(60));
    }
}
