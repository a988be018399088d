//! Actors of the process that watch rooms.

use crate::{hush, scene::*};
use actix::{Actor, AsyncContext, Context, Handler, WrapFuture, fut::ActorFutureExt};
use greenroom_actors::{
    logic::{bus_log::Limits, event::Event, position::Position, protocol::Notice},
    messages::{Announce, Heard, PeerKey, Unwatch, Watch},
    ports::Bus,
    testing::{
        on_virtual_time,
        universe::{Plan, Shard, Universe},
    },
};
use std::{cell::RefCell, rc::Rc, time::Duration};

/// A watcher that takes its time for each message, and whose mailbox holds two.
struct Slow {
    heard: Rc<RefCell<Vec<Heard>>>,
    takes: Duration,
}

impl Actor for Slow {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<Heard> for Slow {
    type Result = ();
    fn handle(&mut self, heard: Heard, ctx: &mut Self::Context) {
        self.heard.borrow_mut().push(heard);
        if !self.takes.is_zero() {
            ctx.wait(tokio::time::sleep(self.takes).into_actor(self).map(|(), _, _| ()));
        }
    }
}

struct Watching {
    heard: Rc<RefCell<Vec<Heard>>>,
    key: PeerKey,
}

async fn watch(at: &Shard, takes_ms: u64, since: Option<Position>) -> Watching {
    let heard = Rc::<RefCell<Vec<Heard>>>::default();
    let slow = Slow {
        heard: heard.clone(),
        takes: Duration::from_millis(takes_ms),
    };
    let watch = Watch {
        rooms: vec![room("a")],
        since,
        to: slow.start().recipient(),
    };
    let key = at
        .desk
        .registry
        .send(watch)
        .await
        .expect("a shard")
        .expect("a key");
    Watching { heard, key }
}

impl Watching {
    fn events(&self) -> Vec<u64> {
        let text = |event: &Event| String::from_utf8(event.payload.json().to_vec()).expect("text");
        let number = |heard: &Heard| match heard {
            Heard::Event(event) => Some(text(event).parse().expect("a number")),
            _ => None,
        };
        self.heard.borrow().iter().filter_map(number).collect()
    }

    /// How the joins went, and how often it missed something.
    fn told(&self) -> (Vec<bool>, usize) {
        let heard = self.heard.borrow();
        let joined = heard.iter().filter_map(|heard| match heard {
            Heard::Joined { recovered, .. } => Some(*recovered),
            _ => None,
        });
        let missed = heard.iter().filter(|heard| matches!(heard, Heard::Missed { .. }));
        (joined.collect(), missed.count())
    }
}

#[test]
fn a_slow_watcher_with_a_small_mailbox_hears_everything_in_order_also_across_crashes() {
    on_virtual_time(async {
        hush();
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let slow = watch(at, 3, None).await;
        let quick = watch(at, 0, None).await;
        universe.settle().await;
        for round in 0..10 {
            count(&universe, "a", round * 30..(round + 1) * 30);
            wait(0.04).await;
            universe.nodes[0]
                .supervisor
                .crash(if round % 2 == 0 { "rooms-0" } else { "bridge" });
            wait(0.01).await;
        }
        wait(10.0).await;
        let all: Vec<u64> = (0..300).collect();
        for watching in [&slow, &quick] {
            assert_eq!(watching.events(), all);
            assert_eq!(watching.told(), (vec![true], 0));
            assert!(matches!(watching.heard.borrow()[0], Heard::Joined { .. }));
        }
    });
}

#[test]
fn a_watcher_that_is_too_slow_for_the_history_is_told_that_it_missed_something() {
    for takes_ms in [1, 5, 30, 100] {
        on_virtual_time(async {
            let limits = Limits {
                history_events: 10,
                ..Limits::default()
            };
            let universe = Universe::new(1, 1, limits, |_| {});
            let watching = watch(shard(&universe, 0, 0), takes_ms, None).await;
            universe.settle().await;
            count(&universe, "a", 0..100);
            wait(5.0).await;
            count(&universe, "a", 100..103);
            wait(5.0).await;
            let events = watching.events();
            assert!(events.windows(2).all(|two| two[0] < two[1]), "{events:?}");
            assert_eq!(events[events.len() - 13..], (90..103).collect::<Vec<u64>>());
            assert_eq!(watching.told(), (vec![true], 1), "{takes_ms} ms for each");
            // The gap is where the word is.
            let heard = watching.heard.borrow();
            let at = heard
                .iter()
                .position(|heard| matches!(heard, Heard::Missed { .. }));
            let Some(Heard::Missed { position }) = at.map(|at| &heard[at]) else {
                panic!("not missed")
            };
            assert!(
                matches!(&heard[at.expect("one") + 1], Heard::Event(event) if event.seq == position.seq + 1)
            );
        });
    }
}

#[test]
fn a_watcher_resumes_like_anybody_else() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let at = shard(&universe, 0, 0);
        let first = watch(at, 0, None).await;
        count(&universe, "a", 0..5);
        universe.settle().await;
        let seq = 3;
        let life = match &first.heard.borrow()[0] {
            Heard::Joined { position, .. } => position.life,
            other => panic!("{other:?}"),
        };
        let second = watch(at, 0, Some(Position::at(life, seq))).await;
        let lost = watch(at, 0, Some(Position::at(life, 1_000))).await;
        wait(1.0).await;
        count(&universe, "a", 5..8);
        wait(1.0).await;
        assert_eq!(second.events(), [3, 4, 5, 6, 7]);
        assert_eq!(second.told(), (vec![true], 0));
        assert_eq!(
            lost.told(),
            (vec![false], 0),
            "a position that the bus never gave"
        );
        assert_eq!(lost.events(), [5, 6, 7]);
    });
}

