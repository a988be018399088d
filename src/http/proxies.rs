//! Who a request comes from where proxies stand in between: what those of them say that are trusted, and nobody else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::header::HeaderMap;

use crate::config::sections::ForwardedHeader;

/// Hops that are looked at, from the nearest: real chains have two or three.
const HOPS: usize = 16;

/// A network by its first address and the bits that all of it have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// The proxies that are trusted, and where they write what they know.
#[derive(Debug, Clone)]
pub struct Proxies {
    trusted: Arc<[Cidr]>,
    header: ForwardedHeader,
}

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came by HTTPS; `None` where nobody who is trusted says so.
    pub https: Option<bool>,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address. Bits behind the network's own have to be zero, because
    /// whoever sets some may mean something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => all,
        };
        let is_network = bits <= all && masked(address, bits) == address;
        is_network.then_some(Self { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

/// The first bits of an address, the others zero.
pub fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl Proxies {
    /// Reads a list such as `10.0.0.0/8, 192.0.2.7`; what is no network has been refused by the configuration's rules.
    pub fn parse(list: &str, header: ForwardedHeader) -> Self {
        let trusted = list.split(',').filter_map(|word| Cidr::parse(word.trim()));
        Self {
            trusted: trusted.collect(),
            header,
        }
    }

    /// Whether this is one of them.
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Who a request comes from that has come from `peer`: of the hops it names, from the nearest on, the first that is
    /// no trusted proxy. What stands before that one is what anybody may have written.
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return Origin {
                address: peer,
                https: None,
            };
        }
        let (hops, https) = match self.header {
            ForwardedHeader::XForwardedFor => x_forwarded(headers),
            ForwardedHeader::Forwarded => forwarded(headers),
        };
        let mut address = peer;
        for hop in hops {
            // Behind a name or a pseudonym there may be anybody: the proxy that wrote it answers for it.
            let Some(hop) = hop else { break };
            address = hop;
            if !self.trust(hop) {
                break;
            }
        }
        Origin { address, https }
    }
}

/// The hops, nearest first, and whether the nearest proxy was spoken to by HTTPS.
type Told = (Vec<Option<IpAddr>>, Option<bool>);

fn x_forwarded(headers: &HeaderMap) -> Told {
    let hops = words(headers, "x-forwarded-for").map(node);
    let hops = hops.take(HOPS).collect();
    let proto = words(headers, "x-forwarded-proto").next();
    (hops, proto.map(|proto| proto.eq_ignore_ascii_case("https")))
}

fn forwarded(headers: &HeaderMap) -> Told {
    let elements: Vec<&str> = words(headers, "forwarded").take(HOPS).collect();
    let field = |element: &str, name: &str| {
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        values
            .next()
            .map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let hops = elements
        .iter()
        .map(|element| node(&field(element, "for")?))
        .collect();
    let proto = elements.first().and_then(|element| field(element, "proto"));
    (hops, proto.map(|proto| proto.eq_ignore_ascii_case("https")))
}

/// What stands between commas, over all headers of that name, the last first.
fn words<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name);
    let values: Vec<&str> = values.map(|value| value.to_str().unwrap_or_default()).collect();
    let words = values.into_iter().rev().flat_map(|value| value.rsplit(','));
    words.map(str::trim)
}

/// `192.0.2.7`, `192.0.2.7:47011`, `2001:db8::7`, `[2001:db8::7]:47011`.
fn node(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address
        .or_else(with_port)
        .or_else(in_brackets)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ForwardedHeader::{Forwarded, XForwardedFor};
    use actix_web::http::header::{HeaderName, HeaderValue};

    const TRUSTED: &str = "10.0.0.0/8, 192.0.2.7, fd00::/8";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn told(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)]) -> (String, Option<bool>) {
        let proxies = Proxies::parse(TRUSTED, header);
        let origin = proxies.origin(peer.parse().expect("an address"), &headers(lines));
        (origin.address.to_string(), origin.https)
    }

    #[test]
    fn networks_are_read_and_nothing_else() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let network = Cidr::parse(text).expect(text);
            assert!(network.contains(inside.parse().expect("an address")), "{text}");
            assert!(!network.contains(outside.parse().expect("an address")), "{text}");
        }
        for text in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "proxy",
            "10.0.0",
        ] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_hop_that_is_not_trusted_is_the_client() {
        for (peer, line, client) in [
            // Nobody who is not trusted is believed.
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 192.0.2.7, 10.9.9.9", "198.51.100.1"),
            // What the client itself wrote stands further left.
            ("10.0.0.1", "127.0.0.1, 10.0.0.5, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.3", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ] {
            let lines = [("x-forwarded-for", line), ("forwarded", "for=6.6.6.6")];
            assert_eq!(told(XForwardedFor, peer, &lines).0, client, "{peer} {line}");
        }
        let two_lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        assert_eq!(told(XForwardedFor, "10.0.0.1", &two_lines).0, "198.51.100.1");
        let endless = "10.0.0.9, ".repeat(10_000);
        assert_eq!(
            told(XForwardedFor, "10.0.0.1", &[("x-forwarded-for", &endless)]).0,
            "10.0.0.1"
        );
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_the_one() {
        for (line, client, https) in [
            ("for=198.51.100.1", "198.51.100.1", None),
            (
                "For=\"[2001:db8::1]:4711\"; Proto=https",
                "2001:db8::1",
                Some(true),
            ),
            (
                "for=6.6.6.6;proto=https, for=198.51.100.1;proto=http",
                "198.51.100.1",
                Some(false),
            ),
            ("for=6.6.6.6, for=_hidden", "10.0.0.1", None),
            ("for=6.6.6.6, by=10.0.0.1", "10.0.0.1", None),
            (
                "for=198.51.100.1, for=10.0.0.4;proto=https",
                "198.51.100.1",
                Some(true),
            ),
            ("nonsense", "10.0.0.1", None),
        ] {
            let lines = [("forwarded", line), ("x-forwarded-for", "6.6.6.6")];
            assert_eq!(
                told(Forwarded, "10.0.0.1", &lines),
                (client.to_owned(), https),
                "{line}"
            );
        }
    }

    #[test]
    fn the_scheme_is_the_nearest_proxys() {
        for (peer, line, https) in [
            ("10.0.0.1", "https", Some(true)),
            ("10.0.0.1", "HTTPS", Some(true)),
            ("10.0.0.1", "https, http", Some(false)),
            ("203.0.113.9", "https", None),
        ] {
            assert_eq!(
                told(XForwardedFor, peer, &[("x-forwarded-proto", line)]).1,
                https,
                "{line}"
            );
        }
    }
}
