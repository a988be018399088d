//! Workers that panic, a node that is given up, and a node that is told to stop, while clients are connected and events
//! flow.

use std::process::{Command, ExitCode};

use bytes::Bytes;
use futures_util::future::join_all;
use greenroom::actors::cache::{Get, Put};
use greenroom::actors::logic::cache::Key;
use greenroom::actors::ports::ShardId;
use greenroom::actors::room_registry::faults;
use greenroom::cli::serve;
use greenroom::config::{Inputs, load};
use greenroom::node::Ended;
use serde_json::json;
use tokio::net::TcpStream;

use crate::kit::{Http, Process, Raw, Sse, TestNode, Ws, eventually, numbers, within};

/// Clients of both kinds, on both shards.
struct Audience {
    sockets: Vec<Ws>,
    streams: Vec<Sse>,
}

impl Audience {
    async fn of(node: &TestNode) -> Self {
        let (mut sockets, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            sockets.push(node.joined(&["lobby", "agent:42"]).await);
            streams.push(node.sse("lobby").await);
        }
        Self { sockets, streams }
    }

    /// Everybody hears exactly these next, on the connection that it has.
    async fn hears(&mut self, expected: &[u64]) {
        let count = expected.len();
        for heard in join_all(self.sockets.iter_mut().map(|socket| socket.events(count))).await {
            assert_eq!(numbers(&heard), expected);
        }
        for heard in join_all(self.streams.iter_mut().map(|stream| stream.events(count))).await {
            assert_eq!(numbers(&heard), expected);
        }
    }

    /// Nobody has heard more than it should. Of a stream the next event tells.
    async fn heard_nothing_more(&mut self, node: &TestNode) {
        for socket in &mut self.sockets {
            socket.hears_nothing().await;
        }
        node.publish("lobby", "note", u32::MAX).await;
        self.hears(&[u32::MAX.into()]).await;
    }
}

/// Publishes until it is accepted, always with the same id.
async fn publish_surely(http: &Http, number: u64) {
    let body =
        json!({"event": "note", "data": number, "id": format!("event-{number}"), "rooms": ["agent:42"]});
    let accepted = async {
        loop {
            let answer = http.post("/v1/rooms/lobby/events", &body).await;
            if answer.status == 202 {
                return;
            }
            answer.error(503, "unavailable");
        }
    };
    within("an event to be accepted", accepted).await;
}

/// A node whose workers may panic as often as a test likes.
async fn patient_node() -> TestNode {
    TestNode::with(|config| config.supervision.restarts = 1_000).await
}

async fn crashes_lose_and_repeat_nothing(worker: &str) {
    let node = patient_node().await;
    let mut audience = Audience::of(&node).await;
    let mut random = fastrand::Rng::with_seed(worker.bytes().map(u64::from).sum());
    let mut sent = 0;
    for _ in 0..15 {
        let burst: Vec<u64> = (sent..sent + random.u64(1..20)).collect();
        let crashes_at = burst[random.usize(0..burst.len())];
        let before = node.panics(worker);
        for number in &burst {
            if *number == crashes_at {
                assert!(node.supervisor.crash(worker));
            }
            publish_surely(&node.http, *number).await;
        }
        sent += burst.len() as u64;
        audience.hears(&burst).await;
        node.until_restarted(worker, before).await;
    }
    audience.heard_nothing_more(&node).await;
    let workers = node.http.get("/v1/workers").await.ok();
    let rows = workers["workers"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["name"] == worker).unwrap();
    assert_eq!(row["restarts"], json!({"panics": 15, "outages": 0}));
    assert!(
        row["lastExit"].as_str().unwrap().contains("crashed by a test"),
        "{row}"
    );
    assert_eq!(node.http.get("/readyz").await.ok()["status"], "ready");
}

/// The workers are those that the node names: one more, and it has to be crashed here too.
#[tokio::test]
async fn the_workers_of_a_node_are_these() {
    let node = TestNode::start().await;
    let names = ["bridge", "cache", "rooms-0", "rooms-1"];
    assert_eq!(node.worker_names().await, names);
}

