//! Client addresses: what each has open, and how fast it comes.
//!
//! Looked at where a connection or a request begins, never where something is delivered. An address of which nothing is
//! open, and which has not come too fast of late, is forgotten at the next look around: so the table is bounded by what
//! is open and by what can come within seconds.

use crate::logic::rate::Rate;
use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

/// Addresses from which on those are looked for that can be forgotten.
const LOOK_AROUND: usize = 1_024;

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is what one subscriber has for
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

const SOCKET: usize = 0;
const SESSION: usize = 1;
const WAITING: usize = 2;

/// A connection that was accepted.
pub type Socket = Held<SOCKET>;
/// A WebSocket, a stream or a session of Socket.IO.
pub type Session = Held<SESSION>;
/// An answer that waits: a stream, or that to a poll.
pub type Waiting = Held<WAITING>;

/// What a client address may have and do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Connections of all addresses together.
    pub all_sockets: u32,
    /// Connections of an address, and beside them sessions. 0: no limit.
    pub open: u32,
    /// Answers of an address that wait. 0: no limit.
    pub waiting: u32,
    /// How fast an address may connect.
    pub handshakes: Rate,
    /// How fast it may ask.
    pub requests: Rate,
    /// How many bytes of history it may be given.
    pub replays: Rate,
}

/// Which limit stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Of the node.
    #[error("the node has its {0} connections (limits.sockets)")]
    Full(u32),
    /// Of the address: what it has open.
    #[error("this address has its {0} connections (limits.connections_per_address)")]
    Open(u32),
    /// Of the address: what waits.
    #[error("this address has its {0} streams and polls (limits.streams_per_address)")]
    Waiting(u32),
    /// Of the address: how fast it connects.
    #[error("this address opens connections too fast (limits.handshakes_per_second)")]
    Handshakes,
    /// Of the address: how fast it asks.
    #[error("this address sends requests too fast (limits.requests_per_second)")]
    Requests,
    /// Of the address: how much history it is given.
    #[error("this address has been given too much history (limits.replay_bytes_per_second)")]
    Replays,
}

/// A client's network, and what it has open.
#[derive(Debug)]
pub struct Caller {
    network: Network,
    open: [AtomicU32; 3],
    /// Until when its connections and requests are paid for, nanoseconds since the node began.
    connected_ns: AtomicU64,
    asked_ns: AtomicU64,
    replayed_ns: AtomicU64,
    node: Arc<Shared>,
}

/// What all callers of a node share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    began: Instant,
    sockets: AtomicU32,
}

impl Shared {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Caller {
    /// Its address.
    pub fn network(&self) -> Network {
        self.network
    }

    /// It sends a request.
    pub fn ask(&self) -> Result<(), Refused> {
        let is_let = self.pay(&self.asked_ns, self.node.limits.requests, 1);
        is_let.then_some(()).ok_or(Refused::Requests)
    }

    /// Whether it may be given history now: how much that is, [`replayed`](Self::replayed) tells afterwards.
    pub fn may_replay(&self) -> Result<(), Refused> {
        let is_let = self.pay(&self.replayed_ns, self.node.limits.replays, 0);
        is_let.then_some(()).ok_or(Refused::Replays)
    }

    /// It was given so much history, bytes.
    pub fn replayed(&self, bytes: usize) {
        let now_ns = self.node.now_ns();
        let charge = |paid| Some(self.node.limits.replays.charge(paid, now_ns, bytes as u64));
        // It always has something to put in the place of what was there.
        let _ = self
            .replayed_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    fn pay(&self, paid: &AtomicU64, rate: Rate, amount: u64) -> bool {
        let now_ns = self.node.now_ns();
        let pay = |paid| rate.admit(paid, now_ns, amount);
        paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay)
            .is_ok()
    }

