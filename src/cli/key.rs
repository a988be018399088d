//! `greenroom key`: makes an API key.

use std::process::ExitCode;

use anyhow::anyhow;
use serde_json::{json, to_string};

use super::granting::{Granting, seconds_from_now};
use super::out;
use crate::actors::logic::access::KeyLine;
use crate::auth::keys;

/// Make an API key, and the line for auth.keys_file
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    granting: Granting,
    /// Seconds for which it holds [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_153_600_000))]
    ttl: Option<u64>,
}

/// Makes a key, and prints it and what is to be kept of it.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let key = keys::new_key();
    let granting = &args.granting;
    let line = KeyLine {
        id: granting.id(),
        sha256: keys::hex(&keys::hash(&key)),
        sub: granting.sub.clone(),
        rooms: granting.rooms(),
        scopes: granting.scopes()?,
        exp: args.ttl.map(|ttl| seconds_from_now(ttl) as f64),
    };
    let kept = to_string(&line)?;
    // What a node would not take is not made.
    line.read().map_err(|error| anyhow!(error))?;
    if granting.json {
        out::line(json!({"key": key, "line": kept}))?;
    } else {
        out::note(
            "The key, for whoever is to show it, which is kept nowhere; and the line for auth.keys_file:",
        );
        out::line(&key)?;
        out::line(&kept)?;
    }
    Ok(ExitCode::SUCCESS)
}
