//! `greenroom history`: what a room remembers.

use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;

use super::client::{Client, Connection};
use super::event::Event;
use super::out::{self, tame};

/// Print the events that a room remembers, oldest first
#[derive(clap::Args)]
pub struct Args {
    /// The room, such as agent:42
    room: String,
    /// Only what came after this position
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    /// At most this many events
    #[arg(long)]
    limit: Option<u64>,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Answer {
    events: Vec<Event>,
    position: String,
    #[serde(default)]
    more: bool,
}

/// Prints one page of the history.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let limit = args.limit.map(|limit| limit.to_string());
    let query = [("since", args.since.as_ref()), ("limit", limit.as_ref())];
    let query: Vec<_> = query
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let request = client
        .request(Method::GET, &["rooms", &args.room, "events"])?
        .query(&query);
    client.show(request, args.json, |answer: Answer| {
        for event in &answer.events {
            out::line(event.line())?;
        }
        if answer.more {
            out::note(format_args!("there is more: --since {}", tame(&answer.position)));
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