#[tokio::test]
async fn a_cache_that_panics_is_empty_and_serves_again() {
    let node = TestNode::start().await;
    let key = Key::execution(&[1; 32]);
    let put = || Put {
        key: key.clone(),
        value: Bytes::from_static(b"done"),
        ticket: None,
    };
    node.cache.send(put()).await.unwrap().unwrap();
    let before = node.panics("cache");
    node.crash("cache").await;
    node.until_restarted("cache", before).await;
    assert_eq!(node.cache.send(Get(key.clone())).await, Ok(None));
    node.cache.send(put()).await.unwrap().unwrap();
    assert_eq!(node.cache.send(Get(key.clone())).await, Ok(Some("done".into())));
}

#[tokio::test]
async fn a_bridge_that_panics_loses_and_repeats_nothing() {
    crashes_lose_and_repeat_nothing("bridge").await;
}

#[tokio::test]
async fn a_shard_that_panics_loses_and_repeats_nothing() {
    crashes_lose_and_repeat_nothing("rooms-0").await;
}

#[tokio::test]
async fn the_other_shard_that_panics_loses_and_repeats_nothing() {
    crashes_lose_and_repeat_nothing("rooms-1").await;
}

/// Everything panics all the time, and clients come, go and resume meanwhile.
#[tokio::test]
async fn clients_that_come_back_during_panics_miss_nothing() {
    let node = patient_node().await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut witness = node.joined(&["lobby"]).await;
    let mut client = node.joined(&["lobby"]).await;
    let mut position = client.join(&["lobby"], None).await["position"].clone();
    let (mut heard, mut sent) = (Vec::new(), 0);
    for _ in 0..40 {
        let worker = ["bridge", "cache", "rooms-0", "rooms-1"][random.usize(0..4)];
        assert!(node.supervisor.crash(worker));
        for _ in 0..random.usize(0..6) {
            publish_surely(&node.http, sent).await;
            sent += 1;
        }
        let waits = sent as usize - heard.len();
        for event in client.events(random.usize(0..=waits)).await {
            position = event["position"].clone();
            heard.push(crate::kit::number(&event));
        }
        if random.bool() {
            client.cut();
            client = node.ws().await;
            let joined = client.join(&["lobby"], position.as_str()).await;
            assert_eq!(joined["recovered"], true);
            position = joined["position"].clone();
        }
    }
    heard.extend(numbers(&client.events(sent as usize - heard.len()).await));
    let expected: Vec<u64> = (0..sent).collect();
    assert_eq!(heard, expected);
    assert_eq!(numbers(&witness.events(expected.len()).await), expected);
    witness.hears_nothing().await;
    client.hears_nothing().await;
}

/// A shard that panics after some of its members were given an event: each is given it once.
#[tokio::test]
async fn a_shard_that_panics_half_way_through_a_fan_out_gives_each_event_once() {
    let node = patient_node().await;
    let mut audience = Audience::of(&node).await;
    let mut sent = 0;
    for members in 0..6 {
        for shard in &node.shards {
            faults::fail_half_way_anywhere(*shard, members);
            let events: Vec<u64> = (sent..sent + 3).collect();
            for number in &events {
                publish_surely(&node.http, *number).await;
            }
            sent += 3;
            audience.hears(&events).await;
        }
    }
    assert!(faults::all_happened());
    audience.heard_nothing_more(&node).await;
}

