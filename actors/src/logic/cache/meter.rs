//! What the cache has done: by kind and tier, in the last minute, the last hour and since it began.

use super::{KINDS, Kind};

/// What was asked for of one kind, and where it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the process.
    pub near: u64,
    /// In Redis.
    pub far: u64,
    /// Nowhere.
    pub missed: u64,
    /// Nowhere yet, but somebody was computing it.
    pub shared: u64,
}

impl Counts {
    /// What did not have to be computed.
    pub fn saved(&self) -> u64 {
        self.near + self.far + self.shared
    }

    /// All that was asked for.
    pub fn asked(&self) -> u64 {
        self.saved() + self.missed
    }

    /// The part that did not have to be computed; `None` where nothing was asked for.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.asked() > 0).then(|| self.saved() as f64 / self.asked() as f64)
    }

    fn add(&mut self, other: &Self) {
        self.near += other.near;
        self.far += other.far;
        self.missed += other.missed;
        self.shared += other.shared;
    }
}

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In the process.
    Near,
    /// In Redis.
    Far,
    /// Nowhere.
    Missed,
    /// With somebody who was computing it.
    Shared,
}

const KINDS_COUNT: usize = KINDS.len();
const SLOTS: usize = 60;

/// The last sixty of some stretch of time.
#[derive(Clone, Debug)]
struct Ring {
    width_ms: u64,
    slots: [[Counts; KINDS_COUNT]; SLOTS],
    /// The stretch of the newest slot.
    newest: u64,
}

impl Ring {
    fn new(width_ms: u64) -> Self {
        Self {
            width_ms,
            slots: [[Counts::default(); KINDS_COUNT]; SLOTS],
            newest: 0,
        }
    }

    fn advance(&mut self, now_ms: u64) {
        let now = now_ms / self.width_ms;
        let past = now.saturating_sub(self.newest).min(SLOTS as u64);
        for stretch in 1..=past {
            let slot = (now + 1 - stretch) % SLOTS as u64;
            self.slots[slot as usize] = [Counts::default(); KINDS_COUNT];
        }
        self.newest = self.newest.max(now);
    }

    fn now(&mut self, now_ms: u64) -> &mut [Counts; KINDS_COUNT] {
        self.advance(now_ms);
        &mut self.slots[(self.newest % SLOTS as u64) as usize]
    }

    fn sum(&mut self, kind: Kind, now_ms: u64) -> Counts {
        self.advance(now_ms);
        let mut sum = Counts::default();
        self.slots.iter().for_each(|slot| sum.add(&slot[kind as usize]));
        sum
    }
}

/// How long something took: how often it was at most so many microseconds, doubling from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// One for each power of two: 1, 2, 4 microseconds and so on; the last has all that is longer.
    pub buckets: [u64; 24],
    /// All together, microseconds.
    pub sum_us: u64,
    /// How many.
    pub count: u64,
}

impl Latencies {
    /// It took so long.
    pub fn note(&mut self, us: u64) {
        let bucket = (u64::BITS - us.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
        self.sum_us += us;
        self.count += 1;
    }

    /// What this part of them took at most, microseconds, as a power of two; `None` where there were none.
    pub fn quantile_us(&self, part: f64) -> Option<u64> {
        let wanted = (self.count as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(1 << bucket)
    }
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Meter {
    seconds: Ring,
    minutes: Ring,
    total: [Counts; KINDS_COUNT],
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            seconds: Ring::new(1_000),
            minutes: Ring::new(60_000),
            total: [Counts::default(); KINDS_COUNT],
        }
    }
}

/// A stretch of time of which is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last minute.
    Minute,
    /// The last hour.
    Hour,
    /// Since it began.
    Total,
}

impl Meter {
    /// Something was asked for. `now_ms` never goes back.
    pub fn note(&mut self, kind: Kind, found: Found, now_ms: u64) {
        let mut one = Counts::default();
        match found {
            Found::Near => one.near = 1,
            Found::Far => one.far = 1,
            Found::Missed => one.missed = 1,
            Found::Shared => one.shared = 1,
        }
        self.seconds.now(now_ms)[kind as usize].add(&one);
        self.minutes.now(now_ms)[kind as usize].add(&one);
        self.total[kind as usize].add(&one);
    }

    /// What was asked for of a kind in a stretch of time.
    pub fn counts(&mut self, kind: Kind, window: Window, now_ms: u64) -> Counts {
        match window {
            Window::Minute => self.seconds.sum(kind, now_ms),
            Window::Hour => self.minutes.sum(kind, now_ms),
            Window::Total => self.total[kind as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_forget_and_the_total_does_not() {
        let mut meter = Meter::default();
        meter.note(Kind::Embedding, Found::Near, 10);
        meter.note(Kind::Embedding, Found::Missed, 30_000);
        meter.note(Kind::Execution, Found::Far, 30_000);
        let mut at = |window, now_ms| meter.counts(Kind::Embedding, window, now_ms).asked();
        assert_eq!(at(Window::Minute, 59_999), 2);
        assert_eq!(at(Window::Minute, 60_000), 1);
        assert_eq!(at(Window::Minute, 90_000), 0);
        assert_eq!(at(Window::Hour, 3_599_999), 2);
        assert_eq!(at(Window::Hour, 3_600_000), 0);
        assert_eq!(at(Window::Total, u64::MAX / 2), 2);
    }

    #[test]
    fn a_hit_is_what_need_not_be_computed() {
        let counts = Counts {
            near: 5,
            far: 2,
            missed: 2,
            shared: 1,
        };
        assert_eq!(
            (counts.saved(), counts.asked(), counts.hit_rate()),
            (8, 10, Some(0.8))
        );
        assert_eq!(Counts::default().hit_rate(), None);
    }

    #[test]
    fn latencies_are_powers_of_two() {
        let mut all = Latencies::default();
        assert_eq!(all.quantile_us(0.5), None);
        for us in [0, 1, 2, 3, 4, 5, 1_000, u64::MAX >> 8] {
            all.note(us);
        }
        assert_eq!(all.buckets[..4], [2, 1, 2, 1]);
        assert_eq!(
            (all.quantile_us(0.5), all.quantile_us(0.875)),
            (Some(4), Some(1_024))
        );
    }
}
