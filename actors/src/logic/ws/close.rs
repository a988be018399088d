//! Why a connection ends: close codes (RFC 6455 section 7.4) and violations of the protocol.

use thiserror::Error;

use super::decode::Incoming;

/// What a peer did against the protocol or the limits, and the close code that tells it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{why} (close code {code})")]
pub struct Violation {
    /// 1002, 1007 or 1009: to be sent in the close frame (RFC 6455 section 7.4.1).
    pub code: u16,
    /// One clause for logs and for the close frame's reason.
    pub why: &'static str,
}

impl Violation {
    /// 1002: against the protocol.
    pub(super) const fn protocol(why: &'static str) -> Self {
        Self { code: 1002, why }
    }

    /// 1007: text that is not UTF-8 (RFC 6455 section 8.1).
    pub(super) const fn not_text(why: &'static str) -> Self {
        Self { code: 1007, why }
    }

    /// 1009: larger than the limits admit.
    pub(super) const fn too_big(why: &'static str) -> Self {
        Self { code: 1009, why }
    }
}

/// Whether a close frame may carry this code (RFC 6455 section 7.4 and the IANA registry that it opens).
///
/// Not 0-999 (never used), 1004 (reserved), 1005, 1006 and 1015 (for local use only), 1016-2999 (not
/// assigned), nor 5000 and above (no such range).
pub fn allowed_on_the_wire(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads the payload of a close frame (RFC 6455 section 5.5.1): nothing, or a code and a reason in UTF-8.
pub(super) fn parse(payload: &[u8]) -> Result<Incoming<'_>, Violation> {
    let (code, reason) = match payload {
        [] => {
            return Ok(Incoming::Close {
                code: None,
                reason: "",
            });
        }
        [_] => return Err(Violation::protocol("close frame with half a code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !allowed_on_the_wire(code) {
        return Err(Violation::protocol("close code that is not for the wire"));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok(Incoming::Close {
            code: Some(code),
            reason,
        }),
        Err(_) => Err(Violation::not_text("close reason is not UTF-8")),
    }
}
