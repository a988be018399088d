//! Errands as commands.

use greenroom_actors::broker::{BrokerError, Errand, NodeCard, Outcome};
use greenroom_actors::logic::cluster::record;
use greenroom_actors::logic::event::NodeTag;
use greenroom_actors::logic::presence::Card;
use greenroom_actors::logic::room_name::RoomName;
use greenroom_actors::logic::sessions::{Claimed, Kept};
use redis::{Cmd, Value};

use super::Shared;
use super::value::{list, text, unreadable};

/// Rooms of a node that are emptied at once: all that one has, in some ten milliseconds at the most.
const ROOMS_AT_ONCE: usize = 100_000;
/// A dead node's rooms are emptied this much later than it is taken for dead, and its name is kept for as long as clients may
/// come back to it, and this much longer.
const FORGET_MS: u64 = 600_000;
/// One node keeps house so often.
const TEND_MS: u64 = 4_000;
/// Rooms are remembered for so many times as long as their histories, but at least so long.
const REMEMBERED: u64 = 2;
const REMEMBERED_MIN_MS: u64 = 3_600_000;

/// The subject of a record as the scripts compare it: nobody is not somebody without a name.
fn subject(subject: Option<&str>) -> String {
    subject.map_or_else(|| "-".into(), |subject| format!("+{subject}"))
}

/// The command that carries an errand out.
pub(super) fn command(shared: &Shared, tag: NodeTag, errand: &Errand) -> Cmd {
    let (keys, scripts, settings) = (&shared.keys, &shared.scripts, &shared.settings);
    let mut cmd;
    match errand {
        Errand::Keep(secret, kept) => {
            cmd = scripts.keep.call(2);
            cmd.arg(keys.session(&secret.to_text()))
                .arg(keys.meta())
                .arg(kept.generation)
                .arg(record::write(kept))
                .arg(subject(kept.subject.as_deref()))
                .arg(tag.to_string())
                .arg(settings.session_ms);
        }
        Errand::Claim(secret, who) => {
            cmd = scripts.claim.call(3);
            cmd.arg(keys.session(&secret.to_text()))
                .arg(keys.nodes())
                .arg(keys.meta())
                .arg(subject(who.as_deref()))
                .arg(tag.to_string())
                .arg(settings.gone_ms)
                .arg(settings.session_ms)
                .arg(keys.all_channel());
        }
        Errand::Part(ticket, for_good) => {
            cmd = scripts.part.call(1);
            cmd.arg(keys.session(&ticket.secret.to_text()))
                .arg(ticket.generation)
                .arg(u8::from(*for_good))
                .arg(settings.gone_ms);
        }
        Errand::Enter(rooms, card, since_ms) => {
            cmd = at_rooms(scripts.enter.call(1 + rooms.len()), shared, tag, rooms);
            cmd.arg(card.id.to_string())
                .arg(card.generation)
                .arg(record::write_member(card, *since_ms));
            name(&mut cmd, rooms);
        }
        Errand::Exit(rooms, card) => {
            cmd = at_rooms(scripts.exit.call(1 + rooms.len()), shared, tag, rooms);
            let Card { id, generation, .. } = &**card;
            cmd.arg(id.to_string()).arg(*generation);
            name(&mut cmd, rooms);
        }
        Errand::Empty => {
            cmd = scripts.empty.call(1);
            cmd.arg(keys.node_rooms(tag))
                .arg(keys.node_members(tag))
                .arg(ROOMS_AT_ONCE);
        }
        Errand::Beat(card) => cmd = beat(shared, tag, card),
        Errand::Bye => {
            cmd = redis::cmd("HDEL");
            cmd.arg(keys.nodes()).arg(tag.to_string());
        }
        Errand::Tend => cmd = tend(shared),
    }
    cmd
}

fn beat(shared: &Shared, tag: NodeTag, card: &NodeCard) -> Cmd {
    let mut cmd = shared.scripts.beat.call(1);
    // Texts and numbers are always serialisable.
    let card = serde_json::to_string(card).unwrap_or_default();
    cmd.arg(shared.keys.nodes()).arg(tag.to_string()).arg(card);
    cmd
}

fn tend(shared: &Shared) -> Cmd {
    let (keys, settings) = (&shared.keys, &shared.settings);
    let mut cmd = shared.scripts.tend.call(6);
    cmd.arg(keys.tending())
        .arg(keys.meta())
        .arg(keys.rooms())
        .arg(keys.nodes())
        .arg(keys.origins())
        .arg(keys.clock())
        .arg(TEND_MS)
        .arg(keys.at())
        .arg(settings.dead_ms)
        .arg(settings.gone_ms.saturating_add(FORGET_MS))
        .arg((REMEMBERED * settings.history_ms).max(REMEMBERED_MIN_MS));
    cmd
}

fn at_rooms(mut cmd: Cmd, shared: &Shared, tag: NodeTag, rooms: &[RoomName]) -> Cmd {
    let members = shared.keys.node_members(tag);
    cmd.arg(shared.keys.node_rooms(tag));
    for room in rooms {
        cmd.arg(format!("{members}{room}"));
    }
    cmd
}

fn name(cmd: &mut Cmd, rooms: &[RoomName]) {
    for room in rooms {
        cmd.arg(room.as_str());
    }
}

/// What an errand came to.
pub(super) fn outcome(errand: &Errand, answer: Value) -> Result<Outcome, BrokerError> {
    match (errand, answer) {
        (Errand::Keep(..), Value::Int(kept)) => Ok(Outcome::Kept(if kept == 1 {
            Kept::ByAll
        } else {
            Kept::Superseded
        })),
        (Errand::Claim(..), Value::Nil) => Ok(Outcome::Claimed(None)),
        (Errand::Claim(..), answer) => {
            let mut values = list(answer)?.into_iter();
            let mut next = || values.next().ok_or_else(|| unreadable("claim")).and_then(text);
            let generation = next()?.parse().map_err(|_| unreadable("claim"))?;
            let (record, is_latest) = (next()?, next()? == "1");
            // A record of another version is nobody's.
            let record = record::read(&record, generation);
            Ok(Outcome::Claimed(
                record.map(|record| Claimed { record, is_latest }),
            ))
        }
        _ => Ok(Outcome::Done),
    }
}
