//! Panics are caught here, with what is known about them.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Arc;

thread_local! {
    /// The worker that this thread is polling.
    static CURRENT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    /// Where this thread panicked last: a caught panic only carries its message.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The worker that the current thread is polling, for the panic hook's log line.
pub fn current_worker() -> Option<String> {
    // Never panics itself, not even while the thread ends: it is called from the panic hook.
    CURRENT
        .try_with(|current| current.try_borrow().ok()?.as_deref().map(str::to_owned))
        .ok()
        .flatten()
}

/// Remembers where a panic happened, so that the worker's last exit can tell. To be called by the panic hook.
pub fn note_panic(info: &PanicHookInfo<'_>) {
    set_place(info.location().map(ToString::to_string));
}

/// Runs `f` in the name of `worker`; a panic comes back as its place and message.
pub(super) fn catch<T>(worker: &Arc<str>, f: impl FnOnce() -> T) -> Result<T, String> {
    let _named = Named::enter(worker.clone());
    set_place(None);
    // What `f` broke is either dropped or restarted by its caller, which is what supervision is about.
    catch_unwind(AssertUnwindSafe(f)).map_err(describe)
}

fn describe(payload: Box<dyn Any + Send>) -> String {
    let place = PLACE.try_with(|place| place.take()).ok().flatten();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "without a message".to_owned(),
    };
    if let Err(nested) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // The payload of a panic panicked in its `Drop`. Its own may do the same: leak it.
        std::mem::forget(nested);
    }
    match place {
        Some(place) => format!("at {place}: {message}"),
        None => format!("with: {message}"),
    }
}

fn set_place(place: Option<String>) {
    // Too late to matter if the thread is ending already.
    let _ = PLACE.try_with(|cell| cell.replace(place));
}

/// Names the thread's worker until it is dropped.
struct Named(Option<Arc<str>>);

impl Named {
    fn enter(worker: Arc<str>) -> Self {
        Self(Self::swap(Some(worker)))
    }

    fn swap(worker: Option<Arc<str>>) -> Option<Arc<str>> {
        CURRENT.try_with(|current| current.replace(worker)).ok().flatten()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        Self::swap(self.0.take());
    }
}
