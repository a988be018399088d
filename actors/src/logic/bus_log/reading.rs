//! Reading the history.

use super::super::room_name::RoomName;
use super::{BusLog, Gap, Kept, Page, Query};

impl BusLog {
    /// Reads a part of the history. Reading counts as use.
    pub fn read(&mut self, query: &Query, now: i64) -> Page {
        self.tend(now);
        let rooms: Vec<_> = query
            .rooms
            .iter()
            .filter(|(room, _)| self.rooms.contains_key(room))
            .cloned()
            .collect();
        for (room, _) in &rooms {
            self.touch(room);
            if let Some(log) = self.rooms.get_mut(room) {
                log.kept.make_contiguous();
            }
        }
        let gaps = self.gaps(query);
        let mut page = Page {
            whole: gaps.is_empty() && self.has_all(query),
            gaps,
            upto: self.seq,
            head: self.seq,
            ..Page::default()
        };
        let mut cursors: Vec<_> = rooms
            .iter()
            .map(|(room, from)| self.cursor(room, query.after.max(*from)))
            .collect();
        let mut bytes = 0;
        // The next event is the lowest at any cursor; one that stands in several rooms is at several.
        while let Some(next) = cursors
            .iter()
            .filter_map(|cursor| cursor.first())
            .map(|kept| kept.event.seq)
            .min()
        {
            let mut event = None;
            for cursor in &mut cursors {
                if cursor.first().is_some_and(|kept| kept.event.seq == next) {
                    event = Some(cursor[0].event.clone());
                    *cursor = &cursor[1..];
                }
            }
            let Some(event) = event else { break };
            bytes += event.payload.json().len();
            let full = page.events.len() >= query.events_max || bytes > query.bytes_max;
            if full && !page.events.is_empty() {
                page.more = true;
                page.upto = page.events[page.events.len() - 1].seq;
                break;
            }
            page.events.push(event);
        }
        page
    }

    fn cursor(&self, room: &RoomName, after: u64) -> &[Kept] {
        let Some(log) = self.rooms.get(room) else {
            return &[];
        };
        let (old, new) = log.kept.as_slices();
        debug_assert!(new.is_empty(), "read() makes the rings contiguous first");
        &old[old.partition_point(|kept| kept.event.seq <= after)..]
    }

    /// Rooms of which something is not kept any more, up to what each lacks it.
    fn gaps(&self, query: &Query) -> Vec<Gap> {
        let lacks = |(room, from): (&RoomName, u64)| {
            let upto = match self.rooms.get(room) {
                None => self.forgotten,
                Some(log) => {
                    let kept = log.kept.as_slices().0;
                    let first = kept.partition_point(|kept| kept.event.seq <= from);
                    kept.get(first).map_or(log.last_seq, |next| next.prev)
                }
            };
            (upto > from).then(|| (room.clone(), upto))
        };
        query.whole_from().filter_map(lacks).collect()
    }

    /// Whether each event that must be there is, in a room of which it is wanted.
    fn has_all(&self, query: &Query) -> bool {
        let is_kept = |room: &RoomName, must: u64| {
            let kept = self.rooms.get(room).map(|log| log.kept.as_slices().0);
            kept.is_some_and(|kept| kept.binary_search_by_key(&must, |kept| kept.event.seq).is_ok())
        };
        let is_there = |must: &u64| {
            let mut rooms = query.rooms.iter();
            rooms.any(|(room, joined_at)| joined_at < must && is_kept(room, *must))
        };
        query.must.iter().all(is_there)
    }
}
