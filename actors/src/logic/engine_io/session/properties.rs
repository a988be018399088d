//! Whatever clients, networks and the server do, in whatever order: an owner that carries out the effects keeps every
//! message, in order, and never finds itself told to use what is not there.

use super::tests::TIMING;
use super::*;
use crate::logic::engine_io::Packet;
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
enum Step {
    Get,
    AbortGet,
    Post {
        octets: bool,
    },
    EndPost(PostEnd),
    PostSays(Says),
    Attach,
    /// The socket with this number, modulo those that are open, or one that is not.
    SocketSays(u8, Says),
    SocketGone(u8, bool),
    /// A socket goes through a whole upgrade, if it may.
    Upgrade,
    Send,
    Close,
    CloseNow,
    Wait(u16),
}

#[derive(Clone, Copy, Debug)]
enum PostEnd {
    Whole,
    TooLarge,
    Aborted,
}

#[derive(Clone, Copy, Debug)]
enum Says {
    Message,
    Probe,
    Pong,
    Upgrade,
    Close,
    Ping,
    Nonsense,
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        8 => Just(Says::Message),
        4 => Just(Says::Probe),
        4 => Just(Says::Pong),
        4 => Just(Says::Upgrade),
        1 => Just(Says::Close),
        1 => Just(Says::Ping),
        1 => Just(Says::Nonsense),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let post_end = prop_oneof![
        8 => Just(PostEnd::Whole), 1 => Just(PostEnd::TooLarge), 1 => Just(PostEnd::Aborted)
    ];
    prop_oneof![
        10 => Just(Step::Get),
        1 => Just(Step::AbortGet),
        8 => prop::bool::weighted(0.05).prop_map(|octets| Step::Post { octets }),
        8 => post_end.prop_map(Step::EndPost),
        8 => says().prop_map(Step::PostSays),
        3 => Just(Step::Attach),
        8 => (any::<u8>(), says()).prop_map(|(which, says)| Step::SocketSays(which, says)),
        2 => any::<(u8, bool)>().prop_map(|(which, clean)| Step::SocketGone(which, clean)),
        3 => Just(Step::Upgrade),
        15 => Just(Step::Send),
        1 => Just(Step::Close),
        1 => Just(Step::CloseNow),
        10 => (0u16..250).prop_map(Step::Wait),
    ]
}

/// A naive owner with its requests and sockets, and the client's end of them.
struct Owner {
    session: Session,
    now_ms: u64,
    /// How many messages fit into an answer.
    payload: usize,
    get: bool,
    post: bool,
    sockets: BTreeSet<Link>,
    links: u32,
    outbox: VecDeque<u32>,
    accepted: u32,
    /// What has reached the client, over all transports, in order.
    arrived: Vec<u32>,
    closed: u32,
    /// Whether it has told the session that it is being closed and nothing waits any more.
    drained: bool,
}

impl Owner {
    fn new(on_socket: bool, payload: usize) -> Self {
        let (link, mut sockets) = (Link(0), BTreeSet::new());
        let session = if on_socket {
            sockets.insert(link);
            Session::websocket(link, 0, &TIMING)
        } else {
            Session::polling(0, &TIMING)
        };
        Self {
            session,
            now_ms: 0,
            payload,
            get: false,
            post: false,
            sockets,
            links: 0,
            outbox: VecDeque::new(),
            accepted: 0,
            arrived: Vec::new(),
            closed: 0,
            drained: false,
        }
    }

    fn hear(&mut self, input: Input<'_>) -> Result<Vec<Effect>, TestCaseError> {
        let mut effects = Vec::new();
        self.session.handle(input, self.now_ms, &TIMING, &mut effects);
        for effect in &effects {
            self.carry_out(*effect)?;
        }
        self.pump()?;
        Ok(effects)
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), TestCaseError> {
        match effect {
            Effect::AnswerGet(control) => {
                prop_assert!(std::mem::take(&mut self.get), "no GET waits");
                if control == Control::Ping {
                    self.move_out(self.payload);
                }
            }
            Effect::AcceptPost | Effect::AbortPost(_) => {
                prop_assert!(std::mem::take(&mut self.post), "no POST is read");
            }
            Effect::Write(link, _) | Effect::Upgraded(link) => prop_assert!(self.sockets.contains(&link)),
            Effect::CloseSocket(link) => prop_assert!(self.sockets.remove(&link), "{link:?} is not open"),
            Effect::Closed(_) => {
                self.closed += 1;
                prop_assert!(
                    !self.get && !self.post && self.sockets.is_empty(),
                    "something is left open"
                );
            }
            Effect::Deliver | Effect::Refuse(_) => {}
        }
        Ok(())
    }

