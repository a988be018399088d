//! `greenroom sessions`: who is connected to a node, and ending a connection.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Connection, block_on};
use super::out;
use super::rooms::field;

/// List the node's connections, or end one
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the node's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Command {
    /// End a connection, so that its client does not come back by itself
    End {
        /// Its id
        id: String,
    },
}

/// Lists connections or ends one.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match &args.command {
        None => list(args, &client)?,
        Some(Command::End { id }) => {
            let request = client.request(Method::DELETE, &["sessions", id])?;
            block_on(async { client.open(request).await.map(drop) })?;
            match args.json {
                true => out::line(json!({ "ended": id }))?,
                false => out::note(format_args!("ended {}", out::tame(id))),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line each: id, subject, transport, since when, bytes waiting, rooms.
fn list(args: &Args, client: &Client) -> anyhow::Result<()> {
    let request = client.request(Method::GET, &["sessions"])?;
    client.show(request, args.json, |answer: Value| {
        let sessions = answer["sessions"].as_array().into_iter().flatten();
        for session in sessions.clone() {
            let fields = ["id", "subject", "transport", "connectedAt", "bytesWaiting"];
            let rooms = session["rooms"].as_array().into_iter().flatten();
            let rooms = rooms.map(|room| out::tame(room.as_str().unwrap_or("-")));
            let words: Vec<String> = fields
                .map(|name| field(session, name))
                .into_iter()
                .chain(rooms)
                .collect();
            out::line(words.join(" "))?;
        }
        out::note(format_args!("connections: {}", sessions.count()));
        Ok(())
    })
}
