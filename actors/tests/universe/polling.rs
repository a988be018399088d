//! Sessions that poll, and sessions that change to a WebSocket: what waits for them, and how they end.

use crate::{
    hush,
    returning::{guest, hear, join},
    scene::*,
};
use greenroom_actors::{
    engine::{Answered, Poll},
    logic::{
        bus_log::Limits,
        engine_io::Fault,
        ws::{self, Opcode},
    },
    messages::Drain,
    room_registry::Settings,
    testing::{
        on_virtual_time,
        socket_io::{Session, attach, post},
        universe::{Plan, Universe},
    },
};
use tokio::sync::oneshot;

fn universe(change: impl Fn(&mut Settings)) -> Universe {
    hush();
    Universe::new(1, 1, Limits::default(), change)
}

fn up_to(end: u64) -> Vec<u64> {
    (0..end).collect()
}

#[test]
fn a_polling_client_joins_hears_and_comes_back() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io_polling(), &["a"]).await;
        count(&universe, "a", 0..3);
        hear(&universe, &mut guest).await;
        guest.now().hang_up();
        universe.settle().await;
        count(&universe, "a", 3..6);
        guest.enter(at.socket_io_polling());
        hear(&universe, &mut guest).await;
        assert_eq!((guest.recovered, guest.numbers()), (Some(true), up_to(6)));
        wait(120.0).await;
        for _ in 0..100 {
            guest.listen();
            wait(1.0).await;
        }
        assert!(
            guest.now().is_over(),
            "one that did not poll for so long has not answered a ping"
        );
    });
}

#[test]
fn a_client_that_polls_and_answers_pings_stays() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io_polling(), &["a"]).await;
        for _ in 0..300 {
            guest.listen();
            wait(1.0).await;
        }
        count(&universe, "a", 0..1);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), [0]);
    });
}

/// What waits for a client that never polls is bounded like a socket's outbox, and so is the time.
#[test]
fn who_enters_and_never_polls_costs_an_outbox_and_no_more() {
    on_virtual_time(async {
        let universe = universe(|settings| settings.outbox_bytes = 4_000);
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io_polling(), &["a"]).await;
        count(&universe, "a", 0..1);
        hear(&universe, &mut guest).await;
        let mut offset = None;
        for round in 0..40 {
            count(&universe, "a", 1 + round * 10..11 + round * 10);
            universe.settle().await;
            let waiting: usize = at.desk.hub.all().iter().map(|peer| peer.bytes()).sum();
            assert!(waiting <= 4_000, "{waiting}");
            offset.get_or_insert_with(|| guest.offset.clone());
        }
        assert_eq!(at.desk.hub.stats.slow_clients.get(), 1);
        wait(5.0).await;
        assert_eq!(
            at.desk.hub.stats.connections.get(),
            0,
            "it had its time to come for the end"
        );
        guest.enter(at.socket_io_polling());
        for _ in 0..30 {
            hear(&universe, &mut guest).await;
        }
        assert_eq!((guest.recovered, guest.numbers()), (Some(true), up_to(401)));
    });
}

#[test]
fn who_opens_a_session_and_does_nothing_is_gone_when_its_time_is_up() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let _silent = at.socket_io_polling();
        let _mute = at.socket_io();
        wait(40.0).await;
        assert_eq!(at.desk.hub.stats.connections.get(), 2);
        wait(20.0).await;
        assert_eq!(at.desk.hub.stats.connections.get(), 0);
    });
}

#[test]
fn who_answers_pings_and_enters_no_namespace_is_sent_away() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let mut sessions = [at.socket_io(), at.socket_io_polling()];
        for second in 0..50 {
            wait(1.0).await;
            for session in &mut sessions {
                session.listen();
                assert!(second > 40 || !session.is_over(), "{second}");
            }
        }
        assert!(sessions.iter().all(|session| session.is_over()));
        wait(5.0).await;
        assert_eq!(at.desk.hub.stats.connections.get(), 0);
    });
}

