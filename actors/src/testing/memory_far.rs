//! A far cache in memory, for several nodes in one thread on virtual time: it can be away, be deaf, be cut off from who
//! follows it, and lose all it has.

use crate::{
    far_cache::{Changed, FarCache, FarError, FarFuture, FarStanding},
    logic::cache::{Key, Kind, Name},
};
use bytes::Bytes;
use futures_util::{future::pending, stream};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It does what it is asked.
    Well,
    /// It refuses everything.
    Away,
    /// It answers nothing.
    Deaf,
}

type Place = (Arc<str>, Option<Arc<str>>);

struct Server {
    mood: Mood,
    entries: BTreeMap<Place, (Bytes, Instant)>,
    dependents: BTreeMap<Name, Vec<Key>>,
    /// Who follows, with the number of his node.
    followers: Vec<(usize, mpsc::UnboundedSender<Changed>)>,
    asked: u64,
}

/// What the nodes share.
#[derive(Clone)]
pub struct MemoryFar {
    server: Arc<Mutex<Server>>,
    takes: Duration,
    lives: Duration,
}

impl MemoryFar {
    /// One that takes so long for an answer, and in which each entry lives for so long.
    pub fn new(takes: Duration, lives: Duration) -> Self {
        let server = Server {
            mood: Mood::Well,
            entries: BTreeMap::new(),
            dependents: BTreeMap::new(),
            followers: Vec::new(),
            asked: 0,
        };
        Self {
            server: Arc::new(Mutex::new(server)),
            takes,
            lives,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is like this. Away, nobody follows it any more.
    pub fn set(&self, mood: Mood) {
        let mut server = self.lock();
        server.mood = mood;
        if mood == Mood::Away {
            server.followers.clear();
        }
    }

    /// Nobody hears what changes any more, until he follows again.
    pub fn cut(&self) {
        self.lock().followers.clear();
    }

    /// It has lost all, and says so to who follows, as a server does that is emptied.
    pub fn flush(&self) {
        let mut server = self.lock();
        server.entries.clear();
        server.dependents.clear();
        server.tell(usize::MAX, &Changed::All);
    }

    /// Another hand writes something.
    pub fn meddle(&self, key: &Key, value: Bytes) {
        self.lock()
            .put(usize::MAX, key, value, Instant::now() + self.lives);
    }

    /// Whether it has an entry.
    pub fn has(&self, key: &Key) -> bool {
        self.lock().get(key).is_some()
    }

    /// The names of all entries.
    pub fn names(&self) -> Vec<String> {
        self.lock()
            .entries
            .keys()
            .map(|(text, _)| text.to_string())
            .collect()
    }

    /// How often it was asked anything.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// As a node sees it.
    pub fn door(&self, node: usize) -> Door {
        let far = self.clone();
        Door { far, node }
    }
}

impl Server {
    fn tell(&mut self, but: usize, changed: &Changed) {
        self.followers
            .retain(|(node, follower)| *node == but || follower.send(changed.clone()).is_ok());
    }

    fn get(&self, key: &Key) -> Option<Bytes> {
        let (value, until) = self.entries.get(&(key.text.clone(), key.field.clone()))?;
        (*until > Instant::now()).then(|| value.clone())
    }

    fn put(&mut self, node: usize, key: &Key, value: Bytes, until: Instant) {
        self.entries
            .insert((key.text.clone(), key.field.clone()), (value, until));
        self.tell(node, &Changed::Keys(vec![whole(key)]));
    }

    fn remove(&mut self, node: usize, key: &Key) -> u64 {
        let before = self.entries.len();
        self.entries
            .retain(|(text, field), _| *text != key.text || key.field.is_some() && *field != key.field);
        let removed = (before - self.entries.len()) as u64;
        if removed > 0 {
            self.tell(node, &Changed::Keys(vec![whole(key)]));
        }
        removed
    }
}

/// The key of which a server tells: it knows of no fields.
fn whole(key: &Key) -> Key {
    Key {
        field: None,
        ..key.clone()
    }
}

/// See [`MemoryFar::door`].
pub struct Door {
    far: MemoryFar,
    node: usize,
}

impl Door {
    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Server) -> T) -> FarFuture<T> {
        let takes = self.far.takes;
        let done = {
            let mut server = self.far.lock();
            server.asked += 1;
            match server.mood {
                Mood::Well => Ok(what(&mut server)),
                Mood::Away => Err(FarError("away".into())),
                Mood::Deaf => return Box::pin(pending()),
            }
        };
        Box::pin(async move {
            sleep(takes).await;
            done
        })
    }
}

