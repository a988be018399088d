//! The report: one table a group, and what a person has written about the misses, kept.

use anyhow::Result;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cases::{self, Case, Measure, Target};
use crate::machine::{Machine, Occasion};
use crate::peer::{FLOOR, NODE};
use crate::results::{CaseResult, PeerResult, Results, write};

const MISSES_BEGIN: &str = "<!-- misses: begin; written by hand, kept when the report is made anew -->";
const MISSES_END: &str = "<!-- misses: end -->";
/// Cores that others may use before a case is marked: the kernel's own work is a little of that.
const OTHERS_BUSY_MAX: f64 = 0.15;
const MISSES_NONE: &str = "Nothing has been written yet.";

const INTRODUCTION: &str = "\
# Benchmarks

Written by `greenroom-bench report` from `bench/latest.json`; `bench/README.md` of the repository says how to take
the figures anew. Machines differ and are noisy, so what counts are ratios within one run: to a *floor*, one thread
that builds a frame once an event and does one `write()` a member, which is the kernel's price of a fan-out. The
*coalescing floor* writes each member once a turn instead. Servers under load take turns by the second within a round
(floor, node, node, floor, ...). Figures are medians of the rounds, ratios are medians of each round's ratio, and of what
must not happen at all the worst round is told. Every delivery is accounted for: payload 256 bytes, numbered by room. A
case is marked as disturbed where something else on the machine used its cores: its ratios and latencies are then not to
be relied on, since a server that falls behind and sends queued events in one write needs fewer writes than the floor.
";

/// Writes the report, with the hand-written part of the one before.
pub fn make(results: &Results, path: &Path) -> Result<()> {
    let before = fs::read_to_string(path).unwrap_or_default();
    write(path, &render(results, misses_of(&before)))
}

/// What a person wrote in an earlier report.
fn misses_of(report: &str) -> Option<&str> {
    let (_, rest) = report.split_once(MISSES_BEGIN)?;
    rest.split_once(MISSES_END).map(|(misses, _)| misses.trim())
}

fn render(results: &Results, misses: Option<&str>) -> String {
    let mut text = INTRODUCTION.to_owned();
    put_occasions(&mut text, results);
    let mut groups: Vec<&str> = cases::all().map(|case| case.group).collect();
    groups.dedup();
    groups
        .into_iter()
        .for_each(|group| put_group(&mut text, group, results));
    let misses = misses.filter(|misses| !misses.is_empty()).unwrap_or(MISSES_NONE);
    text + &format!("\n## What the misses are\n\n{MISSES_BEGIN}\n\n{misses}\n\n{MISSES_END}\n")
}

fn put_occasions(text: &mut String, results: &Results) {
    let Machine {
        cpu,
        cores,
        kernel,
        memory_gib,
        congestion_control,
        pinning,
    } = &results.machine;
    let mut say = |line: String| text.extend([line.as_str(), "\n"]);
    say(format!(
        "\n## Machine and runs\n\n{cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}; {pinning}; loopback."
    ));
    say(format!(
        "Congestion control by default: {congestion_control}{}.\n",
        if congestion_control == "bbr" {
            " (paces a loopback fan-out; floor, generator and node use reno)"
        } else {
            ""
        }
    ));
    say("| date | processor | commit | rounds | cases | command |\n|---|---|---|---|---|---|".to_owned());
    let occasions: BTreeSet<&Occasion> = results.cases.values().map(|case| &case.occasion).collect();
    for occasion in occasions {
        let cases = results
            .cases
            .iter()
            .filter(|(_, case)| case.occasion == *occasion);
        let cases: Vec<&str> = cases.map(|(name, _)| name.as_str()).collect();
        let Occasion {
            date,
            commit,
            command,
            runs,
            quick,
            cpu,
        } = occasion;
        let cpu = if cpu.is_empty() { &results.machine.cpu } else { cpu };
        let runs = if *quick {
            format!("{runs}, quick: not to be relied on")
        } else {
            runs.to_string()
        };
        say(format!(
            "| {date} | {cpu} | {commit} | {runs} | {} | `{command}` |",
            cases.join(", ")
        ));
    }
}

