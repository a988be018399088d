//! The audit log: a line for every refusal, as far as that is affordable, and a count of all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use greenroom_actors::callers::Network;
use greenroom_actors::logic::access::Refusals;
use greenroom_actors::logic::fault::Code;
use greenroom_actors::ports::Refusal;
use tracing::field::display;

/// Lines for one address in one window.
const LINES: u32 = 10;
/// The window, milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Addresses that are told apart in one window.
const ADDRESSES: usize = 4_096;

/// See the module's description. Nothing of a token is ever in it.
pub struct Audit {
    refusals: Mutex<Refusals<Option<Network>>>,
    unauthenticated: AtomicU64,
    forbidden: AtomicU64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            refusals: Mutex::new(Refusals::new(LINES, WINDOW_MS, ADDRESSES)),
            unauthenticated: AtomicU64::new(0),
            forbidden: AtomicU64::new(0),
        }
    }
}

impl Audit {
    /// Somebody was refused.
    pub fn note(&self, refusal: &Refusal<'_>, now_ms: i64) {
        let count = match refusal.fault.code {
            Code::Forbidden => &self.forbidden,
            _ => &self.unauthenticated,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !self.lock().note(&refusal.address.map(Network::from), now_ms) {
            return;
        }
        let reason = refusal
            .fault
            .details
            .as_ref()
            .and_then(|details| details["reason"].as_str());
        let action = refusal.action.as_ref();
        tracing::warn!(
            target: "audit",
            code = refusal.fault.code.row().name,
            reason,
            surface = refusal.surface,
            address = refusal.address.map(display),
            subject = refusal.subject,
            action = action.map(|action| action.name()),
            room = action.and_then(|action| action.room()).map(display),
            "refused"
        );
    }

    /// Says how many refusals got no line.
    pub fn tend(&self, now_ms: i64) {
        for (address, suppressed) in self.lock().tend(now_ms) {
            let address = address.flatten().map(display);
            tracing::warn!(target: "audit", address, suppressed, "more were refused than there are lines for");
        }
    }

    /// How many refusals there were, by code.
    pub fn counts(&self) -> [(Code, u64); 2] {
        [
            (
                Code::Unauthenticated,
                self.unauthenticated.load(Ordering::Relaxed),
            ),
            (Code::Forbidden, self.forbidden.load(Ordering::Relaxed)),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Refusals<Option<Network>>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
