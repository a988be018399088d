//! `greenroom serve`: runs a node.

use std::convert::Infallible;
use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;

use actix_rt::System;
use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{out, settings::Settings};
use crate::actors::supervise;
use crate::adapters::tls::Certificates;
use crate::auth::Guard;
use crate::config::Loaded;
use crate::node::{Ended, Node};
use crate::{logging, open_files};

/// Run a node
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// Loads the configuration, begins to log, and runs the node.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = args.settings.load()?;
    logging::init(&loaded.config.log, supervise::current_worker)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    allow_connections(loaded.config.limits.connections as u64);
    run(loaded)
}

/// Sees to it that the system lets the node have its connections, or says that it does not.
fn allow_connections(connections: u64) {
    match open_files::raise_limit() {
        Ok(files) if files < connections => {
            tracing::warn!(
                files,
                connections,
                "limits.connections is more than this process may have open"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

/// Runs the node until it is told to stop (exit code 0), is told so again while it drains (1), or gives up (1).
pub fn run(loaded: Loaded) -> anyhow::Result<ExitCode> {
    System::new().block_on(async move {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let node = Node::start(loaded.config).await?;
        tracing::info!(node = node.name(), address = %node.address(), version = env!("CARGO_PKG_VERSION"), "listening");
        out::line(greeting(&node))?;
        let reload = reload_when_told(hangup, node.certificates().cloned(), node.guard().clone());
        let (say, stop) = oneshot::channel();
        let twice = async {
            told(&mut terminate, &mut interrupt).await;
            let _ = say.send(());
            told(&mut terminate, &mut interrupt).await;
        };
        Ok(tokio::select! {
            ended = node.run(async { _ = stop.await }) => exit_code(ended),
            // Whoever says it twice does not want to wait for clients and requests.
            () = twice => {
                tracing::warn!("told to stop again: not waiting any longer");
                ExitCode::FAILURE
            }
            never = reload => match never {},
        })
    })
}

/// Reads again what may be replaced while the node runs, each time the process is told to.
async fn reload_when_told(
    mut hangup: Signal,
    certificates: Option<Arc<Certificates>>,
    guard: Guard,
) -> Infallible {
    loop {
        if hangup.recv().await.is_none() {
            return pending().await;
        }
        tracing::info!("told to reload");
        if let Some(certificates) = &certificates {
            certificates.clone().look().await;
        }
        // What came of it is in the log.
        let _ = guard.reload().await;
    }
}

/// Resolves when the process is told to stop.
async fn told(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ended::Stopped => ExitCode::SUCCESS,
        Ended::GaveUp(worker) => {
            tracing::error!(
                worker,
                "a vital worker was given up: the process ends, to be started anew"
            );
            ExitCode::FAILURE
        }
    }
}

/// Where it listens, what runs embedded, and what to try first.
fn greeting(node: &Node) -> String {
    let url = node.url();
    let state = node.bus().state();
    let bus = match (state.shared, state.up) {
        (false, _) => "rooms and history embedded, nothing else needed",
        (true, true) => "rooms and history shared by Redis",
        (true, false) => "Redis is away: by itself until it is there",
    };
    format!(
        "greenroom listens on {url} ({bus}); \
         watch: curl -N {url}/v1/rooms/agent:42/stream ; \
         publish: curl {url}/v1/agents/42/thoughts -H 'content-type: application/json' -d '{{\"thought\":\"hello\"}}'"
    )
}
