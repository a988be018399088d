//! Who comes in: tokens by their signatures, API keys by their hashes, and who is denied all the same.
//!
//! What a credential allows is decided in [`greenroom_actors::logic::access`]; this is about whether it is one.

mod audit;
mod files;
mod guard;
mod keeper;
pub mod keys;
pub mod tokens;
mod verifiers;

use std::sync::{Arc, PoisonError, RwLock};

use greenroom_actors::logic::access::{Credential, Expected, Grant, unauthenticated};
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::ports::{Gate, Refusal, WallClock};

use crate::config::sections::Auth;
pub use audit::Audit;
pub use files::FileError;
use files::Known;
pub use guard::Guard;
pub use keeper::{Keeper, Reload, Reloaded};

/// The gate of a node that asks for tokens.
pub struct Authority {
    config: Auth,
    expected: Expected,
    known: RwLock<Arc<Known>>,
    audit: Audit,
    clock: WallClock,
}

impl Authority {
    /// Reads the files. Blocks. Errors: one of them cannot be read, or does not hold.
    pub fn open(config: &Auth, clock: WallClock) -> Result<Self, FileError> {
        let expected = Expected {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway_ms: config.leeway_seconds as i64 * 1_000,
        };
        Ok(Self {
            config: config.clone(),
            expected,
            known: RwLock::new(Arc::new(Known::read(config)?)),
            audit: Audit::default(),
            clock,
        })
    }

    /// Reads the files again. Blocks. Returns whether anything in them has changed. Errors: one of them cannot be read, or
    /// does not hold; then what was read before stays in force.
    pub fn reload(&self) -> Result<bool, FileError> {
        let fresh = Known::read(&self.config)?;
        let changed = fresh.print != self.known().print;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(changed)
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Gate for Authority {
    fn admit(&self, token: Option<&str>, now_ms: i64) -> Result<Arc<Grant>, Fault> {
        let token = token.ok_or_else(greenroom_actors::gate::nobody)?;
        let known = self.known();
        let grant = match keys::is_key(token) {
            true => known.key(token, now_ms)?,
            false => Arc::new(known.verifiers.verify(token)?.grant(&self.expected, now_ms)?),
        };
        if known.denied.denies(&grant) {
            return Err(unauthenticated("revoked", "the token was revoked"));
        }
        Ok(grant)
    }

    fn holds(&self, grant: &Grant) -> bool {
        let known = self.known();
        let is_kept = match &grant.credential {
            Credential::Key(_) => known.keys.values().any(|kept| **kept == *grant),
            Credential::Token(_) | Credential::None => true,
        };
        is_kept && !known.denied.denies(grant)
    }

    fn refused(&self, refusal: &Refusal<'_>) {
        self.audit.note(refusal, (self.clock)());
    }
}

/// The fault of a call that wanted the files read again.
impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        Self::new(Code::ReloadFailed, error.to_string())
    }
}

#[cfg(test)]
mod tests;
