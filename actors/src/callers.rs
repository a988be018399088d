//! Client addresses: what each has open.
//!
//! Looked at where a connection or a request begins, never where something is delivered. An address of which nothing is
//! open is forgotten at the next look around, so the table is bounded by what is open.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// Addresses from which on those are looked for that can be forgotten.
const LOOK_AROUND: usize = 1_024;

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is what one subscriber has for
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The address, or the first one of the network.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// A connection that was accepted.
pub type Socket = Held<0>;
/// A WebSocket, a stream or a session of Socket.IO.
pub type Session = Held<1>;

/// A client's network, and what it has open.
#[derive(Debug)]
pub struct Caller {
    network: Network,
    open: [AtomicU32; 2],
}

impl Caller {
    /// Its address.
    pub fn network(&self) -> Network {
        self.network
    }

    /// How many of these it has open.
    pub fn open<const KIND: usize>(&self) -> u32 {
        self.open[KIND].load(Ordering::Relaxed)
    }
}

/// Something that a client has open; counted until this is dropped.
#[derive(Debug)]
pub struct Held<const KIND: usize>(Arc<Caller>);

impl<const KIND: usize> Held<KIND> {
    /// One more of this client's.
    pub fn of(caller: &Arc<Caller>) -> Self {
        caller.open[KIND].fetch_add(1, Ordering::Relaxed);
        Self(caller.clone())
    }

    /// Whose it is.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.0
    }
}

impl<const KIND: usize> Drop for Held<KIND> {
    fn drop(&mut self) {
        self.0.open[KIND].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The callers of a node.
#[derive(Debug, Default)]
pub struct Callers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    callers: HashMap<Network, Arc<Caller>>,
    /// How many there may be before those are looked for that can be forgotten.
    look_at: usize,
}

impl Callers {
    /// The client with this address.
    pub fn get(&self, address: IpAddr) -> Arc<Caller> {
        let network = Network::from(address);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.callers.get(&network) {
            return known.clone();
        }
        if table.callers.len() >= table.look_at.max(LOOK_AROUND) {
            table.callers.retain(|_, caller| Arc::strong_count(caller) > 1);
            // So the cost of looking is shared by as many newcomers as there are to look at.
            table.look_at = 2 * table.callers.len();
        }
        let caller = Arc::new(Caller {
            network,
            open: Default::default(),
        });
        table.callers.insert(network, caller.clone());
        caller
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .callers
            .len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_one_subscriber_has_for_itself_is_one_client() {
        for (one, other, same, shown) in [
            ("192.0.2.1", "192.0.2.2", false, "192.0.2.1"),
            ("192.0.2.1", "::ffff:192.0.2.1", true, "192.0.2.1"),
            (
                "2001:db8:0:1::1",
                "2001:db8:0:1:ffff::2",
                true,
                "2001:db8:0:1::/64",
            ),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false, "2001:db8:0:1::/64"),
        ] {
            let networks = [one, other].map(|text| Network::from(address(text)));
            assert_eq!(networks[0] == networks[1], same, "{one} {other}");
            assert_eq!(networks[0].to_string(), shown);
        }
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_closed() {
        let callers = Callers::default();
        let caller = callers.get(address("192.0.2.1"));
        let (one, other) = (
            Session::of(&caller),
            Session::of(&callers.get(address("192.0.2.1"))),
        );
        assert_eq!((caller.open::<1>(), caller.open::<0>()), (2, 0));
        drop(one);
        assert_eq!(caller.open::<1>(), 1);
        drop(other);
        assert_eq!(caller.open::<1>(), 0);
    }

    #[test]
    fn who_has_nothing_open_is_forgotten() {
        let callers = Callers::default();
        let held = Socket::of(&callers.get(address("192.0.2.1")));
        for number in 0..100_000u32 {
            callers.get(IpAddr::V4((0x0a00_0000 + number).into()));
            assert!(callers.len() <= LOOK_AROUND, "{number}");
        }
        assert_eq!(callers.get(address("192.0.2.1")).open::<0>(), 1);
        drop(held);
    }
}
