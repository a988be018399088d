//! A link to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_actors::broker::{BrokerError, Errand, Link, NodeRow, Outcome, Placed, Relayed};
use greenroom_actors::logic::bus_log::{Page, Query};
use greenroom_actors::logic::cluster::entry;
use greenroom_actors::logic::event::{Draft, NodeTag, Origin, Receipt};
use greenroom_actors::logic::position::Life;
use greenroom_actors::logic::protocol::Member;
use greenroom_actors::logic::room_name::RoomName;
use greenroom_actors::ports::PortFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use super::listening::Listening;
use super::readers::Readers;
use super::recent::Recent;
use super::value::{answered, error, list, text, unreadable};
use super::{Shared, errands, reading};

/// See the module's description.
pub(super) struct RedisLink {
    pub shared: Arc<Shared>,
    pub tag: NodeTag,
    pub life: Life,
    /// What the scripts compare: the life and the era.
    pub token: Arc<str>,
    /// For events and marks.
    pub sending: MultiplexedConnection,
    /// For errands.
    pub running: MultiplexedConnection,
    /// For what is to be handed out.
    pub listening: Listening,
    pub readers: Readers,
    pub recent: Arc<Recent>,
    /// The count of the last event that was sent.
    pub sent: AtomicU64,
}

impl RedisLink {
    fn publish_command(&self, origin: Origin, draft: &Draft) -> Cmd {
        let (keys, settings) = (&self.shared.keys, &self.shared.settings);
        let id = match draft.id_chosen && settings.ids_ms > 0 {
            true => keys.id(draft.publisher.as_deref(), draft.id.as_str()),
            false => keys.meta(),
        };
        let ids_ms = if draft.id_chosen { settings.ids_ms } else { 0 };
        let mut cmd = self.shared.scripts.publish.call(4 + draft.rooms.len());
        cmd.arg(keys.meta()).arg(keys.rooms()).arg(keys.origins()).arg(id);
        for room in &draft.rooms {
            cmd.arg(keys.history(room));
        }
        cmd.arg(&*self.token)
            .arg(origin.node.to_string())
            .arg(origin.count)
            .arg(self.sent.swap(origin.count, Ordering::Relaxed))
            .arg(settings.history_events)
            .arg(settings.history_ms)
            .arg(ids_ms)
            .arg(if ids_ms > 0 {
                format!("{:x}", draft.digest())
            } else {
                String::new()
            })
            .arg(entry::body(draft, origin));
        for room in &draft.rooms {
            cmd.arg(keys.room_channel(room)).arg(room.as_str());
        }
        cmd
    }
}

/// Sends commands one after the other, in one go. Answers what each came to.
pub(super) async fn send(
    mut connection: MultiplexedConnection,
    commands: Vec<Cmd>,
) -> Result<Vec<Value>, BrokerError> {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    let count = commands.len();
    for cmd in commands {
        pipeline.add_command(cmd);
    }
    let answers = connection.send_packed_commands(&pipeline, 0, count).await;
    answers.map_err(|failed| error(&failed))
}

/// Whether each was done.
pub(super) fn all_done(answers: Vec<Value>) -> Result<(), BrokerError> {
    let mut answers = answers.into_iter();
    answers.try_for_each(|answer| answered(Ok(answer)).map(drop))
}

fn placed(draft: &Draft, answer: Value) -> Result<Placed, BrokerError> {
    let mut parts = list(answer)?.into_iter();
    let mut next = || parts.next().ok_or_else(|| unreadable("publish")).and_then(text);
    let number = |text: &str| text.parse::<u64>().map_err(|_| unreadable("publish"));
    match next()?.as_str() {
        "new" => {
            let seq = number(&next()?)?;
            let offsets = draft
                .rooms
                .iter()
                .map(|_| number(&next()?))
                .collect::<Result<_, _>>()?;
            Ok(Placed::New { seq, offsets })
        }
        "repeated" => {
            let offsets = next()?.split(',').map(number).collect::<Result<Vec<u64>, _>>()?;
            Ok(Placed::Repeated(Receipt {
                id: draft.id.clone(),
                offsets: draft.rooms.iter().cloned().zip(offsets).collect(),
                repeated: true,
                local: false,
            }))
        }
        "reused" => Ok(Placed::IdReused),
        "already" => Ok(Placed::Already),
        _ => Err(unreadable("publish")),
    }
}

