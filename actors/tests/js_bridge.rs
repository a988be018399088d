//! The bridge to JavaScript servers, on a radio in memory and on virtual time.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use actix::{Actor, Addr, Context, Handler};
use futures_util::future::{pending, ready};
use greenroom_actors::{
    js_bridge::{JsBridge, Settings, Shard},
    logic::{
        event::{Draft, EventId, EventName, Payload},
        js_cluster::{Heard, Node, Options, Uid},
        restarts::Policy,
        room_name::RoomName,
    },
    messages::{Accepted, CarryOut, Overheard, SocketRow},
    supervise::{Phase, Supervisor},
    testing::{
        Heard as Inbox,
        memory_radio::{MemoryRadio, Weather},
        on_virtual_time, probe,
        universe::virtual_clock,
    },
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};

const WAITING_BYTES: usize = 4_096;

/// A shard that has these sockets, or never says so.
struct Rows(Option<Vec<SocketRow>>);

impl Actor for Rows {
    type Context = Context<Self>;
}

impl Handler<CarryOut> for Rows {
    type Result = actix::ResponseFuture<Vec<SocketRow>>;
    fn handle(&mut self, _: CarryOut, _: &mut Self::Context) -> Self::Result {
        match self.0.clone() {
            Some(rows) => Box::pin(ready(rows)),
            None => Box::pin(pending()),
        }
    }
}

struct Scene {
    radio: MemoryRadio,
    bridge: Addr<JsBridge>,
    supervisor: Supervisor,
    overheard: Vec<Inbox<Overheard>>,
    /// Another server.
    node: Node,
}

fn row(id: &str) -> SocketRow {
    SocketRow {
        id: id.to_owned(),
        rooms: vec!["r".into()],
        subject: None,
        address: None,
        connected_ms: 0,
    }
}

impl Scene {
    async fn new(rows: Vec<Option<Vec<SocketRow>>>) -> Self {
        let (radio, supervisor) = (MemoryRadio::default(), Supervisor::seeded(1));
        let (mut shards, mut overheard) = (Vec::new(), Vec::new());
        for rows in rows {
            let (overhears, inbox) = probe();
            overheard.push(inbox);
            shards.push(Shard {
                overhears,
                carries_out: Rows(rows).start().recipient(),
            });
        }
        let settings = Settings {
            uid: Uid::from_random(1),
            options: Options::default(),
            waiting_bytes: WAITING_BYTES,
            beat_every: Duration::from_secs(1),
            silent_max: Duration::from_secs(3),
            name_chars: 200,
            secure: false,
            node: "n".into(),
            clock: virtual_clock(),
        };
        let policy = Policy {
            mailbox: 1_000,
            backoff_max: Duration::from_secs(5),
            ..Policy::default()
        };
        let (at, tried) = (radio.clone(), watch::Sender::new(false));
        let bridge = supervisor.start("js-bridge", policy, |lifeline| {
            JsBridge::new(Arc::new(at), shards, settings, lifeline, tried)
        });
        sleep(Duration::from_millis(10)).await;
        let node = Node::new(Uid::from_random(2), Options::default());
        Self {
            radio,
            bridge,
            supervisor,
            overheard,
            node,
        }
    }

    fn accept(&self, number: usize, bytes: usize) {
        let json = format!("\"{}\"", "x".repeat(bytes));
        let draft = Draft {
            id: EventId::parse("id").unwrap(),
            id_chosen: false,
            publisher: None,
            rooms: vec![RoomName::parse("r", 200).unwrap()],
            name: EventName::parse(&format!("event-{number:04}")).unwrap(),
            payload: Payload::Data(json.into()),
            about: None,
            written: None,
            ts_ms: 0,
        };
        self.bridge.try_send(Accepted(Arc::new(draft))).unwrap();
    }

    /// The events that were said, by the numbers in their names.
    async fn numbers(&self) -> Vec<usize> {
        sleep(Duration::from_millis(10)).await;
        let mut numbers = Vec::new();
        for said in self.radio.said() {
            if said.channel != "socket.io#/#r#" {
                continue;
            }
            assert!(matches!(
                self.node.hear(&said.channel, &said.message),
                Ok(Heard::Ours)
            ));
            let text = String::from_utf8_lossy(&said.message).into_owned();
            let (_, rest) = text.split_once("event-").unwrap();
            numbers.push(rest[..4].parse().unwrap());
        }
        numbers
    }