fn put_group(text: &mut String, group: &str, results: &Results) {
    let measured = |case: &&Case| case.group == group && results.cases.contains_key(case.name);
    let cases: Vec<&Case> = cases::all().filter(measured).collect();
    if cases.is_empty() {
        return;
    }
    let others = others(&cases, results);
    let mut heading = vec!["case", "figure", FLOOR];
    heading.extend(others.iter().map(String::as_str));
    heading.extend([NODE, "node / floor", "reach", "met"]);
    text.push_str(&format!("\n## {group}\n\n| {} |\n", heading.join(" | ")));
    text.push_str(&format!("|{}\n", "---|".repeat(heading.len())));
    for case in &cases {
        let result = &results.cases[case.name];
        let rows = case
            .measures
            .iter()
            .flat_map(|measure| rows(case, measure, result, &others));
        rows.for_each(|cells| text.push_str(&format!("| {} |\n", cells.join(" | "))));
    }
    text.push('\n');
    cases
        .iter()
        .for_each(|case| put_about(text, case, &results.cases[case.name]));
}

fn put_about(text: &mut String, case: &Case, result: &CaseResult) {
    text.push_str(&format!("- `{}`: {}.\n", case.name, case.about));
    if let Some(cores) = disturbance(result) {
        text.push_str(&format!(
            "  **Disturbed**: something else kept {cores:.2} cores busy in one round.\n"
        ));
    }
    for peer in &result.peers {
        for failure in peer.failures.iter().take(1) {
            text.push_str(&format!(
                "  **{} failed**: {}\n",
                peer.name,
                failure.replace('\n', " ")
            ));
        }
    }
}

/// The peers of some cases that are neither the floor nor held against the targets.
fn others(cases: &[&Case], results: &Results) -> Vec<String> {
    let mut others = Vec::new();
    for peer in cases.iter().flat_map(|case| &results.cases[case.name].peers) {
        if peer.name != FLOOR && !peer.judged && !others.contains(&peer.name) {
            others.push(peer.name.clone());
        }
    }
    others
}

/// One row for each peer that is held against the target; one without a verdict where there is none.
fn rows(case: &Case, measure: &Measure, result: &CaseResult, others: &[String]) -> Vec<Vec<String>> {
    let cell = |peer: Option<&PeerResult>| {
        let value = peer.and_then(|peer| value(peer, measure));
        value.map_or("-".to_owned(), |value| {
            if is_code(measure) {
                value.to_string()
            } else {
                figure(value)
            }
        })
    };
    let judged: Vec<&PeerResult> = result.peers.iter().filter(|peer| peer.judged).collect();
    let subjects: Vec<Option<&PeerResult>> = if judged.is_empty() {
        vec![None]
    } else {
        judged.into_iter().map(Some).collect()
    };
    let row = |subject: Option<&PeerResult>| {
        let via = subject
            .and_then(|subject| subject.name.strip_prefix(NODE))
            .unwrap_or_default();
        let mut cells = vec![
            format!("`{}`{via}", case.name),
            measure.title.to_owned(),
            cell(result.peer(FLOOR)),
        ];
        cells.extend(others.iter().map(|other| cell(result.peer(other))));
        cells.push(cell(subject));
        let ratio = |peer: &str| subject?.ratio(result.peer(peer)?, measure.key);
        let to_floor = ratio(FLOOR).filter(|_| !is_code(measure));
        cells.push(to_floor.map_or("-".to_owned(), figure));
        cells.push(measure.target.describe());
        let verdict = verdict(measure, subject, ratio);
        let disturbed = disturbance(result).is_some() && is_delicate(measure) && !verdict.is_empty();
        cells.push(verdict.to_owned() + if disturbed { ", disturbed" } else { "" });
        cells
    };
    subjects.into_iter().map(row).collect()
}

fn verdict(
    measure: &Measure,
    subject: Option<&PeerResult>,
    ratio: impl Fn(&str) -> Option<f64>,
) -> &'static str {
    let ratio = match measure.target {
        Target::TimesPeer(_, peer) | Target::TimesPeerAtLeast(_, peer) => ratio(peer),
        _ => None,
    };
    let Some(subject) = subject else { return "" };
    if measure.target == Target::Open {
        return "";
    }
    let met = value(subject, measure).and_then(|value| measure.target.is_met(value, ratio));
    match met {
        _ if !subject.failures.is_empty() => "**failed**",
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "not measured",
    }
}

/// Cores that something else used in the worst round, if that was too much.
fn disturbance(result: &CaseResult) -> Option<f64> {
    let others = result.peers.iter().filter_map(|peer| peer.worst("others_busy"));
    others
        .max_by(f64::total_cmp)
        .filter(|cores| *cores > OTHERS_BUSY_MAX)
}

