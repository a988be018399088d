//! `greenroom nodes`: the cluster.

use std::process::ExitCode;

use reqwest::Method;
use serde::Deserialize;

use super::client::{Client, Connection};
use super::out::{self, tame};

/// List the nodes that share rooms with this one
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
    shared: bool,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    node: String,
    state: String,
    advertise: Option<String>,
    version: String,
    silent_ms: u64,
}

/// Lists the nodes.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let request = client.request(Method::GET, &["nodes"])?;
    client.show(request, args.json, |answer: Answer| {
        for node in &answer.nodes {
            out::line(tame(&line(node)))?;
        }
        if !answer.shared {
            out::note("this node shares its rooms with no other: redis.url is not set");
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `node-a alive, heard of 812 ms ago, at http://10.0.0.7:7420, version 0.1.0`
fn line(node: &Node) -> String {
    let Node {
        node,
        state,
        advertise,
        version,
        silent_ms,
    } = node;
    let at = advertise
        .as_deref()
        .map(|at| format!(", at {at}"))
        .unwrap_or_default();
    format!("{node} {state}, heard of {silent_ms} ms ago{at}, version {version}")
}
