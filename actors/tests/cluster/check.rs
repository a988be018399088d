//! Heals everything, and checks every client and every node against the truth.

use crate::{
    schedule::{GUESTS, Kind, NODES, PLAYERS, ROOMS, SHARDS},
    schedules::{Outcome, count_shards},
    truth::Answer,
    world::World,
};
use greenroom_actors::{
    logic::room_name::RoomName,
    peer::Line,
    ports::Bus as _,
    room_registry::faults,
    testing::{memory_broker::Mood, wire::MemoryWire},
};
use std::{collections::BTreeSet, rc::Rc};

type Peer = Rc<greenroom_actors::peer::Peer<MemoryWire>>;

/// How long everything may take to heal, seconds of virtual time.
const HEALED_WITHIN: usize = 600;

impl World {
    /// Everybody comes back and reads until nothing more comes.
    pub async fn heal(&mut self) {
        faults::forget_all();
        self.cluster.broker.set(Mood::Well);
        self.wait(1_000).await;
        for room in 0..ROOMS.len() {
            // The last word, so that a gap at the end is one in the middle.
            self.publish(room % NODES * SHARDS, 1 << room, Kind::Chat, 0, false);
        }
        let mut quiet = 0;
        for second in 0..HEALED_WITHIN {
            self.return_all(second);
            let before = self.noticed();
            self.wait(1_000).await;
            quiet = if before == self.noticed() { quiet + 1 } else { 0 };
            // Longer than a half-open connection lives.
            if quiet > 60 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn noticed(&self) -> usize {
        let players = self.players.iter().map(|player| player.client.diary.len());
        players
            .chain(self.guests.iter().map(|guest| guest.diary.len()))
            .sum()
    }

    fn return_all(&mut self, second: usize) {
        let place = |client: usize| (client + second) % (NODES * SHARDS);
        for player in 0..PLAYERS {
            self.players[player].client.stalled = false;
            if self.players[player].client.is_away() {
                self.connect(player, place(player));
            }
        }
        for guest in 0..GUESTS {
            if self.guests[guest].is_away() {
                self.back(guest, place(PLAYERS + guest), second % 2 == 1, false);
            }
        }
    }

    /// Everything is as promised.
    pub async fn check(&mut self) {
        for (node, bus) in self.cluster.buses.iter().enumerate() {
            let state = bus.state();
            assert!(state.up, "node {node} does not reach the broker: {state:?}");
            assert_eq!((state.waiting, state.waiting_bytes), (0, 0), "node {node}");
        }
        assert_eq!(self.unanswered(), 0, "publishers wait");
        self.check_receipts();
        self.check_clients();
        self.check_positions().await;
        self.check_clients();
        self.check_presence().await;
    }

    fn check_clients(&mut self) {
        for (i, player) in self.players.iter().enumerate() {
            if let Some(broken) = player.find_broken(&self.truth) {
                panic!("player {i}: {broken}\n{:#?}", player.client.diary);
            }
        }
        for (i, guest) in self.guests.iter_mut().enumerate() {
            if let Some(broken) = guest.find_broken(&self.truth) {
                panic!("guest {i}: {broken}\n{:#?}", guest.diary);
            }
            for old in &mut guest.old {
                old.listen();
                assert!(old.is_over(), "an old connection lives on");
            }
        }
        // A node that has not reached the broker yet knows nothing of what anybody has.
        let may_be_new = self.setup.begins_away || self.reached.contains_key("killed");
        let may_miss = self.setup.history_events < 1_000 || self.reached.contains_key("restarted with less");
        let gaps: usize = self.players.iter().map(|player| player.client.gaps).sum();
        assert!(
            may_be_new || may_miss || gaps == 0,
            "told of a gap, though nothing was lost"
        );
    }

    /// What a publisher was told holds.
    fn check_receipts(&mut self) {
        let mut local = 0;
        for told in self.truth.events.values() {
            let was_killed = told.node.1 < self.started[told.node.0];
            let is_there = !told.accepted.is_empty();
            match told.receipt {
                Some(Answer::Shared) => assert!(is_there, "the broker has never had {told:?}"),
                Some(Answer::Local) => {
                    assert!(is_there || was_killed, "never relayed: {told:?}");
                    local += 1;
                }
                Some(Answer::Refused) | None => {}
            }
        }
        *self.reached.entry("relayed after an outage".into()).or_default() += local;
    }

    /// Once all is settled, what comes says a plain number as its position.
    async fn check_positions(&mut self) {
        let mut last = Vec::new();
        // With the first ones every shard learns how far all is; what comes after a sweep is plain.
        for _ in 0..2 {
            last.clear();
            for room in 0..ROOMS.len() {
                last.push(self.publish(0, 1 << room, Kind::Chat, 0, false));
            }
            self.wait(3_000).await;
        }
        // What a node had not relayed when it was killed, or the broker has lost, stays in doubt.
        if self.reached.contains_key("killed") || self.reached.contains_key("restarted with less") {
            return;
        }
        for player in self
            .players
            .iter()
            .filter(|player| last.iter().any(|id| player.has(id)))
        {
            let client = &player.client;
            let position = client.position.as_deref().unwrap_or_default();
            assert!(!position.contains('!'), "{position}: {:#?}", client.diary);
        }
        for guest in self
            .guests
            .iter()
            .filter(|guest| last.iter().any(|id| guest.has(id)))
        {
            let position = guest.position().unwrap_or_default();
            assert!(!position.contains('!'), "{position}: {:#?}", guest.diary);
        }
    }

    fn peers(&self) -> impl Iterator<Item = Peer> {
        let shards = self.cluster.nodes.iter().flat_map(|node| &node.shards);
        shards.flat_map(|shard| shard.desk.hub.all())
    }

    /// Every node knows who is where, and that is true.
    async fn check_presence(&mut self) {
        for name in ROOMS {
            let room = RoomName::parse(name, 200).expect("a name");
            let is_in = |peer: &Peer| peer.rooms.borrow().iter().any(|(has, _)| *has == room);
            let inside: Vec<Peer> = self.peers().filter(is_in).collect();
            let ids: BTreeSet<String> = inside.iter().map(|peer| peer.card().id.to_string()).collect();
            for (node, bus) in self.cluster.buses.iter().enumerate() {
                let members = bus.members(&room).await.expect("a broker that is there");
                let members: BTreeSet<String> = members.into_iter().map(|member| member.id).collect();
                assert_eq!(members, ids, "presence in {name} as node {node} sees it");
            }
            let sockets = inside.iter().filter(|peer| matches!(peer.line, Line::Socket(_)));
            let players = self.players.iter().filter(|player| player.client.is_in(name));
            assert_eq!(sockets.count(), players.count(), "players in {name}");
            let guests = self.guests.iter().filter(|guest| guest.is_in(name)).count();
            let there = inside.iter().filter(|peer| matches!(peer.line, Line::Engine(_)));
            assert!(there.count() >= guests, "guests in {name}");
        }
    }

    /// What it came to.
    pub fn outcome(mut self) -> Outcome {
        count_shards(&self.cluster.nodes, &mut self.reached);
        for guest in &self.guests {
            let (where_they_were, new) = guest.returns;
            *self.reached.entry("where they were".into()).or_default() += where_they_were;
            *self.reached.entry("new again".into()).or_default() += new;
        }
        let diaries: Vec<Vec<String>> = self
            .players
            .into_iter()
            .map(|player| player.client.diary)
            .collect();
        let local = diaries
            .iter()
            .flatten()
            .filter(|line| line.ends_with("] true"))
            .count();
        *self.reached.entry("given locally".into()).or_default() += local as u64;
        let guests = self.guests.into_iter().map(|guest| guest.diary);
        Outcome {
            diaries: diaries.into_iter().chain(guests).collect(),
            reached: self.reached,
        }
    }
}
