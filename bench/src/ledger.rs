//! The books: what every client had to get from every room, and what it got.
//!
//! Rooms number their events from 0 without a gap, so what a place (one client in one room) is owed is known exactly,
//! and so is what is missing, doubled or late. Latency is measured from the moment an event was handed to its socket.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

use crate::stamp::Stamp;

const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Everything expected and heard.
pub struct Ledger {
    rooms: Vec<Room>,
    places: Vec<Place>,
    latency: Histogram<u64>,
    /// The part of it of places on another node than the publisher.
    far: Histogram<u64>,
    heard: u64,
    outstanding: u64,
    in_flight: usize,
    strays: u64,
    last_heard_ns: u64,
}

#[derive(Default)]
struct Room {
    published: u32,
    members: u32,
    /// Publications not yet heard by all members, from number `base` on.
    open: VecDeque<Open>,
    base: u32,
}

struct Open {
    missing: u32,
    sent_ns: u64,
}

struct Place {
    room: u32,
    first: u32,
    next: u32,
    gaps: Gaps,
    duplicated: u64,
    out_of_order: u64,
    is_far: bool,
}

/// The final count over all places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Deliveries owed.
    pub expected: u64,
    /// Of those, heard (once counted, however often they came).
    pub received: u64,
    /// Of those, never heard.
    pub lost: u64,
    /// Heard again.
    pub duplicated: u64,
    /// Heard after a later one of the same room.
    pub out_of_order: u64,
    /// Heard by a client that is not in the room, or never published.
    pub strays: u64,
}

impl Account {
    /// How many deliveries were not as they should be.
    pub fn wrong(&self) -> u64 {
        self.lost + self.duplicated + self.out_of_order + self.strays
    }
}

/// Latency in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    /// The usual percentiles of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: histogram.max() as f64 / 1e6,
        }
    }
}

/// A histogram of nanoseconds with three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("constant bounds are valid")
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            rooms: Vec::new(),
            places: Vec::new(),
            latency: histogram(),
            far: histogram(),
            heard: 0,
            outstanding: 0,
            in_flight: 0,
            strays: 0,
            last_heard_ns: 0,
        }
    }
}

impl Ledger {
    /// A member more in `room`, owed everything published from now on. The answer names its place.
    pub fn join(&mut self, room: u32) -> u32 {
        let state = self.room(room);
        state.members += 1;
        let next = state.published;
        self.places.push(Place {
            room,
            first: next,
            next,
            gaps: Gaps::default(),
            duplicated: 0,
            out_of_order: 0,
            is_far: false,
        });
        (self.places.len() - 1) as u32
    }

    /// A place is on another node than the publisher.
    pub fn is_far(&mut self, place: u32) {
        self.places[place as usize].is_far = true;
    }

    /// An event more in `room`: the stamp to send it with.
    pub fn publish(&mut self, room: u32, sent_ns: u64) -> Stamp {
        let state = self.room(room);
        let sequence = state.published;
        let members = state.members;
        state.published += 1;
        state.open.push_back(Open {
            missing: members,
            sent_ns,
        });
        self.in_flight += 1;
        self.outstanding += u64::from(members);
        self.close_finished(room);
        Stamp {
            room,
            sequence,
            sent_ns,
        }
    }

    /// A delivery came.
    #[inline]
    pub fn deliver(&mut self, place: u32, stamp: Stamp, now_ns: u64) {
        let Some(place) = self.places.get_mut(place as usize) else {
            return self.stray();
        };
        let Some(room) = self.rooms.get_mut(stamp.room as usize) else {
            return self.stray();
        };
        if place.room != stamp.room || stamp.sequence >= room.published || stamp.sequence < place.first {
            return self.stray();
        }
        if !place.take(stamp.sequence) {
            return;
        }
        self.heard += 1;
        self.outstanding -= 1;
        self.last_heard_ns = now_ns;
        let took_ns = now_ns.saturating_sub(stamp.sent_ns).max(1);
        self.latency.saturating_record(took_ns);
        if place.is_far {
            self.far.saturating_record(took_ns);
        }
        if let Some(open) = stamp
            .sequence
            .checked_sub(room.base)
            .and_then(|index| room.open.get_mut(index as usize))
        {
            open.missing -= 1;
            if open.missing == 0 {
                self.close_finished(stamp.room);
            }
        }
    }

