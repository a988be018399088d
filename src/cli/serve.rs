//! `greenroom serve`: runs a node.

use std::process::ExitCode;

use anyhow::bail;

use super::settings::Settings;
use crate::config::Loaded;
use crate::logging;

/// Run a node
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// Loads the configuration, begins to log, and runs the node.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = args.settings.load()?;
    logging::init(&loaded.config.log, || None)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    run(loaded)
}

/// Runs the node until it is told to stop.
pub fn run(_loaded: Loaded) -> anyhow::Result<ExitCode> {
    bail!("not wired yet")
}
