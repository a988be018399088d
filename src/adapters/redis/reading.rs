//! What is read, over any connection that is free.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use greenroom_actors::broker::{BrokerError, NodeCard, NodeRow, Relayed};
use greenroom_actors::logic::bus_log::{Gap, Page, Query};
use greenroom_actors::logic::cluster::record;
use greenroom_actors::logic::event::{Event, NodeTag};
use greenroom_actors::logic::position::Life;
use greenroom_actors::logic::protocol::Member;
use greenroom_actors::logic::room_name::RoomName;
use redis::{Cmd, Value};

use super::Shared;
use super::readers::Readers;
use super::recent::Recent;
use super::value::{answered, list, text, texts, unreadable};

/// Entries of a room in one answer, at least: a page of many rooms takes fewer of each.
const ENTRIES_MIN: usize = 16;
/// A name that no room has, above all that begin with a prefix.
const ABOVE: &str = "\u{7f}";

/// Asks something over a connection that is free.
pub(super) async fn ask(readers: &Readers, cmd: &Cmd) -> Result<Value, BrokerError> {
    answered(readers.ask(cmd).await)
}

/// The command that reads a part of the history.
pub(super) fn read_command(shared: &Shared, token: &str, query: &Query) -> Cmd {
    let keys = &shared.keys;
    let rooms = query.rooms.len();
    let entries =
        (2 * query.events_max / rooms.max(1)).clamp(ENTRIES_MIN.min(query.events_max), query.events_max);
    let mut cmd = shared.scripts.read.call(2 + rooms);
    cmd.arg(keys.meta()).arg(keys.rooms());
    for (room, _) in &query.rooms {
        cmd.arg(keys.history(room));
    }
    cmd.arg(token)
        .arg(query.after)
        .arg(entries)
        .arg(query.bytes_max)
        .arg(query.must.len());
    for must in &query.must {
        cmd.arg(must);
    }
    for ((room, joined_at), (_, whole_from)) in query.rooms.iter().zip(query.whole_from()) {
        cmd.arg(room.as_str()).arg(joined_at).arg(whole_from);
    }
    cmd
}

/// Merges what the rooms have into one page, by number.
pub(super) fn page(answer: Value, query: &Query, life: Life, recent: &Recent) -> Result<Page, BrokerError> {
    let mut parts = list(answer)?.into_iter();
    let mut next = || parts.next().ok_or_else(|| unreadable("read"));
    let head: u64 = text(next()?)?.parse().map_err(|_| unreadable("read"))?;
    let has_all = text(next()?)? == "1";
    let mut events: BTreeMap<u64, Arc<Event>> = BTreeMap::new();
    // Of a room that has more, what comes after its last entry here is for another page.
    let mut known_upto = u64::MAX;
    for room in list(next()?)? {
        let mut entries = list(room)?.into_iter();
        let has_more = entries.next().map(text).transpose()?.as_deref() == Some("1");
        let mut last = 0;
        for entry in entries {
            let Value::BulkString(bytes) = entry else {
                return Err(unreadable("read"));
            };
            let event = recent
                .read(Bytes::from(bytes), life)
                .map_err(|_| unreadable("read"))?;
            last = event.seq;
            events.insert(event.seq, event);
        }
        if has_more {
            known_upto = known_upto.min(last);
        }
    }
    let gaps = gaps(query, texts(next()?)?)?;
    let mut page = Page {
        upto: head,
        head,
        whole: has_all && gaps.is_empty(),
        gaps,
        ..Page::default()
    };
    let mut bytes = 0;
    for (seq, event) in events {
        bytes += event.payload.json().len();
        let is_full = page.events.len() >= query.events_max || bytes > query.bytes_max;
        if seq > known_upto || is_full && !page.events.is_empty() {
            page.more = true;
            break;
        }
        page.events.push(event);
    }
    if page.more || known_upto < u64::MAX {
        page.more = true;
        page.upto = page.events.last().map_or(query.after, |event| event.seq);
    }
    Ok(page)
}

/// The rooms that lack something, of what each lacks or 0.
fn gaps(query: &Query, lacks: Vec<String>) -> Result<Vec<Gap>, BrokerError> {
    let mut gaps = Vec::new();
    for ((room, _), upto) in query.rooms.iter().zip(lacks) {
        match upto.parse().map_err(|_| unreadable("read"))? {
            0 => {}
            upto => gaps.push((room.clone(), upto)),
        }
    }
    Ok(gaps)
}