    /// A delivery that nobody was owed.
    pub fn stray(&mut self) {
        self.strays += 1;
    }

    /// Publications not yet heard by everybody.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Stops waiting for publications sent before `ns`, so that a lost delivery does not stop a flat-out run. They
    /// still count as owed.
    pub fn give_up_before(&mut self, ns: u64) {
        for room in &mut self.rooms {
            while room.open.front().is_some_and(|open| open.sent_ns < ns) {
                room.open.pop_front();
                room.base += 1;
                self.in_flight -= 1;
            }
        }
    }

    /// Deliveries owed and not yet heard.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Deliveries a place is owed and has not heard.
    pub fn behind(&self, place: u32) -> u64 {
        let place = &self.places[place as usize];
        place.gaps.len() + u64::from(self.rooms[place.room as usize].published - place.next)
    }

    /// What a place is owed and has not heard, by number.
    pub fn missing(&self, place: u32) -> Vec<(u32, u32)> {
        let place = &self.places[place as usize];
        let ahead = (place.next, self.rooms[place.room as usize].published);
        place
            .gaps
            .0
            .iter()
            .copied()
            .chain([ahead])
            .filter(|(from, to)| from < to)
            .collect()
    }

    /// Begins a measurement: latency and the count of deliveries start anew, what is owed stays.
    pub fn mark(&mut self) {
        self.latency.reset();
        self.far.reset();
        self.heard = 0;
    }

    /// Deliveries heard since the mark, and when the last one was.
    pub fn heard(&self) -> (u64, u64) {
        (self.heard, self.last_heard_ns)
    }

    /// Latency since the mark, in nanoseconds.
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// The part of it of places on another node than the publisher.
    pub fn far_latency(&self) -> &Histogram<u64> {
        &self.far
    }

    /// The count so far.
    pub fn account(&self) -> Account {
        let mut account = Account {
            strays: self.strays,
            ..Account::default()
        };
        for (index, place) in self.places.iter().enumerate() {
            account.expected += u64::from(self.rooms[place.room as usize].published - place.first);
            account.lost += self.behind(index as u32);
            account.duplicated += place.duplicated;
            account.out_of_order += place.out_of_order;
        }
        account.received = account.expected - account.lost;
        account
    }

    fn room(&mut self, room: u32) -> &mut Room {
        let length = self.rooms.len().max(room as usize + 1);
        self.rooms.resize_with(length, Room::default);
        &mut self.rooms[room as usize]
    }

    fn close_finished(&mut self, room: u32) {
        let room = &mut self.rooms[room as usize];
        while room.open.front().is_some_and(|open| open.missing == 0) {
            room.open.pop_front();
            room.base += 1;
            self.in_flight -= 1;
        }
    }
}

impl Place {
    /// Books `sequence`; false if it was booked before.
    #[inline]
    fn take(&mut self, sequence: u32) -> bool {
        if sequence >= self.next {
            self.gaps.push(self.next, sequence);
            self.next = sequence + 1;
            true
        } else if self.gaps.remove(sequence) {
            self.out_of_order += 1;
            true
        } else {
            self.duplicated += 1;
            false
        }
    }
}

/// Sequences passed over, as ascending half-open ranges.
#[derive(Default)]
struct Gaps(Vec<(u32, u32)>);

impl Gaps {
    #[inline]
    fn push(&mut self, from: u32, to: u32) {
        if from < to {
            self.0.push((from, to));
        }
    }

