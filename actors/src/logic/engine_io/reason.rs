//! Why a session, or a Socket.IO connection in it, has ended.

/// A reason, in the words of the stock server: what its `disconnect` handlers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A connection broke, or the client broke a rule of the transport.
    TransportError,
    /// The client closed the session, or its WebSocket.
    TransportClose,
    /// The server closed the session.
    ForcedClose,
    /// No answer to a ping.
    PingTimeout,
    /// The client sent what is no packet.
    ParseError,
    /// The node is being shut down.
    ServerShuttingDown,
    /// Socket.IO: the server closed the session after a packet that was out of place, or for want of one.
    ForcedServerClose,
    /// Socket.IO: the client left the namespace.
    ClientNamespaceDisconnect,
    /// Socket.IO: the server put the client out of the namespace.
    ServerNamespaceDisconnect,
}

impl Reason {
    /// The text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::ForcedClose => "forced close",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerShuttingDown => "server shutting down",
            Self::ForcedServerClose => "forced server close",
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }

    /// Whether the client may come back to where it was: nobody meant it to end.
    pub const fn is_recoverable(self) -> bool {
        match self {
            Self::TransportError
            | Self::TransportClose
            | Self::ForcedClose
            | Self::PingTimeout
            | Self::ServerShuttingDown
            | Self::ForcedServerClose => true,
            Self::ParseError | Self::ClientNamespaceDisconnect | Self::ServerNamespaceDisconnect => false,
        }
    }
}