#[test]
fn a_watcher_that_resumes_gets_what_waited_for_whoever_had_the_position() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| {
            settings.rules.per_second = 10;
        });
        for i in 0..9 {
            publish(&universe, &["a"], "agent-thought", thought("1", &i.to_string()));
        }
        let position = Position {
            life: universe.bus.life(),
            seq: 8,
            waiting: vec![3],
            seen: Vec::new(),
            rooms: None,
        };
        let watching = watch(shard(&universe, 0, 0), 5, Some(position)).await;
        wait(2.0).await;
        let heard = watching.heard.borrow();
        let seqs = heard.iter().filter_map(|heard| match heard {
            Heard::Event(event) => Some(event.seq),
            _ => None,
        });
        assert_eq!(seqs.collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
    });
}

#[test]
fn a_watcher_that_is_too_busy_to_hear_how_its_join_went_hears_it_later() {
    for (since, recovered) in [(None, true), (Some("zz-5"), false)] {
        on_virtual_time(async {
            let universe = Universe::new(1, 1, Limits::default(), |_| {});
            let heard = Rc::<RefCell<Vec<Heard>>>::default();
            let takes = Duration::from_millis(50);
            let slow = Slow {
                heard: heard.clone(),
                takes,
            };
            let to = slow.start().recipient();
            universe.settle().await;
            let position: Position = "0-1".parse().expect("a position");
            // It takes the first, and is busy with that one while the rest fills its mailbox.
            to.try_send(Heard::Missed {
                position: position.clone(),
            })
            .expect("room for one");
            universe.settle().await;
            while to
                .try_send(Heard::Missed {
                    position: position.clone(),
                })
                .is_ok()
            {}
            let filled = heard.clone();
            let watch = Watch {
                rooms: vec![room("a")],
                since: since.map(|text| text.parse().expect("a position")),
                to,
            };
            let desk = &shard(&universe, 0, 0).desk;
            desk.registry.send(watch).await.expect("a shard").expect("a key");
            count(&universe, "a", 0..5);
            wait(3.0).await;
            let heard = filled.borrow();
            let told = heard
                .iter()
                .position(|heard| matches!(heard, Heard::Joined { .. }));
            let told = told.expect("how the join went");
            assert!(matches!(&heard[told], Heard::Joined { recovered: so, .. } if *so == recovered));
            let after = &heard[told + 1..];
            assert!(after.iter().all(|heard| matches!(heard, Heard::Event(_))));
            assert_eq!(after.len(), 5);
        });
    }
}

#[test]
fn notices_are_not_for_watchers_and_do_not_fill_anything() {
    on_virtual_time(async {
        let universe = Universe::new(1, 1, Limits::default(), |settings| settings.outbox_bytes = 1_000);
        let at = shard(&universe, 0, 0);
        let watching = watch(at, 0, None).await;
        for _ in 0..50 {
            let notice = Notice {
                r#type: "degraded",
                message: "again".into(),
                retry_in_ms: None,
            };
            at.desk.registry.send(Announce(notice)).await.expect("a shard");
        }
        universe.settle().await;
        count(&universe, "a", 0..3);
        wait(1.0).await;
        assert_eq!(watching.events(), [0, 1, 2]);
    });
}

#[test]
fn a_watcher_that_unwatches_hears_no_more() {
    on_virtual_time(async {
        let mut plan = Plan::new(1, 1);
        plan.mailbox = 100;
        let universe = Universe::planned(plan);
        let at = shard(&universe, 0, 0);
        let watching = watch(at, 0, None).await;
        universe.settle().await;
        count(&universe, "a", 0..2);
        wait(1.0).await;
        at.desk
            .registry
            .send(Unwatch(watching.key))
            .await
            .expect("a shard");
        count(&universe, "a", 2..4);
        wait(1.0).await;
        assert_eq!(watching.events(), [0, 1]);
        assert!(at.desk.hub.is_empty());
    });
}
