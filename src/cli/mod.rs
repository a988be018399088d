//! The command line: one file a command.
//!
//! `serve` and `config` take the flags in `settings`; the others are clients of a running node and share
//! `client`. Results go to standard output and everything else to standard error, both through `out`.

mod backoff;
mod cache;
mod client;
mod config;
mod event;
mod granting;
mod health;
mod history;
mod key;
mod nodes;
mod out;
mod publish;
mod rooms;
pub mod serve;
mod sessions;
mod settings;
mod sse;
mod token;
mod watch;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Problems;
use client::Failure;
use out::{WriteError, note, tame};

/// One self-hosted node for AI-agent products
#[derive(Parser)]
#[command(name = "greenroom", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Config(config::Args),
    Publish(publish::Args),
    Watch(watch::Args),
    History(history::Args),
    Rooms(rooms::Args),
    Health(health::Args),
    Nodes(nodes::Args),
    Cache(cache::Args),
    Workers(workers::Args),
    Sessions(sessions::Args),
    Token(token::Args),
    Key(key::Args),
    /// Print the OpenAPI document of the HTTP interface
    Openapi,
}

/// Reads the command line and does what it says. Ends with 0, with 2 when the command line or the
/// configuration is wrong, and with 1 when anything else is.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::execute(&args),
        Command::Config(args) => config::execute(&args),
        Command::Publish(args) => publish::execute(&args),
        Command::Watch(args) => watch::execute(&args),
        Command::History(args) => history::execute(&args),
        Command::Rooms(args) => rooms::execute(&args),
        Command::Health(args) => health::execute(&args),
        Command::Nodes(args) => nodes::execute(&args),
        Command::Cache(args) => cache::execute(&args),
        Command::Workers(args) => workers::execute(&args),
        Command::Sessions(args) => sessions::execute(&args),
        Command::Token(args) => token::execute(&args),
        Command::Key(args) => key::execute(&args),
        Command::Openapi => out::line(crate::http::openapi_json())
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
    };
    done.unwrap_or_else(|error| explain(&error))
}

/// Says what went wrong, in the words of whoever knows.
fn explain(error: &anyhow::Error) -> ExitCode {
    if let Some(WriteError::Closed) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    if let Some(problems) = error.downcast_ref::<Problems>() {
        problems
            .lines()
            .for_each(|line| note(format_args!("error: {line}")));
        return ExitCode::from(2);
    }
    match error.downcast_ref() {
        Some(Failure::Refused {
            code,
            message,
            details,
            ..
        }) => {
            note(tame(&format!("error [{code}]: {message}")));
            if let Some(details) = details {
                note(tame(&format!("  details: {details}")));
            }
        }
        _ => note(tame(&format!("error: {error:#}"))),
    }
    ExitCode::FAILURE
}
