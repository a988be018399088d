//! The heartbeat: the server pings, the client answers, and silence ends the session.

/// The times of a session. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one answer (or the beginning) to the next ping.
    pub ping_interval_ms: u32,
    /// How long the answer may take.
    pub ping_timeout_ms: u32,
    /// How long a WebSocket may take from being attached to a polling session to carrying it.
    pub upgrade_timeout_ms: u32,
    /// How long a session that the server ends waits for the client to fetch what is left.
    pub close_wait_ms: u32,
}

/// The defaults of the stock server.
impl Default for Timing {
    fn default() -> Self {
        Self {
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            close_wait_ms: 30_000,
        }
    }
}

/// What a heartbeat asks for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Quiet,
    /// Send a ping.
    Ping,
    /// The client has not answered in time: end the session.
    Timeout,
}

/// Where one session stands between pings. Small, without a timer of its own: a sweep over all sessions ticks it.
///
/// Only a pong counts as a sign of life (stock server: other traffic does not), and it may come unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the next ping is due, or else the answer to the last one.
    due_ms: u64,
    /// Whether an answer is waited for.
    pinged: bool,
}

impl Heartbeat {
    /// For a session that begins now.
    pub fn start(now_ms: u64, timing: &Timing) -> Self {
        Self {
            due_ms: now_ms + u64::from(timing.ping_interval_ms),
            pinged: false,
        }
    }

    /// What to do now. A ping is due once: the time for its answer runs from this call, also where it cannot be sent yet
    /// because no GET waits.
    pub fn tick(&mut self, now_ms: u64, timing: &Timing) -> Beat {
        if now_ms < self.due_ms {
            Beat::Quiet
        } else if self.pinged {
            Beat::Timeout
        } else {
            self.pinged = true;
            self.wait_anew(now_ms, timing);
            Beat::Ping
        }
    }

    /// The client has answered: the next ping is one interval away.
    pub fn pong(&mut self, now_ms: u64, timing: &Timing) {
        *self = Self::start(now_ms, timing);
    }

    /// If an answer is waited for, gives it the whole time again: the client has just changed transports.
    pub fn wait_anew(&mut self, now_ms: u64, timing: &Timing) {
        if self.pinged {
            self.due_ms = now_ms + u64::from(timing.ping_timeout_ms);
        }
    }

    /// When [`Heartbeat::tick`] has something to do next.
    pub const fn due_ms(&self) -> u64 {
        self.due_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        ping_interval_ms: 300,
        ping_timeout_ms: 200,
        upgrade_timeout_ms: 1_000,
        close_wait_ms: 1_000,
    };

    #[test]
    fn a_ping_goes_out_each_interval_after_a_pong() {
        let mut heart = Heartbeat::start(1_000, &TIMING);
        assert_eq!(heart.tick(1_299, &TIMING), Beat::Quiet);
        assert_eq!(heart.tick(1_300, &TIMING), Beat::Ping);
        assert_eq!(heart.tick(1_301, &TIMING), Beat::Quiet);
        heart.pong(1_450, &TIMING);
        assert_eq!(heart.tick(1_749, &TIMING), Beat::Quiet);
        assert_eq!(heart.tick(1_750, &TIMING), Beat::Ping);
    }

    #[test]
    fn silence_times_out_counted_from_the_ping_that_was_really_sent() {
        let mut heart = Heartbeat::start(0, &TIMING);
        assert_eq!(heart.tick(350, &TIMING), Beat::Ping, "a late sweep");
        assert_eq!(heart.tick(549, &TIMING), Beat::Quiet);
        assert_eq!(heart.tick(550, &TIMING), Beat::Timeout);
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Heartbeat>() <= 16);
    }
}
