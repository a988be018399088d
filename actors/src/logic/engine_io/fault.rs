//! Why an HTTP request is refused, in the words of the stock server.

/// A request that is refused: the table of `packages/engine.io/lib/server.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub enum Fault {
    /// The query names no transport that there is.
    UnknownTransport = 0,
    /// No session has this id, or no more.
    UnknownSid = 1,
    /// A session begins with a GET.
    BadHandshakeMethod = 2,
    /// The session, or its state, does not go with the request.
    BadRequest = 3,
    /// The node does not let this client in.
    Forbidden = 4,
    /// A session begins with `EIO=4`.
    UnsupportedProtocolVersion = 5,
}

impl Fault {
    /// Every one, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::UnknownTransport,
        Self::UnknownSid,
        Self::BadHandshakeMethod,
        Self::BadRequest,
        Self::Forbidden,
        Self::UnsupportedProtocolVersion,
    ];

    /// The number in the body.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The text in the body.
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }

    /// The HTTP status of the answer. One to a WebSocket handshake is 400 always: see [`Fault::upgrade_response`].
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            _ => 400,
        }
    }

    /// The body of the answer, `application/json`.
    pub fn body(self) -> String {
        format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message())
    }

    /// The whole answer to a WebSocket handshake, after which the connection ends.
    pub fn upgrade_response(self) -> String {
        let message = self.message();
        format!(
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: {}\r\n\r\n{message}",
            message.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_those_of_the_stock_server() {
        let bodies = Fault::ALL.map(|fault| (fault.status(), fault.body()));
        let expected = [
            (400, r#"{"code":0,"message":"Transport unknown"}"#),
            (400, r#"{"code":1,"message":"Session ID unknown"}"#),
            (400, r#"{"code":2,"message":"Bad handshake method"}"#),
            (400, r#"{"code":3,"message":"Bad request"}"#),
            (403, r#"{"code":4,"message":"Forbidden"}"#),
            (400, r#"{"code":5,"message":"Unsupported protocol version"}"#),
        ];
        assert_eq!(bodies, expected.map(|(status, body)| (status, body.to_owned())));
    }

    #[test]
    fn a_refused_upgrade_is_a_whole_http_answer() {
        assert_eq!(
            Fault::Forbidden.upgrade_response(),
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: 9\r\n\r\nForbidden"
        );
    }
}