    fn move_out(&mut self, most: usize) {
        let count = self.outbox.len().min(most);
        self.arrived.extend(self.outbox.drain(..count));
    }

    /// Sends what may be sent.
    fn pump(&mut self) -> Result<(), TestCaseError> {
        match self.session.outlet() {
            Outlet::Get => {
                prop_assert!(self.get, "no GET waits");
                if self.outbox.is_empty() {
                    return Ok(());
                }
                self.move_out(self.payload);
                self.get = false;
                self.hear(Input::GetAnswered)?;
            }
            Outlet::Socket(link) => {
                prop_assert!(self.sockets.contains(&link));
                self.move_out(usize::MAX);
            }
            Outlet::Hold => {}
        }
        let closing = self.closed == 0 && !self.session.is_open();
        if closing && self.outbox.is_empty() && !std::mem::replace(&mut self.drained, true) {
            self.hear(Input::Drained)?;
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Get => {
                let second = std::mem::replace(&mut self.get, true);
                let mut effects = Vec::new();
                self.session
                    .handle(Input::Get, self.now_ms, &TIMING, &mut effects);
                let refused = effects.iter().any(|effect| matches!(effect, Effect::Refuse(_)));
                prop_assert!(refused || !second, "two GETs wait");
                // A refused one is answered there and then; what was waiting before still is.
                self.get = second || !refused;
                for effect in effects {
                    self.carry_out(effect)?;
                }
                self.pump()?;
            }
            Step::AbortGet if self.get => {
                self.get = false;
                self.hear(Input::GetAborted)?;
            }
            Step::Post { octets } => self.begin_post(octets)?,
            Step::EndPost(end) if self.post => self.end_post(end)?,
            Step::PostSays(says) if self.post => self.says(Source::Post, says)?,
            Step::Attach => drop(self.attach()?),
            Step::SocketSays(which, says) => {
                let link = self.pick(which).unwrap_or(Link(u32::MAX));
                self.says(Source::Socket(link), says)?;
            }
            Step::SocketGone(which, clean) => {
                if let Some(link) = self.pick(which) {
                    self.sockets.remove(&link);
                    let gone = if clean {
                        Input::SocketClosed
                    } else {
                        Input::SocketFailed
                    };
                    self.hear(gone(link))?;
                }
            }
            Step::Upgrade => {
                let link = self.attach()?;
                self.says(Source::Socket(link), Says::Probe)?;
                self.says(Source::Socket(link), Says::Upgrade)?;
            }
            Step::Send if self.session.is_open() => {
                self.outbox.push_back(self.accepted);
                self.accepted += 1;
                self.pump()?;
            }
            Step::Close => {
                let (reason, backlog) = (Reason::ForcedClose, !self.outbox.is_empty());
                self.hear(Input::Close { reason, backlog })?;
            }
            Step::CloseNow => drop(self.hear(Input::CloseNow(Reason::ServerShuttingDown))?),
            Step::Wait(ms) => {
                self.now_ms += u64::from(ms);
                self.hear(Input::Tick)?;
            }
            Step::AbortGet | Step::EndPost(_) | Step::PostSays(_) | Step::Send => {}
        }
        Ok(())
    }

    fn begin_post(&mut self, octets: bool) -> Result<(), TestCaseError> {
        let effects = self.hear(Input::Post { octets })?;
        if !effects.iter().any(|effect| matches!(effect, Effect::Refuse(_))) {
            prop_assert!(!std::mem::replace(&mut self.post, true), "two POSTs are read");
        }
        Ok(())
    }

