//! The generator against servers in this process, right ones and wrong ones: the ledger has to say exactly what was
//! wrong. Nothing here depends on how fast anything is.

mod socket_io;

use serde_json::value::RawValue;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cases::{Effort, Kind, Scale};
use crate::figures::Figures;
use crate::floor::{Floor, Posted, Request, event_frame, joined, published, ulid};
use crate::generator::{Generator, Load, Pace, Via};
use crate::ledger::Account;
use crate::process::Server;
use crate::protocol::Protocol;
use crate::scenario;
use crate::server::{Hall, Service, serve};
use crate::soak::Soak;
use crate::socket::listen;

/// A server in a thread of its own, ended with the test.
struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(mut service: impl Service + Send + 'static) -> Self {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::spawn(move || serve(listener, &mut service, Some(&stopped)).expect("serves"));
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    fn generator(&self) -> Generator {
        self.generator_of(Protocol::GreenroomV1)
    }

    fn generator_of(&self, protocol: Protocol) -> Generator {
        Generator::new(vec![self.address], protocol).expect("a poll")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || matches!(ended, Some(Ok(()))),
            "the server panicked"
        );
    }
}

/// What a wrong server does to the third member of a room.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Every tenth event is not sent.
    Drop,
    /// Every tenth event is sent twice.
    Double,
    /// Of every ten events, the first comes after the second.
    Swap,
    /// Every tenth event goes to a member of another room too.
    Stray,
    /// On coming back, one missed event is not sent.
    ForgetOne,
}

/// Rooms with a history, and a fault.
struct Faulty {
    fault: Fault,
    rooms: HashMap<String, Room>,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    history: Vec<Vec<u8>>,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            rooms: HashMap::new(),
        }
    }

    fn publish(&mut self, room: &str, event: &str, data: &RawValue, hall: &mut Hall) -> u64 {
        let stranger = self
            .rooms
            .iter()
            .find(|(name, _)| *name != room)
            .and_then(|(_, other)| other.members.first().copied());
        let state = self.rooms.entry(room.to_owned()).or_default();
        let number = state.history.len() as u64 + 1;
        state
            .history
            .push(event_frame(room, event, data, &ulid(number), number, number));
        let frame = state.history.last().expect("just pushed");
        for (index, member) in state.members.iter().enumerate() {
            match (self.fault, number % 10) {
                (Fault::Drop, 0) | (Fault::Swap, 1) if index == 2 => {}
                (Fault::Double, 0) if index == 2 => {
                    hall.send(*member, frame);
                    hall.send(*member, frame);
                }
                (Fault::Swap, 2) if index == 2 => {
                    hall.send(*member, frame);
                    hall.send(*member, &state.history[number as usize - 2]);
                }
                _ => hall.send(*member, frame),
            }
        }
        if let Some(stranger) = stranger.filter(|_| self.fault == Fault::Stray && number.is_multiple_of(10)) {
            hall.send(stranger, frame);
        }
        number
    }
}

