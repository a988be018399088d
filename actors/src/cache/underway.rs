//! What is on its way from the far tier or to it: what is heard of it meanwhile has it not kept near.

use crate::logic::cache::Key;
use std::collections::HashMap;

/// Keys of which is remembered that they were heard of, at most: beyond that all were, for all who are under way.
const HEARD_MAX: usize = 10_000;

/// When a journey began, among all that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Since(u64);

/// See the module's description. A journey costs the same, however many entries travel by it.
#[derive(Debug, Default)]
pub(super) struct Underway {
    journeys: usize,
    /// How often anything was heard.
    clock: u64,
    /// When these were heard of last; empty while nobody is under way.
    heard: HashMap<Key, u64>,
    /// When all were.
    all: u64,
}

impl Underway {
    /// Somebody sets out.
    pub fn begin(&mut self) -> Since {
        self.journeys += 1;
        Since(self.clock)
    }

    /// Whether nothing was heard of this since then.
    pub fn is_fresh(&self, key: &Key, Since(since): Since) -> bool {
        let unheard = |key: &Key| self.heard.get(key).is_none_or(|at| *at <= since);
        let whole = || Key {
            field: None,
            ..key.clone()
        };
        // Of a hash it is heard as a whole.
        self.all <= since
            && (self.heard.is_empty() || unheard(key) && (key.field.is_none() || unheard(&whole())))
    }

    /// He has arrived.
    pub fn end(&mut self) {
        self.journeys = self.journeys.saturating_sub(1);
        if self.journeys == 0 {
            self.heard.clear();
        }
    }

    pub fn heard(&mut self, key: &Key) {
        if self.journeys == 0 {
            return;
        }
        if self.heard.len() >= HEARD_MAX {
            return self.heard_all();
        }
        self.clock += 1;
        self.heard.insert(key.clone(), self.clock);
    }

    pub fn heard_all(&mut self) {
        self.clock += 1;
        self.all = self.clock;
        self.heard.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::cache::Name;

    fn project() -> Name {
        Name::parse("p1").unwrap()
    }

    #[test]
    fn what_was_heard_of_on_the_way_is_not_fresh_and_what_was_before_is() {
        let mut underway = Underway::default();
        let (mine, other) = (Key::fingerprint(&project()), Key::manifest(&project()));
        let early = underway.begin();
        underway.heard(&mine);
        let late = underway.begin();
        assert!(!underway.is_fresh(&mine, early) && underway.is_fresh(&other, early));
        assert!(underway.is_fresh(&mine, late));
        underway.heard_all();
        assert!(!underway.is_fresh(&mine, late) && !underway.is_fresh(&other, early));
        underway.end();
        underway.end();
        let later = underway.begin();
        assert!(underway.is_fresh(&mine, later) && underway.is_fresh(&other, later));
    }

    #[test]
    fn of_a_hash_all_fields_are_heard_of() {
        let mut underway = Underway::default();
        let since = underway.begin();
        underway.heard(&Key::files(&project()));
        assert!(!underway.is_fresh(&Key::file(&project(), "a"), since));
        let since = underway.begin();
        underway.heard(&Key::file(&project(), "a"));
        assert!(underway.is_fresh(&Key::file(&project(), "b"), since));
    }

    #[test]
    fn past_the_limit_everything_was_heard_of() {
        let mut underway = Underway::default();
        let since = underway.begin();
        for number in 0..=HEARD_MAX {
            underway.heard(&Key::file(&project(), &number.to_string()));
        }
        assert!(!underway.is_fresh(&Key::manifest(&project()), since));
        let since = underway.begin();
        assert!(underway.is_fresh(&Key::manifest(&project()), since));
    }
}
