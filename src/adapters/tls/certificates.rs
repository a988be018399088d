//! The node's certificate: read at the start, and again whenever its files have changed.

use std::convert::Infallible;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::time::sleep;

use super::expiry;
use crate::config::sections::{self, TlsVersion};

/// How often the log is told again of what is still so.
const SAY_AGAIN: SignedDuration = SignedDuration::from_hours(12);

/// Why a certificate cannot be used. The key that names the file comes first.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{key} = {path:?} cannot be read: {source}")]
    Unreadable {
        /// Which key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no PEM of that kind.
    #[error("{key} = {path:?} holds no {what} in PEM: {source}")]
    Pem {
        /// Which key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was to be in it.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The certificate cannot be understood.
    #[error("tls.cert_file = {0:?} begins with what is no X.509 certificate")]
    NotX509(PathBuf),
    /// The certificate has ended: what is served still is better.
    #[error("tls.cert_file = {path:?} has ended on {on}")]
    Ended {
        /// The file.
        path: PathBuf,
        /// When.
        on: Timestamp,
    },
    /// The two do not go together, or rustls does not know their kind.
    #[error("tls.cert_file and tls.key_file cannot be used together: {0}")]
    Rustls(#[from] rustls::Error),
}

/// See the module's description.
pub struct Certificates {
    cert_file: PathBuf,
    key_file: PathBuf,
    min_version: TlsVersion,
    every: Duration,
    warn_before: SignedDuration,
    now: Mutex<Now>,
}

/// What is served, and what there is to say of it.
struct Now {
    config: Arc<ServerConfig>,
    not_after: Timestamp,
    /// Of the files as they were last looked at, whether they could be used or not.
    seen: u64,
    problem: Option<String>,
    reloads: u64,
    failures: u64,
    /// When the log was last told of the end that comes near.
    said: Option<Timestamp>,
}

/// How it stands with the certificate, for operators.
#[derive(Debug, Clone)]
pub struct Standing {
    /// When the one that is served ends.
    pub not_after: Timestamp,
    /// Whether that is soon, or was already.
    pub ends_soon: bool,
    /// Why the files as they are now are not used.
    pub problem: Option<String>,
    /// Certificates taken over since the start.
    pub reloads: u64,
    /// Certificates that could not be used.
    pub failures: u64,
}

/// The files' bytes.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// Cryptography for whoever builds a TLS client within this process, unless the program has chosen its own already:
/// reqwest, for one, does not come with any here, and panics without.
pub fn provide() {
    let _ = CryptoProvider::install_default(ring::default_provider());
}

impl Certificates {
    /// Reads the certificate, if one is configured. Errors: it cannot be used.
    pub fn load(tls: &sections::Tls) -> Result<Option<Arc<Self>>, LoadError> {
        let (Some(cert_file), Some(key_file)) = (&tls.cert_file, &tls.key_file) else {
            return Ok(None);
        };
        let (cert_file, key_file) = (PathBuf::from(cert_file), PathBuf::from(key_file));
        let files = Files::read(&cert_file, &key_file)?;
        let (config, not_after) = files.understand(&cert_file, &key_file, tls.min_version)?;
        let certificates = Self {
            cert_file,
            key_file,
            min_version: tls.min_version,
            every: Duration::from_millis(tls.reload_ms),
            warn_before: SignedDuration::from_hours(24 * tls.expiry_warning_days as i64),
            now: Mutex::new(Now {
                config,
                not_after,
                seen: files.digest(),
                problem: None,
                reloads: 0,
                failures: 0,
                said: None,
            }),
        };
        certificates.warn_of_the_end();
        Ok(Some(Arc::new(certificates)))
    }

    /// What a new connection is served with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.now().config.clone()
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let now = self.now();
        Standing {
            not_after: now.not_after,
            ends_soon: self.ends_soon(&now),
            problem: now.problem.clone(),
            reloads: now.reloads,
            failures: now.failures,
        }
    }

    /// Looks at the files now and then, for as long as it is polled.
    pub async fn watch(self: Arc<Self>) -> Infallible {
        loop {
            sleep(self.every).await;
            self.clone().look().await;
        }
    }

    /// Looks at the files, and takes a new certificate over. One that cannot be used leaves the old one in place.
    pub async fn look(self: Arc<Self>) {
        let looked = tokio::task::spawn_blocking(move || {
            self.look_now();
            self.warn_of_the_end();
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "looking at the certificate failed");
        }
    }

    fn look_now(&self) {
        let files = Files::read(&self.cert_file, &self.key_file);
        // Files that cannot be read are all the same.
        let seen = files.as_ref().map_or(0, Files::digest);
        if seen == self.now().seen {
            return;
        }
        let understood =
            files.and_then(|files| files.understand(&self.cert_file, &self.key_file, self.min_version));
        let fresh = understood.and_then(|(config, not_after)| {
            let path = self.cert_file.clone();
            match not_after > Timestamp::now() {
                true => Ok((config, not_after)),
                false => Err(LoadError::Ended { path, on: not_after }),
            }
        });
        let mut now = self.now();
        now.seen = seen;
        match fresh {
            Ok((config, not_after)) => {
                tracing::info!(%not_after, "the certificate was reloaded");
                (now.config, now.not_after) = (config, not_after);
                (now.problem, now.said) = (None, None);
                now.reloads += 1;
            }
            Err(error) => {
                tracing::error!(%error, ends = %now.not_after, "the new certificate cannot be used; the old one stays");
                now.problem = Some(error.to_string());
                now.failures += 1;
            }
        }
    }

    fn warn_of_the_end(&self) {
        let mut now = self.now();
        let at = Timestamp::now();
        let is_said = now.said.is_some_and(|said| at.duration_since(said) < SAY_AGAIN);
        if self.ends_soon(&now) && !is_said {
            now.said = Some(at);
            tracing::warn!(not_after = %now.not_after, "the certificate ends soon, or has ended: replace it");
        }
    }

    fn ends_soon(&self, now: &Now) -> bool {
        now.not_after.duration_since(Timestamp::now()) < self.warn_before
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn read(cert_file: &PathBuf, key_file: &PathBuf) -> Result<Self, LoadError> {
        let read = |key, path: &PathBuf| {
            let unreadable = |source| LoadError::Unreadable {
                key,
                path: path.clone(),
                source,
            };
            fs::read(path).map_err(unreadable)
        };
        Ok(Self {
            cert: read("tls.cert_file", cert_file)?,
            key: read("tls.key_file", key_file)?,
        })
    }

    /// To tell whether they have changed.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.cert, &self.key).hash(&mut hasher);
        hasher.finish()
    }

    /// What to serve with, and when it ends.
    fn understand(
        &self,
        cert_file: &PathBuf,
        key_file: &PathBuf,
        min_version: TlsVersion,
    ) -> Result<(Arc<ServerConfig>, Timestamp), LoadError> {
        let no_pem = |key, path: &PathBuf, what| {
            let path = path.clone();
            move |source| LoadError::Pem {
                key,
                path,
                what,
                source,
            }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(no_pem("tls.cert_file", cert_file, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(no_pem(
            "tls.key_file",
            key_file,
            "private key",
        ))?;
        let end = chain.first().and_then(|first| expiry::not_after(first));
        let not_after = end.ok_or_else(|| LoadError::NotX509(cert_file.clone()))?;
        Ok((server_config(chain, key, min_version)?, not_after))
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    min_version: TlsVersion,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client that comes back shows a ticket and is spared the signature; the node keeps nothing for it.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}
