//! TLS by rustls: the certificate with its reloading, and a connection.

mod certificates;
mod expiry;
mod plaintext;
mod stream;

pub use certificates::{Certificates, LoadError, Standing, provide};
pub use plaintext::answer as answer_plaintext;
pub use stream::{Detached, TlsStream, is_plaintext};
