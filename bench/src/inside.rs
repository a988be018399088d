//! What a message between actors costs, and how soon a worker that panicked serves again: measured within this process,
//! on the actors' own supervisor and mailboxes.

use actix::{Actor, Addr, Arbiter, Context, Handler, Message, MessageResult, Supervised, System};
use anyhow::{Context as _, Result, anyhow, ensure};
use futures_util::future::{join, join_all, try_join_all};
use greenroom_actors::cache::{CacheActor, Get, PutMany, Settings};
use greenroom_actors::logic::cache::{Key, Name};
use greenroom_actors::logic::restarts::Policy;
use greenroom_actors::supervise::Supervisor;
use std::panic;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use crate::cases::{Effort, Inside};
use crate::figures::Figures;
use crate::process::Cores;
use crate::results::median;

/// Messages on their way in the stream across threads: what a mailbox of the node holds without a wait.
const IN_FLIGHT: u64 = 256;
/// Messages of one measurement, of many.
const MESSAGES: u64 = 20_000;
/// Messages behind the one that makes a worker panic.
const QUEUED: u64 = 64;

/// Says how many it has been given.
#[derive(Default)]
struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Supervised for Counter {}

#[derive(Message)]
#[rtype(result = "u64")]
struct Count;

impl Handler<Count> for Counter {
    type Result = MessageResult<Count>;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> Self::Result {
        self.0 += 1;
        MessageResult(self.0)
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for Counter {
    type Result = ();

    #[expect(clippy::panic, reason = "it is what is measured")]
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("asked to");
    }
}

/// Measures one round.
pub fn run(what: Inside, effort: Effort, cores: Cores) -> Result<Figures> {
    let measured = thread::spawn(move || {
        cores.use_both()?;
        let batches = effort.slices(20);
        System::new().block_on(async move {
            match what {
                Inside::Messages => messages(batches).await,
                Inside::NearCache => near_cache(batches).await,
                Inside::Restart => restarts(batches * 10).await,
            }
        })
    });
    measured.join().map_err(|_| anyhow!("the measurement panicked"))?
}

/// A worker as the node has them, with a mailbox of the default size.
fn start(supervisor: &Supervisor, name: &str) -> Addr<Counter> {
    let policy = Policy {
        mailbox: 4096,
        ..Policy::default()
    };
    supervisor.start(name, policy, |_| Counter::default())
}

async fn messages(batches: u64) -> Result<Figures> {
    let supervisor = Supervisor::new();
    let here = start(&supervisor, "here");
    let other = Arbiter::new();
    let (give, given) = oneshot::channel();
    let starts = supervisor.clone();
    other.spawn_fn(move || drop(give.send(start(&starts, "there"))));
    let there = given.await.context("the other thread starts no worker")?;
    let mut figures = Figures::new();
    for (key, addr, in_flight) in [
        ("same_thread_us", &here, 1),
        ("across_us", &there, IN_FLIGHT),
        ("across_round_trip_us", &there, 1),
    ] {
        let mut times = Vec::new();
        for _ in 0..batches {
            times.push(batch(addr, in_flight).await?);
        }
        figures.insert(key.to_owned(), median(times).unwrap_or_default());
    }
    other.stop();
    System::current().stop();
    Ok(figures)
}

/// Microseconds a message, of which so many are on their way at a time.
async fn batch(addr: &Addr<Counter>, in_flight: u64) -> Result<f64> {
    let began = Instant::now();
    let mut sent = 0;
    while sent < MESSAGES && in_flight == 1 {
        // Nothing but the message: joining futures costs as much as one.
        std::hint::black_box(addr.send(Count).await?);
        sent += 1;
    }
    while sent < MESSAGES {
        let asked = (0..in_flight).map(|_| addr.send(Count));
        for answer in try_join_all(asked).await? {
            std::hint::black_box(answer);
        }
        sent += in_flight;
    }
    Ok(micros(began.elapsed()) / sent as f64)
}

/// Entries of the near cache, each of a fingerprint's size or a vector's.
const ENTRIES: u64 = 10_000;

fn vector(number: u64) -> Key {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    Key::embedding(&Name::parse("model").expect("a name"), &hash)
}

async fn near_cache(batches: u64) -> Result<Figures> {
    let supervisor = Supervisor::new();
    let start = |supervisor: &Supervisor, name: &str| {
        let policy = Policy {
            mailbox: 4096,
            ..Policy::default()
        };
        supervisor.start(name, policy, |_| CacheActor::new(Settings::default(), None))
    };
    let here = start(&supervisor, "here");
    let other = Arbiter::new();
    let (give, given) = oneshot::channel();
    let starts = supervisor.clone();
    other.spawn_fn(move || drop(give.send(start(&starts, "there"))));
    let there = given.await.context("the other thread starts no cache")?;
    let mut figures = Figures::new();
    let mut missed = 0;
    for (key, cache) in [("same_thread_us", &here), ("across_us", &there)] {
        let all = (0..ENTRIES).map(|number| (vector(number), vec![7; 261].into()));
        cache.send(PutMany(all.collect())).await??;
        let mut times = Vec::new();
        for batch in 0..batches {
            // Well spread, and the same in each run.
            let keys = (0..MESSAGES).map(|number| vector((batch + number).wrapping_mul(7_919) % ENTRIES));
            let keys: Vec<Key> = keys.collect();
            let began = Instant::now();
            for key in keys {
                missed += usize::from(cache.send(Get(key)).await?.is_none());
            }
            times.push(micros(began.elapsed()) / MESSAGES as f64);
        }
        figures.insert(key.to_owned(), median(times).unwrap_or_default());
    }
    figures.insert("missed".to_owned(), missed as f64);
    other.stop();
    System::current().stop();
    Ok(figures)
}

/// From the message on which a worker panics to the answer of the one behind it; and what else was lost.
async fn restarts(workers: u64) -> Result<Figures> {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let supervisor = Supervisor::new();
    let (mut times, mut lost) = (Vec::new(), 0);
    for number in 0..workers {
        // Each its own: only the first panic is followed by no wait.
        let worker = start(&supervisor, &format!("worker-{number}"));
        worker.send(Count).await?;
        let began = Instant::now();
        let panicked = worker.send(Panic);
        let behind: Vec<_> = (0..QUEUED).map(|_| worker.send(Count)).collect();
        let (panicked, answers) = join(panicked, join_all(behind)).await;
        times.push(micros(began.elapsed()));
        ensure!(
            panicked.is_err(),
            "a worker that should have panicked has answered"
        );
        lost += answers.iter().filter(|answer| answer.is_err()).count();
    }
    panic::set_hook(loud);
    System::current().stop();
    Ok(Figures::from([
        ("serving_again_us".to_owned(), median(times).unwrap_or_default()),
        ("lost".to_owned(), lost as f64),
    ]))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
