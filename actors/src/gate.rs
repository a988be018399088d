//! Who comes in, and what a connection may do: the checks that every surface makes, over the port [`Gate`].

use crate::{
    logic::{
        access::{Action, Credential, Grant, decide, unauthenticated},
        fault::Fault,
        protocol::Protocol,
        room_name::RoomName,
    },
    peer::Peer,
    ports::{Gate, Refusal, Wire},
};
use std::{net::IpAddr, sync::Arc};

/// The gate of a node that asks nobody who he is: everybody may do everything.
pub struct OpenGate(Arc<Grant>);

impl Default for OpenGate {
    fn default() -> Self {
        Self(Arc::new(Grant::everything()))
    }
}

impl Gate for OpenGate {
    fn admit(&self, _: Option<&str>, _: i64) -> Result<Arc<Grant>, Fault> {
        Ok(self.0.clone())
    }

    fn holds(&self, grant: &Grant) -> bool {
        grant.credential == Credential::None
    }

    fn refused(&self, _: &Refusal<'_>) {}
}

/// How a connection stands: what it may do, or why it may nothing.
pub type Standing = Result<Arc<Grant>, Box<Fault>>;

/// Somebody who wants something, as a refusal names him.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What he may do.
    pub grant: &'a Grant,
    /// `http`, `websocket`, `sse` or `socketio`.
    pub surface: &'static str,
    /// Where he is.
    pub address: Option<IpAddr>,
}

impl Caller<'_> {
    /// Whether he may do this. A refusal is told to the gate.
    pub fn may(&self, gate: &dyn Gate, action: Action<'_>, now_ms: i64) -> Result<(), Fault> {
        decide(self.grant, &action, now_ms).inspect_err(|fault| {
            gate.refused(&Refusal {
                fault,
                surface: self.surface,
                address: self.address,
                subject: self.grant.subject.as_deref(),
                action: Some(action),
            });
        })
    }
}

/// Whether a connection may do something with each of these rooms; the first that it may not is refused.
pub fn may<'r, W: Wire>(
    gate: &dyn Gate,
    peer: &Peer<W>,
    action: impl Fn(&'r RoomName) -> Action<'r>,
    rooms: &'r [RoomName],
    now_ms: i64,
) -> Result<(), Fault> {
    peer.with_standing(|standing| {
        let grant = match standing {
            Some(Ok(grant)) => grant,
            Some(Err(fault)) => return Err((**fault).clone()),
            None => return Err(nobody()),
        };
        let caller = Caller {
            grant,
            surface: surface(peer),
            address: peer.address(),
        };
        rooms
            .iter()
            .try_for_each(|room| caller.may(gate, action(room), now_ms))
    })
}

/// Whether a connection may be in all of these rooms; nobody has asked for it, so nobody is refused.
pub fn could_join<'r, W: Wire>(
    peer: &Peer<W>,
    mut rooms: impl Iterator<Item = &'r RoomName>,
    now_ms: i64,
) -> bool {
    peer.with_standing(|standing| match standing {
        Some(Ok(grant)) => rooms.all(|room| decide(grant, &Action::Join(room), now_ms).is_ok()),
        Some(Err(_)) | None => false,
    })
}

/// Lets a connection in by the token it shows, or by how it stands already. Errors: `unauthenticated`.
pub fn admit<W: Wire>(
    gate: &dyn Gate,
    peer: &Peer<W>,
    token: Option<&str>,
    now_ms: i64,
) -> Result<Arc<Grant>, Fault> {
    let stands = peer.with_standing(|standing| standing.cloned());
    let admitted = match (token, stands) {
        (None, Some(Ok(grant))) => still_holds(gate, grant, now_ms),
        (None, Some(Err(fault))) => Err(*fault),
        (token, _) => gate.admit(token, now_ms),
    };
    admitted.inspect_err(|fault| {
        gate.refused(&Refusal {
            fault,
            surface: surface(peer),
            address: peer.address(),
            subject: None,
            action: None,
        });
    })
}

/// A grant from before: it may have expired or been taken back since.
fn still_holds(gate: &dyn Gate, grant: Arc<Grant>, now_ms: i64) -> Result<Arc<Grant>, Fault> {
    if !gate.holds(&grant) {
        return Err(unauthenticated("revoked", "the token was revoked"));
    }
    match grant.expires_ms {
        Some(expires_ms) if expires_ms <= now_ms => Err(unauthenticated("expired", "the token has expired")),
        _ => Ok(grant),
    }
}

/// The fault of whoever has shown nothing.
pub fn nobody() -> Fault {
    unauthenticated("missing", "this node asks for a token")
}

fn surface<W: Wire>(peer: &Peer<W>) -> &'static str {
    match peer.protocol {
        Protocol::GreenroomV1 | Protocol::Own => "websocket",
        Protocol::Sse => "sse",
        Protocol::SocketIo => "socketio",
    }
}
