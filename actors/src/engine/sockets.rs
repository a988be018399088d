//! The sockets of a session: the one that carries it, and one that is to take over from polling.

use super::{Attach, EngineActor};
use crate::{
    logic::{
        engine_io::{Input, Link, Packet, Source},
        fault::CloseCode,
        rate::TooFast,
        ws::{self, Decoder, Incoming, Violation},
    },
    peer::{CLOSED, CLOSING},
    ports::Wire,
    reading::READS_A_TURN,
};
use actix::{AsyncContext, Context};
use bytes::{Buf as _, Bytes, BytesMut};
use std::{
    borrow::Cow,
    io::{self, IoSlice},
    ops::ControlFlow,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

/// Sockets that are being told that they are not wanted, at most; of more the oldest is just cut.
const PARTING_MAX: usize = 4;

/// How long one of them may take to hear it.
const PARTING: Duration = Duration::from_secs(1);

/// A socket that is to take over from polling.
pub(super) struct Candidate<W> {
    pub(super) link: Link,
    pub(super) wire: Rc<W>,
    pub(super) decoder: Decoder,
    /// What is still to be written.
    pub(super) out: BytesMut,
    early: Vec<u8>,
}

impl<W: Wire> Candidate<W> {
    /// Writes what waits. Ready when nothing does, or nothing can be written any more, which reading will tell.
    fn write(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let written = if self.out.is_empty() {
                self.wire.try_flush().map(|()| 0)
            } else {
                self.wire.try_write_vectored(&[IoSlice::new(&self.out)])
            };
            match written {
                Ok(_) if self.out.is_empty() => return Poll::Ready(()),
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(self.wire.poll_write_ready(task)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// A frame, kept until the buffer it came in is free.
enum Frame {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
}

impl<W: Wire> EngineActor<W> {
    pub(super) fn attach(&mut self, attach: Attach<W>, ctx: &mut Context<Self>) {
        let Attach { wire, head, early } = attach;
        let Ok(wire) = wire() else { return };
        let wire = Rc::new(wire);
        self.links += 1;
        let link = Link(self.links);
        let decoder = Decoder::new(self.desk.frames);
        let candidate = Candidate {
            link,
            wire,
            decoder,
            out: BytesMut::from(&head[..]),
            early,
        };
        let transit = self.transit();
        transit.arriving = transit.candidate.replace(candidate);
        self.input(Input::Attached(link), ctx);
        let transit = self.transit();
        if let Some(before) = transit.arriving.take() {
            // The one that was there first is not disturbed.
            transit.candidate = Some(before);
        }
        self.pump(ctx);
        self.peer.wake();
    }

    /// The socket that is to take over from polling.
    pub(super) fn candidate(&mut self) -> Option<&mut Candidate<W>> {
        self.transit.as_mut()?.candidate.as_mut()
    }

    /// Whether more of what the client asks may be begun.
    pub(super) fn has_room(&self) -> bool {
        (self.in_flight as usize) < self.desk.in_flight
    }

    /// Reads from the socket that carries the session. Ready when it is over.
    pub(super) fn read(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let (desk, peer) = (self.desk.clone(), self.peer.clone());
        if peer.line.socket().is_none() {
            return Poll::Pending;
        }
        if let Some(transit) = &mut self.transit {
            let mut early = std::mem::take(&mut transit.early);
            self.take(&mut early, ctx);
        }
        let take = |act: &mut Self, bytes: &mut [u8]| act.take(bytes, ctx);
        // Without room, one of the answers lets it read on.
        desk.hub.read_turn(&peer, task, self, Self::has_room, take)
    }

    /// Bytes from the socket that carries the session.
    fn take(&mut self, bytes: &mut [u8], ctx: &mut Context<Self>) {
        if self.peer.is(CLOSING | CLOSED) {
            return;
        }
        let (frames, fed) = decode(&mut self.decoder, bytes);
        let mut pace = self.keep_pace(0, bytes.len());
        for frame in frames {
            pace = pace.and_then(|()| self.keep_pace(1, 0));
            if pace.is_err() {
                break;
            }
            self.frame(&frame, ctx);
        }
        if let Err(too_fast) = pace {
            self.desk.hub.too_fast(&self.peer, too_fast);
            return self.input(Input::SocketFailed(self.carrier), ctx);
        }
        if let Err(violation) = fed {
            self.violated(violation, ctx);
        }
    }

    /// So much has come from the client.
    pub(super) fn keep_pace(&mut self, messages: usize, bytes: usize) -> Result<(), TooFast> {
        let now_ms = self.desk.hub.look_at_the_clock();
        self.pace
            .take(&self.desk.pace, now_ms, messages as u64, bytes as u64)
    }

    /// So much has come, and is taken in any case.
    pub(super) fn owe(&mut self, messages: usize, bytes: usize) {
        let now_ms = self.desk.hub.look_at_the_clock();
        self.pace
            .owe(&self.desk.pace, now_ms, messages as u64, bytes as u64);
    }

    /// A frame on the socket that carries the session.
    fn frame(&mut self, frame: &Frame, ctx: &mut Context<Self>) {
        match frame {
            Frame::Ping(payload) => self.desk.hub.send(&self.peer, ws::pong_frame(payload)),
            Frame::Close(code) => {
                self.desk.hub.close_back(&self.peer, *code);
                self.input(Input::SocketClosed(self.carrier), ctx);
            }
            frame => self.message(Source::Socket(self.carrier), frame, ctx),
        }
    }

    fn violated(&mut self, violation: Violation, ctx: &mut Context<Self>) {
        self.desk.hub.refuse(&self.peer, violation);
        self.input(Input::SocketFailed(self.carrier), ctx);
    }

    fn message(&mut self, source: Source, frame: &Frame, ctx: &mut Context<Self>) {
        match frame {
            Frame::Text(text) => match Packet::decode_text(text) {
                Ok(packet) => self.packet(source, &packet, ctx),
                Err(_) => self.input(Input::Malformed(source), ctx),
            },
            Frame::Binary(bytes) => self.packet(source, &Packet::Binary(Cow::Borrowed(bytes)), ctx),
            Frame::Ping(_) | Frame::Pong | Frame::Close(_) => {}
        }
    }

    /// Reads from a socket that is to take over.
    pub(super) fn read_candidate(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) {
        if !self.write_candidate(task) {
            return;
        }
        let desk = self.desk.clone();
        for _ in 0..READS_A_TURN {
            let Some(candidate) = self.candidate() else {
                return;
            };
            let (link, wire) = (candidate.link, candidate.wire.clone());
            let mut heard = None;
            if candidate.early.is_empty() {
                let decoder = &mut candidate.decoder;
                let hear = |bytes: &mut [u8]| heard = Some((bytes.len(), decode(decoder, bytes)));
                match desk.hub.read_once(&wire, task, hear) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return self.lose(link, ctx),
                }
            } else {
                let mut early = std::mem::take(&mut candidate.early);
                heard = Some((early.len(), decode(&mut candidate.decoder, &mut early)));
            }
            // It may become the session's only one within the next frames.
            drop(wire);
            let Some((bytes, (frames, fed))) = heard else {
                continue;
            };
            let mut pace = self.keep_pace(0, bytes);
            for frame in frames {
                pace = pace.and_then(|()| self.keep_pace(1, 0));
                if pace.is_err() {
                    break;
                }
                if self.has_taken_over(link) {
                    self.frame(&frame, ctx);
                } else if let Frame::Close(_) = frame {
                    return self.lose(link, ctx);
                } else {
                    self.message(Source::Socket(link), &frame, ctx);
                }
            }
            if let Err(too_fast) = pace {
                return self.outpaced(link, too_fast, ctx);
            }
            match fed {
                Ok(()) => {}
                Err(violation) if self.has_taken_over(link) => return self.violated(violation, ctx),
                Err(_) => return self.lose(link, ctx),
            }
        }
        task.waker().wake_by_ref();
    }

    /// Too much comes on a socket that is to take over, or has just done so.
    fn outpaced(&mut self, link: Link, too_fast: TooFast, ctx: &mut Context<Self>) {
        if self.has_taken_over(link) {
            self.desk.hub.too_fast(&self.peer, too_fast);
            return self.input(Input::SocketFailed(link), ctx);
        }
        self.desk.hub.stats.rate_limited.add(1);
        self.lose(link, ctx);
    }

    /// Whether this socket carries the session.
    fn has_taken_over(&self, link: Link) -> bool {
        self.carrier == link && self.peer.line.socket().is_some()
    }

    /// Writes what waits for the socket that is to take over. Returns whether there is one that may be read from.
    fn write_candidate(&mut self, task: &mut TaskContext<'_>) -> bool {
        self.candidate()
            .is_some_and(|candidate| candidate.write(task).is_ready())
    }

    /// Tells sockets that they are not wanted.
    pub(super) fn see_off(&mut self, task: &mut TaskContext<'_>) {
        let Some(transit) = &mut self.transit else { return };
        transit.parting.retain_mut(|candidate| {
            let is_told = candidate.write(task).is_ready();
            if is_told {
                candidate.wire.shutdown(true);
            }
            !is_told
        });
    }

    fn lose(&mut self, link: Link, ctx: &mut Context<Self>) {
        self.close_socket(link, ctx);
        self.input(Input::SocketFailed(link), ctx);
    }

    /// Closes a socket that carries nothing yet, or nothing more.
    pub(super) fn close_socket(&mut self, link: Link, ctx: &mut Context<Self>) {
        let is_it = |candidate: &mut Candidate<W>| candidate.link == link;
        let transit = self.transit();
        let unwanted = transit.arriving.take_if(is_it);
        let unwanted = unwanted.or_else(|| transit.candidate.take_if(is_it));
        if let Some(mut candidate) = unwanted {
            candidate.out.extend_from_slice(&ws::close_reply(None));
            return self.part_with(candidate, ctx);
        }
        if self.has_taken_over(link) {
            self.desk.hub.close(&self.peer, CloseCode::Normal, "");
        }
    }

    fn part_with(&mut self, candidate: Candidate<W>, ctx: &mut Context<Self>) {
        let link = candidate.link;
        let parting = &mut self.transit().parting;
        parting.push(candidate);
        if parting.len() > PARTING_MAX {
            parting.remove(0).wire.shutdown(true);
        }
        // One that takes nothing must not keep the session's actor.
        ctx.run_later(PARTING, move |act, _| {
            for candidate in act
                .transit()
                .parting
                .extract_if(.., |candidate| candidate.link == link)
            {
                candidate.wire.shutdown(true);
            }
            act.peer.wake();
        });
        self.peer.wake();
    }
}

/// What is in these bytes, and whether all of it keeps to the rules.
fn decode(decoder: &mut Decoder, bytes: &mut [u8]) -> (Vec<Frame>, Result<(), Violation>) {
    let mut frames = Vec::new();
    let fed = decoder.feed(bytes, &mut |incoming| {
        frames.push(match incoming {
            Incoming::Text(text) => Frame::Text(text.to_owned()),
            Incoming::Binary(bytes) => Frame::Binary(Bytes::copy_from_slice(bytes)),
            Incoming::Ping(payload) => Frame::Ping(Bytes::copy_from_slice(payload)),
            Incoming::Pong(_) => Frame::Pong,
            Incoming::Close { code, .. } => Frame::Close(code),
        });
        ControlFlow::Continue(())
    });
    (frames, fed.map(drop))
}
