//! Subjects: what those have in common whose tokens name the same one.
//!
//! A subject is one user, however many connections it has and whichever shards they are on: how many it has is limited,
//! and what it is given in a second is counted in one throttle. The table of a node's subjects is looked at where a
//! connection begins and ends, never where something is delivered.

use crate::logic::{
    fault::{Code, Fault},
    throttle::Throttle,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// How long whoever takes over from an older connection of his own waits for its place. It is told to end at once, but
/// its shard may be busy.
const FREE_WITHIN: Duration = Duration::from_secs(2);

/// Whoever is given events at one pace: a subject, or a connection without one.
pub struct User {
    /// Distinguishes users of a node.
    pub id: u64,
    throttle: Mutex<Throttle>,
}

impl User {
    /// The throttle. Shards wait for each other only if they have connections of the same user, and then for the time of
    /// a look-up.
    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // What a shard left that panicked here is still the best there is: what waits in it.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subjects of a node, and the clock by which their throttles go.
pub struct Subjects {
    /// Connections of one subject; 0: no limit.
    limit: u32,
    began: Instant,
    users: AtomicU64,
    table: Mutex<HashMap<Arc<str>, Entry>>,
    /// Told of each connection that ends.
    freed: Notify,
}

struct Entry {
    open: u32,
    shared: Arc<Shared>,
}

/// What the connections of a subject share.
struct Shared {
    name: Arc<str>,
    /// Made when the first event is throttled.
    user: OnceLock<Arc<User>>,
}

impl Subjects {
    /// None yet. Each may have so many connections; 0: as many as it likes.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            limit,
            began: Instant::now(),
            users: AtomicU64::new(0),
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// When the node began: its shards count their time from then on.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// A connection of this subject more, if it may have one. Errors: `rate_limited`.
    pub fn take(self: &Arc<Self>, name: &Arc<str>) -> Result<Subject, Fault> {
        let mut table = self.lock();
        if self.limit > 0 && table.get(name).is_some_and(|entry| entry.open >= self.limit) {
            let limit = self.limit;
            let message =
                format!("this subject has its {limit} connections (limits.connections_per_subject)");
            return Err(Fault::new(Code::RateLimited, message));
        }
        let entry = table.entry(name.clone()).or_insert_with(|| Entry {
            open: 0,
            shared: Arc::new(Shared {
                name: name.clone(),
                user: OnceLock::new(),
            }),
        });
        entry.open += 1;
        Ok(Subject {
            shared: entry.shared.clone(),
            node: self.clone(),
        })
    }

    /// The same for one that takes over from another, whose end is under way. Errors: `rate_limited`, after a while.
    pub async fn take_over(self: &Arc<Self>, name: &Arc<str>) -> Result<Subject, Fault> {
        let free = async {
            loop {
                // Before it is looked: what is freed in between is not missed.
                let freed = self.freed.notified();
                match self.take(name) {
                    Ok(subject) => return subject,
                    Err(_) => freed.await,
                }
            }
        };
        match timeout(FREE_WITHIN, free).await {
            Ok(subject) => Ok(subject),
            Err(_) => self.take(name),
        }
    }

    /// A user of its own, for a connection without a subject.
    pub fn nobody(&self) -> Arc<User> {
        Arc::new(User {
            id: self.users.fetch_add(1, Ordering::Relaxed),
            throttle: Mutex::default(),
        })
    }

    /// How many subjects have connections.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subject of a connection; the connection is counted until this is dropped.
pub struct Subject {
    shared: Arc<Shared>,
    node: Arc<Subjects>,
}

impl Subject {
    /// Whose it is.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// The user that all connections of the subject are.
    pub fn user(&self) -> Arc<User> {
        self.shared.user.get_or_init(|| self.node.nobody()).clone()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let mut table = self.node.lock();
        let Some(entry) = table.get_mut(&self.shared.name) else {
            return;
        };
        entry.open -= 1;
        if entry.open == 0 {
            table.remove(&self.shared.name);
        }
        drop(table);
        self.node.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_virtual_time;
    use futures_util::future::join;

    #[test]
    fn connections_of_a_subject_are_one_user_and_it_is_forgotten_with_the_last() {
        let subjects = Subjects::new(0);
        let [ada, bob] = ["ada", "bob"].map(Arc::from);
        let [one, other, bobs] = [&ada, &ada, &bob].map(|name| subjects.take(name).unwrap());
        assert!(Arc::ptr_eq(&one.user(), &other.user()));
        let ids = [&one, &bobs].map(|subject| subject.user().id);
        assert_ne!(ids[0], ids[1]);
        assert!(!ids.contains(&subjects.nobody().id));
        drop(one);
        assert_eq!((subjects.len(), other.user().id), (2, ids[0]));
        drop((other, bobs));
        assert!(subjects.is_empty());
    }

    #[test]
    fn a_subject_has_no_more_connections_than_it_may() {
        let subjects = Subjects::new(2);
        let [ada, bob] = ["ada", "bob"].map(Arc::from);
        let [one, _other] = [&ada; 2].map(|name| subjects.take(name).unwrap());
        let refused = subjects.take(&ada).err().unwrap();
        assert_eq!(refused.code, Code::RateLimited);
        assert!(refused.message.contains("limits.connections_per_subject"));
        let _bobs = subjects.take(&bob).unwrap();
        drop(one);
        let _again = subjects.take(&ada).unwrap();
        assert!(subjects.take(&ada).is_err());
    }

    #[test]
    fn who_takes_over_waits_for_the_place_and_not_for_ever() {
        on_virtual_time(async {
            let subjects = Subjects::new(1);
            let ada = Arc::from("ada");
            let older = subjects.take(&ada).unwrap();
            assert!(subjects.take_over(&ada).await.is_err());
            let ends = async {
                tokio::time::sleep(FREE_WITHIN / 2).await;
                drop(older);
            };
            let (newer, ()) = join(subjects.take_over(&ada), ends).await;
            assert!(newer.is_ok() && subjects.take(&ada).is_err());
        });
    }

    #[test]
    fn a_throttle_in_which_a_thread_has_panicked_is_used_on() {
        let user = Subjects::new(0).nobody();
        let panics = user.clone();
        let thread = std::thread::spawn(move || {
            let _throttle = panics.throttle();
            std::panic::resume_unwind(Box::new("as planned"));
        });
        assert!(thread.join().is_err());
        assert_eq!(user.throttle().bytes(), 0);
    }
}
