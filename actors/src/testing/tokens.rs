//! A gate with a list of tokens, which a test changes as it goes.

use crate::{
    logic::{
        access::{Grant, unauthenticated},
        fault::Fault,
    },
    ports::{Gate, Refusal},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// See the module's description.
#[derive(Default)]
pub struct Tokens {
    granted: Mutex<BTreeMap<String, Arc<Grant>>>,
    refused: Mutex<Vec<String>>,
}

impl Tokens {
    /// Whoever shows this token may do this.
    pub fn grant(&self, token: &str, grant: Grant) {
        lock(&self.granted).insert(token.to_owned(), Arc::new(grant));
    }

    /// The token means nothing any more.
    pub fn revoke(&self, token: &str) {
        lock(&self.granted).remove(token);
    }

    /// The refusals it was told of since the last time: surface and code.
    pub fn take_refused(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.refused))
    }
}

impl Gate for Tokens {
    fn admit(&self, token: Option<&str>, now_ms: i64) -> Result<Arc<Grant>, Fault> {
        let granted = token.and_then(|token| lock(&self.granted).get(token).cloned());
        let is_current = |grant: &Arc<Grant>| grant.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms);
        granted
            .filter(is_current)
            .ok_or_else(|| unauthenticated("unknown", "no such token"))
    }

    fn holds(&self, grant: &Grant) -> bool {
        lock(&self.granted).values().any(|granted| **granted == *grant)
    }

    fn refused(&self, refusal: &Refusal<'_>) {
        let code = refusal.fault.code.row().name;
        lock(&self.refused).push(format!("{} {code}", refusal.surface));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
