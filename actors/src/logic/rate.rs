//! Limits on how fast something may come: so many a second, and what a client has saved up at once.
//!
//! All the state there is of a client is one number: until when what has come so far is paid for (the generic cell rate
//! algorithm). It needs no timer, and one that lies in the past is as good as none.

const SECOND_NS: u64 = 1_000_000_000;

/// So many a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// 0: as many as there are.
    per_second: u64,
    /// How far ahead of its pace a client may be.
    ahead_ns: u64,
}

impl Rate {
    /// With the worth of so many `seconds` at once for whoever was quiet before.
    pub const fn new(per_second: u64, seconds: u64) -> Self {
        Self {
            per_second,
            ahead_ns: seconds * SECOND_NS,
        }
    }

    /// Until when it is paid for if `amount` comes now, at `now_ns`; `None` if that is too fast. More at once than could
    /// ever be saved up is let in when nothing is owed, and paid for before the next.
    pub fn admit(&self, paid_until_ns: u64, now_ns: u64, amount: u64) -> Option<u64> {
        let paid = self.charge(paid_until_ns, now_ns, amount);
        let fits = paid.saturating_sub(now_ns) <= self.ahead_ns || paid_until_ns <= now_ns;
        (fits || self.per_second == 0).then_some(paid)
    }

    /// Until when it is paid for if `amount` comes now, however fast that is.
    pub fn charge(&self, paid_until_ns: u64, now_ns: u64, amount: u64) -> u64 {
        if self.per_second == 0 {
            return paid_until_ns;
        }
        let cost = u128::from(amount) * u128::from(SECOND_NS) / u128::from(self.per_second);
        let from = paid_until_ns.max(now_ns);
        from.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX))
    }
}

/// What one connection may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Messages, pings and pongs among them.
    pub messages: Rate,
    /// Bytes.
    pub bytes: Rate,
}

/// How fast a connection has sent so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    messages_ns: u64,
    bytes_ns: u64,
}

impl Pace {
    /// So much has come. Answers which limit it is over, if it is.
    pub fn take(&mut self, limits: &Limits, now_ms: u64, messages: u64, bytes: u64) -> Result<(), TooFast> {
        let now_ns = now_ms.saturating_mul(1_000_000);
        let paid = limits.messages.admit(self.messages_ns, now_ns, messages);
        self.messages_ns = paid.ok_or(TooFast::Messages)?;
        let paid = limits.bytes.admit(self.bytes_ns, now_ns, bytes);
        self.bytes_ns = paid.ok_or(TooFast::Bytes)?;
        Ok(())
    }

    /// So much has come, and is taken however fast it came: the next has to wait for it.
    pub fn owe(&mut self, limits: &Limits, now_ms: u64, messages: u64, bytes: u64) {
        let now_ns = now_ms.saturating_mul(1_000_000);
        self.messages_ns = limits.messages.charge(self.messages_ns, now_ns, messages);
        self.bytes_ns = limits.bytes.charge(self.bytes_ns, now_ns, bytes);
    }
}

/// What came too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFast {
    /// Messages.
    #[error("more messages a second than limits.messages_per_second")]
    Messages,
    /// Bytes.
    #[error("more bytes a second than limits.inbound_bytes_per_second")]
    Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whoever_was_quiet_may_send_a_seconds_worth_at_once() {
        let rate = Rate::new(10, 1);
        let mut paid = 0;
        let now = 50 * SECOND_NS;
        for _ in 0..10 {
            paid = rate.admit(paid, now, 1).unwrap();
        }
        assert_eq!(rate.admit(paid, now, 1), None);
        let a_tenth = SECOND_NS / 10;
        assert_eq!(rate.admit(paid, now + a_tenth - 1, 1), None);
        paid = rate.admit(paid, now + a_tenth, 1).unwrap();
        assert_eq!(rate.admit(paid, now + a_tenth, 1), None);
    }

    #[test]
    fn no_limit_is_none() {
        let rate = Rate::default();
        assert_eq!(rate.admit(7, 0, u64::MAX), Some(7));
    }

    #[test]
    fn a_large_amount_is_let_in_and_paid_for() {
        let limits = Limits {
            bytes: Rate::new(1_000, 1),
            ..Limits::default()
        };
        let mut pace = Pace::default();
        assert_eq!(pace.take(&limits, 1, 1, 60_000), Ok(()));
        assert_eq!(pace.take(&limits, 59_000, 1, 1), Err(TooFast::Bytes));
        assert_eq!(pace.take(&limits, 59_002, 1, 1), Ok(()));
        pace.owe(&limits, 59_002, 1, 5_000);
        assert_eq!(pace.take(&limits, 64_001, 1, 1), Err(TooFast::Bytes));
        assert_eq!(pace.take(&limits, 64_003, 1, 1), Ok(()));
    }

    proptest! {
        /// Whatever comes whenever: in no stretch of time is more let in than its worth, the worth of what was saved
        /// up, and the one that went past the limit.
        #[test]
        fn no_more_is_let_in_than_the_rate(
            per_second in 1u64..1_000, seconds in 1u64..5, gaps in prop::collection::vec(0u64..300, 1..300),
        ) {
            let rate = Rate::new(per_second, seconds);
            let (mut paid, mut now) = (0, 0);
            let mut admitted = Vec::new();
            for gap in gaps {
                now += gap * 1_000_000;
                if let Some(next) = rate.admit(paid, now, 1) {
                    paid = next;
                    admitted.push(now);
                }
            }
            for (at, from) in admitted.iter().enumerate() {
                let stretch = admitted[at..].iter().enumerate();
                for (more, to) in stretch {
                    let worth = (to - from) as u128 * u128::from(per_second) / u128::from(SECOND_NS);
                    prop_assert!(more as u128 <= worth + u128::from(per_second * seconds) + 1);
                }
            }
        }
    }
}