    /// Whether nothing would be lost by forgetting it.
    fn is_forgettable(self: &Arc<Self>, now_ns: u64) -> bool {
        let paid = |until: &AtomicU64| until.load(Ordering::Relaxed) <= now_ns;
        let all = [&self.connected_ns, &self.asked_ns, &self.replayed_ns];
        Arc::strong_count(self) == 1 && all.into_iter().all(paid)
    }
}

/// Something that a client has open; counted until this is dropped.
#[derive(Debug)]
pub struct Held<const KIND: usize>(Arc<Caller>);

impl<const KIND: usize> Held<KIND> {
    /// One more of this client's, whatever the limit.
    pub fn of(caller: &Arc<Caller>) -> Self {
        caller.open[KIND].fetch_add(1, Ordering::Relaxed);
        if KIND == SOCKET {
            caller.node.sockets.fetch_add(1, Ordering::Relaxed);
        }
        Self(caller.clone())
    }

    /// One more of this client's, if it may have one.
    pub fn take(caller: &Arc<Caller>) -> Result<Self, Refused> {
        let limits = &caller.node.limits;
        // Counted first: of two that come at once and find one place, none or one may be let in, never both.
        let held = Self::of(caller);
        let open = caller.open[KIND].load(Ordering::Relaxed);
        match KIND {
            WAITING if limits.waiting > 0 && open > limits.waiting => Err(Refused::Waiting(limits.waiting)),
            SOCKET | SESSION if limits.open > 0 && open > limits.open => Err(Refused::Open(limits.open)),
            _ => Ok(held),
        }
    }

    /// Whose it is.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.0
    }
}

