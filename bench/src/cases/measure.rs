//! The figures of a case, and what they have to be.

use crate::peer::FLOOR;

/// One figure of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Its key among the results.
    pub key: &'static str,
    /// Its name and unit, as the report says it.
    pub title: &'static str,
    pub target: Target,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most so many times the figure of another peer in the same round.
    TimesPeer(f64, &'static str),
    /// At least so many times that.
    TimesPeerAtLeast(f64, &'static str),
    AtMost(f64),
    AtLeast(f64),
    /// Told, not judged.
    Open,
}

pub(super) const fn measure(key: &'static str, title: &'static str, target: Target) -> Measure {
    Measure { key, title, target }
}

pub(super) const fn times_floor(factor: f64) -> Target {
    Target::TimesPeer(factor, FLOOR)
}

pub(super) const EXACT: Measure = measure(
    "wrong",
    "lost, doubled, out of order, stray or refused",
    Target::AtMost(0.0),
);
pub(super) const P50: Measure = measure("p50_ms", "latency p50, ms", times_floor(1.3));
pub(super) const P99: Measure = measure("p99_ms", "latency p99, ms", times_floor(1.3));
pub(super) const DELIVERIES: Measure = measure("deliveries_per_second", "deliveries a second", Target::Open);

pub(super) const fn cpu(target: Target) -> Measure {
    measure("cpu_us_per_delivery", "server CPU, us a delivery", target)
}

impl Target {
    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::TimesPeer(factor, peer) => format!("<= {factor} x {peer}"),
            Self::TimesPeerAtLeast(factor, peer) => format!(">= {factor} x {peer}"),
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::Open => String::new(),
        }
    }

    /// Whether `value` is met; `ratio` is that to the peer named. `None` when it cannot be told.
    pub fn is_met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::TimesPeer(factor, _) => ratio.map(|ratio| ratio <= factor),
            Self::TimesPeerAtLeast(factor, _) => ratio.map(|ratio| ratio >= factor),
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
            Self::Open => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_judged_by_value_or_ratio() {
        assert_eq!(times_floor(1.15).is_met(9.0, Some(1.15)), Some(true));
        assert_eq!(times_floor(1.15).is_met(9.0, Some(1.16)), Some(false));
        assert_eq!(times_floor(1.15).is_met(9.0, None), None);
        assert_eq!(Target::AtMost(2.0).is_met(2.1, None), Some(false));
        assert_eq!(Target::AtLeast(2.0).is_met(2.1, None), Some(true));
        assert_eq!(Target::Open.is_met(2.1, None), None);
    }
}