impl Service for Faulty {
    fn hear(&mut self, from: usize, text: &[u8], hall: &mut Hall) {
        let request: Request<'_> = serde_json::from_slice(text).expect("a valid request");
        if let (Some(event), Some(data)) = (&request.event, request.data) {
            let number = self.publish(&request.room, event, data, hall);
            return hall.say(
                from,
                &published(&request.room, request.r#ref, &ulid(number), number),
            );
        }
        let room = self.rooms.entry(request.room.to_string()).or_default();
        let position = room.history.len();
        let since = request
            .since
            .map_or(position, |since| since.parse().expect("one of ours"));
        let recovered = self.fault != Fault::ForgetOne || since == position;
        hall.say(
            from,
            &joined(&request.room, request.r#ref, &position.to_string(), recovered),
        );
        let skip = usize::from(!recovered);
        room.history[since + skip..]
            .iter()
            .for_each(|frame| hall.send(from, frame));
        room.members.push(from);
    }

    fn post(&mut self, room: &str, body: &[u8], hall: &mut Hall) -> Option<String> {
        let Posted { event, data } = serde_json::from_slice(body).ok()?;
        let number = self.publish(room, &event, data, hall);
        Some(format!(
            r#"{{"id":"{}","rooms":{{"{room}":{number}}}}}"#,
            ulid(number)
        ))
    }

    fn left(&mut self, who: usize) {
        self.rooms
            .values_mut()
            .for_each(|room| room.members.retain(|member| *member != who));
    }
}

/// Waits until only `lost` deliveries are missing, however long that takes on a busy machine.
fn wait_until_owed(generator: &mut Generator, lost: u64) {
    let patience = 400;
    for _ in 0..patience {
        if generator.ledger().outstanding() <= lost {
            return;
        }
        generator.idle(Duration::from_millis(50)).expect("listens");
    }
}

/// Two rooms of four, 100 events to each; `lost` deliveries are known never to come.
fn account_of(service: impl Service + Send + 'static, via: Via, lost: u64) -> Account {
    let server = Running::start(service);
    let mut generator = server.generator();
    let clients = generator.connect(8).expect("connects");
    generator
        .join(clients, |client| (client % 2) as u32)
        .expect("joins");
    generator.connect_publishers(via, 3).expect("connects");
    for _ in 0..100 {
        generator.publish_round(2, via);
    }
    // A publish is answered when it has been sent to everybody: then all that will ever come is on its way.
    generator.await_published(200).expect("publishes");
    wait_until_owed(&mut generator, lost);
    let account = generator.grace().expect("listens");
    assert_eq!((generator.tally().published, generator.tally().refused), (200, 0));
    account
}

const EXACT: Account = Account {
    expected: 800,
    received: 800,
    lost: 0,
    duplicated: 0,
    out_of_order: 0,
    strays: 0,
};

#[test]
fn a_right_server_gives_zeros() {
    assert_eq!(account_of(Faulty::new(Fault::None), Via::WebSocket, 0), EXACT);
    assert_eq!(account_of(Faulty::new(Fault::None), Via::Http, 0), EXACT);
}

#[test]
fn the_floor_gives_zeros_with_and_without_coalescing() {
    assert_eq!(account_of(Floor::new(false), Via::WebSocket, 0), EXACT);
    assert_eq!(account_of(Floor::new(false), Via::Http, 0), EXACT);
    assert_eq!(account_of(Floor::new(true), Via::WebSocket, 0), EXACT);
}

#[test]
fn dropped_deliveries_are_counted() {
    let expected = Account {
        received: 780,
        lost: 20,
        ..EXACT
    };
    assert_eq!(account_of(Faulty::new(Fault::Drop), Via::WebSocket, 20), expected);
}

#[test]
fn doubled_deliveries_are_counted() {
    let expected = Account {
        duplicated: 20,
        ..EXACT
    };
    assert_eq!(
        account_of(Faulty::new(Fault::Double), Via::WebSocket, 0),
        expected
    );
}

#[test]
fn reordered_deliveries_are_counted() {
    let expected = Account {
        out_of_order: 20,
        ..EXACT
    };
    assert_eq!(account_of(Faulty::new(Fault::Swap), Via::WebSocket, 0), expected);
}

#[test]
fn deliveries_to_strangers_are_counted() {
    let expected = Account { strays: 20, ..EXACT };
    assert_eq!(account_of(Faulty::new(Fault::Stray), Via::WebSocket, 0), expected);
}

#[test]
fn a_flat_out_run_keeps_its_window_and_ends_with_nothing_owed() {
    let server = Running::start(Floor::new(true));
    let mut generator = server.generator();
    let clients = generator.connect(20).expect("connects");
    generator.join(clients, |_| 0).expect("joins");
    generator.connect_publishers(Via::WebSocket, 0).expect("connects");
    let load = Load {
        rooms: 1,
        pace: Pace::InFlight(8),
        via: Via::WebSocket,
        time: Duration::from_millis(200),
    };
    let driven = generator.drive(&load, &mut || {}).expect("drives");
    let account = generator.settle(Duration::from_secs(20)).expect("settles");
    assert_eq!((account.expected, account.wrong()), (driven.published * 20, 0));
    assert_eq!(generator.ledger().heard().0, account.received);
}

/// Ten clients hear 5 events, are cut, miss 30, and come back; `lost` deliveries are known never to come. The account, how
/// many were not recovered, how many have caught up.
fn resume(service: impl Service + Send + 'static, protocol: Protocol, lost: u64) -> (Account, usize, usize) {
    let server = Running::start(service);
    let mut generator = server.generator_of(protocol);
    generator.connect_publishers(Via::WebSocket, 0).expect("connects");
    let clients = generator.connect(10).expect("connects");
    clients
        .clone()
        .for_each(|client| generator.client(client).keep_position());
    generator.join(clients.clone(), |_| 0).expect("joins");
    generator.burst(0, 5);
    assert_eq!(
        generator.settle(Duration::from_secs(20)).expect("settles").lost,
        0
    );
    generator.cut(clients.clone());
    generator.burst(0, 30);
    generator.await_published(35).expect("publishes");
    generator
        .come_back(clients.clone(), 0, Duration::from_secs(1))
        .expect("comes back");
    wait_until_owed(&mut generator, lost);
    let caught_up = clients
        .filter(|client| generator.client(*client).catch_up_ns().is_some())
        .count();
    (
        generator.grace().expect("listens"),
        generator.tally().unrecovered,
        caught_up,
    )
}

const EXACT_RESUME: Account = Account {
    expected: 350,
    received: 350,
    lost: 0,
    duplicated: 0,
    out_of_order: 0,
    strays: 0,
};

#[test]
fn clients_that_come_back_hear_what_they_missed_once() {
    let right = Faulty::new(Fault::None);
    assert_eq!(resume(right, Protocol::GreenroomV1, 0), (EXACT_RESUME, 0, 10));
}

#[test]
fn an_event_missing_after_a_resume_is_counted_and_nobody_has_caught_up() {
    let expected = Account {
        received: 340,
        lost: 10,
        ..EXACT_RESUME
    };
    let wrong = Faulty::new(Fault::ForgetOne);
    assert_eq!(resume(wrong, Protocol::GreenroomV1, 10), (expected, 10, 0));
}

/// A case, small, against a server in this process.
fn figures(kind: Kind, service: impl Service + Send + 'static) -> Figures {
    let running = Running::start(service);
    let server = Server::running(vec![running.address], i32::try_from(std::process::id()).ok());
    let effort = Effort {
        quick: true,
        flood: Duration::from_secs(1),
        soak: Soak {
            time: Duration::from_secs(60),
            seed: 1,
        },
    };
    scenario::run(kind, &server, Protocol::GreenroomV1, effort).expect("runs")
}

#[test]
fn a_load_is_measured_and_accounted_for() {
    let pace = Pace::Rate(100.0);
    let scale = Scale {
        clients: 20,
        rooms: 4,
        pace,
        via: Via::Http,
        seconds: 1,
    };
    let figures = figures(Kind::Load(scale), Faulty::new(Fault::None));
    assert_eq!((figures["wrong"], figures["clients"]), (0.0, 20.0));
    assert!(figures["deliveries"] > 0.0 && figures["expected"] > figures["deliveries"]);
    for key in [
        "cpu_us_per_delivery",
        "p99_ms",
        "rss_peak_mb",
        "events_per_second",
    ] {
        assert!(figures[key] > 0.0, "{key}");
    }
}

#[test]
fn a_load_on_a_wrong_server_is_wrong() {
    let scale = Scale {
        clients: 4,
        rooms: 1,
        pace: Pace::Rate(100.0),
        via: Via::WebSocket,
        seconds: 1,
    };
    let figures = figures(Kind::Load(scale), Faulty::new(Fault::Double));
    assert!(figures["duplicated"] > 0.0);
    assert_eq!((figures["wrong"], figures["lost"]), (figures["duplicated"], 0.0));
}

#[test]
fn servers_side_by_side_are_measured_apart_and_a_missing_one_is_told() {
    let running = [
        Running::start(Floor::new(false)),
        Running::start(Faulty::new(Fault::Double)),
    ];
    let servers = running
        .each_ref()
        .map(|running| Server::running(vec![running.address], None));
    let scale = Scale {
        clients: 4,
        rooms: 1,
        pace: Pace::Rate(100.0),
        via: Via::WebSocket,
        seconds: 1,
    };
    let mut sides: Vec<_> = servers
        .iter()
        .map(|server| Ok((scale, server, Protocol::GreenroomV1)))
        .collect();
    sides.push(Err(anyhow::anyhow!("did not start")));
    let effort = Effort {
        quick: true,
        flood: Duration::ZERO,
        soak: Soak {
            time: Duration::from_secs(60),
            seed: 1,
        },
    };
    let outcomes = scenario::side_by_side(sides, effort);
    let wrong = outcomes
        .iter()
        .flatten()
        .map(|figures| figures["wrong"] > 0.0)
        .collect::<Vec<_>>();
    assert_eq!(wrong, [false, true]);
    let error = outcomes[2].as_ref().expect_err("there was no server");
    assert_eq!(error.to_string(), "did not start");
}

#[test]
fn idle_connections_are_measured_and_all_alive_at_the_end() {
    let figures = figures(
        Kind::Idle {
            clients: 200,
            rooms: 20,
        },
        Faulty::new(Fault::None),
    );
    assert_eq!((figures["wrong"], figures["expected"]), (0.0, 200.0));
    assert!(figures["connect_cpu_us"] > 0.0 && figures["join_cpu_us"] > 0.0);
}

#[test]
fn a_stalled_client_disturbs_nobody_and_its_fate_is_told() {
    let figures = figures(
        Kind::Stalled {
            clients: 5,
            rate: 3_000.0,
        },
        Floor::new(false),
    );
    assert_eq!(figures["wrong"], 0.0);
    assert!(figures["p99_ratio"] > 0.0 && figures.contains_key("close_code"));
}

#[test]
fn a_giant_frame_meets_the_end_that_the_server_gives_it() {
    let figures = figures(Kind::GiantFrame, Floor::new(false));
    assert_eq!(figures["close_code"], 1.0, "the floor cuts it");
    assert!(figures["sent_mib"] < 16.0);
}

#[test]
fn a_resume_is_measured() {
    let kind = Kind::Resume {
        clients: 20,
        missed: 10,
    };
    let right = figures(kind, Faulty::new(Fault::None));
    assert_eq!(
        (right["wrong"], right["not_recovered"], right["expected"]),
        (0.0, 0.0, 400.0)
    );
    assert!(right["p99_ms"] > 0.0);
}

#[test]
fn a_server_that_is_not_there_is_an_error_and_not_a_wait() {
    let address = listen((Ipv4Addr::LOCALHOST, 0).into())
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let mut generator = Generator::new(vec![address], Protocol::GreenroomV1).expect("a poll");
    let error = generator.connect(1).expect_err("nobody listens there");
    assert!(error.to_string().contains("connecting failed"), "{error}");
}
