//! What a session hears, and what it tells.

use super::super::{
    fault::Fault,
    packet::{Control, Packet},
    reason::Reason,
};

/// A WebSocket of this session: the owner numbers them, so that what an abandoned one still says is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u32);

/// Where a packet has come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The POST that is being read.
    Post,
    /// This WebSocket.
    Socket(Link),
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A GET has come.
    Get,
    /// The GET that was waiting is gone: its connection broke.
    GetAborted,
    /// The owner has answered the waiting GET from the outbox.
    GetAnswered,
    /// A POST has come; its body has not been read. With `application/octet-stream` as its type it belongs to an older
    /// revision of the protocol.
    Post {
        /// Whether it is.
        octets: bool,
    },
    /// The body was over the limit; the owner has answered 413. (The stock server keeps the session, too.)
    PostTooLarge,
    /// The body will not be whole: its connection broke.
    PostAborted,
    /// All packets of the body have been given in.
    PostEnded,
    /// A WebSocket has been opened with this session's id.
    Attached(Link),
    /// This WebSocket was closed by the client.
    SocketClosed(Link),
    /// This WebSocket broke, or broke a rule of its protocol, and is gone.
    SocketFailed(Link),
    /// A packet.
    Packet(Source, &'a Packet<'a>),
    /// What should be a packet is none.
    Malformed(Source),
    /// The server ends the session once the client has all that waits for it.
    Close {
        /// Why.
        reason: Reason,
        /// Whether anything waits in the outbox; if so, [`Input::Drained`] follows.
        backlog: bool,
    },
    /// The outbox of a session that is being closed has become empty.
    Drained,
    /// The server ends the session at once.
    CloseNow(Reason),
    /// Time has passed.
    Tick,
}

/// What the owner has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer the waiting GET with this packet; behind a ping, with as much of the outbox as fits. No
    /// [`Input::GetAnswered`] follows.
    AnswerGet(Control),
    /// Answer the POST `200 ok`.
    AcceptPost,
    /// Stop reading the POST and answer it with this; what was handed up of it stays so.
    AbortPost(Fault),
    /// Answer the request that has just come with this. It never became the waiting one.
    Refuse(Fault),
    /// Write this packet on this WebSocket, before anything of the outbox.
    Write(Link, Control),
    /// Close this WebSocket.
    CloseSocket(Link),
    /// The message in the packet just given is for the layer above.
    Deliver,
    /// The upgrade is complete: this WebSocket carries the session.
    Upgraded(Link),
    /// The session is over. The last effect that does more than refuse; there is exactly one in a session's life.
    Closed(Reason),
}

/// Where messages may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// Nowhere: no GET waits, or the session is over. (A volatile message is dropped.)
    Hold,
    /// Into the answer to the waiting GET, one payload; then [`Input::GetAnswered`].
    Get,
    /// Onto this WebSocket.
    Socket(Link),
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Polling; perhaps with an upgrade under way.
    Polling,
    /// The WebSocket that it began on.
    WebSocket,
    /// The WebSocket that it was upgraded to.
    Upgraded,
}
