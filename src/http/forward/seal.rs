//! What a node says of the client whose request it hands on, sealed so that only a node can have said it.
//!
//! Each life of a node has a secret, which those can read who can read the Redis that the nodes share. The seal is an HMAC
//! by the secret of the node that is asked, over the session's id and what is said: so it is of no use anywhere else.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr as _;

use actix_web::dev::RequestHead;
use greenroom_actors::broker::NodeKey;
use greenroom_actors::logic::engine_io::request::Query;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The header in which it is said. A request that has one is never handed on, whoever has written it.
pub const HEADER: &str = "x-greenroom-handed-on";

/// So that the same secret may be used for something else one day.
const PURPOSE: &str = "greenroom handed-on 1";

/// What the node that a request came to knows of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came by HTTPS, where that is known.
    pub https: Option<bool>,
}

impl Sender {
    /// What the header is to hold for the node that has this key.
    pub fn sealed(&self, key: &NodeKey, sid: &str) -> String {
        let said = self.said();
        let mut sealed = format!("{said} ");
        for byte in mac(key, sid, &said).finalize().into_bytes() {
            // Writing to a String does not fail.
            let _ = write!(sealed, "{byte:02x}");
        }
        sealed
    }

    /// What another node has said to the one that has this key; nothing, if it was somebody else.
    pub fn of(key: &NodeKey, head: &RequestHead) -> Option<Self> {
        let mut values = head.headers().get_all(HEADER);
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let sid = Query::parse(head.uri.query()?).sid?;
        Self::read(key, &sid, value.to_str().ok()?)
    }

    fn read(key: &NodeKey, sid: &str, sealed: &str) -> Option<Self> {
        let (said, seal) = sealed.rsplit_once(' ')?;
        mac(key, sid, said).verify_slice(&unhex(seal)?).ok()?;
        let (address, scheme) = said.split_once(' ')?;
        Some(Self {
            address: IpAddr::from_str(address).ok()?,
            https: match scheme {
                "https" => Some(true),
                "http" => Some(false),
                _ => None,
            },
        })
    }

    fn said(&self) -> String {
        let scheme = match self.https {
            Some(true) => "https",
            Some(false) => "http",
            None => "unknown",
        };
        format!("{} {scheme}", self.address)
    }
}

fn mac(key: &NodeKey, sid: &str, said: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.0.as_bytes())
        .unwrap_or_else(|_| unreachable!("a key may have any length"));
    for part in [PURPOSE, sid, said] {
        mac.update(part.as_bytes());
        // None of them has a line break in it but perhaps an id that no node gives out.
        mac.update(b"\n");
    }
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_heard_and_nothing_else() {
        let (key, other) = (NodeKey("key".into()), NodeKey("other".into()));
        for (address, https) in [
            ("198.51.100.7", Some(true)),
            ("2001:db8::7", Some(false)),
            ("127.0.0.1", None),
        ] {
            let address = address.parse().expect("an address");
            let sender = Sender { address, https };
            let sealed = sender.sealed(&key, "sid");
            assert_eq!(Sender::read(&key, "sid", &sealed), Some(sender));
            assert_eq!(Sender::read(&other, "sid", &sealed), None, "another node's key");
            assert_eq!(Sender::read(&key, "another", &sealed), None, "another session");
            let (said, seal) = sealed.rsplit_once(' ').expect("a seal");
            for forged in [
                format!("203.0.113.9 https {seal}"),
                format!("{said} {}", seal.replace(|c: char| c.is_ascii_digit(), "f")),
                format!("{said} {}", &seal[2..]),
                format!("{said} "),
                said.to_owned(),
                String::new(),
                format!("{said} üü"),
            ] {
                assert_eq!(Sender::read(&key, "sid", &forged), None, "{forged}");
            }
        }
    }
}
