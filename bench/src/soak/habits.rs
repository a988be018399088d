//! What visitors do, when, and for how long: chosen at random, from a seed.

use std::time::Duration;

/// A generator of numbers that look random (SplitMix64).
pub struct Dice(u64);

/// How a visit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// With a word: a close frame.
    Farewell,
    /// By closing the socket.
    Close,
    /// By a reset.
    Reset,
    /// Not at all: the socket stays and is never looked at again, as where a network has gone.
    Vanish,
    /// It stops reading for a while, and goes on where it is, if it still may.
    Stall,
}

impl Dice {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn between(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }

    /// How long a visitor stays as it is before it parts.
    pub fn visit(&mut self) -> Duration {
        self.between(1_000, 30_000)
    }

    /// How it parts.
    pub fn parting(&mut self) -> Parting {
        match self.below(100) {
            0..10 => Parting::Farewell,
            10..40 => Parting::Close,
            40..60 => Parting::Reset,
            60..75 => Parting::Vanish,
            _ => Parting::Stall,
        }
    }

    /// How long it stalls: some of the rooms fill an outbox meanwhile, most do not.
    pub fn stall(&mut self) -> Duration {
        self.between(500, 9_000)
    }

    /// How long it is away: mostly briefly, sometimes at once, now and then longer than anything is kept.
    pub fn absence(&mut self) -> Duration {
        match self.below(100) {
            0..30 => Duration::ZERO,
            30..97 => self.between(10, 8_000),
            _ => self.between(60_000, 90_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_it_all() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn every_parting_happens() {
        let mut dice = Dice::new(1);
        let partings: Vec<Parting> = (0..200).map(|_| dice.parting()).collect();
        for parting in [
            Parting::Farewell,
            Parting::Close,
            Parting::Reset,
            Parting::Vanish,
            Parting::Stall,
        ] {
            assert!(partings.contains(&parting), "{parting:?}");
        }
    }
}