impl<const KIND: usize> Drop for Held<KIND> {
    fn drop(&mut self) {
        self.0.open[KIND].fetch_sub(1, Ordering::Relaxed);
        if KIND == SOCKET {
            self.0.node.sockets.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The callers of a node.
#[derive(Debug)]
pub struct Callers {
    shared: Arc<Shared>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    callers: HashMap<Network, Arc<Caller>>,
    /// How many there may be before those are looked for that can be forgotten.
    look_at: usize,
}

impl Callers {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        let shared = Shared {
            limits,
            began: Instant::now(),
            sockets: AtomicU32::new(0),
        };
        Self {
            shared: Arc::new(shared),
            table: Mutex::default(),
        }
    }

    /// A connection was accepted. A proxy's own address is not limited, because there are many clients behind it.
    pub fn accept(&self, address: IpAddr, is_proxy: bool) -> Result<Socket, Refused> {
        let limits = &self.shared.limits;
        if self.shared.sockets.load(Ordering::Relaxed) >= limits.all_sockets {
            return Err(Refused::Full(limits.all_sockets));
        }
        let caller = self.get(address);
        if is_proxy {
            return Ok(Socket::of(&caller));
        }
        if !caller.pay(&caller.connected_ns, limits.handshakes, 1) {
            return Err(Refused::Handshakes);
        }
        Socket::take(&caller)
    }

    /// The client with this address.
    pub fn get(&self, address: IpAddr) -> Arc<Caller> {
        let network = Network::from(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.callers.get(&network) {
            return known.clone();
        }
        if table.callers.len() >= table.look_at.max(LOOK_AROUND) {
            let now_ns = self.shared.now_ns();
            table.callers.retain(|_, caller| !caller.is_forgettable(now_ns));
            // So the cost of looking is shared by as many newcomers as there are to look at.
            table.look_at = 2 * table.callers.len();
        }
        let caller = Arc::new(Caller {
            network,
            open: Default::default(),
            connected_ns: AtomicU64::new(0),
            asked_ns: AtomicU64::new(0),
            replayed_ns: AtomicU64::new(0),
            node: self.shared.clone(),
        });
        table.callers.insert(network, caller.clone());
        caller
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.callers.len()
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

    fn callers(limits: Limits) -> Callers {
        Callers::new(Limits {
            all_sockets: 1_000,
            ..limits
        })
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_closed() {
        let limits = Limits {
            open: 2,
            waiting: 1,
            ..Limits::default()
        };
        let callers = callers(limits);
        let caller = callers.get(address("192.0.2.1"));
        let _socket = callers.accept(address("192.0.2.1"), false).unwrap();
        let (one, _other) = (Session::take(&caller).unwrap(), Session::take(&caller).unwrap());
        assert_eq!(Session::take(&caller).unwrap_err(), Refused::Open(2));
        drop(one);
        let _again = Session::take(&caller).unwrap();
        let waiting = Waiting::take(&caller).unwrap();
        assert_eq!(Waiting::take(&caller).unwrap_err(), Refused::Waiting(1));
        drop(waiting);
        let _waiting = Waiting::take(&caller).unwrap();
        let _of_another = Session::take(&callers.get(address("192.0.2.2"))).unwrap();
    }

    #[test]
    fn a_node_has_a_limit_of_its_own() {
        let callers = Callers::new(Limits {
            all_sockets: 2,
            ..Limits::default()
        });
        let first = callers.accept(address("192.0.2.1"), false).unwrap();
        let _second = callers.accept(address("192.0.2.2"), true).unwrap();
        for is_proxy in [false, true] {
            let refused = callers.accept(address("192.0.2.3"), is_proxy);
            assert_eq!(refused.unwrap_err(), Refused::Full(2));
        }
        drop(first);
        callers.accept(address("192.0.2.3"), false).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_too_fast_is_refused_and_let_in_again_later() {
        let limits = Limits {
            handshakes: Rate::new(2, 1),
            requests: Rate::new(1, 1),
            ..Limits::default()
        };
        let callers = callers(limits);
        let connect = |text, is_proxy| callers.accept(address(text), is_proxy).map(drop);
        assert_eq!(connect("2001:db8::1", false), Ok(()));
        assert_eq!(connect("2001:db8::2", false), Ok(()));
        assert_eq!(connect("2001:db8::3", false), Err(Refused::Handshakes));
        assert_eq!(
            connect("2001:db8::3", true),
            Ok(()),
            "one of many clients of a proxy"
        );
        assert_eq!(connect("2001:db8:0:1::1", false), Ok(()));
        let caller = callers.get(address("192.0.2.1"));
        assert_eq!((caller.ask(), caller.ask()), (Ok(()), Err(Refused::Requests)));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!((connect("2001:db8::3", false), caller.ask()), (Ok(()), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_given_too_much_history_waits_for_more() {
        let limits = Limits {
            replays: Rate::new(100, 10),
            ..Limits::default()
        };
        let callers = callers(limits);
        let caller = callers.get(address("192.0.2.1"));
        let pages: Vec<_> = (0..4)
            .map(|_| {
                let may = caller.may_replay();
                caller.replayed(400);
                may
            })
            .collect();
        assert_eq!(pages, [Ok(()), Ok(()), Ok(()), Err(Refused::Replays)]);
        assert_eq!(callers.get(address("192.0.2.2")).may_replay(), Ok(()));
        tokio::time::advance(std::time::Duration::from_millis(5_999)).await;
        assert_eq!(caller.may_replay(), Err(Refused::Replays));
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        assert_eq!(caller.may_replay(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_open_is_forgotten_once_its_pace_does_not_matter() {
        let callers = callers(Limits {
            requests: Rate::new(10, 1),
            ..Limits::default()
        });
        let held = Socket::of(&callers.get(address("192.0.2.1")));
        for number in 0..100_000u32 {
            let caller = callers.get(IpAddr::V4((0x0a00_0000 + number).into()));
            caller.ask().unwrap();
            drop(caller);
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
            // What came within the last tenth of a second, and as many again before they are looked at.
            assert!(callers.len() <= LOOK_AROUND, "{number}");
        }
        let caller = callers.get(address("192.0.2.1"));
        assert!(Arc::ptr_eq(&caller, held.caller()));
    }
}
