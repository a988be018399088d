//! An agent inside the node's own program: an actor under the node's supervisor that hears what happens to a task as
//! typed messages, publishes what it thinks of it, and gets typed answers.
//!
//! `cargo run --example agent`

use std::io::Write as _;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Supervised, WrapFuture};
use anyhow::Context as _;
use greenroom::actors::logic::event::Event;
use greenroom::actors::logic::restarts::Policy;
use greenroom::actors::logic::room_name::RoomName;
use greenroom::actors::messages::{Heard, Publish, Watch};
use greenroom::{config::Config, node::Node, rooms::Rooms};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

struct Agent {
    rooms: Rooms,
    task: Vec<RoomName>,
    tell: UnboundedSender<String>,
    watching: bool,
}

impl Actor for Agent {
    type Context = Context<Self>;

    /// Also called after a restart. The watch is there still, because the mailbox is.
    fn started(&mut self, ctx: &mut Self::Context) {
        if !std::mem::replace(&mut self.watching, true) {
            let (rooms, since, to) = (self.task.clone(), None, ctx.address().recipient());
            let answer = self.rooms.watch.send(Watch { rooms, since, to });
            ctx.spawn(answer.into_actor(self).map(|answer, agent, ctx| {
                if !matches!(answer, Ok(Ok(_))) {
                    agent.say(format!("agent 7 cannot watch: {answer:?}"));
                    ctx.stop();
                }
            }));
        }
    }
}

impl Supervised for Agent {}

impl Handler<Heard> for Agent {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Self::Context) {
        match heard {
            Heard::Joined { .. } => self.say("agent 7 watches task:1".to_owned()),
            Heard::Event(event) => self.think(&event, ctx),
            Heard::Missed { .. } => self.say("agent 7 was too slow and missed something".to_owned()),
            Heard::Notice(notice) => self.say(format!("the node says: {}", notice.message)),
        }
    }
}

impl Agent {
    fn think(&self, event: &Event, ctx: &mut Context<Self>) {
        let update: Value = serde_json::from_slice(event.payload.json()).unwrap_or_default();
        let done = update["status"] == "completed";
        let thought = match done {
            true => "the task is done, and so am I".to_owned(),
            false => format!("{} % of the task are behind us", update["progress"]),
        };
        let data = json!({"agentId": "7", "taskId": "1", "thought": thought});
        let draft = match self.rooms.draft_known("agent-thought", &data) {
            Ok(draft) => draft,
            Err(fault) => return self.say(format!("agent 7 cannot say this: {fault}")),
        };
        let answer = self.rooms.publish.send(Publish::from(draft)).into_actor(self);
        ctx.spawn(answer.map(move |answer, agent, ctx| {
            agent.say(match answer {
                Ok(Ok(receipt)) => format!("agent 7 thought {thought:?}: {:?}", receipt.offsets),
                refused => format!("the thought was not published: {refused:?}"),
            });
            if done {
                ctx.stop();
            }
        }));
    }

    fn say(&self, line: String) {
        // Nobody has to listen.
        let _ = self.tell.send(line);
    }
}

/// Runs a node with one agent, and a task that makes progress; tells what happens, line by line.
pub async fn run(mut tell: impl FnMut(String)) -> anyhow::Result<()> {
    let mut config = Config::default();
    config.listen.set_port(0);
    let node = Node::start(config).await?;
    let rooms = node.rooms();
    let (said, mut lines) = unbounded_channel();
    let agent = Agent {
        rooms: rooms.clone(),
        task: rooms.names(&["task:1"])?,
        tell: said,
        watching: false,
    };
    let supervisor = node.supervisor();
    supervisor.start("agent-7", Policy::default(), |_lifeline| agent);
    tell(lines.recv().await.context("the agent has ended")?);
    for (status, progress) in [("in_progress", 10), ("in_progress", 60), ("completed", 100)] {
        let update = json!({"taskId": "1", "status": status, "progress": progress});
        let draft = rooms.draft_known("task-update", &update)?;
        let receipt = rooms.publish.send(Publish::from(draft)).await??;
        tell(format!("task 1 is {status}: {:?}", receipt.offsets));
        tell(lines.recv().await.context("the agent has ended")?);
    }
    node.stop().await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    actix_rt::System::new().block_on(run(|line| drop(writeln!(std::io::stdout(), "{line}"))))
}