/// Commands of WebSocket clients are answered while the shard that hears them panics: accepted, or to be tried again,
/// which is safe with the same id.
#[tokio::test]
async fn commands_during_panics_are_answered() {
    let node = patient_node().await;
    let mut member = node.joined(&["lobby"]).await;
    let mut publishers = Vec::new();
    for _ in 0..4 {
        publishers.push(node.ws().await);
    }
    for number in 0..100_u64 {
        let publisher = &mut publishers[number as usize % 4];
        if number % 5 == 0 {
            assert!(
                node.supervisor
                    .crash(["rooms-0", "rooms-1"][number as usize / 5 % 2])
            );
        }
        let command = json!({"type": "publish", "room": "lobby", "event": "note", "data": number, "id": number.to_string()});
        let accepted = async {
            loop {
                let answer = publisher.ask(command.clone()).await;
                if answer["type"] == "published" {
                    return;
                }
                assert_eq!(answer["code"], "unavailable", "{answer}");
            }
        };
        within("an event to be accepted", accepted).await;
    }
    assert_eq!(numbers(&member.events(100).await), (0..100).collect::<Vec<u64>>());
    member.hears_nothing().await;
}

#[tokio::test]
async fn a_node_ends_when_a_worker_panics_too_often() {
    for worker in ["bridge", "rooms-0", "rooms-1"] {
        let mut node = TestNode::with(|config| {
            config.supervision.restarts = 2;
            config.shutdown.limit_ms = 200;
        })
        .await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(node.joined(&["lobby"]).await);
        }
        for _ in 0..2 {
            node.crash(worker).await;
        }
        assert!(node.supervisor.crash(worker));
        assert_eq!(node.ended().await, Ended::GaveUp(worker.to_owned()));
        for client in &mut clients {
            // Those of the shard that was given up are cut, the others are told.
            let (_, closed) = client.read_to_the_end().await;
            assert!(closed.is_none_or(|(code, _)| code == 1012));
        }
    }
}

/// A variable that makes this program a node: see [`be_a_node_that_gives_up`].
const CHILD: &str = "GREENROOM_TEST_CHILD";

