//! A node within a program of its own: an agent publishes and watches by typed messages.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Recipient, Supervised};
use actix_rt::System;
use greenroom::actors::logic::access::Grant;
use greenroom::actors::logic::bus_log;
use greenroom::actors::logic::event::Event;
use greenroom::actors::logic::fault::{Code, Fault};
use greenroom::actors::logic::position::Position;
use greenroom::actors::logic::protocol::Publication;
use greenroom::actors::logic::publication::{self, Stamp};
use greenroom::actors::logic::restarts::Policy;
use greenroom::actors::logic::room_name::RoomName;
use greenroom::actors::messages::{Heard, PeerKey, Publish, Unwatch, Watch};
use greenroom::config::Config;
use greenroom::ids;
use greenroom::node::{Ended, Node, StartError, publish_limits, wall_clock};
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::kit::{Http, Ws, config, eventually, within};

/// An agent that tells the test what it hears.
struct Agent {
    heard: UnboundedSender<Heard>,
}

impl Actor for Agent {
    type Context = Context<Self>;
}

impl Supervised for Agent {}

impl Handler<Heard> for Agent {
    type Result = ();

    fn handle(&mut self, heard: Heard, _: &mut Self::Context) {
        // The test may have heard enough.
        let _ = self.heard.send(heard);
    }
}

/// A program with a node and an agent.
struct Program {
    node: Node,
    config: Config,
    agent: Recipient<Heard>,
    hears: UnboundedReceiver<Heard>,
}

impl Program {
    async fn start(mailbox: usize) -> Self {
        let config = config();
        let node = Node::start(config.clone()).await.unwrap();
        let (heard, hears) = mpsc::unbounded_channel();
        let policy = Policy {
            mailbox,
            ..Policy::default()
        };
        let agent = node.supervisor().start("agent", policy, |_| Agent { heard });
        Self {
            node,
            config,
            agent: agent.recipient(),
            hears,
        }
    }

    /// Publishes a number and returns its offsets.
    async fn publish(&self, rooms: &[&str], number: u64) -> Vec<(String, u64)> {
        let publication = Publication {
            rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
            event: "note".into(),
            data: serde_json::value::to_raw_value(&number).ok(),
            ..Publication::default()
        };
        let stamp = Stamp {
            publisher: Some("agent".into()),
            new_id: ids::event_id(),
            now_ms: wall_clock()(),
        };
        let draft = publication::check(publication, stamp, &publish_limits(&self.config)).unwrap();
        let receipt = self
            .node
            .publish()
            .send(Publish::from(draft))
            .await
            .unwrap()
            .unwrap();
        let offsets = receipt.offsets.into_iter();
        offsets.map(|(room, offset)| (room.to_string(), offset)).collect()
    }

    async fn watch(&self, rooms: &[&str], since: Option<Position>) -> PeerKey {
        let rooms = rooms.iter().map(|room| RoomName::parse(room, 200).unwrap());
        let watch = Watch {
            rooms: rooms.collect(),
            since,
            to: self.agent.clone(),
        };
        self.node.watch().send(watch).await.unwrap().unwrap()
    }

    async fn hears(&mut self) -> Heard {
        within("the agent to hear something", self.hears.recv())
            .await
            .unwrap()
    }

    async fn joined(&mut self) -> (Position, bool) {
        match self.hears().await {
            Heard::Joined { position, recovered } => (position, recovered),
            other => panic!("joined, not {other:?}"),
        }
    }

    async fn event(&mut self) -> Arc<Event> {
        match self.hears().await {
            Heard::Event(event) => event,
            other => panic!("an event, not {other:?}"),
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            let event = self.event().await;
            numbers.push(serde_json::from_slice(event.payload.json()).unwrap());
        }
        numbers
    }

    fn http(&self) -> Http {
        Http::new(self.node.address())
    }
}

#[test]
fn an_agent_publishes_to_clients_and_hears_them() {
    System::new().block_on(async {
        let mut program = Program::start(64).await;
        program.watch(&["agent:42", "project:7"], None).await;
        assert!(program.joined().await.1);
        let mut client = Ws::connect(program.node.address()).await;
        client.join(&["agent:42"], None).await;
        let offsets = program.publish(&["agent:42", "project:7"], 1).await;
        assert_eq!(offsets, [("agent:42".to_owned(), 1), ("project:7".to_owned(), 1)]);
        let heard = client.event().await;
        assert_eq!((&heard["data"], &heard["room"]), (&json!(1), &json!("agent:42")));
        client.publish("project:7", "note", 2).await;
        client.publish("elsewhere", "note", 3).await;
        client.publish("agent:42", "answer", 4).await;
        assert_eq!(program.numbers(2).await, [1, 2], "its own too, once");
        let event = program.event().await;
        assert_eq!((event.name.as_str(), event.places[0].offset), ("answer", 2));
        assert_eq!(program.node.run(std::future::ready(())).await, Ended::Stopped);
    });
}

