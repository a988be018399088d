//! `greenroom health`: for whoever watches over the process, such as a container engine. Needs no token.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::client::{Client, Connection, block_on};
use super::out;

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(3);

/// Say whether the node answers; the exit code tells too
#[derive(clap::Args)]
pub struct Args {
    /// Whether it should be given work, and not only whether it is alive
    #[arg(long)]
    ready: bool,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Asks the node. The exit code is 0 if it is alive, or ready, and 1 otherwise.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let path = if args.ready { "readyz" } else { "livez" };
    let (is_well, text) = block_on(async {
        let answer = client.root(path)?.timeout(ANSWER).send().await;
        // The address may hold what nobody is to see.
        let answer = answer
            .map_err(reqwest::Error::without_url)
            .context("the node does not answer")?;
        let is_well = answer.status().is_success();
        let text = answer.text().await.map_err(reqwest::Error::without_url);
        Ok((is_well, text.context("the node's answer broke off")?))
    })?;
    let word = match (is_well, args.ready) {
        (true, true) => "ready",
        (true, false) => "alive",
        (false, _) => "not ready",
    };
    out::line(if args.json { text.trim() } else { word })?;
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