#[test]
fn the_process_of_a_node_that_gives_up_fails() {
    if std::env::var_os(CHILD).is_some() {
        be_a_node_that_gives_up();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let this = "faults::the_process_of_a_node_that_gives_up_fails";
    command.args(["--exact", this, "--nocapture"]).env(CHILD, "1");
    actix_rt::System::new().block_on(async {
        let mut node = Process::from(command);
        let mut member = Ws::connect(node.address).await;
        member.join(&["lobby"], None).await;
        // Answered by the bus, before the shard hands it on and falls over.
        node.http.publish("lobby", "note", 1).await;
        assert_eq!(node.ended().await.code(), Some(1));
        assert_eq!(member.read_to_the_end().await, (vec![], None));
    });
}

/// `greenroom serve` itself, but its only shard panics at the first event, and may not.
fn be_a_node_that_gives_up() -> ! {
    let settings = [
        "listen=127.0.0.1:0",
        "workers=1",
        "supervision.restarts=0",
        "shutdown.limit_ms=100",
    ];
    let inputs = Inputs {
        settings: settings.map(str::to_owned).into(),
        ..Inputs::default()
    };
    faults::fail_half_way_anywhere(ShardId(0), 0);
    let code = serve::run(load(&inputs).unwrap()).unwrap();
    std::process::exit(i32::from(code == ExitCode::FAILURE));
}

/// What a WebSocket client hears of a node that shuts down: where it is, when to come back, and the close frame.
async fn is_told_to_come_back(mut client: Ws, retry_ms: u64) {
    let (frames, closed) = client.read_to_the_end().await;
    let [notice] = frames.as_slice() else {
        panic!("one notice, not {frames:?}")
    };
    assert_eq!(
        (&notice["type"], &notice["event"]),
        (&json!("event"), &json!("greenroom"))
    );
    assert_eq!(notice["data"]["type"], "draining");
    assert!(
        notice["data"]["retryInMs"].as_u64().unwrap() < retry_ms,
        "{notice}"
    );
    assert!(notice["position"].is_string(), "{notice}");
    assert_eq!(closed.unwrap().0, 1012);
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_tells_its_clients_and_ends() {
    for signal in ["TERM", "INT"] {
        // An hour: what it takes is up to the node.
        let mut node = Process::start(&["shutdown.limit_ms=3600000", "shutdown.retry_ms=50", "workers=2"]);
        let (mut sockets, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let mut socket = Ws::connect(node.address).await;
            socket.join(&["lobby"], None).await;
            sockets.push(socket);
            let mut stream = Sse::open(node.address, "/v1/rooms/lobby/stream", None).await;
            stream.joined().await;
            streams.push(stream);
        }
        // Connections that are kept alive, and one that never said anything.
        let _kept = node.http.get("/livez").await.ok();
        let _silent = Raw::connect(node.address).await;
        node.signal(signal);
        for socket in sockets {
            is_told_to_come_back(socket, 50).await;
        }
        for mut stream in streams {
            let notice = stream.next().await.unwrap();
            assert_eq!(
                (&*notice.event, &notice.data["type"]),
                ("greenroom", &json!("draining"))
            );
            assert!(notice.retry.unwrap() < 50);
            assert_eq!(stream.next().await, None);
        }
        assert_eq!(node.ended().await.code(), Some(0), "SIG{signal}");
    }
}

/// Whoever says it twice does not want to wait for a request that may take for ever.
#[tokio::test]
async fn a_node_that_is_told_to_stop_twice_ends_at_once() {
    let mut node = Process::start(&["shutdown.limit_ms=3600000", "http.body_timeout_ms=3600000"]);
    let mut client = Ws::connect(node.address).await;
    let mut request = Raw::connect(node.address).await;
    request
        .send(
            b"POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
                content-length: 9\r\n\r\n",
        )
        .await;
    node.signal("TERM");
    // Its client has heard of the first before it hears the second.
    client.read_to_the_end().await;
    node.signal("INT");
    assert_eq!(node.ended().await.code(), Some(1));
}

/// A request that is under way when the node begins to stop is answered, though nobody new is let in.
#[tokio::test]
async fn a_publish_in_flight_is_answered_while_the_node_stops() {
    let mut node = Process::start(&["workers=1"]);
    let body = r#"{"event":"note","data":1}"#;
    let head = format!(
        "POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut raw = Raw::connect(node.address).await;
    raw.send(format!("{head}{}", &body[..5]).as_bytes()).await;
    // Served by the same thread and after it: the node has begun with the request above.
    node.http.get("/livez").await.ok();
    node.signal("TERM");
    eventually("new connections to be refused", || async {
        TcpStream::connect(node.address).await.is_err()
    })
    .await;
    raw.send(&body.as_bytes()[5..]).await;
    let answer = String::from_utf8(raw.read_to_the_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(node.ended().await.code(), Some(0));
}

/// Commands that were sent before the node's close frame are answered before it.
#[tokio::test]
async fn commands_in_flight_are_answered_while_the_node_stops() {
    let mut node = Process::start(&["workers=1"]);
    let mut ws = Ws::connect(node.address).await;
    let mut answered = 0;
    for number in 0..200 {
        let command =
            json!({"type": "publish", "room": "lobby", "event": "note", "data": number, "ref": number});
        ws.send(&command).await;
        if number == 100 {
            // The node has got that far, and has more to read.
            assert_eq!(ws.frame().await["type"], "published");
            answered += 1;
            node.signal("TERM");
        }
    }
    let (frames, closed) = ws.read_to_the_end().await;
    answered += frames.iter().filter(|frame| frame["type"] == "published").count();
    assert!(answered > 0, "{frames:?}");
    assert_eq!(closed.unwrap().0, 1012);
    assert_eq!(node.ended().await.code(), Some(0));
}

/// What does not end by itself is ended by the limit, and that is no failure.
#[tokio::test]
async fn the_limit_ends_what_does_not_end_by_itself() {
    let mut node = Process::start(&["shutdown.limit_ms=200"]);
    let mut deaf = Raw::websocket(node.address).await;
    deaf.send(&crate::kit::raw::text(r#"{"type":"join","room":"lobby"}"#))
        .await;
    let mut never = Raw::connect(node.address).await;
    never
        .send(b"POST /v1/rooms/lobby/events HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{")
        .await;
    node.http.get("/livez").await.ok();
    node.signal("TERM");
    assert_eq!(node.ended().await.code(), Some(0));
}
