//! Plays random schedules, and shows the shortest that fails.

use greenroom_actors::testing::universe::Node;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    env,
    fmt::Debug,
    panic::{self, AssertUnwindSafe},
    str::FromStr,
    sync::Once,
    time::Instant,
};

/// What happened, and how often.
pub type Reached = BTreeMap<String, u64>;

/// What a schedule came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What each client noticed.
    pub diaries: Vec<Vec<String>>,
    /// What happened.
    pub reached: Reached,
}

thread_local! {
    /// While a failing schedule is being shrunk, only the last failure is worth reading.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Planned panics say nothing.
pub fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = text_of(info.payload()).unwrap_or_default();
            if !QUIET.get() && !text.ends_with("as planned") && text != "crashed by a test" {
                before(info);
            }
        }));
    });
}

/// Plays so many schedules, or `GREENROOM_SCHEDULES` for a longer search, and adds up what happened. They are the same in
/// every run, unless `GREENROOM_SEED` asks for others: a search is a search, and a test a test.
pub fn search<S>(schedules: &S, count: u32, play: impl Fn(&S::Value) -> Reached) -> Reached
where
    S: Strategy<Value: Debug>,
{
    hush();
    let config = Config {
        cases: asked("GREENROOM_SCHEDULES").unwrap_or(count),
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..Config::default()
    };
    let count = config.cases;
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&asked("GREENROOM_SEED").unwrap_or(1_u64).to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let began = Instant::now();
    let reached = RefCell::new(Reached::new());
    QUIET.set(true);
    let run = TestRunner::new_with_rng(config, random).run(schedules, |schedule| {
        let played = panic::catch_unwind(AssertUnwindSafe(|| play(&schedule)));
        let played = played.map_err(|panic| {
            let text = text_of(&*panic).unwrap_or("panicked");
            TestCaseError::fail(text.to_owned())
        })?;
        for (name, times) in played {
            *reached.borrow_mut().entry(name).or_default() += times;
        }
        Ok(())
    });
    QUIET.set(false);
    println!("{:?} for {count} schedules", began.elapsed());
    if let Err(TestError::Fail(why, schedule)) = run {
        // proptest's own hook may swallow the panic's message.
        eprintln!("{why}\n{schedule:?}");
        panic!("{why}");
    }
    let reached = reached.into_inner();
    println!("{reached:#?}");
    reached
}

/// A search that never gets anywhere finds nothing: each of these must have happened so many times.
pub fn assert_reached(reached: &Reached, times: u64, names: &[&str]) {
    for name in names {
        let count = reached.get(*name).copied().unwrap_or(0);
        assert!(count >= times, "{name}: {count}");
    }
}

/// A schedule that is played twice is the same play.
pub fn assert_repeatable<S>(schedules: &S, play: impl Fn(&S::Value) -> Outcome)
where
    S: Strategy<Value: Debug>,
{
    hush();
    let mut runner = TestRunner::deterministic();
    for _ in 0..20 {
        let schedule = schedules.new_tree(&mut runner).expect("a schedule").current();
        assert_eq!(play(&schedule), play(&schedule), "{schedule:?}");
    }
}

/// Adds what the nodes' shards have counted.
pub fn count_shards(nodes: &[Node], reached: &mut Reached) {
    for shard in nodes.iter().flat_map(|node| &node.shards) {
        for (name, _, _, value) in shard.desk.hub.stats.rows() {
            *reached.entry(name.to_owned()).or_default() += value;
        }
    }
}

/// What is asked for by a variable of the environment.
fn asked<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}