#[test]
fn a_client_that_catches_up_by_polling_is_given_the_history_as_it_takes_it() {
    on_virtual_time(async {
        let universe = universe(|settings| settings.outbox_bytes = 4_000);
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io_polling(), &["a"]).await;
        guest.now().hang_up();
        universe.settle().await;
        count(&universe, "a", 0..900);
        guest.enter(at.socket_io_polling());
        for _ in 0..40 {
            hear(&universe, &mut guest).await;
        }
        assert_eq!((guest.recovered, guest.numbers()), (Some(true), up_to(900)));
        count(&universe, "a", 900..901);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), up_to(901));
    });
}

/// Where the upgrade is when the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Upgrade {
    Probed,
    Held,
    Done,
}

#[test]
fn a_cut_during_the_upgrade_costs_nothing() {
    for cut in [Upgrade::Probed, Upgrade::Held, Upgrade::Done] {
        for half_open in [false, true] {
            on_virtual_time(async {
                let universe = universe(|_| {});
                let at = shard(&universe, 0, 0);
                let mut guest = guest(&universe, at.socket_io_polling(), &["a"]).await;
                count(&universe, "a", 0..2);
                hear(&universe, &mut guest).await;
                guest.now().probe();
                universe.settle().await;
                count(&universe, "a", 2..4);
                if cut != Upgrade::Probed {
                    wait(0.15).await;
                    count(&universe, "a", 4..6);
                    universe.settle().await;
                }
                if cut == Upgrade::Done {
                    guest.now().upgrade();
                    universe.settle().await;
                    count(&universe, "a", 6..7);
                    universe.settle().await;
                }
                let old = guest.enter(at.socket_io());
                if !half_open {
                    old.expect("one").hang_up();
                }
                hear(&universe, &mut guest).await;
                count(&universe, "a", 10..11);
                hear(&universe, &mut guest).await;
                let numbers = guest.numbers();
                let expected: Vec<u64> = match cut {
                    Upgrade::Probed => (0..4).chain([10]).collect(),
                    Upgrade::Held => (0..6).chain([10]).collect(),
                    Upgrade::Done => (0..7).chain([10]).collect(),
                };
                assert_eq!((guest.recovered, numbers), (Some(true), expected), "{cut:?}");
            });
        }
    }
}

#[test]
fn an_upgrade_keeps_the_order_and_loses_nothing() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io_polling(), &["a"]).await;
        count(&universe, "a", 0..2);
        guest.now().probe();
        // As the stock client: it polls on until its GET is answered, and then says that it goes.
        for _ in 0..200 {
            guest.listen();
            wait(0.001).await;
        }
        count(&universe, "a", 2..5);
        hear(&universe, &mut guest).await;
        guest.now().upgrade();
        count(&universe, "a", 5..8);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), up_to(8));
        assert_eq!(join(&universe, &mut guest, "b").await["ok"], true);
    });
}

#[test]
fn an_upgrade_that_stalls_or_comes_twice_disturbs_nothing() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io_polling(), &["a"]).await;
        let session = guest.now().session().expect("one").clone();
        let stalls = attach(&session);
        universe.settle().await;
        let second = attach(&session);
        universe.settle().await;
        assert!(second.is_over() && !stalls.is_over());
        for _ in 0..12 {
            guest.listen();
            wait(1.0).await;
        }
        assert!(stalls.is_over(), "10 seconds are enough");
        count(&universe, "a", 0..2);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), [0, 1]);
        guest.now().probe();
        wait(0.2).await;
        hear(&universe, &mut guest).await;
        guest.now().upgrade();
        hear(&universe, &mut guest).await;
        let mut late = attach(&session);
        universe.settle().await;
        assert!(late.is_over() && late.messages(100).is_empty());
        count(&universe, "a", 2..3);
        hear(&universe, &mut guest).await;
        assert_eq!(guest.numbers(), up_to(3));
    });
}

