//! How long to wait before coming back. Pure.

use std::time::Duration;

/// Where the node has not said when to come back.
const FIRST: Duration = Duration::from_secs(1);
/// What the pause grows to, unless the node asks for more.
const LONGEST: Duration = Duration::from_secs(30);
/// What a node may ask for.
const MOST: Duration = Duration::from_secs(300);

/// Pauses that double with each failure in a row.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub fn new() -> Self {
        Self {
            first: FIRST,
            failures: 0,
        }
    }

    /// The node said how long to wait at least (`retry:`).
    pub fn told(&mut self, pause: Duration) {
        self.first = pause.min(MOST);
    }

    /// It worked: the next failure is the first one again.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// The next pause: at least what was told, up to half of it longer, so that those who were cut off
    /// together do not come back together. `chance` lies between 0 and 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(LONGEST.max(self.first))
            .mul_f64(1.0 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(backoff: &mut Backoff, chance: f64) -> Vec<u128> {
        (0..7).map(|_| backoff.next(chance).as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_spread() {
        assert_eq!(
            pauses(&mut Backoff::new(), 0.0),
            [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        assert_eq!(
            pauses(&mut Backoff::new(), 1.0),
            [1_500, 3_000, 6_000, 12_000, 24_000, 45_000, 45_000]
        );
    }

    #[test]
    fn success_begins_anew_and_a_told_pause_is_kept() {
        let mut backoff = Backoff::new();
        backoff.told(Duration::from_millis(200));
        assert_eq!(pauses(&mut backoff, 0.0)[..3], [200, 400, 800]);
        backoff.worked();
        assert_eq!(backoff.next(0.0).as_millis(), 200);
        backoff.told(Duration::from_secs(60));
        assert_eq!(backoff.next(0.0).as_secs(), 60);
        backoff.told(Duration::from_secs(100_000));
        assert_eq!(backoff.next(0.0), MOST);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff {
            first: FIRST,
            failures: u32::MAX,
        };
        assert_eq!(backoff.next(0.0), LONGEST);
    }
}