impl FarCache for Door {
    fn get(&self, keys: Vec<Key>) -> FarFuture<Vec<Option<Bytes>>> {
        self.ask(|server| keys.iter().map(|key| server.get(key)).collect())
    }

    fn put(&self, entries: Vec<(Key, Bytes)>) -> FarFuture<()> {
        let (node, until) = (self.node, Instant::now() + self.far.lives);
        self.ask(|server| {
            for (key, value) in entries {
                server.put(node, &key, value, until);
            }
        })
    }

    fn touch(&self, keys: Vec<Key>) -> FarFuture<()> {
        let until = Instant::now() + self.far.lives;
        self.ask(|server| {
            for key in keys {
                if let Some(entry) = server.entries.get_mut(&(key.text, key.field)) {
                    entry.1 = until;
                }
            }
        })
    }

    fn remove(&self, keys: Vec<Key>) -> FarFuture<u64> {
        let node = self.node;
        self.ask(|server| keys.iter().map(|key| server.remove(node, key)).sum())
    }

    fn depend(&self, keys: Vec<Key>, on: Name) -> FarFuture<()> {
        self.ask(|server| server.dependents.entry(on).or_default().extend(keys))
    }

    fn remove_dependents(&self, on: Name) -> FarFuture<u64> {
        let node = self.node;
        self.ask(move |server| {
            let keys = server.dependents.remove(&on).unwrap_or_default();
            keys.iter().map(|key| server.remove(node, key)).sum()
        })
    }

    fn remove_matching(&self, pattern: String) -> FarFuture<u64> {
        let node = self.node;
        let prefix = pattern.trim_end_matches('*').to_owned();
        self.ask(move |server| {
            let names: Vec<Arc<str>> = server.entries.keys().map(|(text, _)| text.clone()).collect();
            let matching = names.into_iter().filter(|name| name.starts_with(&prefix));
            let keys: Vec<Key> = matching.filter_map(|name| Key::parse(&name)).collect();
            keys.iter().map(|key| server.remove(node, key)).sum()
        })
    }

    fn recent(&self, limit: usize) -> FarFuture<Vec<Name>> {
        self.ask(move |server| {
            let mut found: Vec<(Instant, Name)> = Vec::new();
            for ((text, _), (_, until)) in &server.entries {
                let key = Key::parse(text).filter(|key| key.kind == Kind::Fingerprint);
                found.extend(key.and_then(|key| key.project()).map(|name| (*until, name)));
            }
            found.sort_by_key(|(until, _)| std::cmp::Reverse(*until));
            found.into_iter().map(|(_, name)| name).take(limit).collect()
        })
    }

    fn ping(&self) -> FarFuture<()> {
        self.ask(|_| ())
    }

    fn follow(&self) -> FarFuture<stream::BoxStream<'static, Changed>> {
        let node = self.node;
        self.ask(move |server| {
            let (follower, heard) = mpsc::unbounded_channel();
            server.followers.push((node, follower));
            let heard: stream::BoxStream<'static, Changed> =
                Box::pin(stream::unfold(heard, |mut heard| async {
                    heard.recv().await.map(|changed| (changed, heard))
                }));
            heard
        })
    }

    fn standing(&self, _: bool) -> FarFuture<FarStanding> {
        self.ask(|server| FarStanding {
            used_bytes: server.entries.values().map(|(value, _)| value.len() as u64).sum(),
            ..FarStanding::default()
        })
    }
}
