//! Any history of two nodes, with a far tier that fails, against a model: what was invalidated before a request began is not
//! its answer, and nothing is touched that nobody named.

use crate::*;
use futures_util::future::join_all;
use greenroom_actors::{
    cache::Invalidate,
    testing::{memory_far::Mood, on_virtual_time},
};
use proptest::{prelude::*, sample::select};
use std::collections::BTreeMap;

/// Keys of two projects and of nobody, by number.
const KEYS: usize = 6;

fn key(number: usize) -> Key {
    let project = ["p1", "p1.x"][number % 2];
    match number {
        0 | 1 => fingerprint(project),
        2 | 3 => Key::file(&name(project), "a.rs"),
        _ => embedding(number as u8),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put { node: usize, key: usize },
    Get { node: usize, key: usize },
    Forget { node: usize, key: usize },
    Project { node: usize, project: usize },
}

#[derive(Clone, Debug)]
enum Step {
    /// These, at once.
    Round(Vec<Op>),
    Become(Mood),
    Cut,
    Flush,
    Meddle {
        key: usize,
    },
    Wait {
        ms: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let at = || (0..2_usize, 0..KEYS);
    prop_oneof![
        3 => at().prop_map(|(node, key)| Op::Put { node, key }),
        6 => at().prop_map(|(node, key)| Op::Get { node, key }),
        2 => at().prop_map(|(node, key)| Op::Forget { node, key }),
        1 => (0..2_usize, 0..2_usize).prop_map(|(node, project)| Op::Project { node, project }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(op(), 1..4).prop_map(Step::Round),
        1 => select(vec![Mood::Well, Mood::Well, Mood::Away, Mood::Deaf]).prop_map(Step::Become),
        1 => Just(Step::Cut),
        1 => Just(Step::Flush),
        1 => (0..KEYS).prop_map(|key| Step::Meddle { key }),
        2 => select(vec![1, 60, 300, 6_000]).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// When each value was put, and when each key was invalidated for all, in rounds.
#[derive(Default)]
struct Model {
    round: u64,
    values: BTreeMap<String, (usize, u64)>,
    forgotten: BTreeMap<usize, Vec<u64>>,
}

impl Model {
    fn value(&mut self, key: usize) -> String {
        let value = format!("v{}", self.values.len());
        self.values.insert(value.clone(), (key, self.round));
        value
    }

    fn forget(&mut self, keys: impl IntoIterator<Item = usize>) {
        for key in keys {
            self.forgotten.entry(key).or_default().push(self.round);
        }
    }

    fn check(&self, wanted: usize, value: &str) {
        let (key, put) = self.values[value];
        assert_eq!(key, wanted, "{value} is of another key");
        let forgotten = self.forgotten.get(&key).into_iter().flatten();
        let since = forgotten.filter(|at| put < **at && **at < self.round).count();
        assert_eq!(
            since, 0,
            "{value} of {key}, put in {put}, was invalidated before {}",
            self.round
        );
    }
}

/// What an operation came to: a key and its value, or keys that all nodes have forgotten.
enum Done {
    Nothing,
    Got(usize, Option<String>),
    Forgot(Vec<usize>),
}

async fn forget(cache: &Addr<CacheActor>, what: Invalidate, keys: Vec<usize>) -> Done {
    match cache.send(what).await.expect("a cache").everywhere {
        true => Done::Forgot(keys),
        false => Done::Nothing,
    }
}

async fn carry_out(nodes: &[Addr<CacheActor>; 2], op: Op, value: Option<String>) -> Done {
    match op {
        Op::Put { node, key: number } => {
            put(&nodes[node], &key(number), &value.unwrap_or_default()).await;
            Done::Nothing
        }
        Op::Get { node, key: number } => {
            // What never changes may be given out by a node that does not hear whether it was invalidated.
            let is_checked = key(number).kind.row().is_constant;
            let trusted = !is_checked || report(&nodes[node]).await.near.trusted;
            let value = get(&nodes[node], &key(number)).await;
            Done::Got(number, value.filter(|_| trusted))
        }
        Op::Forget { node, key: number } => {
            forget(&nodes[node], Invalidate::Keys(vec![key(number)]), vec![number]).await
        }
        Op::Project { node, project } => {
            let what = Invalidate::Project(name(["p1", "p1.x"][project]));
            forget(&nodes[node], what, vec![project, project + 2]).await
        }
    }
}

async fn play(steps: Vec<Step>) {
    let (far, nodes) = pair().await;
    let witness = fingerprint("p1.y");
    put(&nodes[0], &witness, "untouched").await;
    let mut model = Model::default();
    for step in steps {
        model.round += 1;
        match step {
            Step::Round(ops) => {
                let value = |op: &Op, model: &mut Model| match op {
                    Op::Put { key, .. } => Some(model.value(*key)),
                    _ => None,
                };
                let values: Vec<_> = ops.iter().map(|op| value(op, &mut model)).collect();
                let all = ops.into_iter().zip(values);
                let done = join_all(all.map(|(op, value)| carry_out(&nodes, op, value))).await;
                for done in done {
                    match done {
                        Done::Got(key, Some(value)) => model.check(key, &value),
                        Done::Forgot(keys) => model.forget(keys),
                        Done::Got(_, None) | Done::Nothing => {}
                    }
                }
            }
            Step::Become(mood) => far.set(mood),
            Step::Cut => far.cut(),
            Step::Flush => {
                far.flush();
                far.meddle(&witness, "untouched".into());
                wait(1).await;
                model.forget(0..4);
            }
            Step::Meddle { key: number } => {
                let value = model.value(number);
                far.meddle(&key(number), Bytes::from(value));
                wait(1).await;
            }
            Step::Wait { ms } => wait(ms).await,
        }
    }
    far.set(Mood::Well);
    wait(12_000).await;
    for node in &nodes {
        let report = report(node).await;
        assert!(report.near.trusted && report.computing == 0, "{report:?}");
        assert_eq!(report.far.map(|far| (far.asked, far.owed)), Some((true, 0)));
        assert_eq!(get(node, &witness).await.as_deref(), Some("untouched"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_node_gives_out_what_was_invalidated_before_it_was_asked(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        on_virtual_time(play(steps));
    }
}