/// Whether a figure says something else on a busy machine: ratios to others, and latencies.
fn is_delicate(measure: &Measure) -> bool {
    matches!(
        measure.target,
        Target::TimesPeer(..) | Target::TimesPeerAtLeast(..)
    ) || measure.key.starts_with('p')
}

/// Codes are names, not quantities.
fn is_code(measure: &Measure) -> bool {
    measure.key.ends_with("_code")
}

/// What must be 0 is told at its worst, everything else at its median.
fn value(peer: &PeerResult, measure: &Measure) -> Option<f64> {
    if measure.target == Target::AtMost(0.0) {
        peer.worst(measure.key)
    } else {
        peer.median(measure.key)
    }
}

/// Three significant digits, or a whole number with its thousands set off.
fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 1_000.0 => thousands(value.round() as i64),
        _ if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;

    fn peer(name: &str, key: &str, values: &[f64]) -> PeerResult {
        let round = |value: &f64| {
            Some(Figures::from([
                (key.to_owned(), *value),
                ("wrong".to_owned(), 0.0),
            ]))
        };
        let judged = name.starts_with(NODE);
        PeerResult {
            name: name.to_owned(),
            judged,
            rounds: values.iter().map(round).collect(),
            failures: vec![],
        }
    }

    fn results() -> Results {
        let key = "cpu_us_per_delivery";
        let peers = vec![
            peer(FLOOR, key, &[4.0, 4.2, 4.1]),
            peer(NODE, key, &[4.4, 4.4, 5.5]),
            peer("other", key, &[9.0]),
        ];
        let occasion = Occasion {
            command: "greenroom-bench run".to_owned(),
            runs: 3,
            ..Occasion::default()
        };
        let fanout = CaseResult { occasion, peers };
        Results {
            cases: [("fanout".to_owned(), fanout)].into(),
            ..Results::default()
        }
    }

    #[test]
    fn a_row_holds_floor_peers_node_ratio_target_and_verdict() {
        let report = render(&results(), None);
        let row =
            "| `fanout` | server CPU, us a delivery | 4.10 | 9.00 | 4.40 | 1.10 | <= 1.15 x floor | yes |";
        assert!(report.contains(row), "{report}");
        assert!(report.contains("| case | figure | floor | other | node | node / floor | reach | met |"));
        assert!(
            !report.contains("Acceptance"),
            "a group without results is left out"
        );
    }

    #[test]
    fn a_miss_and_a_failure_are_told() {
        let mut results = results();
        let node = &mut results.cases.get_mut("fanout").expect("there").peers[1];
        node.rounds.iter_mut().flatten().for_each(|figures| {
            figures.insert("cpu_us_per_delivery".to_owned(), 9.0);
        });
        assert!(render(&results, None).contains("<= 1.15 x floor | **no** |"));
        let node = &mut results.cases.get_mut("fanout").expect("there").peers[1];
        node.failures.push("it ended".to_owned());
        let report = render(&results, None);
        assert!(
            report.contains("<= 1.15 x floor | **failed** |") && report.contains("**node failed**: it ended")
        );
    }

    #[test]
    fn a_disturbed_verdict_says_so_and_a_count_does_not() {
        let mut results = results();
        let node = &mut results.cases.get_mut("fanout").expect("there").peers[1];
        node.rounds.iter_mut().flatten().for_each(|figures| {
            figures.insert("others_busy".to_owned(), 0.9);
        });
        let report = render(&results, None);
        assert!(report.contains("<= 1.15 x floor | yes, disturbed |"), "{report}");
        assert!(
            report.contains("| <= 0 | yes |") && report.contains("kept 0.90 cores busy"),
            "{report}"
        );
    }

    #[test]
    fn what_a_person_wrote_survives() {
        let first = render(&results(), None);
        assert_eq!(misses_of(&first), Some(MISSES_NONE));
        let written = first.replace(MISSES_NONE, "The cause is known.\n\nSee there.");
        let second = render(&results(), misses_of(&written));
        assert_eq!(misses_of(&second), Some("The cause is known.\n\nSee there."));
        assert_eq!(render(&results(), misses_of(&second)), second);
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 0.2634, 1.126, 44.44, 123.4, 1_234.4, 3_600_000.0].map(figure);
        assert_eq!(shown, ["0", "0.263", "1.13", "44.4", "123", "1,234", "3,600,000"]);
    }
}
