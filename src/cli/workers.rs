//! `greenroom workers`: the supervision tree.

use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Connection, block_on, parse};
use super::out;
use super::rooms::field;

/// List the node's workers with their state and restarts
#[derive(clap::Args)]
pub struct Args {
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Answer {
    workers: Vec<Value>,
}

/// Lists the workers.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let text = block_on(client.ask(client.request(Method::GET, &["workers"])?))?;
    if args.json {
        out::line(text.trim())?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Answer = parse(&text)?;
    for worker in &answer.workers {
        let fields = ["name", "phase", "restarts", "since", "lastExit"].map(|name| field(worker, name));
        out::line(fields.join(" "))?;
    }
    Ok(ExitCode::SUCCESS)
}
