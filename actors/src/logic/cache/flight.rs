//! One computes, the others wait for it.

use std::collections::{HashMap, VecDeque};

/// Who computes: nobody else can say that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// What somebody hears who asks for an entry that is not there.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<W> {
    /// He computes it.
    Yours(Ticket, W),
    /// Somebody does.
    Waits,
}

/// What is being computed, by key, with those who wait.
#[derive(Debug)]
pub struct Flights<K, W> {
    flights: HashMap<K, (Ticket, VecDeque<W>)>,
    /// What was invalidated while it was computed, with those who had asked before.
    outdated: HashMap<Ticket, VecDeque<W>>,
    tickets: u64,
}

impl<K, W> Default for Flights<K, W> {
    fn default() -> Self {
        Self {
            flights: HashMap::new(),
            outdated: HashMap::new(),
            tickets: 0,
        }
    }
}

impl<K: std::hash::Hash + Eq + Clone, W> Flights<K, W> {
    /// Somebody wants an entry that is not there.
    pub fn ask(&mut self, key: &K, asker: W) -> Asked<W> {
        if let Some((_, waiting)) = self.flights.get_mut(key) {
            waiting.push_back(asker);
            return Asked::Waits;
        }
        let ticket = self.next();
        self.flights.insert(key.clone(), (ticket, VecDeque::new()));
        Asked::Yours(ticket, asker)
    }

    fn next(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Whether it is being computed.
    pub fn has(&self, key: &K) -> bool {
        self.flights.contains_key(key)
    }

    /// Whether this is the computation for which others wait: not one that was outdated or given up.
    pub fn is_current(&self, key: &K, ticket: Ticket) -> bool {
        self.flights.get(key).is_some_and(|(known, _)| *known == ticket)
    }

    /// What is computed now is for those who have asked before, and for nobody who comes later.
    pub fn outdate(&mut self, key: &K) {
        if let Some((ticket, waiting)) = self.flights.remove(key) {
            self.outdated.insert(ticket, waiting);
        }
    }

    /// The same, whatever it is.
    pub fn outdate_all(&mut self) {
        self.outdated
            .extend(self.flights.drain().map(|(_, flight)| flight));
    }

    /// It is computed. Answers who is to be told; nobody if that was somebody else's to say.
    pub fn done(&mut self, key: &K, ticket: Ticket) -> Vec<W> {
        if let Some(waiting) = self.outdated.remove(&ticket) {
            return waiting.into();
        }
        if !self.is_current(key, ticket) {
            return Vec::new();
        }
        let flight = self.flights.remove(key);
        flight.map_or_else(Vec::new, |(_, waiting)| waiting.into())
    }

    /// It could not be computed, or whoever did is gone: the next one computes, if anybody waits.
    pub fn given_up(&mut self, key: &K, ticket: Ticket) -> Option<(Ticket, W)> {
        if let Some(mut waiting) = self.outdated.remove(&ticket) {
            // They may have what is computed now, or compute it.
            let asker = waiting.pop_front()?;
            let next = self.next();
            self.outdated.insert(next, waiting);
            return Some((next, asker));
        }
        if !self.is_current(key, ticket) {
            return None;
        }
        let next = self.next();
        let (known, waiting) = self.flights.get_mut(key)?;
        *known = next;
        match waiting.pop_front() {
            Some(asker) => Some((next, asker)),
            None => {
                self.flights.remove(key);
                None
            }
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.flights.values().map(|(_, waiting)| waiting.len()).sum()
    }

    /// How many compute.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_computes_and_all_who_wait_are_told() {
        let mut flights = Flights::default();
        let Asked::Yours(ticket, 0) = flights.ask(&"k", 0) else {
            panic!("the first computes")
        };
        for asker in 1..100 {
            assert_eq!(flights.ask(&"k", asker), Asked::Waits);
        }
        assert_eq!((flights.len(), flights.waiting()), (1, 99));
        assert_eq!(flights.done(&"k", Ticket(ticket.0 + 1)), Vec::<i32>::new());
        assert_eq!(flights.done(&"k", ticket), (1..100).collect::<Vec<_>>());
        assert!(flights.is_empty());
    }

    #[test]
    fn what_is_outdated_is_for_those_who_had_asked_before() {
        let mut flights = Flights::default();
        let Asked::Yours(old, _) = flights.ask(&"k", 0) else {
            panic!("the first computes")
        };
        assert_eq!(flights.ask(&"k", 1), Asked::Waits);
        flights.outdate(&"k");
        assert!(!flights.is_current(&"k", old));
        let Asked::Yours(new, 2) = flights.ask(&"k", 2) else {
            panic!("who comes later computes anew")
        };
        assert_eq!(flights.done(&"k", old), [1]);
        assert!(flights.is_current(&"k", new));
        flights.outdate_all();
        assert!(flights.is_empty());
        assert_eq!(flights.given_up(&"k", new), None);
    }

    #[test]
    fn who_gives_up_is_followed_by_the_next() {
        let mut flights = Flights::default();
        let Asked::Yours(first, _) = flights.ask(&"k", 0) else {
            panic!("the first computes")
        };
        assert_eq!(flights.ask(&"k", 1), Asked::Waits);
        let Some((second, 1)) = flights.given_up(&"k", first) else {
            panic!("the next computes")
        };
        assert_eq!(
            flights.given_up(&"k", first),
            None,
            "it has nothing to say any more"
        );
        assert_eq!(flights.given_up(&"k", second), None);
        assert!(flights.is_empty());
    }
}
