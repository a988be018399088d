//! Whether the far tier is asked. After some failures it is not, so that nobody waits for it; then it is tried by one
//! question now and then, for which nobody waits either.

/// How it opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many failures in a row open it.
    pub failures: u32,
    /// It is tried so long after it has opened, milliseconds; then twice as long after each trial that fails.
    pub first_ms: u64,
    /// At most so long.
    pub longest_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failures: 3,
            first_ms: 250,
            longest_ms: 5_000,
        }
    }
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Circuit {
    limits: Limits,
    failed: u32,
    open: Option<Open>,
    /// How often it has opened.
    pub opened: u64,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    wait_ms: u64,
    try_at: u64,
}

impl Circuit {
    /// One that is closed: everything is asked.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            failed: 0,
            open: None,
            opened: 0,
        }
    }

    /// Whether the far tier is asked.
    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// When the far tier is to be tried, while it is not asked.
    pub fn try_at(&self) -> Option<u64> {
        self.open.map(|open| open.try_at)
    }

    /// It has answered. Answers whether that closes the circuit.
    pub fn succeeded(&mut self) -> bool {
        self.failed = 0;
        self.open.take().is_some()
    }

    /// It has not. Answers whether that opens the circuit.
    pub fn failed(&mut self, now_ms: u64) -> bool {
        self.failed = self.failed.saturating_add(1);
        match &mut self.open {
            // Of several that were under way only one counts.
            Some(open) if now_ms < open.try_at => false,
            Some(open) => {
                open.wait_ms = (2 * open.wait_ms).min(self.limits.longest_ms);
                open.try_at = now_ms + open.wait_ms;
                false
            }
            None if self.failed >= self.limits.failures => {
                let wait_ms = self.limits.first_ms;
                self.open = Some(Open {
                    wait_ms,
                    try_at: now_ms + wait_ms,
                });
                self.opened += 1;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut circuit = Circuit::new(Limits::default());
        assert!(!circuit.failed(0) && !circuit.failed(1));
        assert!(!circuit.succeeded(), "it was not open");
        assert!(!circuit.failed(2) && !circuit.failed(3) && circuit.failed(4));
        assert!(!circuit.is_closed());
        assert_eq!(circuit.try_at(), Some(254));
        assert!(circuit.succeeded() && circuit.is_closed());
        assert_eq!(circuit.opened, 1);
    }

    #[test]
    fn it_is_tried_less_and_less_often() {
        let mut circuit = Circuit::new(Limits::default());
        for _ in 0..3 {
            circuit.failed(0);
        }
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..6 {
            let at = circuit.try_at().unwrap();
            waits.push(at - now);
            now = at;
            circuit.failed(now);
            // Others that were asked before it opened fail late.
            circuit.failed(now + 1);
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 5_000]);
    }
}