/// The members of a room.
pub(super) async fn members(
    shared: Arc<Shared>,
    readers: Readers,
    room: RoomName,
) -> Result<Vec<Member>, BrokerError> {
    let mut cmd = shared.scripts.members.call(1);
    cmd.arg(shared.keys.nodes())
        .arg(shared.keys.at())
        .arg(room.as_str())
        .arg(shared.settings.dead_ms);
    let mut found: BTreeMap<String, (u64, Member)> = BTreeMap::new();
    for row in list(ask(&readers, &cmd).await?)? {
        let [card, id, row] = &texts(row)?[..] else {
            return Err(unreadable("members"));
        };
        let node = serde_json::from_str::<NodeCard>(card).map(|card| card.name);
        let (Some((generation, row)), Ok(node)) = (row.split_once(' '), node) else {
            continue;
        };
        let (Ok(generation), Some(member)) = (generation.parse(), record::read_member(id, &node, row)) else {
            continue;
        };
        // A client that has just moved may be on two nodes for a moment.
        let is_newer = found.get(id).is_none_or(|(known, _)| *known < generation);
        if is_newer {
            found.insert(id.clone(), (generation, member));
        }
    }
    Ok(found.into_values().map(|(_, member)| member).collect())
}

/// Rooms with members.
pub(super) async fn rooms(
    shared: Arc<Shared>,
    readers: Readers,
    prefix: String,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<(RoomName, usize)>, BrokerError> {
    let lowest = match after.filter(|after| *after >= prefix) {
        Some(after) => format!("({after}"),
        None => format!("[{prefix}"),
    };
    let mut cmd = shared.scripts.rooms.call(1);
    cmd.arg(shared.keys.nodes())
        .arg(shared.keys.at())
        .arg(lowest)
        .arg(format!("[{prefix}{ABOVE}"))
        .arg(limit)
        .arg(shared.settings.dead_ms);
    let mut found: BTreeMap<RoomName, usize> = BTreeMap::new();
    for row in list(ask(&readers, &cmd).await?)? {
        let [name, count] = &texts(row)?[..] else {
            return Err(unreadable("rooms"));
        };
        let (Ok(room), Ok(count)) = (RoomName::parse(name, name.len()), count.parse::<usize>()) else {
            continue;
        };
        *found.entry(room).or_default() += count;
    }
    Ok(found.into_iter().take(limit).collect())
}

/// What nodes have relayed. The head is asked for behind that: so it is a number up to which all of it is.
pub(super) async fn relayed(
    shared: Arc<Shared>,
    readers: Readers,
    nodes: Vec<NodeTag>,
) -> Result<Vec<Relayed>, BrokerError> {
    let mut counts = redis::cmd("HMGET");
    counts.arg(shared.keys.origins());
    for node in &nodes {
        counts.arg(node.to_string());
    }
    let counts = list(ask(&readers, &counts).await?)?;
    let mut head = redis::cmd("HGET");
    head.arg(shared.keys.meta()).arg("seq");
    let seq = text(ask(&readers, &head).await?)?;
    let seq = seq.parse().map_err(|_| unreadable("relayed"))?;
    let count = |known: Value| match known {
        Value::Nil => Ok(0),
        known => {
            let known = text(known)?;
            let count = known.split('.').next().and_then(|count| count.parse().ok());
            count.ok_or_else(|| unreadable("relayed"))
        }
    };
    let relayed = |known| {
        Ok(Relayed {
            count: count(known)?,
            seq,
        })
    };
    counts.into_iter().map(relayed).collect()
}

/// The nodes.
pub(super) async fn nodes(shared: Arc<Shared>, readers: Readers) -> Result<Vec<NodeRow>, BrokerError> {
    let mut cmd = shared.scripts.nodes.call(1);
    cmd.arg(shared.keys.nodes());
    let mut rows = Vec::new();
    for row in list(ask(&readers, &cmd).await?)? {
        let [tag, silent_ms, card] = &texts(row)?[..] else {
            return Err(unreadable("nodes"));
        };
        let (Some(tag), Ok(card), Ok(silent_ms)) =
            (NodeTag::parse(tag), serde_json::from_str(card), silent_ms.parse())
        else {
            continue;
        };
        rows.push(NodeRow { tag, card, silent_ms });
    }
    Ok(rows)
}
