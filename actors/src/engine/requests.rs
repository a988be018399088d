//! What the HTTP surface says to a session, from whichever thread a request has come to.

use super::EngineActor;
use crate::{
    logic::{
        engine_io::{Fault, Input, Source, payload},
        rate::TooFast,
    },
    ports::Wire,
};
use actix::{Context, Handler, Message};
use bytes::Bytes;
use tokio::sync::oneshot;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// 200 with this payload.
    Payload(Vec<u8>),
    /// 200: what was posted is taken.
    Taken,
    /// It is refused.
    Refused(Fault),
    /// The client posts too much in a second; the session goes on.
    TooFast(TooFast),
}

/// A GET waits for what is queued. Dropping the receiver says that its connection is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Poll(pub oneshot::Sender<Answered>);

/// A POST has come, whose body is not read yet. Answers a fault, or how it may go on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Push {
    /// Whether its type is `application/octet-stream`.
    pub octets: bool,
    /// What becomes of it, which may be known before the body is there.
    pub answer: oneshot::Sender<Answered>,
}

/// How the body of a POST came.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Pushed {
    /// Whole.
    Body(Bytes),
    /// It was over the limit, and the request has been answered so.
    TooLarge,
    /// Its connection broke.
    Aborted,
}

/// A WebSocket with this session's id. It is made in the session's thread.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach<W: Wire> {
    /// Takes the connection over.
    pub wire: Box<dyn FnOnce() -> std::io::Result<W> + Send>,
    /// What is to be written first: the head of the answer.
    pub head: Bytes,
    /// What the client has sent behind its request.
    pub early: Vec<u8>,
}

impl<W: Wire> Handler<Poll> for EngineActor<W> {
    type Result = ();
    fn handle(&mut self, Poll(answer): Poll, ctx: &mut Context<Self>) {
        self.transit().requests.arriving = Some(answer);
        self.tick(ctx);
        if self.bid_farewell() {
            return;
        }
        self.input(Input::Get, ctx);
        self.transit().requests.wait(|requests| &mut requests.get);
        self.pump(ctx);
        // Whoever polls is watched from now on: its connection may break.
        self.peer.wake();
    }
}

impl<W: Wire> Handler<Push> for EngineActor<W> {
    type Result = ();
    fn handle(&mut self, push: Push, ctx: &mut Context<Self>) {
        // A request counts as a message itself, and what came before is to be paid for first.
        if let Err(too_fast) = self.keep_pace(1, 0) {
            self.desk.hub.stats.rate_limited.add(1);
            // A request whose connection is gone needs no answer.
            let _ = push.answer.send(Answered::TooFast(too_fast));
            return;
        }
        self.transit().requests.arriving = Some(push.answer);
        self.input(Input::Post { octets: push.octets }, ctx);
        self.transit().requests.wait(|requests| &mut requests.post);
    }
}

impl<W: Wire> Handler<Pushed> for EngineActor<W> {
    type Result = ();
    fn handle(&mut self, pushed: Pushed, ctx: &mut Context<Self>) {
        match pushed {
            Pushed::TooLarge => {
                self.transit().requests.post = None;
                self.input(Input::PostTooLarge, ctx);
            }
            Pushed::Aborted => {
                self.transit().requests.post = None;
                self.input(Input::PostAborted, ctx);
            }
            Pushed::Body(body) => self.take_body(&body, ctx),
        }
        self.pump(ctx);
    }
}

impl<W: Wire> Handler<Attach<W>> for EngineActor<W> {
    type Result = ();
    fn handle(&mut self, attach: Attach<W>, ctx: &mut Context<Self>) {
        self.attach(attach, ctx);
    }
}

impl<W: Wire> EngineActor<W> {
    fn take_body(&mut self, body: &[u8], ctx: &mut Context<Self>) {
        // The limit was looked at when the request came; this is what the next one waits for.
        self.owe(0, body.len());
        match payload::decode(body, self.desk.payload) {
            Ok(packets) => {
                for packet in packets {
                    if self.transit().requests.post.is_none() {
                        // Something in it ended the session, or an upgrade was quicker.
                        return;
                    }
                    self.owe(1, 0);
                    match packet {
                        Ok(packet) => self.packet(Source::Post, &packet, ctx),
                        Err(_) => self.input(Input::Malformed(Source::Post), ctx),
                    }
                }
                // It is answered when there is room for the work of another one.
                self.post_waits = self.transit().requests.post.is_some();
            }
            Err(_) => self.input(Input::Malformed(Source::Post), ctx),
        }
    }
}
