//! Rooms into which other servers have put sockets of ours, by any names: beside the node's own rooms, whose names are
//! checked, which have histories, and which a socket enters only when the bus has confirmed it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// The longest name, bytes. Nobody is put into a room with a longer one.
const NAME_BYTES_MAX: usize = 1_024;

/// See the module's description. Sockets are told by numbers.
#[derive(Clone, Debug, Default)]
pub struct SideRooms {
    by_socket: HashMap<u64, BTreeSet<Arc<str>>>,
    by_room: HashMap<Arc<str>, BTreeSet<u64>>,
}

impl SideRooms {
    /// A socket is in a room, unless that would be more than `limit`. Returns whether it is.
    pub fn join(&mut self, socket: u64, room: &str, limit: usize) -> bool {
        let rooms = self.by_socket.entry(socket).or_default();
        if !rooms.contains(room) && rooms.len() < limit && room.len() <= NAME_BYTES_MAX {
            let name = match self.by_room.get_key_value(room) {
                Some((name, _)) => name.clone(),
                None => Arc::from(room),
            };
            self.by_room.entry(name.clone()).or_default().insert(socket);
            rooms.insert(name);
        }
        let is_in = rooms.contains(room);
        if rooms.is_empty() {
            self.by_socket.remove(&socket);
        }
        is_in
    }

    /// A socket is no longer in a room.
    pub fn leave(&mut self, socket: u64, room: &str) {
        let Some(rooms) = self.by_socket.get_mut(&socket) else {
            return;
        };
        rooms.remove(room);
        if rooms.is_empty() {
            self.by_socket.remove(&socket);
        }
        self.empty(socket, room);
    }

    /// A socket is gone.
    pub fn leave_all(&mut self, socket: u64) {
        for room in self.by_socket.remove(&socket).unwrap_or_default() {
            self.empty(socket, &room);
        }
    }

    fn empty(&mut self, socket: u64, room: &str) {
        if let Some(sockets) = self.by_room.get_mut(room) {
            sockets.remove(&socket);
            if sockets.is_empty() {
                self.by_room.remove(room);
            }
        }
    }

    /// The rooms of a socket, by name.
    pub fn of(&self, socket: u64) -> impl Iterator<Item = &Arc<str>> {
        self.by_socket.get(&socket).into_iter().flatten()
    }

    /// The sockets in a room.
    pub fn in_room(&self, room: &str) -> impl Iterator<Item = u64> {
        self.by_room.get(room).into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn a_socket_has_so_many_rooms_and_names_have_so_many_bytes() {
        let mut rooms = SideRooms::default();
        assert!(rooms.join(1, "räum 1", 2) && rooms.join(1, "", 2) && rooms.join(1, "", 2));
        assert!(!rooms.join(1, "c", 2) && rooms.join(2, "c", 2));
        assert!(!rooms.join(3, &"x".repeat(NAME_BYTES_MAX + 1), 2));
        assert_eq!(rooms.by_socket.len(), 2);
    }

    proptest! {
        /// As pairs in a set, and nothing is left of who is gone.
        #[test]
        fn both_sides_tell_the_same(steps in vec((0u8..5, 0u64..4, 0usize..4), 0..60)) {
            let names = ["a", "b b", "ö", ""];
            let (mut rooms, mut model) = (SideRooms::default(), BTreeSet::new());
            for (step, socket, name) in steps {
                match step {
                    0..3 => {
                        rooms.join(socket, names[name], 9);
                        model.insert((socket, names[name]));
                    }
                    3 => {
                        rooms.leave(socket, names[name]);
                        model.remove(&(socket, names[name]));
                    }
                    _ => {
                        rooms.leave_all(socket);
                        model.retain(|(of, _)| *of != socket);
                    }
                }
            }
            for socket in 0..4 {
                for name in names {
                    let expected = model.contains(&(socket, name));
                    prop_assert_eq!(rooms.of(socket).any(|has| &**has == name), expected);
                    prop_assert_eq!(rooms.in_room(name).any(|is| is == socket), expected);
                }
            }
            let mut sockets: Vec<u64> = model.iter().map(|(socket, _)| *socket).collect();
            sockets.dedup();
            prop_assert_eq!(rooms.by_socket.len(), sockets.len());
        }
    }
}
