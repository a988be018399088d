//! Coming back over Socket.IO: what the server restores, and what it does not, is told exactly.

use serde_json::{Value, json};

use super::{EXACT_RESUME, resume};
use crate::ledger::Account;
use crate::protocol::Protocol;
use crate::server::{Hall, Service};

/// What a server does to a client that comes back.
#[derive(Clone, Copy, PartialEq)]
enum Lapse {
    None,
    /// It is another one, in no room.
    Stranger,
    /// One missed event is not sent.
    ForgetOne,
    /// It is another one, but given all the same.
    NewSecret,
}

/// One room, whose members may come back.
struct Returning {
    lapse: Lapse,
    secrets: u64,
    members: Vec<usize>,
    history: Vec<String>,
}

impl Returning {
    fn new(lapse: Lapse) -> Self {
        let (secrets, members, history) = (0, Vec::new(), Vec::new());
        Self {
            lapse,
            secrets,
            members,
            history,
        }
    }

    fn greeted(&mut self, by: usize, credentials: &Value, hall: &mut Hall) {
        let known = credentials["pid"]
            .as_str()
            .filter(|_| self.lapse != Lapse::Stranger);
        let kept = known.filter(|_| self.lapse != Lapse::NewSecret);
        self.secrets += 1;
        let pid = kept.map_or_else(|| format!("p{}", self.secrets), str::to_owned);
        hall.say(by, &format!("40{}", json!({"sid": "s", "pid": pid})));
        if known.is_none() {
            return;
        }
        let offset = credentials["offset"].as_str().expect("a text");
        let heard: usize = offset.parse().expect("one of ours");
        let skip = usize::from(self.lapse == Lapse::ForgetOne);
        self.history[heard + skip..]
            .iter()
            .for_each(|event| hall.say(by, event));
        self.members.push(by);
    }

    fn asked(&mut self, by: usize, reference: &str, asked: &Value, hall: &mut Hall) {
        let answer = if asked[0] == "join" {
            self.members.push(by);
            json!([{"ok": true, "room": asked[1]}])
        } else {
            let offset = (self.history.len() + 1).to_string();
            let event = format!("42{}", json!([asked[1]["event"], asked[1]["data"], offset]));
            self.members.iter().for_each(|member| hall.say(*member, &event));
            self.history.push(event);
            json!([{"ok": true, "rooms": {"r": 1}}])
        };
        hall.say(by, &format!("43{reference}{answer}"));
    }
}

impl Service for Returning {
    fn came(&mut self, who: usize, hall: &mut Hall) {
        hall.say(who, r#"0{"sid":"e"}"#);
    }

    fn hear(&mut self, from: usize, text: &[u8], hall: &mut Hall) {
        let text = std::str::from_utf8(text).expect("text");
        let (kind, rest) = text.split_at(2);
        let data = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let reference = &rest[..rest.len() - data.len()];
        let value = serde_json::from_str(data).unwrap_or_default();
        match kind {
            "40" => self.greeted(from, &value, hall),
            _ => self.asked(from, reference, &value, hall),
        }
    }

    fn post(&mut self, _: &str, _: &[u8], _: &mut Hall) -> Option<String> {
        None
    }

    fn left(&mut self, who: usize) {
        self.members.retain(|member| *member != who);
    }
}

/// Ten clients come back to this server: the account, how many were not recovered, how many have caught up.
fn come_back_to(lapse: Lapse, lost: u64) -> (Account, usize, usize) {
    resume(Returning::new(lapse), Protocol::SocketIo, lost)
}

#[test]
fn clients_that_come_back_hear_what_they_missed_once() {
    assert_eq!(come_back_to(Lapse::None, 0), (EXACT_RESUME, 0, 10));
}

#[test]
fn clients_that_are_not_known_again_are_told_and_miss_all() {
    let expected = Account {
        received: 50,
        lost: 300,
        ..EXACT_RESUME
    };
    assert_eq!(come_back_to(Lapse::Stranger, 300), (expected, 10, 0));
}

#[test]
fn an_event_missing_after_a_recovery_is_counted_and_nobody_has_caught_up() {
    let expected = Account {
        received: 340,
        lost: 10,
        ..EXACT_RESUME
    };
    assert_eq!(come_back_to(Lapse::ForgetOne, 10), (expected, 0, 0));
}

#[test]
fn recovered_is_who_has_its_secret_still() {
    assert_eq!(come_back_to(Lapse::NewSecret, 0), (EXACT_RESUME, 10, 10));
}
