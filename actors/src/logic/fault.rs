//! The catalogue of errors: one code each, with what it means to every surface.

use serde_json::Value;

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.row().name)]
pub struct Fault {
    /// Which error.
    pub code: Code,
    /// What is wrong in this case, in one sentence for a person.
    pub message: String,
    /// Details for a program, such as the field that does not hold.
    pub details: Option<Value>,
}

impl Fault {
    /// An error with its message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
        }
    }

    /// The same with details for a program.
    pub fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

/// What an error code means.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The code as it is sent.
    pub name: &'static str,
    /// The status over HTTP.
    pub status: u16,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// What it means, one sentence.
    pub meaning: &'static str,
}

macro_rules! catalogue {
    ($($variant:ident $name:literal $status:literal $retry:literal $meaning:literal;)*) => {
        /// The error codes; [`Code::row`] says what each means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $meaning] $variant,)* }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The catalogue's row.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row { name: $name, status: $status, retry: $retry, meaning: $meaning },)*
                }
            }
        }
    };
}

catalogue! {
    BadJson             "bad_json"               400 false "The body or frame is not JSON.";
    BadRequest          "bad_request"            400 false "A field is missing, unknown or of the wrong type.";
    RoomNameInvalid     "room_name_invalid"      400 false "A room name has 1 to 200 characters of A-Z a-z 0-9 _ . : / @ -.";
    EventNameInvalid    "event_name_invalid"     400 false "An event name has 1 to 128 bytes, no control characters, and is not reserved.";
    EventIdInvalid      "event_id_invalid"       400 false "An event id has 1 to 128 characters of A-Z a-z 0-9 _ . : / @ + = -.";
    PositionInvalid     "position_invalid"       400 false "The position is not one that this service gave out.";
    Unauthenticated     "unauthenticated"        401 false "No token, or one that does not hold; details.reason says why.";
    Forbidden           "forbidden"              403 false "The token does not give the right to do this.";
    OriginForbidden     "origin_forbidden"       403 false "Web pages of this origin may not use the node (http.origins).";
    NotFound            "not_found"              404 false "There is nothing at this path.";
    MethodNotAllowed    "method_not_allowed"     405 false "This path does not take this method.";
    RequestTimeout      "request_timeout"        408 true  "The request's body did not come in time.";
    IdReused            "id_reused"              409 false "This event id was used before with other content.";
    SinceNotFirst       "since_not_first"        409 false "Only the first join of a connection may carry a position to resume from.";
    ReloadFailed        "reload_failed"          409 false "A file of keys or of those denied does not hold; what was read before stays in force.";
    HistoryGone         "history_gone"           410 false "The history no longer reaches back to this position.";
    BodyTooLarge        "body_too_large"         413 false "The request body is over the limit.";
    EventTooLarge       "event_too_large"        413 false "The event is over the limit.";
    UnsupportedMedia    "unsupported_media_type" 415 false "The body must be application/json, and not compressed.";
    PayloadInvalid      "payload_invalid"        422 false "A known event's payload does not hold; details name the field.";
    TooManyRooms        "too_many_rooms"         422 false "More rooms than an event or a connection may have.";
    UpgradeRequired     "upgrade_required"       426 false "This path speaks WebSocket only.";
    HeadTooLarge        "head_too_large"         431 false "The request's head is over the limit (limits.head_bytes).";
    RateLimited         "rate_limited"           429 true  "This address or subject has too much open, or too much came too fast; try again after the time given.";
    Internal            "internal"               500 true  "A bug; it was logged.";
    Overloaded          "overloaded"             503 true  "The node is at a limit; try again after the time given.";
    Unavailable         "unavailable"            503 true  "The part that would answer is being restarted; the same request with the same id is safe.";
    Draining            "draining"               503 true  "The node is shutting down; use another one.";
}

/// Why the node ends a WebSocket, as the close code says it.
///
/// The range tells a client what to do: up to 4499 it may come back (at once, or after the delay in the reason), from
/// 4500 on it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The client closed first.
    Normal,
    /// A frame that RFC 6455 forbids.
    ProtocolError,
    /// A binary frame on a protocol of text frames.
    Unsupported,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A frame or message over the limit.
    TooBig,
    /// The node is shutting down: come back, elsewhere, after the delay in the reason.
    Draining,
    /// The node is full: come back later.
    Overloaded,
    /// The client read too slowly: come back and resume.
    SlowClient,
    /// The client was not heard of for too long.
    PingTimeout,
    /// The client sent more than it may in a second.
    RateLimited,
    /// The connection could not be served further because of a bug or a restart: come back and resume.
    Interrupted,
    /// The client's token has expired: it should come back with a fresh one, not with this one.
    Expired,
    /// The client's token was revoked.
    Revoked,
    /// An operator has ended the connection.
    Ended,
}

impl CloseCode {
    /// Every close code that the node sends by itself.
    pub const ALL: &'static [Self] = &[
        Self::Normal,
        Self::ProtocolError,
        Self::Unsupported,
        Self::InvalidUtf8,
        Self::TooBig,
        Self::Draining,
        Self::Overloaded,
        Self::SlowClient,
        Self::PingTimeout,
        Self::Interrupted,
        Self::RateLimited,
        Self::Expired,
        Self::Revoked,
        Self::Ended,
    ];

    /// The number on the wire, and the reason's first word.
    pub const fn wire(self) -> (u16, &'static str) {
        match self {
            Self::Normal => (1000, "normal"),
            Self::ProtocolError => (1002, "protocol_error"),
            Self::Unsupported => (1003, "unsupported"),
            Self::InvalidUtf8 => (1007, "invalid_utf8"),
            Self::TooBig => (1009, "too_big"),
            Self::Draining => (1012, "draining"),
            Self::Overloaded => (1013, "overloaded"),
            Self::SlowClient => (4000, "slow_client"),
            Self::PingTimeout => (4001, "ping_timeout"),
            Self::Interrupted => (4002, "interrupted"),
            Self::RateLimited => (4003, "rate_limited"),
            Self::Expired => (4501, "expired"),
            Self::Revoked => (4502, "revoked"),
            Self::Ended => (4503, "ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_name_of_its_own_and_an_error_status() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.row().name).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(
            Code::ALL
                .iter()
                .all(|code| (400..600).contains(&code.row().status))
        );
    }

    #[test]
    fn what_may_be_retried_is_the_servers_fault_or_a_matter_of_time() {
        for code in Code::ALL {
            let row = code.row();
            assert_eq!(
                row.retry,
                row.status >= 500 || matches!(row.status, 408 | 429),
                "{code:?}"
            );
        }
    }
}
