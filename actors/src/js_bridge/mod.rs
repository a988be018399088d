//! JsBridge: between the shards of a node and a cluster of JavaScript Socket.IO servers that use
//! `@socket.io/redis-adapter`.
//!
//! **Owns** the link to the radio on which they speak, and what waits to be said there.
//! **Hears** [`Accepted`], from the bus; what the servers say, from the radio.
//! **Tells** every shard what is for connections ([`Overheard`]) and what to do with them ([`CarryOut`]); the servers, what
//! they want to know, and what was published by way of this node.
//! **Fails** when the radio is away: it is tuned in again and again. Meanwhile nothing is heard and nothing said.
//! **After a restart** it tunes in anew. What was said meanwhile is gone, as for any server of such a cluster.
//!
//! What it hears reaches each shard in the order in which it was said, broadcasts and requests alike.

mod answering;
mod foreign;

pub use foreign::{Foreign, ForeignEvent, Order};

use crate::{
    logic::{
        event::Payload,
        js_cluster::{Channel, Heard, Node, Options, Opts, Publish, Uid},
        socket_io::encode::Args,
    },
    messages::{Accepted, CarryOut, Overheard},
    ports::WallClock,
    radio::{Radio, RadioError, Said, Speaker, Tuned},
    supervise::Lifeline,
};
use actix::{
    Actor, AsyncContext, Context, Handler, Recipient, StreamHandler, Supervised, WrapFuture as _,
    fut::ActorFutureExt as _,
};
use bytes::Bytes;
use std::{collections::VecDeque, mem, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// What is said in one go, messages at most.
const SAID_AT_ONCE: usize = 512;

/// One shard, as the bridge reaches it.
#[derive(Clone)]
pub struct Shard {
    /// Something was said that may be for connections there.
    pub overhears: Recipient<Overheard>,
    /// Something is to be done with connections there.
    pub carries_out: Recipient<CarryOut>,
}

/// What the bridge is told once.
#[derive(Clone)]
pub struct Settings {
    /// Who this node is among the servers.
    pub uid: Uid,
    /// How the cluster is set up.
    pub options: Options,
    /// What may wait to be said, bytes.
    pub waiting_bytes: usize,
    /// It says something to itself so often, to know that the link lives.
    pub beat_every: Duration,
    /// A link by which nothing comes for so long is dead.
    pub silent_max: Duration,
    /// The longest name of a room of this service, characters.
    pub name_chars: usize,
    /// Whether clients reach the node by TLS.
    pub secure: bool,
    /// The node's name.
    pub node: Arc<str>,
    /// The wall clock.
    pub clock: WallClock,
}

/// See the module's description.
pub struct JsBridge {
    radio: Arc<dyn Radio>,
    node: Arc<Node>,
    shards: Vec<Shard>,
    settings: Settings,
    lifeline: Lifeline<Self>,
    /// Whether the radio was reached, or could not be, once.
    tried: watch::Sender<bool>,
    /// Events that a shard had no room for, since the node began.
    unheard: u64,
    link: Link,
}

/// What a restart makes anew.
#[derive(Default)]
struct Link {
    speaker: Option<Arc<dyn Speaker>>,
    waiting: VecDeque<Said>,
    bytes: usize,
    /// Something is being said.
    is_saying: bool,
    /// When something was heard last.
    heard: Option<Instant>,
    /// What there was no room for. Told when it begins.
    lost: u64,
}

impl JsBridge {
    /// A bridge to the servers on `radio`.
    pub fn new(
        radio: Arc<dyn Radio>,
        shards: Vec<Shard>,
        settings: Settings,
        lifeline: Lifeline<Self>,
        tried: watch::Sender<bool>,
    ) -> Self {
        let node = Arc::new(Node::new(settings.uid.clone(), settings.options.clone()));
        Self {
            radio,
            node,
            shards,
            settings,
            lifeline,
            tried,
            unheard: 0,
            link: Link::default(),
        }
    }

    /// Where this node speaks to itself.
    fn own_channel(&self) -> String {
        self.node.channels().response_to(self.settings.uid.as_str())
    }

    fn tune_in(&self, ctx: &mut Context<Self>) {
        let channels = self.node.channels();
        let exact = vec![channels.request().to_owned(), self.own_channel()];
        let tuned = self.radio.tune_in(exact, vec![channels.pattern()]);
        let tuned = timeout(self.settings.silent_max, tuned).into_actor(self);
        ctx.spawn(tuned.map(|tuned, act, ctx| {
            act.tried.send_replace(true);
            match tuned {
                Ok(Ok(tuned)) => act.begin(tuned, ctx),
                Ok(Err(error)) => act.lifeline.fail(ctx, error),
                Err(_) => act.lifeline.fail(ctx, "it does not answer"),
            }
        }));
    }

    fn begin(&mut self, tuned: Tuned, ctx: &mut Context<Self>) {
        let lost = mem::take(&mut self.link.lost);
        tracing::info!(uid = %self.settings.uid, lost, "takes part in a cluster of JavaScript servers");
        self.link.speaker = Some(tuned.speaker);
        self.link.heard = Some(Instant::now());
        ctx.add_stream(tuned.heard);
        ctx.run_interval(self.settings.beat_every, Self::beat);
    }

    /// Looks whether the link lives.
    fn beat(&mut self, ctx: &mut Context<Self>) {
        let silent = self.link.heard.map(|heard| heard.elapsed());
        if silent.is_some_and(|silent| silent > self.settings.silent_max) {
            return self.lifeline.fail(ctx, "nothing is heard of it any more");
        }
        let beat = Publish {
            channel: self.own_channel(),
            message: Bytes::new(),
        };
        self.say(beat, ctx);
    }

    /// Says something as soon as that can be. What does not fit any more is lost, as what is said while the radio is away.
    fn say(&mut self, publish: Publish, ctx: &mut Context<Self>) {
        let Publish { channel, message } = publish;
        let bytes = channel.len() + message.len();
        if self.link.speaker.is_none() || self.link.bytes + bytes > self.settings.waiting_bytes {
            if self.link.lost == 0 {
                tracing::warn!(channel, "what this node says is lost to the JavaScript servers");
            }
            self.link.lost += 1;
            return;
        }
        self.link.bytes += bytes;
        self.link.waiting.push_back(Said { channel, message });
        self.say_on(ctx);
    }

    /// Says what waits, unless something is being said: then that is done first, so that the order stays.
    fn say_on(&mut self, ctx: &mut Context<Self>) {
        let Some(speaker) = self.link.speaker.clone() else {
            return;
        };
        if self.link.waiting.is_empty() || mem::replace(&mut self.link.is_saying, true) {
            return;
        }
        let count = self.link.waiting.len().min(SAID_AT_ONCE);
        let all: Vec<Said> = self.link.waiting.drain(..count).collect();
        let bytes: usize = all
            .iter()
            .map(|said| said.channel.len() + said.message.len())
            .sum();
        let said = speaker.say(all).into_actor(self);
        ctx.spawn(said.map(move |said, act, ctx| act.was_said(said, bytes, ctx)));
    }

    fn was_said(&mut self, said: Result<(), RadioError>, bytes: usize, ctx: &mut Context<Self>) {
        self.link.is_saying = false;
        self.link.bytes -= bytes;
        match said {
            Ok(()) => self.say_on(ctx),
            Err(error) => self.lifeline.fail(ctx, error),
        }
    }

    /// An event for sockets: every shard looks whether there are some.
    fn overhear(&mut self, said: Said) {
        if self.node.is_ours(&said.message) {
            return;
        }
        let overheard = Arc::new(Foreign::new(self.node.clone(), said, (self.settings.clock)()));
        for shard in &self.shards {
            // A shard that is so far behind has more to do than what may be lost.
            if shard.overhears.try_send(Overheard(overheard.clone())).is_err() {
                self.unheard += 1;
                if self.unheard.is_power_of_two() {
                    tracing::warn!(
                        unheard = self.unheard,
                        "events of JavaScript servers are lost: a shard is too busy"
                    );
                }
            }
        }
    }

    fn hear_request(&mut self, said: &Said, ctx: &mut Context<Self>) {
        match self.node.hear(&said.channel, &said.message) {
            Ok(Heard::Request(request)) => self.answer(request, ctx),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a request of a JavaScript server is not understood"),
        }
    }
}

impl Actor for JsBridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tune_in(ctx);
    }
}