/// It probes without end and reads none of the answers: its session is over when it is over.
#[test]
fn a_socket_that_takes_nothing_does_not_keep_its_session() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let session = at.socket_io_polling();
        let client = attach(session.session().expect("one"));
        let probe = ws::masked(Opcode::Text, true, b"2probe", [1, 2, 3, 4]);
        for _ in 0..100 {
            client.send_raw(&probe.repeat(1_000));
            universe.settle().await;
        }
        wait(70.0).await;
        assert_eq!(at.desk.hub.stats.connections.get(), 0);
        assert!(session.is_over());
    });
}

#[test]
fn a_node_that_shuts_down_answers_the_waiting_poll_with_the_notice_and_the_end() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let mut polls = guest(&universe, at.socket_io_polling(), &["a"]).await;
        let mut holds = guest(&universe, at.socket_io_polling(), &["a"]).await;
        let mut socket = guest(&universe, at.socket_io(), &["a"]).await;
        let mut nowhere = at.socket_io();
        holds.now().send("3");
        at.desk
            .registry
            .send(Drain { spread_ms: 10 })
            .await
            .expect("a shard");
        universe.settle().await;
        polls.listen();
        socket.listen();
        nowhere.listen();
        for told in [&mut polls, &mut socket] {
            assert_eq!(told.events.len(), 1, "{:?}", told.now().others);
            assert_eq!(told.events[0][1]["type"], "draining");
            assert!(told.now().is_over());
        }
        assert_eq!(polls.now().others, ["1"], "in the same answer");
        assert!(nowhere.others.is_empty() && nowhere.is_over());
        wait(5.0).await;
        assert_eq!(at.desk.hub.stats.connections.get(), 0);
    });
}

/// A GET of this session.
fn get(session: &Session) -> oneshot::Receiver<Answered> {
    let (answer, answered) = oneshot::channel();
    session.try_send(Poll(answer)).expect("a session");
    answered
}

#[test]
fn an_answer_that_nobody_takes_ends_the_session() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io_polling(), &["a"]).await;
        let session = guest.now().session().expect("one").clone();
        // The event is there before the end of the GET is noticed.
        count(&universe, "a", 0..1);
        guest.now().hang_up();
        universe.settle().await;
        assert!(!session.connected());
        guest.enter(at.socket_io_polling());
        hear(&universe, &mut guest).await;
        assert_eq!((guest.recovered, guest.numbers()), (Some(true), vec![0]));
    });
}

#[test]
fn of_overlapping_polls_both_are_told_and_the_session_is_over() {
    on_virtual_time(async {
        let universe = universe(|_| {});
        let mut guest = guest(&universe, shard(&universe, 0, 0).socket_io_polling(), &["a"]).await;
        let session = guest.now().session().expect("one").clone();
        let second = get(&session);
        universe.settle().await;
        guest.listen();
        assert_eq!(guest.now().others, ["1"]);
        assert_eq!(second.await, Ok(Answered::Refused(Fault::BadRequest)));
        universe.settle().await;
        assert!(!session.connected());
    });
}

/// What a POST asks for is under way for as long as the bus takes; the next one waits for it.
#[test]
fn a_post_is_answered_when_there_is_room_for_the_next_one() {
    on_virtual_time(async {
        hush();
        let mut plan = Plan::new(1, 1);
        plan.commands_in_flight = 4;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        let mut guest = guest(&universe, at.socket_io_polling(), &[]).await;
        let session = guest.now().session().expect("one").clone();
        let asks: Vec<String> = (0..50).map(|id| format!("42{id}[\"presence\",\"a\"]")).collect();
        let answered = post(&session, &asks.join("\u{1e}"));
        universe.settle().await;
        assert_eq!(answered.await, Ok(Answered::Taken));
        hear(&universe, &mut guest).await;
        assert_eq!(guest.now().answers.len(), 50);
    });
}