    /// The answers to a request.
    async fn answers(&self, request: &str, wait: Duration) -> Vec<String> {
        self.radio.said();
        self.radio.say("socket.io-request#/#", request.to_owned());
        sleep(wait).await;
        let said = self.radio.said().into_iter();
        let answers = said.filter(|said| said.channel == "socket.io-response#/#");
        answers
            .map(|said| String::from_utf8_lossy(&said.message).into_owned())
            .collect()
    }

    fn phase(&self) -> Phase {
        self.supervisor.workers().borrow()["js-bridge"].phase
    }
}

#[test]
fn what_is_accepted_is_said_in_order_and_shards_do_not_hear_their_own() {
    on_virtual_time(async {
        let mut scene = Scene::new(vec![Some(Vec::new())]).await;
        for number in 0..600 {
            scene.accept(number, 0);
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(scene.numbers().await, (0..600).collect::<Vec<_>>());
        assert!(scene.overheard[0].so_far().is_empty());
        // What another server says is passed on, unread.
        scene.radio.say("socket.io#/#r#", "nonsense");
        sleep(Duration::from_millis(10)).await;
        let heard = scene.overheard[0].so_far();
        let [Overheard(foreign)] = &heard[..] else {
            panic!("{}", heard.len())
        };
        assert_eq!(foreign.room(), Some("r"));
        assert!(foreign.event().is_none());
    });
}

#[test]
fn what_waits_to_be_said_is_bounded() {
    on_virtual_time(async {
        let scene = Scene::new(Vec::new()).await;
        scene.radio.set(Weather::Stalled);
        for number in 0..20 {
            scene.accept(number, 1_000);
        }
        assert!(scene.numbers().await.is_empty());
        // The link is given up, and what waited for it is lost with it.
        scene.radio.set(Weather::Fine);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(scene.phase(), Phase::Running);
        scene.accept(20, 1_000);
        assert_eq!(scene.numbers().await, [20]);
        for number in 21..30 {
            scene.accept(number, 1_000);
        }
        // Each was said before the next one came, or together with those for which there was room.
        assert!(scene.numbers().await.starts_with(&[21, 22, 23]));
    });
}

#[test]
fn it_tunes_in_again_and_again_and_says_nothing_meanwhile() {
    on_virtual_time(async {
        let scene = Scene::new(Vec::new()).await;
        for weather in [Weather::Away, Weather::Stalled] {
            let before = scene.radio.attempts();
            scene.radio.set(weather);
            scene.radio.cut();
            sleep(Duration::from_secs(60)).await;
            let attempts = scene.radio.attempts() - before;
            assert!((8..40).contains(&attempts), "{weather:?}: {attempts}");
            scene.accept(1, 0);
            scene.radio.set(Weather::Fine);
            sleep(Duration::from_secs(10)).await;
            assert_eq!(scene.phase(), Phase::Running, "{weather:?}");
            scene.accept(2, 0);
            assert_eq!(scene.numbers().await, [2], "{weather:?}");
        }
    });
}

#[test]
fn every_request_is_answered_whatever_shards_do() {
    on_virtual_time(async {
        let silent = Scene::new(vec![Some(vec![row("a")]), None, Some(vec![row("b")])]).await;
        let quick = Scene::new(vec![Some(vec![row("a")]), Some(Vec::new())]).await;
        let none = Scene::new(Vec::new()).await;
        let ask = r#"{"uid":"AbCdEf","requestId":"q","type":0,"rooms":[]}"#;
        for (scene, wait_ms, sockets) in [
            (silent, 2_100, r#"["a","b"]"#),
            (quick, 10, r#"["a"]"#),
            (none, 10, "[]"),
        ] {
            let answers = scene.answers(ask, Duration::from_millis(wait_ms)).await;
            assert_eq!(answers, [format!(r#"{{"requestId":"q","sockets":{sockets}}}"#)]);
            let emit = r#"{"uid":"AbCdEf","requestId":"e","type":6,"data":["x"]}"#;
            let answers = scene.answers(emit, Duration::from_millis(10)).await;
            assert_eq!(answers, [r#"{"type":6,"requestId":"e","data":null}"#]);
            // Not understood, or of one of us: nobody waits for that.
            for request in ["{", r#"{"uid":"grn.1","requestId":"q","type":1}"#] {
                let answers = scene.answers(request, Duration::from_secs(3)).await;
                assert!(answers.is_empty(), "{answers:?}");
            }
        }
    });
}
