//! What an HTTP request asks for, and the checks that it has to pass, in the order of the stock server.

use super::{fault::Fault, packet::Transport, session::Carrier};

/// What the query string says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `transport`, if it is one that there is.
    pub transport: Option<Transport>,
    /// `sid`: the session; none where it is empty.
    pub sid: Option<String>,
    /// Whether `EIO` is 4.
    pub version_4: bool,
    /// Whether `b64` is set: this client wants bytes as base64 in a WebSocket too.
    pub base64: bool,
}

impl Query {
    /// Reads a query string (what follows the `?`). Of a key that comes twice the last counts, and what it does not know
    /// it ignores, such as the `t` that keeps caches away.
    pub fn parse(query: &str) -> Self {
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "EIO" => found.version_4 = value == "4",
                "transport" => {
                    let all = [Transport::Polling, Transport::WebSocket];
                    found.transport = all.into_iter().find(|transport| transport.name() == value);
                }
                "sid" => found.sid = Some(value.into_owned()).filter(|sid| !sid.is_empty()),
                "b64" => found.base64 = !value.is_empty(),
                _ => {}
            }
        }
        found
    }
}

/// The method of a request, as far as it matters. (`OPTIONS` belongs to CORS and is answered before.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, also of a WebSocket handshake.
    Get,
    /// POST.
    Post,
    /// Any other.
    Other,
}

/// What a request that makes sense asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// A new session on this transport, if the client may have one ([`Fault::Forbidden`] is the caller's to say).
    Open(Transport),
    /// A GET of this session.
    Poll(&'a str),
    /// A POST of this session.
    Push(&'a str),
    /// A WebSocket for this session, which polls or has been upgraded already: the session says, after the handshake,
    /// whether it stays ([`Input::Attached`](super::Input::Attached)).
    Attach(&'a str),
}

/// Checks a request. `upgrade`: it is a WebSocket handshake. `session`: what the session of this id is on, if there is one.
///
/// The version counts where a session begins. Departures from the stock server, where that one hangs, answers 500 or is
/// misled: a method other than GET and POST, `transport=websocket` without a handshake, a handshake with
/// `transport=polling`, and a WebSocket for a session that began on one are all a [`Fault::BadRequest`].
///
/// # Errors
///
/// What to answer.
pub fn verify(
    query: &Query,
    method: Method,
    upgrade: bool,
    session: impl FnOnce(&str) -> Option<Carrier>,
) -> Result<Ask<'_>, Fault> {
    let transport = query.transport.ok_or(Fault::UnknownTransport)?;
    let goes_with_it = upgrade == (transport == Transport::WebSocket);
    let Some(sid) = query.sid.as_deref() else {
        return match method {
            Method::Post | Method::Other => Err(Fault::BadHandshakeMethod),
            Method::Get if !goes_with_it => Err(Fault::BadRequest),
            Method::Get if !query.version_4 => Err(Fault::UnsupportedProtocolVersion),
            Method::Get => Ok(Ask::Open(transport)),
        };
    };
    let carrier = session(sid).ok_or(Fault::UnknownSid)?;
    match (method, transport, carrier) {
        _ if !goes_with_it => Err(Fault::BadRequest),
        (Method::Get, Transport::WebSocket, Carrier::Polling | Carrier::Upgraded) => Ok(Ask::Attach(sid)),
        (Method::Get, Transport::Polling, Carrier::Polling) => Ok(Ask::Poll(sid)),
        (Method::Post, Transport::Polling, Carrier::Polling) => Ok(Ask::Push(sid)),
        _ => Err(Fault::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a request is answered, where session `p` polls, `u` was upgraded and `w` began on a WebSocket.
    fn ask(method: Method, upgrade: bool, query: &str) -> Result<String, Fault> {
        let query = Query::parse(query);
        let session = |sid: &str| match sid {
            "p" => Some(Carrier::Polling),
            "u" => Some(Carrier::Upgraded),
            "w" => Some(Carrier::WebSocket),
            _ => None,
        };
        verify(&query, method, upgrade, session).map(|ask| format!("{ask:?}"))
    }

    #[test]
    fn a_query_is_read_as_the_stock_server_reads_it() {
        let query = Query::parse("EIO=4&transport=polling&t=abc&sid=x%2Dy&b64=1");
        let expected = Query {
            transport: Some(Transport::Polling),
            sid: Some("x-y".into()),
            version_4: true,
            base64: true,
        };
        assert_eq!(query, expected);
        assert_eq!(
            Query::parse("EIO=4&EIO=3&sid=&transport=polling&transport=x"),
            Query::default()
        );
    }

    #[test]
    fn faults_come_in_the_order_of_the_stock_server() {
        use Method::{Get, Other, Post};
        for (method, upgrade, query, fault) in [
            (Get, false, "EIO=4", Fault::UnknownTransport),
            (
                Post,
                false,
                "EIO=abc&transport=abc&sid=none",
                Fault::UnknownTransport,
            ),
            (
                Get,
                false,
                "EIO=4&transport=webtransport",
                Fault::UnknownTransport,
            ),
            (Post, false, "transport=polling&sid=none", Fault::UnknownSid),
            (Get, true, "transport=websocket&sid=none", Fault::UnknownSid),
            (Post, false, "EIO=3&transport=polling", Fault::BadHandshakeMethod),
            (Other, false, "EIO=4&transport=polling", Fault::BadHandshakeMethod),
            (Get, false, "EIO=3&transport=websocket", Fault::BadRequest),
            (Get, true, "EIO=4&transport=polling", Fault::BadRequest),
            (
                Get,
                false,
                "EIO=3&transport=polling",
                Fault::UnsupportedProtocolVersion,
            ),
            (Get, false, "transport=polling", Fault::UnsupportedProtocolVersion),
            (
                Get,
                true,
                "EIO=abc&transport=websocket",
                Fault::UnsupportedProtocolVersion,
            ),
            (Other, false, "EIO=4&transport=polling&sid=p", Fault::BadRequest),
            (Get, false, "EIO=4&transport=polling&sid=u", Fault::BadRequest),
            (Post, false, "EIO=4&transport=polling&sid=w", Fault::BadRequest),
            (Get, false, "EIO=4&transport=websocket&sid=p", Fault::BadRequest),
            (Get, true, "EIO=4&transport=websocket&sid=w", Fault::BadRequest),
        ] {
            assert_eq!(ask(method, upgrade, query), Err(fault), "{query}");
        }
    }

    #[test]
    fn what_makes_sense_is_let_through() {
        use Method::{Get, Post};
        for (method, upgrade, query, expected) in [
            (Get, false, "EIO=4&transport=polling", "Open(Polling)"),
            (Get, true, "EIO=4&transport=websocket&sid=", "Open(WebSocket)"),
            (Get, false, "EIO=4&transport=polling&sid=p", r#"Poll("p")"#),
            (Post, false, "transport=polling&sid=p", r#"Push("p")"#),
            (Get, true, "EIO=4&transport=websocket&sid=p", r#"Attach("p")"#),
            (Get, true, "EIO=4&transport=websocket&sid=u", r#"Attach("u")"#),
        ] {
            assert_eq!(ask(method, upgrade, query), Ok(expected.to_owned()), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "((EIO|transport|sid|b64)?=?[a-z4%&+\u{e4}]{0,8}&?){0,6}", upgrade: bool) {
            let _ = ask(Method::Get, upgrade, &query);
        }
    }
}
