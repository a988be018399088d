//! The answers that the server waits for.

use std::collections::BTreeMap;

/// Ack ids that were given out, each with what its answer is for and until when it may come. Bounded: a client that never
/// answers costs no more than that.
#[derive(Clone, Debug)]
pub struct Acks<T> {
    next_id: u64,
    limit: usize,
    waiting: BTreeMap<u64, Waiting<T>>,
    /// Not later than the first deadline: until then there is nothing to look through.
    soonest_ms: u64,
}

#[derive(Clone, Debug)]
struct Waiting<T> {
    token: T,
    until_ms: u64,
}

impl<T> Acks<T> {
    /// Waits for at most `limit` answers at a time.
    pub const fn new(limit: usize) -> Self {
        Self {
            next_id: 0,
            limit,
            waiting: BTreeMap::new(),
            soonest_ms: u64::MAX,
        }
    }

    /// A new id for an event whose answer may come until `until_ms`; ids count from 0 and none comes twice. The token comes
    /// back at once where too many are waited for.
    pub fn issue(&mut self, token: T, until_ms: u64) -> Result<u64, T> {
        if self.waiting.len() >= self.limit {
            return Err(token);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.soonest_ms = self.soonest_ms.min(until_ms);
        self.waiting.insert(id, Waiting { token, until_ms });
        Ok(id)
    }

    /// The answer to this id has come: what it is for. `None`, to be ignored, if it was never asked for, or came before, or
    /// too late.
    pub fn take(&mut self, id: u64) -> Option<T> {
        self.waiting.remove(&id).map(|waiting| waiting.token)
    }

    /// Those whose time is over, oldest id first; their answers are not waited for any more.
    pub fn expire(&mut self, now_ms: u64) -> Vec<(u64, T)> {
        if now_ms < self.soonest_ms {
            return Vec::new();
        }
        let over = self
            .waiting
            .extract_if(.., |_, waiting| waiting.until_ms <= now_ms);
        let over = over.map(|(id, waiting)| (id, waiting.token)).collect();
        let left = self.waiting.values().map(|waiting| waiting.until_ms);
        self.soonest_ms = left.min().unwrap_or(u64::MAX);
        over
    }

    /// All of them: the connection has ended.
    pub fn drain(&mut self) -> Vec<(u64, T)> {
        self.expire(u64::MAX)
    }

    /// How many answers are waited for.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn an_answer_counts_once_and_only_if_it_was_asked_for() {
        let mut acks = Acks::new(10);
        assert_eq!(acks.issue("a", 100), Ok(0));
        assert_eq!(acks.issue("b", 100), Ok(1));
        assert_eq!(
            (acks.take(1), acks.take(1), acks.take(7)),
            (Some("b"), None, None)
        );
        assert_eq!(acks.drain(), [(0, "a")]);
        assert!(acks.is_empty());
    }

    #[test]
    fn they_are_bounded_and_run_out() {
        let mut acks = Acks::new(2);
        assert_eq!((acks.issue('a', 200), acks.issue('b', 100)), (Ok(0), Ok(1)));
        assert_eq!(acks.issue('c', 100), Err('c'));
        assert_eq!(acks.expire(99), []);
        assert_eq!(acks.expire(100), [(1, 'b')]);
        assert_eq!((acks.take(1), acks.issue('d', 300)), (None, Ok(2)));
        assert_eq!(acks.expire(300), [(0, 'a'), (2, 'd')]);
    }

    proptest! {
        /// Every token that went in comes out exactly once: answered, expired or drained.
        #[test]
        fn no_token_is_lost_or_comes_twice(steps in vec((0u8..3, 0u64..50), 0..80), limit in 0usize..6) {
            let (mut acks, mut now, mut given, mut back) = (Acks::new(limit), 0, Vec::new(), Vec::new());
            for (step, number) in steps {
                match step {
                    0 => given.extend(acks.issue(given.len() as u64, now + number).ok()),
                    1 => back.extend(acks.take(number % 8)),
                    _ => {
                        now += number;
                        back.extend(acks.expire(now).into_iter().map(|(_, token)| token));
                        prop_assert!(acks.waiting.values().all(|waiting| waiting.until_ms > now));
                    }
                }
                prop_assert!(acks.len() <= limit);
            }
            back.extend(acks.drain().into_iter().map(|(_, token)| token));
            back.sort_unstable();
            prop_assert_eq!(back, given);
        }
    }
}