impl Link for RedisLink {
    fn publish(
        &self,
        events: Vec<(Origin, Arc<Draft>)>,
    ) -> PortFuture<(Vec<Placed>, Result<(), BrokerError>)> {
        let commands = events
            .iter()
            .map(|(origin, draft)| self.publish_command(*origin, draft))
            .collect();
        let sent = send(self.sending.clone(), commands);
        Box::pin(async move {
            let answers = match sent.await {
                Ok(answers) => answers,
                Err(failed) => return (Vec::new(), Err(failed)),
            };
            let mut done = Vec::with_capacity(answers.len());
            for ((_, draft), answer) in events.iter().zip(answers) {
                match answered(Ok(answer)).and_then(|answer| placed(draft, answer)) {
                    Ok(placed) => done.push(placed),
                    Err(failed) => return (done, Err(failed)),
                }
            }
            (done, Ok(()))
        })
    }

    fn run(&self, errands: Vec<Errand>) -> PortFuture<Result<Vec<Outcome>, BrokerError>> {
        let commands = errands
            .iter()
            .map(|errand| errands::command(&self.shared, self.tag, errand))
            .collect();
        let sent = send(self.running.clone(), commands);
        Box::pin(async move {
            let answers = sent.await?.into_iter().zip(&errands);
            let outcome = |(answer, errand)| errands::outcome(errand, answered(Ok(answer))?);
            answers.map(outcome).collect()
        })
    }

    fn subscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>> {
        let channels: Vec<String> = rooms
            .iter()
            .map(|room| self.shared.keys.room_channel(room))
            .collect();
        self.listening.subscribe(channels)
    }

    fn unsubscribe(&self, rooms: Vec<RoomName>) -> PortFuture<Result<(), BrokerError>> {
        let channels: Vec<String> = rooms
            .iter()
            .map(|room| self.shared.keys.room_channel(room))
            .collect();
        self.listening.unsubscribe(channels)
    }

    fn mark(&self, number: u64) -> PortFuture<Result<(), BrokerError>> {
        let mut cmd = self.shared.scripts.mark.call(1);
        cmd.arg(self.shared.keys.meta())
            .arg(&*self.token)
            .arg(self.shared.keys.node_channel(self.tag))
            .arg(number);
        let mut connection = self.sending.clone();
        Box::pin(async move { answered(connection.send_packed_command(&cmd).await).map(drop) })
    }

    fn read(&self, query: Query) -> PortFuture<Result<Page, BrokerError>> {
        let (readers, life, recent) = (self.readers.clone(), self.life, self.recent.clone());
        let cmd = reading::read_command(&self.shared, &self.token, &query);
        Box::pin(async move { reading::page(reading::ask(&readers, &cmd).await?, &query, life, &recent) })
    }

    fn relayed(&self, nodes: Vec<NodeTag>) -> PortFuture<Result<Vec<Relayed>, BrokerError>> {
        Box::pin(reading::relayed(self.shared.clone(), self.readers.clone(), nodes))
    }

    fn members(&self, room: RoomName) -> PortFuture<Result<Vec<Member>, BrokerError>> {
        Box::pin(reading::members(self.shared.clone(), self.readers.clone(), room))
    }

    fn rooms(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> PortFuture<Result<Vec<(RoomName, usize)>, BrokerError>> {
        let (shared, readers) = (self.shared.clone(), self.readers.clone());
        Box::pin(reading::rooms(shared, readers, prefix, after, limit))
    }

    fn nodes(&self) -> PortFuture<Result<Vec<NodeRow>, BrokerError>> {
        Box::pin(reading::nodes(self.shared.clone(), self.readers.clone()))
    }
}
