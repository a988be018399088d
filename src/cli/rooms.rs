//! `greenroom rooms`: which rooms there are, and who is in one.

use std::process::ExitCode;

use anyhow::bail;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Connection, block_on, parse};
use super::out::{self, tame};

/// List the rooms, or who is in one
#[derive(clap::Args)]
pub struct Args {
    /// A room, to list its members
    #[arg(conflicts_with = "prefix")]
    room: Option<String>,
    /// Only rooms whose name begins like this
    #[arg(long)]
    prefix: Option<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Deserialize)]
struct Page {
    rooms: Vec<Value>,
    next: Option<String>,
}

/// Lists rooms or members.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match &args.room {
        Some(room) => members(args, &client, room)?,
        None => {
            let rooms = block_on(all_rooms(args, &client))?;
            if args.json {
                out::line(json!({ "rooms": rooms }))?;
                return Ok(ExitCode::SUCCESS);
            }
            for room in &rooms {
                out::line(format_args!("{} {}", field(room, "room"), field(room, "members")))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn members(args: &Args, client: &Client, room: &str) -> anyhow::Result<()> {
    let request = client.request(Method::GET, &["rooms", room])?;
    client.show(request, args.json, |answer: Value| {
        for member in answer["members"].as_array().into_iter().flatten() {
            let fields = ["id", "subject", "node", "joinedAt"].map(|name| field(member, name));
            out::line(fields.join(" "))?;
        }
        out::note(format_args!("members: {}", field(&answer, "count")));
        Ok(())
    })
}

/// All pages, one after the other.
async fn all_rooms(args: &Args, client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut rooms = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let query = [("prefix", args.prefix.as_ref()), ("after", after.as_ref())];
        let query: Vec<_> = query
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let text = client
            .ask(client.request(Method::GET, &["rooms"])?.query(&query))
            .await?;
        let page: Page = parse(&text)?;
        rooms.extend(page.rooms);
        match page.next {
            None => return Ok(rooms),
            // A node that did not understand `after` would give the first page for ever.
            next if next == after => bail!("the node gives the same page of rooms again"),
            next => after = next,
        }
    }
}

/// A field as text, or `-` where it is missing.
pub fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => tame(text),
        other => tame(&other.to_string()),
    }
}
