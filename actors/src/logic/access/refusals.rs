//! How many refusals are worth a line of the log: those of one address a few a window, the rest is counted.

use std::collections::BTreeMap;

/// See the module's description. `A` is an address.
#[derive(Debug)]
pub struct Refusals<A> {
    lines: u32,
    window_ms: i64,
    addresses: usize,
    known: BTreeMap<A, Window>,
    /// What comes from addresses for which there was no place.
    others: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began_ms: i64,
    lines: u32,
    suppressed: u64,
}

impl<A: Ord + Clone> Refusals<A> {
    /// At most `lines` lines an address in any window of `window_ms` milliseconds; at most so many addresses are told
    /// apart, and further ones share what is one address's.
    pub fn new(lines: u32, window_ms: i64, addresses: usize) -> Self {
        Self {
            lines,
            window_ms,
            addresses,
            known: BTreeMap::new(),
            others: None,
        }
    }

    /// Somebody was refused. Whether that is worth a line.
    pub fn note(&mut self, address: &A, now_ms: i64) -> bool {
        let fresh = Window {
            began_ms: now_ms,
            lines: 0,
            suppressed: 0,
        };
        let window = if self.known.contains_key(address) || self.known.len() < self.addresses {
            self.known.entry(address.clone()).or_insert(fresh)
        } else {
            self.others.get_or_insert(fresh)
        };
        if window.lines < self.lines {
            window.lines += 1;
            return true;
        }
        window.suppressed += 1;
        false
    }

    /// Forgets the windows that are over, and says of which addresses how many refusals got no line; `None` stands for
    /// those that were not told apart.
    pub fn tend(&mut self, now_ms: i64) -> Vec<(Option<A>, u64)> {
        let window_ms = self.window_ms;
        // A clock that was set back must not keep a window for ever.
        let is_over = |window: &Window| !(0..window_ms).contains(&(now_ms - window.began_ms));
        let mut told = Vec::new();
        for (address, window) in self.known.extract_if(.., |_, window| is_over(window)) {
            told.push((Some(address), window.suppressed));
        }
        if let Some(window) = self.others.take_if(|window| is_over(window)) {
            told.push((None, window.suppressed));
        }
        told.retain(|(_, suppressed)| *suppressed > 0);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_lines_and_then_is_counted() {
        let mut refusals = Refusals::new(2, 100, 10);
        let lines: Vec<bool> = (0..5).map(|at| refusals.note(&'a', at)).collect();
        assert_eq!(lines, [true, true, false, false, false]);
        assert!(refusals.note(&'b', 5), "another one has lines of its own");
        assert_eq!(refusals.tend(99), []);
        assert_eq!(refusals.tend(100), [(Some('a'), 3)]);
        assert!(refusals.note(&'a', 101), "a new window");
    }

    #[test]
    fn a_flood_from_many_addresses_costs_no_memory_and_few_lines() {
        let mut refusals = Refusals::new(2, 100, 3);
        let lines = (0..1_000).filter(|address| refusals.note(address, 0)).count();
        assert_eq!((lines, refusals.known.len()), (3 + 2, 3));
        assert_eq!(refusals.tend(100), [(None, 1_000 - 5)]);
        assert!(refusals.known.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_ends_a_window() {
        let mut refusals = Refusals::new(1, 100, 3);
        assert!(refusals.note(&'a', 1_000) && !refusals.note(&'a', 1_000));
        assert_eq!(refusals.tend(5), [(Some('a'), 1)]);
    }
}
