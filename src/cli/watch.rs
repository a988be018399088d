//! `greenroom watch`: events as they come, also after the connection was cut.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::client::{Client, Connection, Failure, block_on};
use super::event::Event;
use super::out::{self, tame};
use super::sse::{Item, Message, Parser};

/// A stream sends a comment at least once a minute: one that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(75);

/// Print the events of rooms as they come
#[derive(clap::Args)]
pub struct Args {
    /// The rooms, such as agent:42
    #[arg(required = true, value_name = "ROOM")]
    rooms: Vec<String>,
    /// Begin with what came after this position
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    /// Print each event as one line of JSON
    #[arg(long)]
    json: bool,
    /// End after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// Prints events until there are enough, or for ever.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let watch = Watch {
        client,
        args,
        position: args.since.clone(),
        printed: 0,
        backoff: Backoff::new(),
    };
    block_on(watch.run())?;
    Ok(ExitCode::SUCCESS)
}

struct Watch<'a> {
    client: Client,
    args: &'a Args,
    /// Everything up to here was printed.
    position: Option<String>,
    printed: u64,
    backoff: Backoff,
}

/// How a stream ended.
enum End {
    /// As many events as were asked for.
    Enough,
    /// Too early, and why.
    Cut(String),
}

/// The first message of each stream.
#[derive(Deserialize)]
struct Joined {
    position: Option<String>,
    #[serde(default = "yes")]
    recovered: bool,
}

fn yes() -> bool {
    true
}

/// What the node says about itself.
#[derive(Deserialize)]
struct Notice {
    r#type: String,
    #[serde(default)]
    message: String,
}

impl Watch<'_> {
    /// The first connection has to succeed; after that, only an error that cannot pass ends it.
    async fn run(mut self) -> anyhow::Result<()> {
        let mut stream = self.client.open(self.request()?).await?;
        loop {
            let End::Cut(reason) = self.follow(stream).await? else {
                return Ok(());
            };
            stream = self.come_back(reason).await?;
        }
    }

    fn request(&self) -> anyhow::Result<RequestBuilder> {
        let (first, more) = self
            .args
            .rooms
            .split_first()
            .map_or(("", &[][..]), |(first, more)| (first.as_str(), more));
        let request = self.client.request(Method::GET, &["rooms", first, "stream"])?;
        let request = request.header(ACCEPT, "text/event-stream");
        let request = match more {
            [] => request,
            more => request.query(&[("rooms", more.join(","))]),
        };
        Ok(match &self.position {
            Some(position) => request.header("Last-Event-ID", position),
            None => request,
        })
    }

    async fn come_back(&mut self, mut reason: String) -> anyhow::Result<Response> {
        let mut at_least = Duration::ZERO;
        loop {
            let pause = self.backoff.next(fastrand::f64()).max(at_least);
            let seconds = pause.as_secs_f64();
            out::note(format_args!(
                "cut off ({}): coming back in {seconds:.1} s",
                tame(&reason)
            ));
            sleep(pause).await;
            let error = match self.client.open(self.request()?).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            match error.downcast_ref::<Failure>() {
                Some(failure) if failure.is_transient() => {
                    at_least = failure.retry_after().unwrap_or_default();
                    reason = match failure {
                        Failure::Unreachable { reason, .. } => reason.clone(),
                        other => other.to_string(),
                    };
                }
                _ => return Err(error),
            }
        }
    }

    /// Prints what the stream brings.
    async fn follow(&mut self, mut stream: Response) -> anyhow::Result<End> {
        let mut parser = Parser::default();
        loop {
            let chunk = match timeout(SILENCE, stream.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(End::Cut("the node ended the stream".to_owned())),
                Ok(Err(_)) => return Ok(End::Cut("the connection broke".to_owned())),
                Err(_) => return Ok(End::Cut("the node has fallen silent".to_owned())),
            };
            for item in parser.read(&chunk)? {
                match item {
                    Item::Retry(ms) => self.backoff.told(Duration::from_millis(ms)),
                    Item::Message(message) => self.take(&message)?,
                }
                if self.args.count.is_some_and(|count| self.printed >= count) {
                    return Ok(End::Enough);
                }
            }
        }
    }

    fn take(&mut self, message: &Message) -> anyhow::Result<()> {
        if let Ok(event) = serde_json::from_str::<Event>(&message.data) {
            self.print(&event, &message.data)?;
        } else if message.event == "joined" {
            self.join(message);
            return Ok(());
        } else if let Ok(notice) = serde_json::from_str::<Notice>(&message.data) {
            out::note(tame(&format!(
                "{}: {} {}",
                message.event, notice.r#type, notice.message
            )));
        } else {
            out::note(tame(&format!("not an event: {}", message.event)));
        }
        if message.id.is_some() {
            self.position.clone_from(&message.id);
        }
        Ok(())
    }

    fn print(&mut self, event: &Event, json: &str) -> anyhow::Result<()> {
        match self.args.json {
            // A line break in JSON stands between its parts, never in a text.
            true => out::line(json.replace(['\n', '\r'], " "))?,
            false => out::line(event.line())?,
        }
        self.printed += 1;
        Ok(())
    }

    /// A client without a position begins where it joined. One that resumes keeps its own until the first
    /// missed event is here: `joined` may speak of a place beyond it.
    fn join(&mut self, message: &Message) {
        self.backoff.worked();
        let Ok(joined) = serde_json::from_str::<Joined>(&message.data) else {
            return;
        };
        if !joined.recovered {
            out::note("the history does not reach back to where this stopped: some events are missing");
        }
        if self.position.is_none() {
            self.position = message.id.clone().or(joined.position);
        }
    }
}
