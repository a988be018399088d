//! Raw results: kept as JSON, and put together into medians and ratios.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::figures::Figures;
use crate::machine::{Machine, Occasion};

/// Everything measured so far, the newest of each case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub cases: BTreeMap<String, CaseResult>,
}

/// One case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    pub occasion: Occasion,
    /// In the order in which they took turns.
    pub peers: Vec<PeerResult>,
}

/// One peer in one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerResult {
    pub name: String,
    /// Whether it is held against the targets.
    pub judged: bool,
    /// One entry a round; none where the round failed.
    pub rounds: Vec<Option<Figures>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

impl Results {
    /// Those in a file; none if there is no file.
    pub fn load(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes them.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, &(serde_json::to_string_pretty(self)? + "\n"))
    }
}

/// Writes a file and the directories above it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

impl CaseResult {
    /// The peer of this name.
    pub fn peer(&self, name: &str) -> Option<&PeerResult> {
        self.peers.iter().find(|peer| peer.name == name)
    }
}

impl PeerResult {
    /// The median of a figure over the rounds.
    pub fn median(&self, key: &str) -> Option<f64> {
        median(
            self.rounds
                .iter()
                .flatten()
                .filter_map(|figures| figures.get(key).copied())
                .collect(),
        )
    }

    /// The largest value of a figure over the rounds: what may never happen is not averaged away.
    pub fn worst(&self, key: &str) -> Option<f64> {
        let values = self
            .rounds
            .iter()
            .flatten()
            .filter_map(|figures| figures.get(key).copied());
        values.max_by(f64::total_cmp)
    }

    /// The median of the ratios to another peer, round by round: what disturbs a round disturbs both.
    pub fn ratio(&self, other: &Self, key: &str) -> Option<f64> {
        let pairs = self
            .rounds
            .iter()
            .zip(&other.rounds)
            .filter_map(|(mine, theirs)| {
                let (mine, theirs) = (mine.as_ref()?.get(key)?, theirs.as_ref()?.get(key)?);
                (*theirs > 0.0).then_some(mine / theirs)
            });
        median(pairs.collect())
    }
}

/// The middle value, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        (values[values.len() / 2 - 1] + upper) / 2.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(values: &[Option<f64>]) -> PeerResult {
        let round = |value: &Option<f64>| value.map(|value| Figures::from([("x".to_owned(), value)]));
        PeerResult {
            rounds: values.iter().map(round).collect(),
            ..PeerResult::default()
        }
    }

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (floor, node) = (
            peer(&[Some(1.0), Some(10.0), Some(2.0)]),
            peer(&[Some(2.0), Some(11.0), Some(3.0)]),
        );
        assert_eq!(node.ratio(&floor, "x"), Some(1.5));
        assert_eq!((node.median("x"), node.worst("x")), (Some(3.0), Some(11.0)));
    }

    #[test]
    fn a_failed_round_counts_for_neither() {
        let (floor, node) = (
            peer(&[Some(1.0), None, Some(2.0)]),
            peer(&[None, Some(7.0), Some(6.0)]),
        );
        assert_eq!(node.ratio(&floor, "x"), Some(3.0));
        assert_eq!(node.ratio(&floor, "y"), None);
    }
}
