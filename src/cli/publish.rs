//! `greenroom publish`: one event into one room or several.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::client::{Client, Connection};
use super::out::{self, tame};

/// Publish an event into a room
#[derive(clap::Args)]
pub struct Args {
    /// The room, such as agent:42
    room: String,
    /// The event's name, such as agent-thought
    event: String,
    /// The event's data as JSON, or - to read it from standard input [default: null]
    data: Option<String>,
    /// The event's id: published again with the same one, it is accepted once
    #[arg(long)]
    id: Option<String>,
    /// One more room for the same event; may be repeated
    #[arg(long = "room", value_name = "ROOM")]
    rooms: Vec<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Body<'a> {
    event: &'a str,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    rooms: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    rooms: BTreeMap<String, u64>,
    scope: Option<String>,
}

/// Publishes and says where the event went.
pub fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let data = read_data(args.data.as_deref())?;
    let body = Body {
        event: &args.event,
        data,
        id: args.id.as_deref(),
        rooms: &args.rooms,
    };
    let request = client
        .request(Method::POST, &["rooms", &args.room, "events"])?
        .json(&body);
    client.show(request, args.json, |answer: Answer| {
        Ok(out::line(tame(&describe(&answer)))?)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The data as it was written: numbers keep their digits.
fn read_data(given: Option<&str>) -> anyhow::Result<Box<RawValue>> {
    let text = match given {
        None => "null".to_owned(),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .read_to_string(&mut text)
                .context("cannot read the data from standard input")?;
            text
        }
        Some(text) => text.to_owned(),
    };
    serde_json::from_str(&text).context("the data is not JSON (a text needs quotes of its own: '\"hello\"')")
}

fn describe(answer: &Answer) -> String {
    let rooms: Vec<String> = answer
        .rooms
        .iter()
        .map(|(room, offset)| format!("{room} at {offset}"))
        .collect();
    let local = answer.scope.as_deref() == Some("local");
    let suffix = if local {
        "; this node only for now: its bus is away"
    } else {
        ""
    };
    format!("published {} in {}{suffix}", answer.id, rooms.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::parse;

    #[test]
    fn the_answer_is_told_in_one_line() {
        let answer = parse(r#"{"id":"01H","rooms":{"b":2,"a":17},"scope":"local"}"#).unwrap();
        let told = "published 01H in a at 17, b at 2; this node only for now: its bus is away";
        assert_eq!(describe(&answer), told);
    }

    #[test]
    fn data_keeps_its_digits_and_has_to_be_json() {
        assert_eq!(read_data(Some(r#"{"n":1.10}"#)).unwrap().get(), r#"{"n":1.10}"#);
        assert_eq!(read_data(None).unwrap().get(), "null");
        assert!(
            read_data(Some("hello"))
                .unwrap_err()
                .to_string()
                .contains("not JSON")
        );
    }
}
