//! The books of a soak: what each visitor heard last, and so what it has to hear next, over all its connections.
//!
//! A room's events are numbered without a gap. From the first that a visitor hears on, each has to be the next one, also
//! after it was away, unless it was told that something is missing; and that it may be told only if it missed more than a
//! history has.

/// How many examples are kept.
const EXAMPLES: usize = 20;

/// Everything published and heard.
pub struct Books {
    rooms: Vec<Room>,
    places: Vec<Place>,
    /// Events that a room's history has.
    history: u32,
    pub account: Account,
    /// The first few that were wrong, for whoever wants to know why.
    pub examples: Vec<String>,
}

#[derive(Clone, Default)]
struct Room {
    published: u32,
    accepted: u32,
}

#[derive(Clone, Copy)]
struct Place {
    room: u32,
    next: Next,
}

/// Which event has to come next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// One of these: what was on its way while the visitor came.
    Among { from: u32, to: u32 },
    /// This one.
    Is(u32),
}

impl Next {
    fn first(self) -> u32 {
        match self {
            Self::Is(next) => next,
            Self::Among { from, .. } => from,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub heard: u64,
    pub lost: u64,
    pub doubled: u64,
    /// Of another room, or never published.
    pub strays: u64,
    /// Returns after which nothing was missing, as was said.
    pub recovered: u64,
    /// Returns at which it was said that something is missing.
    pub unrecovered: u64,
    /// Of these, those that had missed no more than a history has.
    pub told_wrongly: u64,
}

/// What has been accepted and what may be on its way, when a visitor asks to be let in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked(u32);

impl Books {
    /// With each visitor in the room that `rooms` says.
    pub fn new(visitors: impl IntoIterator<Item = u32>, rooms: u32, history: u32) -> Self {
        let place = |room| Place {
            room,
            next: Next::Among { from: 0, to: 0 },
        };
        Self {
            rooms: vec![Room::default(); rooms as usize],
            places: visitors.into_iter().map(place).collect(),
            history,
            account: Account::default(),
            examples: Vec::new(),
        }
    }

    /// An event more in `room`: its number there.
    pub fn publish(&mut self, room: u32) -> u32 {
        let room = &mut self.rooms[room as usize];
        room.published += 1;
        room.published - 1
    }

    /// The node has accepted the next event of `room`.
    pub fn accept(&mut self, room: u32) {
        self.rooms[room as usize].accepted += 1;
    }

    /// Whether all that was published is accepted.
    pub fn all_accepted(&self) -> bool {
        self.rooms.iter().all(|room| room.accepted == room.published)
    }

    /// The room of a visitor.
    pub fn room_of(&self, visitor: usize) -> u32 {
        self.places[visitor].room
    }

    /// To be called before a visitor asks to join for the first time.
    pub fn asks(&self, visitor: usize) -> Asked {
        Asked(self.rooms[self.room_of(visitor) as usize].accepted)
    }

    /// It is in its room from here on; as somebody new, unless it has `asked` before.
    pub fn joined(&mut self, visitor: usize, asked: Option<Asked>) {
        let Place { room, next } = self.places[visitor];
        let to = self.rooms[room as usize].published;
        let from = asked.map_or(next.first(), |asked| asked.0);
        self.places[visitor].next = Next::Among { from, to };
    }

    /// It came back, and was told whether anything is missing; `excused` says that it was away too long to be
    /// remembered.
    pub fn returned(&mut self, visitor: usize, recovered: bool, excused: bool) {
        if recovered {
            self.account.recovered += 1;
            return;
        }
        self.account.unrecovered += 1;
        let Place { room, next } = self.places[visitor];
        let to = self.rooms[room as usize].published;
        let from = next.first();
        if !excused && to - from <= self.history {
            self.account.told_wrongly += 1;
            self.note(
                visitor,
                format!("was told of a loss, and had missed {} to {to}", from),
            );
        }
        self.places[visitor].next = Next::Among { from, to };
    }

    /// A visitor hears event `number` of `room`.
    pub fn hears(&mut self, visitor: usize, room: u32, number: u32) {
        let place = &mut self.places[visitor];
        if room != place.room || number >= self.rooms[room as usize].published {
            self.account.strays += 1;
            return self.note(visitor, format!("heard {number} of room {room}"));
        }
        let (from, to) = match place.next {
            Next::Is(next) => (next, next),
            Next::Among { from, to } => (from, to),
        };
        if number < from {
            self.account.doubled += 1;
            return self.note(visitor, format!("heard {number} again, {from} is next"));
        }
        self.account.heard += 1;
        self.account.lost += u64::from(number.saturating_sub(to));
        place.next = Next::Is(number + 1);
        if number > to {
            self.note(visitor, format!("heard {number}, {to} was to come"));
        }
    }

    fn note(&mut self, visitor: usize, what: String) {
        if self.examples.len() < EXAMPLES {
            let room = self.room_of(visitor);
            self.examples
                .push(format!("visitor {visitor} of room {room} {what}"));
        }
    }

    /// Events that a visitor has to hear still.
    pub fn behind(&self, visitor: usize) -> u32 {
        let Place { room, next } = self.places[visitor];
        let published = self.rooms[room as usize].published;
        match next {
            Next::Is(next) => published - next,
            Next::Among { to, .. } => published - to,
        }
    }

    /// Gives up what has not come by now.
    pub fn close(&mut self) {
        let behind: u64 = (0..self.places.len()).map(|at| u64::from(self.behind(at))).sum();
        self.account.lost += behind;
    }
}

impl Account {
    /// How many events and answers were not as they should be.
    pub fn wrong(&self) -> u64 {
        self.lost + self.doubled + self.strays + self.told_wrongly
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(books: &mut Books, events: u32) {
        for _ in 0..events {
            books.publish(1);
        }
    }

    /// One visitor of room 1, which has ten events when it comes, eight of them accepted, and three more after.
    fn books() -> Books {
        let mut books = Books::new([1], 2, 100);
        publish(&mut books, 10);
        (0..8).for_each(|_| books.accept(1));
        let asked = books.asks(0);
        books.joined(0, Some(asked));
        publish(&mut books, 3);
        books
    }

    fn account(heard: &[u32]) -> Account {
        let mut books = books();
        heard.iter().for_each(|number| books.hears(0, 1, *number));
        books.close();
        books.account
    }

    fn wrong(lost: u64, doubled: u64) -> impl Fn(&Account) -> bool {
        move |account| (account.lost, account.doubled, account.wrong()) == (lost, doubled, lost + doubled)
    }

    #[test]
    fn what_was_on_its_way_may_be_heard_or_not() {
        assert!(wrong(0, 0)(&account(&[8, 9, 10, 11, 12])));
        assert!(wrong(0, 0)(&account(&[10, 11, 12])));
    }

    #[test]
    fn every_other_deviation_is_counted() {
        assert!(wrong(3, 0)(&account(&[])), "nothing");
        assert!(wrong(1, 0)(&account(&[11, 12])), "the first");
        assert!(wrong(1, 0)(&account(&[9, 11, 12])), "one in the middle");
        assert!(wrong(2, 0)(&account(&[9, 10])), "the last");
        assert!(wrong(0, 1)(&account(&[7, 10, 11, 12])), "from before");
        assert!(wrong(0, 2)(&account(&[10, 11, 10, 11, 12])), "twice");
        assert!(wrong(1, 1)(&account(&[10, 12, 11])), "out of order is both");
    }

    #[test]
    fn strays_are_counted() {
        let mut books = books();
        books.hears(0, 0, 0);
        books.hears(0, 1, 13);
        assert_eq!(books.account.strays, 2);
    }

    #[test]
    fn a_visitor_that_is_told_of_a_loss_may_go_on_anywhere_later() {
        for (history, wrongly) in [(100, 1), (5, 1), (4, 0)] {
            let mut books = books();
            books.history = history;
            (8..=9).for_each(|number| books.hears(0, 1, number));
            publish(&mut books, 2);
            books.returned(0, false, false);
            assert_eq!(books.account.told_wrongly, wrongly, "{history}");
            books.hears(0, 1, 13);
            books.hears(0, 1, 14);
            books.close();
            assert_eq!((books.account.lost, books.account.doubled), (0, 0));
        }
    }

    #[test]
    fn a_visitor_that_is_told_that_nothing_is_missing_has_to_hear_all() {
        let mut books = books();
        (8..=9).for_each(|number| books.hears(0, 1, number));
        books.returned(0, true, false);
        books.hears(0, 1, 12);
        assert_eq!((books.account.lost, books.behind(0)), (2, 0));
    }
}