#[test]
fn an_agent_is_told_when_the_node_shuts_down() {
    System::new().block_on(async {
        let mut program = Program::start(64).await;
        program.watch(&["lobby"], None).await;
        program.joined().await;
        let Program { node, mut hears, .. } = program;
        node.stop().await;
        let heard = within("the agent to hear of it", hears.recv()).await;
        assert!(
            matches!(&heard, Some(Heard::Notice(notice)) if notice.r#type == "draining"),
            "{heard:?}"
        );
    });
}

#[test]
fn an_agent_that_unwatches_hears_no_more() {
    System::new().block_on(async {
        let mut program = Program::start(64).await;
        let key = program.watch(&["lobby"], None).await;
        program.joined().await;
        let sessions = program.http().get("/v1/sessions").await.ok();
        assert_eq!(sessions["sessions"][0]["transport"], "process");
        program.node.unwatch().send(Unwatch(key)).await.unwrap();
        let http = program.http();
        eventually("the agent to leave", || async {
            http.get("/v1/rooms/lobby").await.ok()["count"] == 0
        })
        .await;
        program.publish(&["lobby"], 1).await;
        program.watch(&["lobby"], None).await;
        program.joined().await;
        program.publish(&["lobby"], 2).await;
        assert_eq!(program.numbers(1).await, [2]);
        program.node.stop().await;
    });
}

#[test]
fn an_agent_resumes_from_where_it_was() {
    System::new().block_on(async {
        let mut program = Program::start(64).await;
        let key = program.watch(&["lobby"], None).await;
        let (position, _) = program.joined().await;
        program.node.unwatch().send(Unwatch(key)).await.unwrap();
        for number in 1..=3 {
            program.publish(&["lobby"], number).await;
        }
        program.watch(&["lobby"], Some(position)).await;
        assert!(program.joined().await.1);
        assert_eq!(program.numbers(3).await, [1, 2, 3]);
        let foreign = Position::at(ids::life(), 1);
        program.watch(&["lobby"], Some(foreign)).await;
        assert!(!program.joined().await.1);
        program.node.stop().await;
    });
}

/// What does not fit into its mailbox is given from the history.
#[test]
fn a_busy_agent_misses_nothing() {
    System::new().block_on(async {
        let mut program = Program::start(1).await;
        program.watch(&["lobby"], None).await;
        program.joined().await;
        let mut client = Ws::connect(program.node.address()).await;
        for number in 0..500 {
            let command = json!({"type": "publish", "room": "lobby", "event": "note", "data": number});
            client.send(&command).await;
        }
        assert_eq!(program.numbers(500).await, (0..500).collect::<Vec<_>>());
        program.node.stop().await;
    });
}

#[test]
fn an_agent_that_panics_is_restarted_and_goes_on_hearing() {
    System::new().block_on(async {
        let mut program = Program::start(64).await;
        program.watch(&["lobby"], None).await;
        program.joined().await;
        for number in 0..3 {
            assert!(program.node.supervisor().crash("agent"));
            program.publish(&["lobby"], number).await;
            assert_eq!(program.numbers(1).await, [number]);
        }
        let workers = program.http().get("/v1/workers").await.ok();
        let agent = &workers["workers"][0];
        assert_eq!(
            (&agent["name"], &agent["vital"]),
            (&json!("agent"), &json!(false))
        );
        assert_eq!(agent["restarts"]["panics"], 3);
        program.node.stop().await;
    });
}

#[test]
fn a_watch_is_bounded_like_a_connection() {
    System::new().block_on(async {
        let program = Program::start(64).await;
        let names = (0..=program.config.limits.rooms_per_connection).map(|number| format!("r{number}"));
        let watch = Watch {
            rooms: names.map(|name| RoomName::parse(&name, 200).unwrap()).collect(),
            since: None,
            to: program.agent.clone(),
        };
        let refused = program.node.watch().send(watch).await.unwrap();
        assert_eq!(refused.unwrap_err().code, Code::TooManyRooms);
        program.node.stop().await;
    });
}

/// The same history that clients resume from.
#[test]
fn a_program_reads_the_history() {
    System::new().block_on(async {
        let program = Program::start(64).await;
        for number in 0..3 {
            program.publish(&["lobby"], number).await;
        }
        let query = bus_log::Query {
            rooms: vec![(RoomName::parse("lobby", 200).unwrap(), 0)],
            events_max: 2,
            bytes_max: 1_000,
            ..bus_log::Query::default()
        };
        let page = program.node.bus().read(query).await.unwrap();
        assert_eq!((page.events.len(), page.more, page.whole), (2, true, true));
        program.node.stop().await;
    });
}

#[test]
fn a_node_that_cannot_start_says_why() {
    System::new().block_on(async {
        let node = Node::start(config()).await.unwrap();
        let mut taken = config();
        taken.listen = node.address();
        let Err(StartError::Listen { address, .. }) = Node::start(taken).await else {
            panic!("the address is taken");
        };
        assert_eq!(address, node.address());
        let mut wrong = config();
        wrong.rooms.history_events = 0;
        let Err(error @ StartError::Config(_)) = Node::start(wrong).await else {
            panic!("the configuration does not hold");
        };
        assert!(error.to_string().contains("rooms.history_events"), "{error}");
        node.stop().await;
    });
}

#[actix_rt::test]
async fn an_actor_that_names_a_grant_may_do_no_more_than_that() {
    let program = Program::start(16).await;
    let grant = Grant {
        subject: Some("agent-7".into()),
        join: vec!["task:*".parse().unwrap()],
        publish: vec!["agent:7".parse().unwrap()],
        ..Grant::everything()
    };
    let rooms = program.node.rooms().granted(grant);
    let code = |fault: Fault| fault.code;
    let thought = |agent: &str| json!({"agentId": agent, "thought": "t"});
    assert!(rooms.names(&["task:1", "user:agent-7"]).is_ok());
    assert_eq!(rooms.names(&["agent:7"]).map_err(code), Err(Code::Forbidden));
    let draft = rooms.draft_known("agent-thought", &thought("7")).unwrap();
    assert_eq!(draft.publisher.as_deref(), Some("agent-7"));
    let other = rooms.draft_known("agent-thought", &thought("8"));
    assert_eq!(other.map(drop).map_err(code), Err(Code::Forbidden));
    let other = rooms.draft(&["agent:7", "task:1"], "note", &json!(1));
    assert_eq!(other.map(drop).map_err(code), Err(Code::Forbidden));
    assert!(program.node.rooms().draft(&["task:1"], "note", &json!(1)).is_ok());
    program.node.stop().await;
}
