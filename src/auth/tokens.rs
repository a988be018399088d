//! Making tokens: for tests, for agents, and for teams without an issuer of their own.

use greenroom_actors::logic::access::Claims;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

/// With what a token is signed.
pub enum Signer {
    /// A secret that the node has too.
    Secret(String),
    /// A private key in PEM (PKCS #8; RSA also PKCS #1), and its name in the node's set of keys, if it is in one.
    Pem {
        /// The text of the file.
        text: String,
        /// Its `kid`.
        name: Option<String>,
    },
}

impl Signer {
    /// Signs what a token is to say. Errors: the key is none.
    pub fn sign(&self, claims: &Claims) -> Result<String, String> {
        let (algorithm, key, name) = match self {
            Self::Secret(secret) => (
                Algorithm::HS256,
                EncodingKey::from_secret(secret.as_bytes()),
                None,
            ),
            Self::Pem { text, name } => {
                let (algorithm, key) =
                    read(text).ok_or("this is no private key in PEM (RSA, P-256 or Ed25519)")?;
                (algorithm, key, name.clone())
            }
        };
        let header = Header {
            kid: name,
            ..Header::new(algorithm)
        };
        encode(&header, claims, &key).map_err(|error| format!("cannot sign with this key: {error}"))
    }
}

fn read(pem: &str) -> Option<(Algorithm, EncodingKey)> {
    let pem = pem.as_bytes();
    let rsa = || EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key));
    let ec = || EncodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key));
    let ed = || EncodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key));
    rsa().or_else(|_| ec()).or_else(|_| ed()).ok()
}