    fn end_post(&mut self, end: PostEnd) -> Result<(), TestCaseError> {
        match end {
            PostEnd::Whole => {
                let effects = self.hear(Input::PostEnded)?;
                prop_assert_eq!(effects, [Effect::AcceptPost]);
            }
            PostEnd::TooLarge => {
                self.post = false;
                self.hear(Input::PostTooLarge)?;
            }
            PostEnd::Aborted => {
                self.post = false;
                self.hear(Input::PostAborted)?;
            }
        }
        Ok(())
    }

    fn attach(&mut self) -> Result<Link, TestCaseError> {
        self.links += 1;
        let link = Link(self.links);
        self.sockets.insert(link);
        self.hear(Input::Attached(link))?;
        Ok(link)
    }

    fn pick(&self, which: u8) -> Option<Link> {
        let count = self.sockets.len().max(1);
        self.sockets.iter().nth(usize::from(which) % count).copied()
    }

    /// A message is delivered exactly if it comes by what carries an open session.
    fn says(&mut self, from: Source, says: Says) -> Result<(), TestCaseError> {
        let packet = match says {
            Says::Message => Packet::Text("m"),
            Says::Probe => Packet::Ping("probe"),
            Says::Pong => Packet::Pong(""),
            Says::Upgrade => Packet::Upgrade,
            Says::Close => Packet::Close,
            Says::Ping => Packet::Ping(""),
            Says::Nonsense => return self.hear(Input::Malformed(from)).map(drop),
        };
        let carries = match (self.session.outlet(), from) {
            (Outlet::Socket(link), Source::Socket(from)) => link == from,
            (_, Source::Post) => true,
            _ => false,
        };
        let expected = carries && self.session.is_open() && matches!(says, Says::Message);
        let effects = self.hear(Input::Packet(from, &packet))?;
        prop_assert_eq!(
            effects.contains(&Effect::Deliver),
            expected,
            "{:?} from {:?}",
            says,
            from
        );
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let all: Vec<u32> = self.arrived.iter().chain(&self.outbox).copied().collect();
        prop_assert_eq!(
            all,
            (0..self.accepted).collect::<Vec<_>>(),
            "lost, repeated or reordered"
        );
        prop_assert_eq!(
            self.closed,
            u32::from(self.session.carrier().is_none()),
            "closed exactly once"
        );
        prop_assert_eq!(self.session.due_ms().is_none(), self.closed == 1);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_lost_or_reordered_and_only_what_is_there_is_used(
        on_socket: bool, payload in 1usize..4, steps in vec(steps(), 0..80)
    ) {
        let mut owner = Owner::new(on_socket, payload);
        for step in steps {
            owner.take(step)?;
            owner.check()?;
        }
        // Left alone it ends, by silence if by nothing else, and leaves nothing open.
        for _ in 0..200 {
            owner.take(Step::Wait(100))?;
            owner.check()?;
        }
        prop_assert_eq!(owner.closed, 1);
        prop_assert!(!owner.get && !owner.post && owner.sockets.is_empty());
    }

    /// A client that keeps the rules is never cut off by an upgrade, whenever it comes, and gets everything.
    #[test]
    fn a_well_behaved_client_gets_all_across_an_upgrade(
        payload in 1usize..4, before in vec(any::<bool>(), 0..20), during in 0usize..10, after in 0usize..10
    ) {
        let mut owner = Owner::new(false, payload);
        for send in before {
            owner.take(if send || owner.get { Step::Send } else { Step::Get })?;
        }
        let link = owner.attach()?;
        owner.says(Source::Socket(link), Says::Probe)?;
        for _ in 0..during {
            owner.take(Step::Send)?;
        }
        // The client pauses: it waits for the GET that is out, and sends no other.
        owner.take(Step::Wait(100))?;
        prop_assert!(!owner.get);
        owner.says(Source::Socket(link), Says::Upgrade)?;
        for _ in 0..after {
            owner.take(Step::Send)?;
        }
        owner.check()?;
        prop_assert_eq!((owner.closed, owner.outbox.len()), (0, 0));
    }
}
