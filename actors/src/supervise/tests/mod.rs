//! Every way in which a worker can end, on virtual time.

mod giving_up;
mod living;
mod panics;
mod restarting;
mod telling;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::dev::SendError;
use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, MailboxError, Message, Running, SpawnHandle,
    Supervised,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::{Level, Metadata, field, span};

use super::{Lifeline, Phase, Restarts, Status, Supervisor, ages, current_worker, note_panic};
use crate::logic::restarts::Policy;
use crate::testing::on_virtual_time;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// An actor that does what a test tells it to, and keeps a diary.
struct Patient {
    lifeline: Lifeline<Patient>,
    diary: Diary,
    script: Script,
    runs: u32,
    timer: SpawnHandle,
}

type Step = fn(&mut Patient, &mut Context<Patient>);

/// What the patient does in its life cycle. It can tell the runs apart by `runs`, counted from one.
#[derive(Clone, Copy)]
struct Script {
    started: Step,
    restarting: Step,
    stopping: fn() -> Running,
    stopped: Step,
}

const CALM: Script = Script {
    started: |_, _| {},
    restarting: |_, _| {},
    stopping: || Running::Stop,
    stopped: |_, _| {},
};

impl Actor for Patient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.runs += 1;
        self.diary.note("started");
        (self.script.started)(self, ctx);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        (self.script.stopping)()
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        self.diary.note("stopped");
        (self.script.stopped)(self, ctx);
    }
}

impl Supervised for Patient {
    fn restarting(&mut self, ctx: &mut Self::Context) {
        self.diary.note("restarting");
        (self.script.restarting)(self, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Do(Step);

impl Handler<Do> for Patient {
    type Result = ();

    fn handle(&mut self, Do(step): Do, ctx: &mut Self::Context) {
        step(self, ctx);
    }
}

#[derive(Message, Debug)]
#[rtype(result = "u32")]
struct Say(u32);

impl Handler<Say> for Patient {
    type Result = u32;

    fn handle(&mut self, Say(number): Say, _: &mut Self::Context) -> u32 {
        self.diary.note(&number.to_string());
        number
    }
}

#[derive(Clone, Default)]
struct Diary(Rc<RefCell<String>>);

impl Diary {
    fn note(&self, what: &str) {
        let mut text = self.0.borrow_mut();
        let gap = if text.is_empty() { "" } else { " " };
        write!(text, "{gap}{what}").unwrap();
    }

    /// What was noted since the last look.
    fn read(&self) -> String {
        self.0.take()
    }
}

/// Panics when it is dropped, but never because of another panic, which would abort.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

const BOOM: Do = Do(|_, _| panic!("boom"));

fn patient(supervisor: &Supervisor, policy: Policy, script: Script) -> (Addr<Patient>, Diary) {
    let diary = Diary::default();
    let addr = supervisor.start("patient", policy, |lifeline| Patient {
        lifeline,
        diary: diary.clone(),
        script,
        runs: 0,
        timer: SpawnHandle::default(),
    });
    (addr, diary)
}

fn status(supervisor: &Supervisor) -> Status {
    supervisor.workers().borrow()["patient"].clone()
}

fn restarts(supervisor: &Supervisor) -> (u32, u32) {
    let Restarts { panics, outages } = status(supervisor).restarts;
    (panics, outages)
}

/// Tells a calm patient to do something that is its end, and checks that it serves again at once.
fn one_panic(script: Script, task: Do, expected: &str) {
    on_virtual_time(async {
        let supervisor = Supervisor::seeded(1);
        let (addr, diary) = patient(&supervisor, Policy::default(), script);
        assert_eq!(addr.send(Say(1)).await, Ok(1));
        let before = Instant::now();
        addr.try_send(task).unwrap();
        sleep(5 * MS).await;
        assert_eq!(restarts(&supervisor), (1, 0));
        assert_eq!(addr.send(Say(2)).await, Ok(2));
        assert!(before.elapsed() <= 6 * MS);
        assert_eq!(diary.read(), expected);
        assert_eq!(status(&supervisor).phase, Phase::Running);
    });
}
