//! `greenroom cache`: what the cache does, and having it forget.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Connection};
use super::out;

/// Show what the cache finds and holds, or have it forget or load something
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print the node's answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Command {
    /// Hits and misses by kind, both tiers, what was saved
    Metrics {
        /// Count the entries in Redis too
        #[arg(long)]
        counts: bool,
    },
    /// Forget what depends on files, or on the commit, of a project
    Invalidate {
        /// The project
        project: String,
        /// A file that has changed; may be given several times
        #[arg(long = "file", required_unless_present = "commit", conflicts_with = "commit")]
        files: Vec<String>,
        /// The commit that is new
        #[arg(long)]
        commit: Option<String>,
    },
    /// Forget everything of a project
    Clear {
        /// The project
        project: String,
    },
    /// Forget all entries whose keys match a pattern with * and ?, or that depend on something
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Forget {
        /// The pattern, such as 'embedding:old-model:*'
        #[arg(group = "which")]
        pattern: Option<String>,
        /// What the entries were said to depend on
        #[arg(long, group = "which")]
        dependency: Option<String>,
    },
    /// Have a project's fingerprint and manifest in the node before they are asked for
    Warm {
        /// The project
        project: String,
    },
}

/// Asks the node for it.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let post = |path: &[&str], body: Value| client.request(Method::POST, path).map(|asked| asked.json(&body));
    let request = match &args.command {
        Command::Metrics { counts } => {
            let request = client.request(Method::GET, &["cache", "metrics"])?;
            let request = request.query(&[("counts", counts)]);
            client.show(request, args.json, |answer: Value| metrics(&answer))?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Invalidate {
            project,
            files,
            commit: None,
        } => post(&["projects", project, "invalidate"], json!({ "files": files }))?,
        Command::Invalidate { project, commit, .. } => {
            post(&["projects", project, "invalidate"], json!({ "commit": commit }))?
        }
        Command::Clear { project } => client.request(Method::DELETE, &["projects", project, "cache"])?,
        Command::Forget {
            pattern: Some(pattern),
            ..
        } => post(&["cache", "invalidate"], json!({ "pattern": pattern }))?,
        Command::Forget { dependency, .. } => {
            post(&["cache", "invalidate"], json!({ "dependency": dependency }))?
        }
        Command::Warm { project } => post(&["projects", project, "warm"], json!({}))?,
    };
    client.show(request, args.json, |answer: Value| done(&answer))?;
    Ok(ExitCode::SUCCESS)
}

fn done(answer: &Value) -> anyhow::Result<()> {
    if let Some(entries) = answer["entries"].as_u64() {
        out::line(format_args!("{entries} entries are in the node"))?;
        return Ok(());
    }
    out::line(format_args!("forgot {} entries", answer["removed"]))?;
    if answer["everywhere"] == false {
        out::note("Redis is away: other nodes have them until it is back");
    }
    Ok(())
}

/// A line a kind: `embedding: 812 asked, 97.4 % found (790 near, 1 far, 0 shared), 800 entries of 212000 bytes near`
fn metrics(answer: &Value) -> anyhow::Result<()> {
    for kind in answer["kinds"].as_array().into_iter().flatten() {
        let total = &kind["total"];
        let number = |name: &str| total[name].as_u64().unwrap_or(0);
        let found = number("nearHits") + number("farHits") + number("shared");
        let rate = total["hitRate"].as_f64().unwrap_or(0.0) * 100.0;
        out::line(format_args!(
            "{}: {} asked, {rate:.1} % found ({} near, {} far, {} shared), {} entries of {} bytes near",
            out::tame(kind["kind"].as_str().unwrap_or("-")),
            found + number("misses"),
            number("nearHits"),
            number("farHits"),
            number("shared"),
            kind["nearEntries"],
            kind["nearBytes"],
        ))?;
    }
    let near = &answer["near"];
    out::line(format_args!(
        "near: {} entries, {} of {} bytes",
        near["entries"], near["bytes"], near["limitBytes"]
    ))?;
    let far = &answer["far"];
    match far["asked"].as_bool() {
        None => out::note("no Redis: what is cached is lost when the node ends"),
        Some(true) => {}
        Some(false) => out::note("Redis does not answer: it is not asked until it does"),
    }
    Ok(())
}