    fn remove(&mut self, sequence: u32) -> bool {
        let index = self.0.partition_point(|&(_, to)| to <= sequence);
        let Some(&(from, to)) = self.0.get(index).filter(|&&(from, _)| from <= sequence) else {
            return false;
        };
        let left = [(from, sequence), (sequence + 1, to)];
        self.0
            .splice(index..=index, left.into_iter().filter(|(from, to)| from < to));
        true
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|(from, to)| u64::from(to - from)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ledger(published: u32) -> (Ledger, u32) {
        let mut ledger = Ledger::default();
        let place = ledger.join(0);
        for _ in 0..published {
            ledger.publish(0, 0);
        }
        (ledger, place)
    }

    fn stamp(sequence: u32) -> Stamp {
        Stamp {
            room: 0,
            sequence,
            sent_ns: 0,
        }
    }

    proptest! {
        #[test]
        fn the_account_agrees_with_a_naive_one(
            published in 1_u32..60, heard in proptest::collection::vec(0_u32..70, 0..150),
        ) {
            let (mut ledger, place) = ledger(published);
            let (mut seen, mut expected) = (BTreeSet::new(), Account::default());
            for &sequence in &heard {
                ledger.deliver(place, stamp(sequence), 1);
                if sequence >= published {
                    expected.strays += 1;
                } else if seen.contains(&sequence) {
                    expected.duplicated += 1;
                } else {
                    expected.out_of_order += u64::from(seen.last().is_some_and(|last| *last > sequence));
                    seen.insert(sequence);
                }
            }
            expected.expected = u64::from(published);
            expected.received = seen.len() as u64;
            expected.lost = expected.expected - expected.received;
            prop_assert_eq!(ledger.account(), expected);
            prop_assert_eq!(ledger.outstanding(), expected.lost);
            prop_assert_eq!(ledger.behind(place), expected.lost);
        }
    }

    #[test]
    fn a_member_is_owed_nothing_from_before_it_joined() {
        let (mut ledger, first) = ledger(3);
        let second = ledger.join(0);
        let sent = ledger.publish(0, 5);
        ledger.deliver(second, sent, 6);
        ledger.deliver(second, stamp(1), 6);
        assert_eq!((ledger.behind(first), ledger.behind(second)), (4, 0));
        assert_eq!(ledger.account().strays, 1);
    }

    #[test]
    fn a_publication_is_in_flight_until_all_members_have_it() {
        let (mut ledger, first) = ledger(0);
        let second = ledger.join(0);
        let sent = [ledger.publish(0, 1), ledger.publish(0, 2)];
        assert_eq!(ledger.in_flight(), 2);
        ledger.deliver(first, sent[0], 9);
        ledger.deliver(second, sent[1], 9);
        ledger.deliver(first, sent[1], 9);
        assert_eq!(
            ledger.in_flight(),
            2,
            "the first still lacks a member, and the window moves in order"
        );
        ledger.deliver(second, sent[0], 9);
        assert_eq!((ledger.in_flight(), ledger.outstanding()), (0, 0));
    }

    #[test]
    fn giving_up_frees_the_window_and_not_the_debt() {
        let (mut ledger, place) = ledger(0);
        let lost = ledger.publish(0, 1);
        let kept = ledger.publish(0, 50);
        ledger.give_up_before(10);
        assert_eq!((ledger.in_flight(), ledger.account().lost), (1, 2));
        ledger.deliver(place, kept, 60);
        ledger.deliver(place, lost, 61);
        assert_eq!(
            (
                ledger.in_flight(),
                ledger.account().lost,
                ledger.account().out_of_order
            ),
            (0, 0, 1)
        );
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut values = histogram();
        (1..=1_000_u64).for_each(|ms| values.saturating_record(ms * 1_000_000));
        let latency = Latency::of(&values);
        let near =
            |found: f64, right: f64| assert!((found - right).abs() <= right * 0.001, "{found} for {right}");
        near(latency.p50_ms, 500.0);
        near(latency.p95_ms, 950.0);
        near(latency.p99_ms, 990.0);
        near(latency.max_ms, 1_000.0);
    }

    #[test]
    fn an_event_to_an_empty_room_is_not_in_flight() {
        let mut ledger = Ledger::default();
        ledger.publish(4, 0);
        assert_eq!((ledger.in_flight(), ledger.outstanding()), (0, 0));
    }
}
