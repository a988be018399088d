//! Connections that end because of who they are: their token expires, or was revoked, or an operator ends them.

use super::RoomRegistry;
use crate::{
    gate::Standing,
    logic::{
        access::{Grant, unauthenticated},
        fault::CloseCode,
        protocol::{Notice, Protocol},
        socket_io::encode,
        ws,
    },
    peer::{CLOSED, CLOSING, GREETED, Peer},
    ports::Wire,
};
use std::{rc::Rc, sync::Arc};

impl<W: Wire> RoomRegistry<W> {
    /// A grant that expires soon is announced, and one that has expired ends its connection.
    pub(super) fn sweep_grant(&mut self, peer: &Rc<Peer<W>>, wall_ms: i64) {
        let Some(expires_ms) = grant_of(peer).and_then(|grant| grant.expires_ms) else {
            return peer.grant_due_ms.set(i64::MAX);
        };
        if expires_ms <= wall_ms {
            return self.put_out(peer, CloseCode::Expired);
        }
        peer.grant_due_ms.set(expires_ms);
        let seconds = (expires_ms - wall_ms + 999) / 1_000;
        let notice = Notice {
            r#type: "expiring",
            message: format!("the token expires in {seconds} s, and this connection ends with it"),
            retry_in_ms: None,
        };
        self.notify(peer, &notice);
    }

    /// Ends the connections whose grants were taken back. Returns how many.
    pub(super) fn recheck(&mut self) -> usize {
        let gate = self.deps.neighbours.gate.clone();
        let is_over = |peer: &Rc<Peer<W>>| {
            !peer.is(CLOSING | CLOSED) && grant_of(peer).is_some_and(|grant| !gate.holds(&grant))
        };
        let over: Vec<_> = self.deps.hub.all().into_iter().filter(is_over).collect();
        over.iter()
            .for_each(|peer| self.put_out(peer, CloseCode::Revoked));
        over.len()
    }

    /// Ends the connection of this id. Returns whether there is one.
    pub(super) fn end_session(&mut self, id: &str) -> bool {
        let is_it = |peer: &Rc<Peer<W>>| peer.card().id.to_string() == id;
        let found = self.deps.hub.all().into_iter().find(is_it);
        if let Some(peer) = &found {
            self.put_out(peer, CloseCode::Ended);
        }
        found.is_some()
    }

    /// Tells a client why, and ends its connection so that it does not come back by itself.
    fn put_out(&mut self, peer: &Rc<Peer<W>>, why: CloseCode) {
        peer.grant_due_ms.set(i64::MAX);
        if peer.is(CLOSING | CLOSED) {
            return;
        }
        let card = peer.card();
        let (_, reason) = why.wire();
        tracing::info!(
            target: "audit",
            reason,
            session = %card.id,
            subject = card.subject.as_deref(),
            address = peer.address().map(tracing::field::display),
            "put a connection out"
        );
        self.deps.hub.stats.put_out.add(1);
        let notice = Notice {
            r#type: reason,
            message: said(why).into(),
            retry_in_ms: None,
        };
        self.notify(peer, &notice);
        // With a fresh token somebody may come back to where he was; who was put out may not.
        let for_good = why != CloseCode::Expired;
        if peer.protocol != Protocol::SocketIo || !peer.is(GREETED) {
            return self.deps.hub.close(peer, why, "");
        }
        // After this packet the stock client closes the transport, and stays away until its application says otherwise.
        // Were the transport closed behind it, a polling client would hear of that first, and come back.
        self.deps
            .hub
            .send(peer, ws::encode_text(&encode::disconnect(None)));
        self.forget(peer, for_good);
        peer.stand(Err(Box::new(unauthenticated(reason, said(why)))), 0);
        let cut_off_ms = self.deps.hub.now_ms() + self.deps.hub.close_ms;
        peer.cut_off_ms.set(peer.cut_off_ms.get().min(cut_off_ms));
    }
}

fn said(why: CloseCode) -> &'static str {
    match why {
        CloseCode::Expired => "the token has expired: come back with a fresh one",
        CloseCode::Revoked => "the token was revoked",
        _ => "an operator has ended this connection",
    }
}

fn grant_of<W: Wire>(peer: &Peer<W>) -> Option<Arc<Grant>> {
    peer.with_standing(|standing| standing.and_then(|standing| Standing::as_ref(standing).ok().cloned()))
}
