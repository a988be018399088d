//! `greenroom workers`: the supervision tree.

use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;

use super::client::{Client, Connection};
use super::out::{self, tame};

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
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Worker {
    name: String,
    phase: String,
    restarts: Restarts,
    age_ms: u64,
    last_exit: Option<String>,
}

#[derive(Deserialize)]
struct Restarts {
    panics: u64,
    outages: u64,
}

/// Lists the workers.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let request = client.request(Method::GET, &["workers"])?;
    client.show(request, args.json, |answer: Answer| {
        for worker in &answer.workers {
            out::line(tame(&line(worker)))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `bridge running for 12 s, restarts: 1 panic, 0 outages; last exit: ...`
fn line(worker: &Worker) -> String {
    let Worker {
        name,
        phase,
        restarts,
        age_ms,
        last_exit,
    } = worker;
    let Restarts { panics, outages } = restarts;
    let seconds = age_ms / 1_000;
    let last = last_exit
        .as_deref()
        .map(|exit| format!("; last exit: {exit}"))
        .unwrap_or_default();
    format!("{name} {phase} for {seconds} s, restarts: {panics} after panics, {outages} after outages{last}")
}