impl Supervised for JsBridge {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.link = Link {
            lost: self.link.lost,
            ..Link::default()
        };
    }
}

impl StreamHandler<Said> for JsBridge {
    fn handle(&mut self, said: Said, ctx: &mut Self::Context) {
        self.link.heard = Some(Instant::now());
        match self.node.channels().parse(&said.channel) {
            Some(Channel::Broadcast { .. }) => self.overhear(said),
            Some(Channel::Request) => self.hear_request(&said, ctx),
            // That was this node itself.
            Some(Channel::Response { .. }) | None => {}
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.lifeline.fail(ctx, "the connection was closed");
    }
}

impl Handler<Accepted> for JsBridge {
    type Result = ();
    fn handle(&mut self, Accepted(draft): Accepted, ctx: &mut Self::Context) {
        // Payloads are checked JSON, which is UTF-8.
        let json = std::str::from_utf8(draft.payload.json()).unwrap_or("null");
        let name = draft.name.as_str();
        let event = match draft.payload {
            Payload::Data(_) => Args::One(name, json),
            Payload::Args(_) => Args::Many(name, json),
        };
        let to = Opts::to(draft.rooms.iter().map(|room| room.as_str()));
        match self.node.publish(event, &to) {
            Ok(publish) => self.say(publish, ctx),
            Err(error) => tracing::debug!(%error, id = draft.id.as_str(), "an event is not handed on"),
        }
    }
}
